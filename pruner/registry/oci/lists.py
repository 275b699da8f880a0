"""Lists in pages: each page names the next one, until there is none. Complete, or an error."""

from functools import partial
from typing import Final

import msgspec

from pruner.errors import ListingError, MalformedReplyError
from pruner.registry.base import Attempts
from pruner.registry.exchange import Answer
from pruner.registry.oci.page_link import ForeignLinkError, next_target
from pruner.registry.oci.transport import OciTransport

PAGE_SIZE: Final = 1000
MOST_NAMES: Final = 5_000_000
MOST_EMPTY_PAGES: Final = 10
"""In a row."""


class _Page(msgspec.Struct):
    """A catalog has ``repositories``, a list of tags ``tags``; an empty one may be null."""

    repositories: list[str] | msgspec.UnsetType | None = msgspec.UNSET
    tags: list[str] | msgspec.UnsetType | None = msgspec.UNSET


_decoder = msgspec.json.Decoder(_Page)


async def read_list(
    transport: OciTransport, attempts: Attempts, path: str, scope: str, what: str
) -> list[str]:
    """All names of the list at ``path``, as they come.

    Raises ListingError for ``what`` if a page is none, leads elsewhere or round in a circle; RequestError or
    what ``attempts`` raises if one cannot be had.
    """
    found: list[str] = []
    target: str | None = f"{path}?n={PAGE_SIZE}"
    seen: set[str] = set()
    empty = 0
    while target is not None:
        if target in seen or len(found) > MOST_NAMES or empty > MOST_EMPTY_PAGES:
            raise ListingError(f"{what}: the pages of the list do not end")
        seen.add(target)
        try:
            names, target = await attempts.run(partial(_page, transport, target, scope))
        except MalformedReplyError as error:
            raise ListingError(f"{what}: {error}") from None
        found += names
        empty = 0 if names else empty + 1
    return found


async def _page(transport: OciTransport, target: str, scope: str) -> tuple[list[str], str | None]:
    answer = await transport.send("GET", target, scope)
    if answer.status != 200:
        raise MalformedReplyError(f"HTTP {answer.status} instead of 200")
    return _names(answer), following(answer, transport.location.origin, target)


def _names(answer: Answer) -> list[str]:
    try:
        page = _decoder.decode(answer.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedReplyError(f"the answer is not what a registry answers: {error}") from None
    names = page.repositories if page.tags is msgspec.UNSET else page.tags
    if isinstance(names, msgspec.UnsetType):
        raise MalformedReplyError("the answer is not what a registry answers: it has no list")
    return names or []


def following(answer: Answer, origin: str, target: str) -> str | None:
    """The page after ``answer``, which was read from ``target``; MalformedReplyError if it leads astray."""
    try:
        return next_target(answer.headers.get("Link"), origin, target)
    except ForeignLinkError as error:
        raise MalformedReplyError(f"the next page is said to be on another server, {error}") from None
    except ValueError as error:
        raise MalformedReplyError(f"the link to the next page is none: {error}") from None
