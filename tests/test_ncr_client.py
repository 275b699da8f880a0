"""The client on the wire: the bytes it sends, and what it makes of every way in which an answer can break.

The servers are raw sockets, so that they see exactly what was sent and can misbehave at any byte.
"""

import asyncio
import base64
import contextlib
import datetime
import gzip
import hashlib
import hmac
import json
import socket
import ssl
import struct
import traceback
import tracemalloc
from pathlib import Path

import aiohttp
import pytest
import trustme

from pruner.errors import (
    CertificateError,
    ConnectError,
    ExitCode,
    InputError,
    ListingError,
    LostReplyError,
    MalformedReplyError,
    RedirectError,
    RequestError,
    ResponseError,
)
from pruner.model import Tag, Target
from pruner.registry import aiohttp_client
from pruner.registry.base import Deletion
from pruner.registry.clients import CHOICE, new_client
from pruner.registry.endpoint import Endpoint
from pruner.registry.ncr.client import PAGE_SIZE, NcrDeleter, NcrReader
from pruner.registry.ncr.credentials import Credentials, CredentialSource
from pruner.registry.ncr.transport import Transport
from pruner.registry.secret import Secret
from pruner.registry.wire import client as wire_client

ACCESS_KEY = "AKIDEXAMPLE000000001"
SECRET_KEY = "SKEXAMPLE0000000000000000000000000000001"
PREFIX = "/ncr/api/v2"
NOW = 1_700_000_000.0
TARGET = Target("acme", "hello/world", "v1.0.0")
TAG_PATH = f"{PREFIX}/repositories/acme/hello%2Fworld/tags/v1.0.0"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


