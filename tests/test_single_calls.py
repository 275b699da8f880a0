"""Single calls of the client with aioresponses: what each answer of NCR and the gateway becomes."""

import inspect
from unittest import mock

import aiohttp
import pytest
from aioresponses import aioresponses
from yarl import URL

from pruner.emulator import DEMO_ACCESS_KEY, DEMO_SECRET_KEY
from pruner.errors import ConnectError, LostReplyError, RedirectError, ResponseError
from pruner.model import Target
from pruner.registry.aiohttp_client import AiohttpClient
from pruner.registry.base import Deletion
from pruner.registry.ncr.client import NcrDeleter
from pruner.registry.ncr.credentials import Credentials, CredentialSource
from pruner.registry.ncr.endpoint import region_endpoint
from pruner.registry.ncr.transport import Transport
from pruner.registry.secret import Secret
from pruner.registry.tls import tls_context

TARGET = Target("my-registry", "hello/world", "v1.0.0")
URL_OF_TARGET = URL(
    "https://ncr.apigw.ntruss.com/ncr/api/v2/repositories/my-registry/hello%2Fworld/tags/v1.0.0", encoded=True
)


class Response(aiohttp.ClientResponse):
    """Newer aiohttp wants a stream writer, which aioresponses does not give."""

    def __init__(self, *args, **kwargs):
        if "stream_writer" in inspect.signature(aiohttp.ClientResponse.__init__).parameters:
            kwargs.setdefault("stream_writer", mock.Mock())
        super().__init__(*args, **kwargs)


@pytest.fixture
async def deleter():
    credentials = CredentialSource(Credentials(DEMO_ACCESS_KEY, Secret(DEMO_SECRET_KEY), "test"))
    endpoint = region_endpoint("KR")
    client = AiohttpClient(endpoint.origin, tls_context(None))
    yield NcrDeleter(Transport(client, endpoint, credentials))
    await client.close()


@pytest.fixture
def answers():
    with aioresponses() as mocked:
        yield lambda **answer: mocked.delete(URL_OF_TARGET, response_class=Response, **answer)
        ((method, url),) = mocked.requests
        assert method == "DELETE"
        assert url.raw_path.endswith("/hello%2Fworld/tags/v1.0.0")
        ((call,),) = mocked.requests.values()
        assert call.kwargs["allow_redirects"] is False
        assert len(call.kwargs["headers"]["x-ncp-apigw-signature-v2"]) == 44


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_only_204_confirms_a_delete(deleter, answers, status):
    answers(status=status)
    assert await deleter.delete(TARGET, None) == Deletion(status, status == 204)


@pytest.mark.parametrize(
    ("status", "body", "layer", "code"),
    [
        (404, {"returnCode": "404", "returnMessage": "no such tag"}, "ncr", 404),
        (404, {"error": {"errorCode": "300", "message": "Not Found Exception"}}, "gateway", 300),
        (401, {"error": {"errorCode": 210, "message": "Permission Denied"}}, "gateway", 210),
        (429, {"error": {"errorCode": "400", "message": "Quota Exceeded"}}, "gateway", 400),
        (500, {"returnCode": 500, "returnMessage": "x"}, "ncr", 500),
        (502, {"message": "bad"}, "unknown", None),
    ],
)
async def test_an_error_is_typed(deleter, answers, status, body, layer, code):
    answers(status=status, payload=body, headers={"Retry-After": "3"})
    with pytest.raises(ResponseError) as caught:
        await deleter.delete(TARGET, None)
    assert (caught.value.status, caught.value.layer, caught.value.code) == (status, layer, code)
    assert caught.value.retry_after == "3"


async def test_a_redirect_is_an_error(deleter, answers):
    answers(status=307, headers={"Location": "https://elsewhere.example/"})
    with pytest.raises(RedirectError, match=r"redirects to https://elsewhere\.example;"):
        await deleter.delete(TARGET, None)


@pytest.mark.parametrize(
    ("broken", "meant"),
    [
        (aiohttp.ServerDisconnectedError(), LostReplyError),
        (TimeoutError(), LostReplyError),
        (aiohttp.ConnectionTimeoutError(), ConnectError),
        (aiohttp.ClientPayloadError("cut"), LostReplyError),
    ],
)
async def test_a_broken_connection_says_whether_the_request_may_have_arrived(deleter, answers, broken, meant):
    answers(exception=broken)
    with pytest.raises(meant):
        await deleter.delete(TARGET, None)
