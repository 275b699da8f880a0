"""The ``Link`` header of a paged list: where the next page is. Pure.

Source: RFC 8288, and the specification's "Listing Tags": the link is relative or of the registry itself. A
header that cannot be read whole is an error: the link to the next page may be in what was not understood.
"""

import re
from typing import Final
from urllib.parse import urljoin, urlsplit

from pruner.registry.identity import same_server
from pruner.text import shown_origin

_TARGET: Final = re.compile(r"[\s,]*<([^<>]*)>")
_PARAMETER: Final = re.compile(
    r"""
    \s*;\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)                    # a name
    (?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",;]+)))?        # and a value, quoted or not
    """,
    re.VERBOSE,
)
_END: Final = re.compile(r"\s*(?:;\s*)*(?:,|$)")
LONGEST: Final = 8192
"""Characters of a header that is read."""


class ForeignLinkError(ValueError):
    """The next page is said to be on another server."""


def next_target(header: str | None, origin: str, target: str) -> str | None:
    """Path and query of the next page of the list that was read from ``target``; None if this was the last.

    Raises ForeignLinkError if the link leaves ``origin`` (scheme, host, port), ValueError if the header
    cannot be read, or if its links disagree.
    """
    found = [link for link, relations in _links(header or "") if "next" in relations]
    targets = {_below(urljoin(origin + target, link.strip()), origin) for link in found}
    if len(targets) > 1:
        raise ValueError("two different next pages")
    return next(iter(targets), None)


def _links(header: str) -> list[tuple[str, list[str]]]:
    """The links of a header, each with its relations in lower case."""
    if len(header) > LONGEST:
        raise ValueError(f"more than {LONGEST} characters")
    links = []
    place = 0
    while header[place:].strip(" \t,"):
        match = _TARGET.match(header, place)
        if match is None:
            raise ValueError("a link that does not stand in angle brackets")
        relations, place = _relations(header, match.end())
        links.append((match[1], relations))
    return links


def _relations(header: str, place: int) -> tuple[list[str], int]:
    """What the parameters from ``place`` on say of the relation, and where the link ends.

    The first ``rel`` counts, as the RFC says. It must be there.
    """
    relations: list[str] | None = None
    while match := _PARAMETER.match(header, place):
        place = match.end()
        if match[1].lower() == "rel" and relations is None:
            quoted = re.sub(r"\\(.)", r"\1", match[2]) if match[2] is not None else None
            # Some servers write single quotes, which are letters like any other here.
            relations = (quoted or match[3] or "").strip("'").lower().split()
    end = _END.match(header, place)
    if end is None or not relations:
        raise ValueError("a link whose relation cannot be read")
    return relations, end.end()


def _below(url: str, origin: str) -> str:
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("characters that no URL has")
    parts = urlsplit(url)
    if parts.username is not None or not same_server(f"{parts.scheme}://{parts.netloc}", origin):
        raise ForeignLinkError(shown_origin(url))
    if not parts.path.startswith("/v2/"):
        raise ValueError("a path outside of /v2/")
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
