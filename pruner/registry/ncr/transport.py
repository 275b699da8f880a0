"""One signed request to NCR: signed at the moment of sending, bounded in time and size, errors typed."""

import time
from collections.abc import Callable
from typing import Final, NamedTuple

import aiohttp
from yarl import URL

from pruner.errors import (
    CertificateError,
    ConnectError,
    LostReplyError,
    MalformedReplyError,
    RedirectError,
    RequestError,
)
from pruner.registry.deadline import Deadlines
from pruner.registry.http import COMMON_HEADERS
from pruner.registry.ncr.credentials import CredentialSource
from pruner.registry.ncr.endpoint import Endpoint
from pruner.registry.ncr.errors import clean_text, response_error
from pruner.registry.ncr.signing import Signer

REQUEST_TIMEOUT_SECONDS: Final = 30.0
MAX_BODY_BYTES: Final = 32 * 1024 * 1024
_MAX_ERROR_BODY_BYTES: Final = 64 * 1024


class Reply(NamedTuple):
    """A successful answer (2xx)."""

    status: int
    body: bytes


class Transport:
    """Sends requests to one endpoint with one account.

    ``clock`` gives epoch seconds; ``timeout`` bounds one attempt from connecting to the last byte.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        endpoint: Endpoint,
        credentials: CredentialSource,
        *,
        timeout: float = REQUEST_TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.endpoint = endpoint
        self._session = session
        self._credentials = credentials
        self._signed_with = credentials.current
        self._signer = Signer(self._signed_with)
        self._scheme, _, self._authority = endpoint.origin.partition("://")
        self._deadlines = Deadlines(timeout)
        self._clock = clock
        self.requests_sent = 0

    def now_ms(self) -> int:
        """The time in epoch milliseconds."""
        return int(self._clock() * 1000)

    async def send(self, method: str, path: str) -> Reply:
        """Send ``method`` to ``path`` (below the endpoint, encoded, with its query).

        Raises RequestError: ResponseError for a status outside 2xx, ConnectError when the request did not
        leave, LostReplyError when it may have, RedirectError, MalformedReplyError for an endless body.
        """
        if self._credentials.current.expires is not None:
            await self._credentials.refresh_if_needed()
        if self._credentials.current is not self._signed_with:
            self._signed_with = self._credentials.current
            self._signer = Signer(self._signed_with)
        target = self.endpoint.prefix + path
        headers = self._signer.headers(method, target, str(int(self._clock() * 1000)))
        headers.update(COMMON_HEADERS)
        # The bytes signed are the bytes sent: nothing may normalise or requote them.
        if "?" in path:
            url = URL(self.endpoint.origin + target, encoded=True)
        else:
            url = URL.build(authority=self._authority, scheme=self._scheme, path=target, encoded=True)
        self.requests_sent += 1
        try:
            with self._deadlines.limit():
                return await self._exchange(method, url, headers)
        except RequestError:
            raise
        except (aiohttp.ClientError, OSError) as error:
            raise self._translated(error) from None

    async def _exchange(self, method: str, url: URL, headers: dict[str, str]) -> Reply:
        response = await self._session.request(method, url, headers=headers, allow_redirects=False)
        status = response.status
        if status == 204:
            response.release()
            return Reply(status, b"")
        async with response:
            if 200 <= status < 300:
                return Reply(status, await _body(response, MAX_BODY_BYTES))
            if 300 <= status < 400:
                raise RedirectError(_redirect(response))
            body = await _start_of_body(response)
            raise response_error(status, response.headers, body, self._clock())

    def _translated(self, error: aiohttp.ClientError | OSError) -> RequestError:
        """What a foreign exception means: whether the request can have reached the server."""
        origin = self.endpoint.origin
        if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
            return CertificateError(f"{origin}: the TLS certificate cannot be trusted: {_reason(error)}")
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            return ConnectError(f"{origin}: the host name cannot be resolved: {_reason(error)}")
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return ConnectError(f"{origin}: no connection in time")
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError):
            return ConnectError(f"{origin}: no connection: {_reason(error)}")
        if isinstance(error, TimeoutError):
            return LostReplyError(f"no answer within {self._deadlines.seconds:g} seconds")
        if isinstance(error, aiohttp.ClientPayloadError):
            return LostReplyError("the answer broke off")
        return LostReplyError(f"the connection broke: {_reason(error)}")


def _reason(error: BaseException) -> str:
    inner = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error
    text = getattr(inner, "strerror", None) or getattr(inner, "message", None) or str(inner)
    return clean_text(str(text)) or type(error).__name__


def _redirect(response: aiohttp.ClientResponse) -> str:
    where = clean_text(response.headers.get("Location", "nowhere"))
    return f"HTTP {response.status} redirects to {where}; a signed request is never sent elsewhere"


async def _body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    chunks = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > limit:
            response.close()
            raise MalformedReplyError(f"the answer is larger than {limit // 2**20} MiB")
        chunks.append(chunk)
    return b"".join(chunks)


async def _start_of_body(response: aiohttp.ClientResponse) -> bytes:
    """As much of an error's body as can matter; the connection is dropped if there is more.

    The status has been received, so that a body which breaks off does not make the answer unknown.
    """
    chunks = []
    size = 0
    try:
        async for chunk in response.content.iter_any():
            chunks.append(chunk)
            size += len(chunk)
            if size > _MAX_ERROR_BODY_BYTES:
                response.close()
                break
    except aiohttp.ClientError:
        response.close()
    return b"".join(chunks)
