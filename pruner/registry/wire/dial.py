"""Opening connections to one origin: addresses, happy eyeballs, verified TLS; errors typed."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from aiohappyeyeballs import start_connection

from pruner.errors import CertificateError, ConnectError, HostNameError
from pruner.registry.exchange import CONNECT_TIMEOUT_SECONDS, DNS_SECONDS, reason
from pruner.registry.identity import Reach, check_addresses

_ATTEMPT_DELAY_SECONDS = 0.25
"""Before the next address is tried beside the last one (RFC 8305, section 5)."""

P = TypeVar("P", bound=asyncio.Protocol)


class Dialer:
    """Connects to ``origin`` (scheme, host, port). Addresses are remembered until a connection fails."""

    def __init__(
        self,
        origin: str,
        tls: ssl.SSLContext | None,
        timeout: float = CONNECT_TIMEOUT_SECONDS,
        *,
        reach: Reach = Reach.LOOPBACK,
    ) -> None:
        self._reach = reach
        parts = urlsplit(origin)
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.timeout = timeout
        self._origin = origin
        self._tls = tls if parts.scheme == "https" else None
        self._addresses: list[Any] = []
        self._resolved_at = 0.0

    async def connect(self, protocol: Callable[[], P]) -> P:
        """A new connection. ConnectError (of some kind); nothing was sent then."""
        try:
            async with asyncio.timeout(self.timeout):
                return await self._connect(protocol)
        except TimeoutError:
            error = ConnectError(f"{self._origin}: no connection in time")
        except socket.gaierror as cause:
            error = HostNameError(f"{self._origin}: the host name cannot be resolved: {reason(cause)}")
        except ssl.SSLEOFError as cause:
            error = ConnectError(f"{self._origin}: no connection: {reason(cause)}")
        except (ssl.SSLError, ssl.CertificateError) as cause:
            error = CertificateError(
                f"{self._origin}: the TLS certificate cannot be trusted: {reason(cause)}"
            )
        except OSError as cause:
            error = ConnectError(f"{self._origin}: no connection: {reason(cause)}")
        self._addresses = []
        raise error

    async def _connect(self, protocol: Callable[[], P]) -> P:
        loop = asyncio.get_running_loop()
        found = await self._resolve(loop)
        several = 1 if len(found) > 1 else None
        opened = await start_connection(
            found, happy_eyeballs_delay=_ATTEMPT_DELAY_SECONDS, interleave=several, loop=loop
        )
        name = self.host.rstrip(".") if self._tls else None
        try:
            _, made = await loop.create_connection(protocol, sock=opened, ssl=self._tls, server_hostname=name)
        except BaseException:
            opened.close()
            raise
        return made

    async def _resolve(self, loop: asyncio.AbstractEventLoop) -> list[Any]:
        if not self._addresses or loop.time() - self._resolved_at > DNS_SECONDS:
            found = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            check_addresses(self._origin, (str(item[4][0]) for item in found), self._reach)
            self._addresses = found
            self._resolved_at = loop.time()
        return self._addresses