def answer(status, body=b"", headers=""):
    """The bytes of an HTTP answer; a body that is not bytes is written as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(data)}\r\n{headers}\r\n".encode() + data


def ncr_error(status):
    return answer(status, {"returnCode": str(status), "returnMessage": "not found"})


class Wire:
    """A raw server that records requests; ``behave(wire, head, reader, writer)`` answers each of them."""

    def __init__(self, behave):
        self.behave = behave
        self.heads = []
        self.connections = 0
        self.port = 0
        self.tasks = []

    @property
    def lines(self):
        return [head.split(b"\r\n", 1)[0].decode() for head in self.heads]

    def headers(self, index=-1):
        rows = self.heads[index].decode().split("\r\n")[1:-2]
        return {name.lower(): value for name, value in (row.split(": ", 1) for row in rows)}

    async def serve(self, reader, writer):
        self.connections += 1
        self.tasks.append(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                if await self.behave(self, head, reader, writer):
                    break
            writer.close()
            await writer.wait_closed()
        writer.transport.abort()


@contextlib.asynccontextmanager
async def serving(behave, tls=None):
    """A server whose ``behave`` is a coroutine function, bytes to answer, or a list of answers in order."""
    if isinstance(behave, bytes | list):
        behave = _scripted(behave)
    wire = Wire(behave)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0, ssl=tls)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        for task in wire.tasks:
            task.cancel()
        await asyncio.gather(*wire.tasks)


def _scripted(answers):
    async def behave(wire, head, reader, writer):
        writer.write(answers if isinstance(answers, bytes) else answers[len(wire.heads) - 1])
        await writer.drain()

    return behave


def then_close(data, *, reset=False):
    """Write ``data`` and close, or reset, the connection."""

    async def behave(wire, head, reader, writer):
        writer.write(data)
        await writer.drain()
        if reset:
            await asyncio.sleep(0.01)
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        return True

    return behave


@pytest.fixture(params=["wire", "aiohttp"], autouse=True)
def way(request, monkeypatch):
    """Every test runs with either client."""
    monkeypatch.setenv(CHOICE, request.param)
    return request.param


@contextlib.asynccontextmanager
async def client(port, *, scheme="http", host="127.0.0.1", timeout=30.0, clock=lambda: NOW, ca_bundle=None):
    """A transport to a port of this host."""
    endpoint = Endpoint(f"{scheme}://{host}:{port}", PREFIX)
    source = CredentialSource(Credentials(ACCESS_KEY, Secret(SECRET_KEY), "a test"))
    way = new_client(endpoint.origin, ca_bundle=ca_bundle)
    try:
        yield Transport(way, endpoint, source, timeout=timeout, clock=clock)
    finally:
        await way.close()


class Once:
    """Sends each request once."""

    async def run(self, send):
        return await send()


def reader_of(transport):
    return NcrReader(transport, Once())


async def failure(behave, *, method="DELETE", path="/x", **options):
    """The error of one request to a server that misbehaves."""
    async with serving(behave) as wire, client(wire.port, **options) as transport:
        with pytest.raises(RequestError) as caught:
            await transport.send(method, path)
    shows_no_secret(caught.value)
    return caught.value


def shows_no_secret(error, *signatures):
    texts = [str(error), repr(error), "".join(traceback.format_exception(error)), repr(vars(error))]
    for secret in (SECRET_KEY, *signatures):
        assert not any(secret in text for text in texts)


def signature(method, target, timestamp):
    """The signature, computed here by the published rule."""
    text = f"{method} {target}\n{timestamp}\n{ACCESS_KEY}"
    return base64.b64encode(hmac.new(SECRET_KEY.encode(), text.encode(), hashlib.sha256).digest()).decode()


# What is sent


async def test_the_bytes_of_a_delete():
    async with serving(NO_CONTENT) as wire, client(wire.port) as transport:
        assert await NcrDeleter(transport).delete(TARGET, None) == Deletion(204, confirmed=True)
    assert wire.lines == [f"DELETE {TAG_PATH} HTTP/1.1"]
    assert b"hello%2Fworld" in wire.heads[0]
    headers = wire.headers()
    assert headers.pop("user-agent").startswith("ncr-pruner/")
    assert headers.pop("content-length", "0") == "0"
    assert headers == {
        "host": f"127.0.0.1:{wire.port}",
        "accept": "application/json",
        "content-type": "application/json",
        "x-ncp-apigw-timestamp": "1700000000000",
        "x-ncp-iam-access-key": ACCESS_KEY,
        "x-ncp-apigw-signature-v2": signature("DELETE", TAG_PATH, "1700000000000"),
    }


@pytest.mark.parametrize("image", ["app", "hello/world", "a/b/c", "a.b_c/d__e--f"])
async def test_the_target_signed_is_the_target_sent(image):
    page = answer(200, {"count": 0, "next": None, "results": []})
    async with serving(page) as wire, client(wire.port) as transport:
        await reader_of(transport).tags("acme", image)
        await reader_of(transport).images("acme")
        await reader_of(transport).registries()
    assert [line.split("repositories")[1] for line in wire.lines] == [
        f"/acme/{image.replace('/', '%2F')}/tags?page=1&pagesize={PAGE_SIZE} HTTP/1.1",
        f"/acme?page=1&pagesize={PAGE_SIZE} HTTP/1.1",
        f"?page=1&pagesize={PAGE_SIZE} HTTP/1.1",
    ]
    for index, line in enumerate(wire.lines):
        method, target, _ = line.split(" ")
        headers = wire.headers(index)
        wanted = signature(method, target, headers["x-ncp-apigw-timestamp"])
        assert headers["x-ncp-apigw-signature-v2"] == wanted


async def test_nothing_normalises_a_target_on_its_way():
    path = "/repositories/a%2fb%7Ec/%41?b=%2f+&a=1&a"
    async with serving(NO_CONTENT) as wire, client(wire.port) as transport:
        await transport.send("GET", path)
    assert wire.lines == [f"GET {PREFIX}{path} HTTP/1.1"]
    assert wire.headers()["x-ncp-apigw-signature-v2"] == signature("GET", PREFIX + path, "1700000000000")


async def test_every_attempt_is_signed_at_its_own_time():
    times = iter([1_700_000_000.0, 1_700_000_007.9996])
    async with (
        serving(NO_CONTENT) as wire,
        client(wire.port, clock=lambda: next(times)) as transport,
    ):
        for _ in range(2):
            await NcrDeleter(transport).delete(TARGET, None)
    stamps = [wire.headers(n)["x-ncp-apigw-timestamp"] for n in (0, 1)]
    assert stamps == ["1700000000000", "1700000007999"]
    for n, stamp in enumerate(stamps):
        assert wire.headers(n)["x-ncp-apigw-signature-v2"] == signature("DELETE", TAG_PATH, stamp)


async def test_new_keys_sign_the_next_request():
    async with serving(NO_CONTENT) as wire, client(wire.port) as transport:
        source = transport._credentials
        await transport.send("GET", "/a")
        source._current = Credentials("OTHERKEY", Secret("other"), "a test")
        await transport.send("GET", "/a")
    assert [wire.headers(n)["x-ncp-iam-access-key"] for n in (0, 1)] == [ACCESS_KEY, "OTHERKEY"]


async def test_cookies_are_not_kept():
    async with (
        serving(b"HTTP/1.1 204 X\r\nSet-Cookie: a=b; Path=/\r\n\r\n") as wire,
        client(wire.port, host="localhost") as transport,
    ):
        await transport.send("GET", "/a")
        await transport.send("GET", "/a")
    assert "cookie" not in wire.headers(1)


async def test_a_proxy_of_the_environment_is_not_taken_by_itself(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with serving(NO_CONTENT) as wire, client(wire.port) as transport:
        assert (await transport.send("GET", "/a")).status == 204


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_only_204_confirms_a_delete(status):
    async with serving(answer(status)) as wire, client(wire.port) as transport:
        assert await NcrDeleter(transport).delete(TARGET, None) == Deletion(status, status == 204)


async def test_requests_are_counted():
    async with serving(NO_CONTENT) as wire, client(wire.port) as transport:
        await transport.send("GET", "/a")
        await transport.send("GET", "/a")
        assert transport.requests_sent == len(wire.heads) == 2
        assert wire.connections == 1


# What must not happen


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304, 300])
async def test_a_redirect_is_not_followed(status):
    async with serving(NO_CONTENT) as other:
        where = f"Location: http://localhost:{other.port}/elsewhere\r\n"
        error = await failure(answer(status, headers=where))
    assert isinstance(error, RedirectError)
    assert other.heads == []
    # A path may hold a secret that the server repeats.
    assert f"http://localhost:{other.port};" in str(error)
    assert "/elsewhere" not in str(error)
    assert error.exit_code is ExitCode.UNREACHABLE


async def test_the_location_of_a_redirect_is_shown_harmless():
    error = await failure(answer(302, headers="Location: http://x/\u202e" + "y" * 5000 + "\r\n"))
    assert str(error).isprintable()
    assert len(str(error)) < 300


def dying_on_delete(data=b""):
    async def behave(wire, head, reader, writer):
        if head.startswith(b"DELETE"):
            writer.write(data)
            return True
        writer.write(answer(200, {"count": 0, "results": []}))
        return False

    return behave


async def test_a_delete_is_never_sent_twice_by_itself():
    async with serving(dying_on_delete()) as wire, client(wire.port) as transport:
        await reader_of(transport).registries()
        with pytest.raises(LostReplyError):
            await NcrDeleter(transport).delete(TARGET, None)
    assert [line.split()[0] for line in wire.lines] == ["GET", "DELETE"]


async def test_otherwise_aiohttp_would_send_it_twice(way):
    if way != "aiohttp":
        return
    async with serving(dying_on_delete()) as wire, client(wire.port) as transport:
        transport.client.session._retry_connection = True
        await reader_of(transport).registries()
        with pytest.raises(LostReplyError):
            await NcrDeleter(transport).delete(TARGET, None)
    assert [line.split()[0] for line in wire.lines] == ["GET", "DELETE", "DELETE"]


# No connection


async def test_connection_refused(closed_port):
    async with client(closed_port) as transport:
        with pytest.raises(ConnectError, match=f"http://127.0.0.1:{closed_port}: no connection") as caught:
            await NcrDeleter(transport).delete(TARGET, None)
    assert not isinstance(caught.value, CertificateError)
    assert caught.value.exit_code is ExitCode.UNREACHABLE
    shows_no_secret(caught.value)


async def test_a_host_that_does_not_exist(monkeypatch):
    def no_such_host(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
    async with client(1, host="ncr.invalid") as transport:
        with pytest.raises(ConnectError, match=r"http://ncr\.invalid:1: the host name cannot be resolved"):
            await NcrDeleter(transport).delete(TARGET, None)


async def test_no_connection_in_time(monkeypatch, way):
    async def silent(*args, **kwargs):
        await asyncio.sleep(60)

    monkeypatch.setattr("aiohttp.connector.aiohappyeyeballs.start_connection", silent)
    monkeypatch.setattr("pruner.registry.wire.dial.start_connection", silent)
    async with client(1, timeout=5) as transport:
        if way == "wire":
            transport.client.dialer.timeout = 0.05
        else:
            transport.client.session._timeout = aiohttp.ClientTimeout(total=None, sock_connect=0.05)
        with pytest.raises(ConnectError, match="no connection in time"):
            await transport.send("GET", "/x")


# TLS


AUTHORITY = trustme.CA()
STRANGER = trustme.CA()
YESTERDAY = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)


def tls_of(authority, *names, **options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **options).configure_cert(context)
    return context


@pytest.fixture
def bundle(tmp_path):
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return str(tmp_path / "ca.pem")


async def test_a_trusted_certificate(bundle):
    async with (
        serving(NO_CONTENT, tls_of(AUTHORITY, "127.0.0.1")) as wire,
        client(wire.port, scheme="https", ca_bundle=bundle) as transport,
    ):
        assert await NcrDeleter(transport).delete(TARGET, None) == Deletion(204, confirmed=True)


@pytest.mark.parametrize(
    ("tls", "reason"),
    [
        (tls_of(STRANGER, "127.0.0.1"), "self.signed certificate|unable to get local issuer"),
        (tls_of(AUTHORITY, "127.0.0.1", not_after=YESTERDAY), "expired"),
        (tls_of(AUTHORITY, "ncr.example"), "mismatch|not valid for"),
    ],
    ids=["unknown authority", "expired", "wrong name"],
)
async def test_a_certificate_that_cannot_be_trusted(bundle, tls, reason):
    async with (
        serving(NO_CONTENT, tls) as wire,
        client(wire.port, scheme="https", ca_bundle=bundle) as transport,
    ):
        with pytest.raises(CertificateError, match=reason) as caught:
            await NcrDeleter(transport).delete(TARGET, None)
    assert wire.heads == []
    assert f"https://127.0.0.1:{wire.port}" in str(caught.value)
    shows_no_secret(caught.value)


async def test_the_authorities_of_the_system_do_not_know_a_test_certificate():
    async with (
        serving(NO_CONTENT, tls_of(AUTHORITY, "127.0.0.1")) as wire,
        client(wire.port, scheme="https") as transport,
    ):
        with pytest.raises(CertificateError):
            await transport.send("GET", "/x")


async def test_a_handshake_that_breaks_off_can_be_tried_again(bundle):
    async def hang_up(reader, writer):
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with client(port, scheme="https", ca_bundle=bundle) as transport:
            with pytest.raises(ConnectError) as caught:
                await transport.send("GET", "/x")
    assert not isinstance(caught.value, CertificateError)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
async def test_a_bundle_that_cannot_be_used_is_an_input_error(tmp_path: Path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"ca\.pem"):
        new_client("https://127.0.0.1", ca_bundle=str(path))


# Answers that break


BODY = b'{"count":0,"next":null,"results":[]}'
CUTS = {
    "at once": b"",
    "in the status line": b"HTTP/1.1 20",
    "in the headers": b"HTTP/1.1 200 OK\r\nContent-Le",
    "before the body": b"HTTP/1.1 200 OK\r\nContent-Length: 36\r\n\r\n",
    "in the body": b"HTTP/1.1 200 OK\r\nContent-Length: 36\r\n\r\n" + BODY[:20],
    "in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n24\r\n" + BODY[:20],
    "before the last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n24\r\n" + BODY + b"\r\n",
}


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
async def test_an_answer_that_is_cut(cut, reset):
    assert isinstance(await failure(then_close(cut, reset=reset)), LostReplyError)


NONSENSE = {
    "no http": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "http 0.9": b"<html>hello</html>\r\n\r\n",
    "bad status": b"HTTP/1.1 abc OK\r\n\r\n",
    "bad header": b"HTTP/1.1 200 OK\r\n: no name\r\n\r\n",
    "bad length": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "zeros": bytes(2000),
    "long line": b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("data", NONSENSE.values(), ids=NONSENSE)
async def test_what_is_no_http_answer(data):
    error = await failure(then_close(data))
    assert isinstance(error, LostReplyError)
    assert str(error).isprintable()
    assert len(str(error)) < 300


ECHOES = {
    "as the status line": b"%s\r\n\r\n",
    "as the status": b"HTTP/1.1 %s OK\r\n\r\n",
    "as a header": b"HTTP/1.1 200 OK\r\n%s\r\n\r\n",
    "as a header's name": b"HTTP/1.1 200 OK\r\nBad %s: x\r\n\r\n",
    "as a header's value": b"HTTP/1.1 200 OK\r\nX: \0%s\r\n\r\n",
    "as a length": b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n",
    "as a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n",
    "as a redirect": b"HTTP/1.1 302 Found\r\nLocation: /?s=%s\r\n\r\n",
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
async def test_an_echoed_signature_is_not_shown(echo):
    sent = signature("DELETE", f"{PREFIX}/x", "1700000000000")
    error = await failure(then_close(echo % sent.encode()))
    shows_no_secret(error, sent)


async def test_an_echoed_signature_is_not_shown_as_a_trace_id():
    sent = signature("DELETE", f"{PREFIX}/x", "1700000000000")
    shows_no_secret(await failure(answer(500, headers=f"x-ncp-trace-id: {sent}\r\n")), sent)


async def silence(wire, head, reader, writer):
    await reader.read()
    return True


def dripping(start, drop):
    async def behave(wire, head, reader, writer):
        writer.write(start)
        while not reader.at_eof():
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(0.01)
        return True

    return behave


@pytest.mark.parametrize(
    "behave",
    [
        silence,
        dripping(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
        dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", b"x"),
        dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["silent", "headers", "body", "chunks"],
)
async def test_a_slow_answer_is_bounded_by_the_timeout(behave):
    error = await failure(behave, timeout=0.5)
    assert isinstance(error, LostReplyError)
    assert "within 0.5 seconds" in str(error)


async def test_a_slow_error_is_bounded_by_the_timeout():
    behave = dripping(b"HTTP/1.1 500 Oh\r\nContent-Length: 5000\r\n\r\n", b"x")
    assert isinstance(await failure(behave, timeout=0.5), RequestError)


async def test_the_connection_of_a_broken_answer_is_not_used_again():
    behave = dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", b"x")
    async with serving(behave) as wire, client(wire.port, timeout=0.4) as transport:
        for _ in range(2):
            with pytest.raises(LostReplyError):
                await transport.send("GET", "/x")
        assert wire.connections == 2


def endless(start, more):
    """Write ``start`` and then ``more`` for ever, as fast as it is taken."""

    async def behave(wire, head, reader, writer):
        wire.written = 0
        writer.write(start)
        for _ in range(200_000_000 // len(more)):
            writer.write(more)
            wire.written += len(more)
            await writer.drain()
        return True

    return behave


@contextlib.contextmanager
def bounded_memory(megabytes):
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < megabytes * 2**20


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
async def test_the_body_of_an_error_is_bounded(status):
    head = f"HTTP/1.1 {status} X\r\nContent-Length: 200000000\r\n\r\n".encode()
    with bounded_memory(8):
        error = await failure(endless(head, b"<p>error</p>" * 5000))
    assert isinstance(error, ResponseError)
    assert (error.status, error.layer) == (status, "unknown")
    assert len(error.message) < 300


async def test_an_error_of_10_mb_in_one_go():
    with bounded_memory(24):
        error = await failure(answer(500, b"x" * 10 * 2**20))
    assert isinstance(error, ResponseError)
    assert len(error.message) < 300


async def test_endless_headers_are_bounded():
    with bounded_memory(8):
        error = await failure(
            endless(b"HTTP/1.1 200 OK\r\n", b"X-Header: " + b"y" * 990 + b"\r\n"), timeout=1
        )
    assert isinstance(error, LostReplyError)


async def test_an_endless_list_is_malformed(monkeypatch):
    for module in (aiohttp_client, wire_client):
        monkeypatch.setattr(module, "MAX_BODY_BYTES", 2**20)
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with bounded_memory(8):
        error = await failure(endless(start, b"8000\r\n" + b" " * 0x8000 + b"\r\n"))
    assert isinstance(error, MalformedReplyError)
    assert "larger than 1 MiB" in str(error)


async def test_compressed_answers_are_not_unpacked():
    packed = gzip.compress(b'{"returnCode":"500","returnMessage":"bomb"}')
    error = await failure(answer(500, packed, "Content-Encoding: gzip\r\n"))
    assert (error.status, error.layer) == (500, "unknown")
    assert str(error).isprintable()


async def test_the_error_of_an_answer_that_breaks_off_is_known():
    cut = b'HTTP/1.1 429 X\r\nContent-Length: 900\r\nRetry-After: 3\r\n\r\n{"error":{"errorCode":"41'
    error = await failure(then_close(cut))
    assert isinstance(error, ResponseError)
    assert (error.status, error.retry_after) == (429, "3")


async def test_an_error_is_typed_and_without_the_echoed_signature():
    sent = signature("DELETE", TAG_PATH, "1700000000000")
    date = "Date: Tue, 14 Nov 2023 22:03:20 GMT\r\nx-ncp-trace-id: t-1\r\n"
    body = {"error": {"errorCode": 200, "message": f"bad signature {sent}"}}
    async with serving(answer(401, body, date)) as wire, client(wire.port) as transport:
        with pytest.raises(ResponseError) as caught:
            await NcrDeleter(transport).delete(TARGET, None)
    error = caught.value
    assert (error.status, error.layer, error.code, error.trace_id) == (401, "gateway", 200, "t-1")
    assert error.clock_skew == pytest.approx(600)
    shows_no_secret(error, sent)


async def test_no_secret_in_what_is_printed_of_a_client():
    async with client(1) as transport:
        for thing in (transport, transport._signer, transport._credentials, NcrDeleter(transport)):
            assert SECRET_KEY not in repr(thing)


# Listings


def page(names, count=None, following=None):
    return answer(
        200, {"count": count or len(names), "next": following, "results": [{"name": n} for n in names]}
    )


async def listed(what, *answers):
    """The result of a reader's call, and the requests it took."""
    async with serving(list(answers)) as wire, client(wire.port) as transport:
        return await what(reader_of(transport)), wire


