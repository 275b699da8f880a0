"""A pool of connections to one origin, and requests out of their parts."""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final

from pruner.registry.exchange import JSON_HEADERS, KEEPALIVE_SECONDS, MAX_BODY_BYTES, Answer
from pruner.registry.identity import Reach
from pruner.registry.wire.connection import Connection
from pruner.registry.wire.dial import Dialer

_ROUNDS_TO_CLOSE: Final = 10
_WITHOUT_BODY: Final = frozenset({"GET", "HEAD"})


class WireClient:
    """Requests to one ``origin`` (scheme, host, port), an ``HttpClient``. Callers bound how many are open.

    ``common`` are the headers of every request.
    """

    def __init__(
        self,
        origin: str,
        tls: ssl.SSLContext | None,
        common: Mapping[str, str] = JSON_HEADERS,
        reach: Reach = Reach.LOOPBACK,
    ) -> None:
        self.max_body = MAX_BODY_BYTES
        self.dialer = Dialer(origin, tls, reach=reach)
        scheme, _, authority = origin.partition("://")
        default = ":443" if scheme == "https" else ":80"
        same = {"Host": authority.removesuffix(default), **common}
        self._same = "".join(f"\r\n{name}: {value}" for name, value in same.items()) + "\r\n\r\n"
        self._same_empty = f"\r\nContent-Length: 0{self._same}"
        self._loop = asyncio.get_running_loop()
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []

    async def exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Answer:
        """Send one request once, as ``HttpClient`` says."""
        request = self._request(method, target, headers, len(body)) + body
        connection = self._idle_one() or await self._new()
        try:
            answer = await connection.ask(request, bodiless=method == "HEAD")
        except BaseException:
            connection.drop()
            raise
        if connection.is_usable:
            self._idle.append(connection)
        return answer

    def _request(self, method: str, target: str, headers: Mapping[str, str], length: int = 0) -> bytes:
        """The bytes of a request before its body. ValueError where a part would end its line."""
        lines = [f"{method} {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        text = "\r\n".join(lines)
        if text.count("\n") != len(headers) or text.count("\r") != len(headers) or " " in target:
            raise ValueError("a line break in a request")
        if length:
            return f"{text}\r\nContent-Length: {length}{self._same}".encode("ascii")
        return f"{text}{self._same if method in _WITHOUT_BODY else self._same_empty}".encode("ascii")

    def _idle_one(self) -> Connection | None:
        """The connection that was used last, if it can be used again."""
        oldest = self._loop.time() - KEEPALIVE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable and connection.idle_since >= oldest:
                return connection
            connection.drop()
        return None

    async def _new(self) -> Connection:
        connection = await self.dialer.connect(lambda: Connection(self.max_body, self._open.discard))
        self._open.add(connection)
        return connection

    async def close(self) -> None:
        """Close all connections."""
        for connection in list(self._open):
            connection.drop()
        self._idle.clear()
        for _ in range(_ROUNDS_TO_CLOSE):
            # Sockets are closed by a later round of the loop.
            if self._open:
                await asyncio.sleep(0)
