"""HTTP through aiohttp: the way that knows proxies (CONNECT)."""

import socket
import ssl
from collections.abc import Mapping
from typing import Final

import aiohttp
from aiohttp.abc import ResolveResult
from yarl import URL

from pruner.errors import (
    CertificateError,
    ConnectError,
    HostNameError,
    LostReplyError,
    MalformedReplyError,
    RequestError,
)
from pruner.registry.exchange import (
    CONNECT_TIMEOUT_SECONDS,
    DNS_SECONDS,
    JSON_HEADERS,
    KEEPALIVE_SECONDS,
    MAX_BODY_BYTES,
    MAX_ERROR_BODY_BYTES,
    Answer,
    Headers,
    reason,
)
from pruner.registry.identity import Reach, check_addresses

_NOT_AUTOMATIC: Final = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class AiohttpClient:
    """Requests to one ``origin`` (scheme, host, port); must be made inside a running event loop.

    ``common`` are the headers of every request.
    """

    def __init__(
        self,
        origin: str,
        tls: ssl.SSLContext | None,
        common: Mapping[str, str] = JSON_HEADERS,
        *,
        proxy: str | None = None,
        reach: Reach = Reach.LOOPBACK,
    ) -> None:
        self.max_body = MAX_BODY_BYTES
        self._common = common
        self._origin = origin
        self._scheme, _, self._authority = origin.partition("://")
        # Callers bound how many requests are open, so the connector does not.
        connector = aiohttp.TCPConnector(
            limit=0,
            ssl=tls or True,
            keepalive_timeout=KEEPALIVE_SECONDS,
            ttl_dns_cache=int(DNS_SECONDS),
            resolver=None if proxy or reach is Reach.LOOPBACK else _Resolver(origin, reach),
        )
        self.session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS),
            skip_auto_headers=_NOT_AUTOMATIC,
            proxy=proxy,
            trust_env=False,
            auto_decompress=False,
        )
        # aiohttp would repeat an idempotent request on a connection that the server closed.
        self.session._retry_connection = False

    async def close(self) -> None:
        """Close all connections."""
        await self.session.close()

    async def exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Answer:
        """Send one request once, as ``HttpClient`` says."""
        # The bytes signed are the bytes sent: nothing may normalise or requote them.
        if "?" in target:
            url = URL(self._origin + target, encoded=True)
        else:
            url = URL.build(authority=self._authority, scheme=self._scheme, path=target, encoded=True)
        try:
            return await self._exchange(method, url, headers, body)
        except (aiohttp.ClientError, OSError) as error:
            raise self._translated(error) from None

    async def _exchange(self, method: str, url: URL, headers: Mapping[str, str], body: bytes) -> Answer:
        headers = {**headers, **self._common}
        response = await self.session.request(
            method, url, headers=headers, data=body or None, allow_redirects=False
        )
        status = response.status
        if status == 204 or method == "HEAD":
            response.release()
            return Answer(status, Headers(response.raw_headers), b"")
        async with response:
            if 200 <= status < 300:
                content = await _body(response, self.max_body)
            elif 300 <= status < 400:
                content = b""
            else:
                content = await _start_of_body(response)
            return Answer(status, Headers(response.raw_headers), content)

    def _translated(self, error: aiohttp.ClientError | OSError) -> RequestError:
        """What a foreign exception means: whether the request can have reached the server."""
        origin = self._origin
        if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
            return CertificateError(f"{origin}: the TLS certificate cannot be trusted: {_reason(error)}")
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            return HostNameError(f"{origin}: the host name cannot be resolved: {_reason(error)}")
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return ConnectError(f"{origin}: no connection in time")
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError):
            return ConnectError(f"{origin}: no connection: {_reason(error)}")
        if isinstance(error, aiohttp.ClientPayloadError):
            return LostReplyError("the answer broke off")
        return LostReplyError(f"the connection broke: {_reason(error)}")


class _Resolver(aiohttp.ThreadedResolver):
    """Finds the addresses of a host, and refuses those that are nearer than ``reach``."""

    def __init__(self, origin: str, reach: Reach) -> None:
        super().__init__()
        self._origin = origin
        self._reach = reach

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses, as aiohttp wants them."""
        found = await super().resolve(host, port, family)
        check_addresses(self._origin, (item["host"] for item in found), self._reach)
        return found


def _reason(error: BaseException) -> str:
    return reason(getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error)


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
            if size > MAX_ERROR_BODY_BYTES:
                response.close()
                break
    except aiohttp.ClientError:
        response.close()
    return b"".join(chunks)