async def test_names_are_listed_over_pages_and_sorted():
    found, wire = await listed(lambda r: r.images("acme"), page(["b", "x/y"], 3, "2"), page(["a"], 3))
    assert found == ["a", "b", "x/y"]
    assert [line.split("?")[1].split(" ")[0] for line in wire.lines] == [
        "page=1&pagesize=100",
        "page=2&pagesize=100",
    ]


async def test_a_page_size_that_is_refused_is_left_out_from_then_on():
    refused = answer(400, {"returnCode": "400", "returnMessage": "pagesize"})
    found, wire = await listed(lambda r: r.images("acme"), refused, page(["a"], 2, 2), page(["b"], 2))
    assert found == ["a", "b"]
    assert [line.split("?")[1].split(" ")[0] for line in wire.lines] == [
        "page=1&pagesize=100",
        "page=1",
        "page=2",
    ]


@pytest.mark.parametrize("status", [400, 404])
async def test_a_later_page_that_is_missing_is_not_an_image_that_is_missing(status):
    rounds = [page(["a"], 2, 2), ncr_error(status)] * 3
    with pytest.raises(ListingError, match="does not hold together after 3 readings: page 2 is missing"):
        await listed(lambda r: r.tags("acme", "web"), *rounds)


async def test_an_image_that_goes_while_its_pages_are_read_is_missing():
    answers = (page(["a"], 2, 2), ncr_error(404), ncr_error(404))
    assert (await listed(lambda r: r.tags("acme", "web"), *answers))[0] is None


