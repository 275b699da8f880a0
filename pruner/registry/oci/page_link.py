"""The ``Link`` header of a paged list: where the next page is. Pure.

Source: RFC 8288, and the specification's "Listing Tags": the link is relative or of the registry itself.
"""

import re
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

_LINK: Final = re.compile(r'<([^<>]*)>((?:\s*;\s*[^;,="]+(?:\s*=\s*(?:"[^"]*"|[^;,"]*))?)*)')
_PARAMETER: Final = re.compile(r'\s*;\s*([^;,="\s]+)\s*(?:=\s*(?:"([^"]*)"|([^;,"\s]*)))?\s*')
_PORTS: Final = {"http": 80, "https": 443}
_LONGEST: Final = 8192


class ForeignLinkError(ValueError):
    """The next page is said to be on another server."""


def next_target(header: str | None, origin: str, target: str) -> str | None:
    """Path and query of the next page of the list that was read from ``target``; None if this was the last.

    Raises ForeignLinkError if the link leaves ``origin`` (scheme, host, port), ValueError if it is no link.
    """
    for link, parameters in _LINK.findall((header or "")[:_LONGEST]):
        if _is_next(parameters):
            return _below(urljoin(origin + target, link.strip()), origin)
    return None


def _is_next(parameters: str) -> bool:
    """Whether the parameters of a link say so; not what stands within another one's quotes."""
    place = 0
    while match := _PARAMETER.match(parameters, place):
        place = match.end()
        if match[1].lower() == "rel":
            return "next" in (match[2] or match[3] or "").lower().split()
    return False


def _below(url: str, origin: str) -> str:
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("characters that no URL has")
    parts, home = urlsplit(url), urlsplit(origin)
    if _server(parts) != _server(home) or parts.username is not None:
        raise ForeignLinkError(f"{parts.scheme}://{parts.netloc}")
    if not parts.path.startswith("/v2/"):
        raise ValueError("a path outside of /v2/")
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _server(parts: SplitResult) -> tuple[str, str | None, int | None]:
    """Scheme, host and port, the same for all ways of writing them. ValueError for a port that is none."""
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
