"""Where a server is: an origin and a path, out of a URL that somebody wrote."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from pruner import names
from pruner.errors import InputError
from pruner.references import is_loopback

_HOST: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_PATH: Final = re.compile(r"(?:/[A-Za-z0-9_.~-]+)*")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The URL before ``/repositories``: ``origin`` (scheme, host, port) and path ``prefix``."""

    origin: str
    prefix: str

    def __str__(self) -> str:
        return self.origin + self.prefix

    @property
    def is_plain_http(self) -> bool:
        """Whether requests travel unencrypted."""
        return self.origin.startswith("http://")


def request_target(parts: SplitResult) -> str:
    """Path and query of a URL that a server names, as they are sent; ValueError if they cannot be."""
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not target.isascii() or not target.isprintable() or " " in target:
        raise ValueError("characters that no URL has")
    return target


def parse_endpoint(
    url: str, *, allow_plain_http: bool = False, example: str = "https://host/ncr/api/v2"
) -> Endpoint:
    """An endpoint from its URL, which looks like ``example``; plain http is for loopback only.

    InputError says what is wrong.
    """
    shown = names.printable(url)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise InputError(f"endpoint '{shown}' is not a URL") from None
    if (
        parts.scheme not in ("http", "https")
        or not host
        or not url.isascii()
        or not url.isprintable()
        or url != url.strip()
    ):
        raise InputError(f"endpoint '{shown}' is not an http or https URL, as in {example}")
    if parts.username or parts.password or parts.query or parts.fragment or "@" in parts.netloc:
        raise InputError("an endpoint is scheme, host and path only: no user, password, query or fragment")
    path = parts.path.rstrip("/")
    segments = path.split("/")
    if not _PATH.fullmatch(path) or "." in segments or ".." in segments:
        raise InputError(f"the path of endpoint '{shown}' has characters that do not belong there")
    if segments[-1] == "repositories":
        raise InputError(f"endpoint '{shown}' includes /repositories; leave that out")
    if port == 0 or not _HOST.fullmatch(host):
        raise InputError(f"endpoint '{shown}' has no valid host and port")
    if parts.scheme == "http" and not allow_plain_http and not is_loopback(host):
        raise InputError(
            f"endpoint '{shown}' is plain http, which shows every request to the network; "
            f"use https, or say --allow-plain-http"
        )
    netloc = f"[{host}]" if ":" in host else host
    return Endpoint(f"{parts.scheme}://{netloc}{f':{port}' if port else ''}", path)
