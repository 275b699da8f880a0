"""Which server a URL means, however it is written: two spellings of one registry must not pass as two. Pure.

Names are compared as they are written, not by what they resolve to: an alias in the name system is another
name.
"""

import ipaddress
import socket
from collections.abc import Iterable
from enum import IntEnum
from typing import Final
from urllib.parse import urlsplit

from pruner.errors import ConnectError

_LOOPBACK: Final = "localhost"
_LOOPBACK_NAMES: Final = frozenset(
    {_LOOPBACK, "localhost.localdomain", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback"}
)
_PORTS: Final = {"http": 80, "https": 443}
_EMBEDDING: Final = tuple(
    ipaddress.IPv6Network(text) for text in ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")
)
"""IPv4-compatible and IPv4-translated addresses, and the prefixes of NAT64 (RFC 6052 and 8215)."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Reach(IntEnum):
    """How near a server is, the nearest last."""

    PUBLIC = 0
    PRIVATE = 1
    LINK_LOCAL = 2
    """Among them the metadata services of clouds."""
    LOOPBACK = 3


def address_of(host: str) -> Address | None:
    """The address that a host is, in whatever form the system reads one; None for a name."""
    text = host.strip("[]").partition("%")[0]
    try:
        address: Address = ipaddress.ip_address(text)
    except ValueError:
        try:
            # The resolver also reads 127.1, 0x7f.0.0.1 and 2130706433.
            address = ipaddress.IPv4Address(socket.inet_aton(text))
        except (OSError, ValueError, UnicodeError):
            return None
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped


def _within(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that translators and tunnels of a network read in one of IPv6."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.sixtofour is not None:
        return address.sixtofour
    if any(address in network for network in _EMBEDDING):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def reach_of(address: Address) -> Reach:
    """How near an address is, and no farther than the one that it may be translated to."""
    inner = _within(address)
    own = _own_reach(address)
    return own if inner is None else max(own, _own_reach(inner))


def _own_reach(address: Address) -> Reach:
    # To the address of no host in particular the system connects on this one.
    if address.is_loopback or address.is_unspecified:
        return Reach.LOOPBACK
    if address.is_link_local:
        return Reach.LINK_LOCAL
    is_site_local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    is_public = address.is_global and not address.is_multicast and not is_site_local
    return Reach.PUBLIC if is_public else Reach.PRIVATE


def reach_of_name(host: str) -> Reach | None:
    """How near a host is by its name alone; None for one that has to be resolved."""
    if _bare(host) in _LOOPBACK_NAMES or _bare(host).endswith(f".{_LOOPBACK}"):
        return Reach.LOOPBACK
    address = address_of(_bare(host))
    return None if address is None else reach_of(address)


def check_addresses(origin: str, addresses: Iterable[str], reach: Reach) -> None:
    """Raise ConnectError if any address of ``origin`` is nearer than ``reach``."""
    for text in addresses:
        address = address_of(text)
        if address is None or reach_of(address) > reach:
            raise ConnectError(f"{origin}: the name leads into a network that the registry is not in")


def _bare(host: str) -> str:
    return host.lower().rstrip(".")


def canonical_host(host: str) -> str:
    """A host without its port, written in the one way by which hosts are compared."""
    address = address_of(_bare(host))
    if address is None:
        return _LOOPBACK if reach_of_name(host) is Reach.LOOPBACK else _bare(host)
    # What a translator of the network may lead to loopback is another server than what is here.
    if _own_reach(address) is Reach.LOOPBACK:
        return _LOOPBACK
    return f"[{address}]" if address.version == 6 else str(address)


def identity_of(origin: str) -> str:
    """Which server an origin (scheme, host, port) is: ``host`` or ``host:port``.

    The scheme is left out: what a server holds is the same whichever way it is reached. ValueError for a port
    that is no number.
    """
    parts = urlsplit(origin)
    port = parts.port
    host = canonical_host(parts.hostname or "")
    return host if port is None or port == _PORTS.get(parts.scheme) else f"{host}:{port}"


def same_server(one: str, other: str) -> bool:
    """Whether two origins are of one server and one scheme. ValueError for a port that is no number."""
    return urlsplit(one).scheme == urlsplit(other).scheme and identity_of(one) == identity_of(other)