async def test_a_400_without_a_page_size_is_an_error():
    with pytest.raises(ResponseError, match="HTTP 400"):
        await listed(lambda r: r.registries(), answer(400), answer(400))


@pytest.mark.parametrize("status", [201, 202, 204])
async def test_a_list_is_a_200(status):
    body = b"" if status == 204 else json.dumps({"count": 0, "results": []}).encode()
    with pytest.raises((MalformedReplyError, ListingError)):
        await listed(lambda r: r.registries(), answer(status, body))


@pytest.mark.parametrize("name", ["", "..", "a\nb", "UPPER", "a b", "a%2Fb", "/a"], ids=ascii)
async def test_an_impossible_image_name_is_an_error(name):
    with pytest.raises((MalformedReplyError, ListingError)) as caught:
        await listed(lambda r: r.images("acme"), page(["a", name]))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\r\nb", "\u202e", "-a", "x" * 129], ids=ascii)
async def test_an_impossible_tag_name_is_a_listing_error(name):
    with pytest.raises(ListingError, match="tags of acme/web: a name that cannot be") as caught:
        await listed(lambda r: r.tags("acme", "web"), page(["a", name]))
    assert str(caught.value).isprintable()


async def test_tags():
    item = {"name": "v1", "digest": "sha256:1", "full_size": "5", "last_updated": 1_600_000_000}
    found, _ = await listed(lambda r: r.tags("acme", "web"), answer(200, {"count": 1, "results": [item]}))
    (tag,) = found
    assert (str(tag.target), tag.digest, tag.size) == ("acme/web:v1", "sha256:1", 5)
    assert tag.updated == 1_600_000_000_000


