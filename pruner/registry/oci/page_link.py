"""The ``Link`` header of a paged list: where the next page is. Pure.

Source: RFC 8288, and the specification's "Listing Tags": the link is relative or of the registry itself.
"""

import re
from typing import Final
from urllib.parse import urljoin, urlsplit

_LINK: Final = re.compile(r'<([^<>]*)>((?:\s*;\s*[^;,="]+(?:\s*=\s*(?:"[^"]*"|[^;,"]*))?)*)')
_NEXT: Final = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^;,"\s]*))', re.IGNORECASE)
_LONGEST: Final = 8192


class ForeignLinkError(ValueError):
    """The next page is said to be on another server."""


def next_target(header: str | None, origin: str, target: str) -> str | None:
    """Path and query of the next page of the list that was read from ``target``; None if this was the last.

    Raises ForeignLinkError if the link leaves ``origin`` (scheme, host, port), ValueError if it is no link.
    """
    for link, parameters in _LINK.findall((header or "")[:_LONGEST]):
        if any("next" in (quoted or plain).lower().split() for quoted, plain in _NEXT.findall(parameters)):
            return _below(urljoin(origin + target, link.strip()), origin)
    return None


def _below(url: str, origin: str) -> str:
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("characters that no URL has")
    parts, home = urlsplit(url), urlsplit(origin)
    if (parts.scheme, parts.netloc) != (home.scheme, home.netloc):
        raise ForeignLinkError(f"{parts.scheme}://{parts.netloc}")
    if not parts.path.startswith("/v2/"):
        raise ValueError("a path outside of /v2/")
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
