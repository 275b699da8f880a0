"""The HTTP session of a registry client: nothing automatic, nothing rewritten, verified TLS."""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from pruner import __version__
from pruner.errors import InputError

CONNECT_TIMEOUT_SECONDS: Final = 10.0
_KEEPALIVE_SECONDS: Final = 30.0


def new_session(*, ca_bundle: str | None = None, proxy: str | None = None) -> aiohttp.ClientSession:
    """A session for signed requests; must be made inside a running event loop.

    No cookies, no redirects of its own, no silent second sending: aiohttp would repeat an idempotent
    request on a connection that the server closed, and a DELETE that was already carried out would then
    come back as 404. Callers bound how many requests are open, so the connector does not.
    """
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0, ssl=tls_context(ca_bundle), keepalive_timeout=_KEEPALIVE_SECONDS, ttl_dns_cache=300
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        proxy=proxy,
        trust_env=False,
        auto_decompress=False,
    )
    session._retry_connection = False
    return session


COMMON_HEADERS: Final = {
    "Accept": "application/json",
    "Content-Type": "application/json",
    "User-Agent": f"ncr-pruner/{__version__}",
}


def tls_context(ca_bundle: str | None) -> ssl.SSLContext:
    """A verifying TLS context; ``ca_bundle`` is a PEM file or folder used instead of the system's."""
    if ca_bundle is None:
        return ssl.create_default_context()
    path = Path(ca_bundle)
    try:
        if path.is_dir():
            return ssl.create_default_context(capath=ca_bundle)
        return ssl.create_default_context(cafile=ca_bundle)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"CA bundle '{ca_bundle}' cannot be used: {error}") from None


def proxy_for(origin: str, env: Mapping[str, str] = os.environ) -> str | None:
    """The proxy that the environment names for ``origin`` (HTTPS_PROXY, NO_PROXY …), or None."""
    parts = urlsplit(origin)
    host = parts.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127.") or not any("proxy" in k.lower() for k in env):
        return None
    proxy = getproxies().get(parts.scheme)
    return None if proxy is None or proxy_bypass(host) else proxy