async def test_a_next_that_does_not_increase_is_a_listing_error():
    with pytest.raises(ListingError, match="the tags of acme/web"):
        await listed(lambda r: r.tags("acme", "web"), *[page(["a"], 9, 1)] * 6)


async def test_an_image_that_ncr_does_not_know_has_no_tags():
    assert (await listed(lambda r: r.tags("acme", "web"), ncr_error(404)))[0] is None


NOT_NCRS = {
    "gateway": answer(404, {"error": {"errorCode": "300", "message": "Not Found Exception"}}),
    "html": answer(404, b"<html>404</html>"),
    "empty": answer(404),
    "ncr 500": ncr_error(500),
    "ncr 403": ncr_error(403),
}


@pytest.mark.parametrize("data", NOT_NCRS.values(), ids=NOT_NCRS)
async def test_only_ncr_itself_says_that_an_image_is_missing(data):
    with pytest.raises(ResponseError):
        await listed(lambda r: r.tags("acme", "web"), data)


# Is a tag there?


def asks(reader):
    return reader.tag(TARGET)


async def test_a_tag_with_a_detail_is_there():
    found, wire = await listed(asks, answer(200, {"name": "v1.0.0", "digest": "sha256:1"}))
    assert found == Tag(TARGET, "sha256:1")
    assert wire.lines == [f"GET {TAG_PATH} HTTP/1.1"]


