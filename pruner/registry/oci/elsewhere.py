"""Other servers that a registry names: its token server, and where it keeps the bytes of blobs.

A registry decides what it names, so it must not lead to what only this machine or its network can reach: a
service on loopback, the metadata service of a cloud, a host of the network that the registry is not in.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from pruner.errors import ConnectError
from pruner.registry.exchange import HttpClient
from pruner.registry.identity import Reach, address_of, reach_of, reach_of_name, same_server

NewClient = Callable[[str, Reach], HttpClient]
"""Makes a client of an origin that connects to no address which is nearer than a reach."""

MOST_SERVERS: Final = 64
"""Other servers of one registry. Each has connections of its own, which stay open."""


class Elsewhere:
    """The clients of other origins than ``origin``, that of the registry; closed together.

    ``allow`` raises for an origin that no login may be sent to.
    """

    def __init__(self, origin: str, new_client: NewClient, allow: Callable[[str], None]) -> None:
        self.origin = origin
        self.allow = allow
        self._new_client = new_client
        self._clients: dict[str, HttpClient] = {}
        self._reach: Reach | None = None

    async def client(self, origin: str) -> HttpClient:
        """The client of an origin; ConnectError for one that the registry must not lead to."""
        if origin in self._clients:
            return self._clients[origin]
        if same_server(origin, self.origin):
            reach = Reach.LOOPBACK
        else:
            reach = await self._allowed()
            found = reach_of_name(urlsplit(origin).hostname or "")
            if found is not None and found > reach:
                where = found.name.lower().replace("_", "-")
                raise ConnectError(
                    f"the registry leads to a {where} address, where it is not itself; that is not followed"
                )
        if len(self._clients) >= MOST_SERVERS:
            raise ConnectError(
                f"the registry leads to more than {MOST_SERVERS} other servers; that is not followed"
            )
        self._clients[origin] = client = self._new_client(origin, reach)
        return client

    async def _allowed(self) -> Reach:
        """How near a server may be: as near as the registry is by its name, or in the same private network.

        A name that resolves to this machine does not make its server a part of it.
        """
        if self._reach is None:
            host = urlsplit(self.origin).hostname or ""
            named = reach_of_name(host)
            self._reach = named if named is not None else min(await _reach_of_addresses(host), Reach.PRIVATE)
        return self._reach

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.close()


async def _reach_of_addresses(host: str) -> Reach:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return Reach.PUBLIC
    addresses = [address for item in found if (address := address_of(str(item[4][0]))) is not None]
    return max((reach_of(address) for address in addresses), default=Reach.PUBLIC)
