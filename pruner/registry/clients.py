"""Which HTTP client an origin gets: the wire client when the way is direct, aiohttp through a proxy."""

import os
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pruner.errors import InputError
from pruner.registry.exchange import JSON_HEADERS, HttpClient
from pruner.registry.identity import Reach
from pruner.registry.tls import tls_context

CHOICE: Final = "PRUNER_HTTP"
"""Environment variable: ``wire`` or ``aiohttp``, for whoever has to rule one of them out."""


def new_client(
    origin: str,
    *,
    ca_bundle: str | None = None,
    proxy: str | None = None,
    env: Mapping[str, str] = os.environ,
    common: Mapping[str, str] = JSON_HEADERS,
    reach: Reach = Reach.LOOPBACK,
) -> HttpClient:
    """A client of ``origin`` (scheme, host, port); must be made inside a running event loop.

    ``common`` are the headers of every request. It connects to no address that is nearer than ``reach``;
    which addresses a name has is for a proxy to find out, if there is one.

    InputError for a CA bundle or a ``PRUNER_HTTP`` that cannot be used.
    """
    choice = env.get(CHOICE) or ("aiohttp" if proxy else "wire")
    if choice not in ("wire", "aiohttp") or (proxy and choice == "wire"):
        why = "the wire client knows no proxy" if choice == "wire" else "it is 'wire' or 'aiohttp'"
        raise InputError(f"{CHOICE}='{choice}': {why}")
    # Reading the system's authorities takes as long as a hundred requests.
    tls = tls_context(ca_bundle) if ca_bundle or origin.startswith("https:") else None
    if choice == "wire":
        from pruner.registry.wire import WireClient

        return WireClient(origin, tls, common, reach)
    from pruner.registry.aiohttp_client import AiohttpClient

    return AiohttpClient(origin, tls, common, proxy=proxy, reach=reach)


def proxy_for(origin: str, env: Mapping[str, str] = os.environ) -> str | None:
    """The proxy that the environment names for ``origin`` (HTTPS_PROXY, NO_PROXY …), or None."""
    parts = urlsplit(origin)
    host = parts.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127.") or not any("proxy" in k.lower() for k in env):
        return None
    proxy = getproxies().get(parts.scheme)
    return None if proxy is None or proxy_bypass(host) else proxy