async def test_a_tag_that_ncr_does_not_know_is_not_there_if_it_says_so_twice():
    found, wire = await listed(asks, ncr_error(404), ncr_error(404))
    assert found is None
    assert wire.lines == [f"GET {TAG_PATH} HTTP/1.1"] * 2


async def test_a_single_answer_that_a_tag_is_missing_is_not_believed():
    found, _ = await listed(asks, ncr_error(404), answer(200, {"name": "v1.0.0"}))
    assert found == Tag(TARGET)


UNCLEAR = {
    "unshaped 404": answer(404, b"<html>"),
    "empty 404": answer(404),
    "ncr 500": ncr_error(500),
    "gateway 500": answer(500, {"error": {"errorCode": "900", "message": "Unexpected Error"}}),
    "another tag": answer(200, {"name": "latest"}),
}


@pytest.mark.parametrize("unclear", UNCLEAR.values(), ids=UNCLEAR)
@pytest.mark.parametrize(("names", "there"), [(["a", "v1.0.0"], True), (["a", "v1.0.1"], False), ([], False)])
async def test_without_a_clear_answer_the_list_decides(unclear, names, there):
    found, wire = await listed(asks, unclear, page(names))
    assert (found is not None) is there
    assert "/hello%2Fworld/tags?page=1" in wire.lines[1]


async def test_a_tag_of_an_image_that_is_gone_is_not_there():
    assert (await listed(asks, ncr_error(500), ncr_error(404)))[0] is None


@pytest.mark.parametrize(
    "answers",
    [
        [NOT_NCRS["gateway"]],
        [answer(403)],
        [answer(429)],
        [answer(503)],
        [ncr_error(500), answer(500)],
        [answer(404), answer(404)],
        [answer(404), page(["a"], 2)] + [page(["a"], 2)] * 2,
        [answer(200, b"<html>")],
        [answer(200, {})],
        [answer(302)],
    ],
    ids=str,
)
async def test_what_cannot_be_found_out_is_an_error(answers):
    with pytest.raises((RequestError, ListingError)):
        await listed(asks, *answers)
