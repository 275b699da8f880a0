"""Lists in pages: each page names the next one, until there is none. Complete, or an error."""

import json
from functools import partial
from typing import Any, Final
from urllib.parse import quote, unquote

import msgspec

from pruner.errors import ListingError, MalformedReplyError
from pruner.names import printable
from pruner.registry.base import Attempts
from pruner.registry.clock import check_fresh
from pruner.registry.exchange import Answer
from pruner.registry.oci.page_link import ForeignLinkError, next_target
from pruner.registry.oci.transport import OciTransport

PAGE_SIZE: Final = 1000
ROUND: Final = 50
"""Pages of servers that decide on their size themselves are multiples of this."""
MOST_NAMES: Final = 2_000_000
"""A longer list is refused before it fills the memory."""
MOST_EMPTY_PAGES: Final = 10
"""In a row."""


class _Page(msgspec.Struct):
    """A catalog has ``repositories``, a list of tags ``tags``; an empty one may be null."""

    repositories: list[str] | msgspec.UnsetType | None = msgspec.UNSET
    name: Any = None
    errors: Any = None
    tags: list[str] | msgspec.UnsetType | None = msgspec.UNSET


_decoder = msgspec.json.Decoder(_Page)


async def read_list(
    transport: OciTransport, attempts: Attempts, path: str, scope: str, what: str
) -> list[str]:
    """All names of the list at ``path``, as they come.

    Raises ListingError for ``what`` if a page cannot be read, or leads elsewhere or round in a circle;
    RequestError or what ``attempts`` raises if a page cannot be had.
    """
    found: list[str] = []
    target: str | None = f"{path}?n={PAGE_SIZE}"
    seen: set[str] = set()
    empty = 0
    while target is not None:
        if target in seen or empty > MOST_EMPTY_PAGES:
            raise ListingError(f"{what}: the pages of the list do not end")
        if len(found) > MOST_NAMES:
            raise ListingError(f"{what}: more than {MOST_NAMES:,} names; a longer list is not read")
        seen.add(target)
        try:
            names, target = await attempts.run(partial(_page, transport, target, scope))
        except MalformedReplyError as error:
            raise ListingError(f"{what}: {error}") from None
        found += names
        empty = 0 if names else empty + 1
        if target is None and names and len(names) % ROUND == 0:
            await _check_last(transport, attempts, path, scope, what, names)
    return found


async def _check_last(
    transport: OciTransport, attempts: Attempts, path: str, scope: str, what: str, page: list[str]
) -> None:
    """Raise ListingError if names follow a page, full by its looks, that has no link to the next one.

    A registry says with a link that there are more. A proxy may lose the link, and then a full page is all
    that there is to see.
    """
    target = f"{path}?n={PAGE_SIZE}&last={quote(page[-1], safe='')}"
    try:
        names, _ = await attempts.run(partial(_page, transport, target, scope))
    except MalformedReplyError as error:
        raise ListingError(f"{what}: {error}") from None
    # A registry that knows no pages answers the same again.
    if names and names != page:
        raise ListingError(
            f"{what}: after a page of {len(page):,} names, which has no link to another one, there are more; "
            f"does a proxy on the way remove the header 'Link'?"
        )


async def _page(transport: OciTransport, target: str, scope: str) -> tuple[list[str], str | None]:
    answer = await transport.send("GET", target, scope)
    if answer.status != 200:
        raise MalformedReplyError(f"HTTP {answer.status} instead of 200")
    check_fresh(answer.headers)
    return _names(answer, target), following(answer, transport.location.origin, target)


def _names(answer: Answer, target: str) -> list[str]:
    try:
        page = _decoder.decode(answer.body)
        json.loads(answer.body, object_pairs_hook=_each_once)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise MalformedReplyError(f"the answer is not what a registry answers: {error}") from None
    names = page.repositories if page.tags is msgspec.UNSET else page.tags
    if isinstance(names, msgspec.UnsetType):
        raise MalformedReplyError("the answer is not what a registry answers: it has no list")
    if page.errors:
        raise MalformedReplyError("the answer has a list and errors, so the list may not be whole")
    _check_name(page.name, target)
    return names or []


def _each_once(pairs: list[tuple[str, object]]) -> None:
    """Raise ValueError for a key that stands twice: of two lists only the last one would be seen."""
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key stands twice in it")


def _check_name(name: Any, target: str) -> None:
    """Raise MalformedReplyError for the list of another image; a proxy may add a prefix, or take one away."""
    path = unquote(target.partition("?")[0])
    if not isinstance(name, str) or not name or not path.endswith("/tags/list"):
        return
    asked = path.removeprefix("/v2/").removesuffix("/tags/list")
    if not f"/{asked}".endswith(f"/{name}") and not f"/{name}".endswith(f"/{asked}"):
        raise MalformedReplyError(f"the answer is the list of '{printable(name, 100)}'")


def following(answer: Answer, origin: str, target: str) -> str | None:
    """The page after ``answer``, which was read from ``target``; MalformedReplyError if it leads astray."""
    try:
        found = next_target(answer.headers.get("Link"), origin, target)
    except ForeignLinkError as error:
        raise MalformedReplyError(
            f"the next page is said to be on another server, {error}, and not on {origin}; give the registry "
            f"by that address, or have its operator correct the address that it gives itself"
        ) from None
    except ValueError as error:
        raise MalformedReplyError(f"the header 'Link' of a page cannot be read: {error}") from None
    if found is not None and not _is_of_same_list(found, target):
        raise MalformedReplyError("the header 'Link' of a page leads to another list")
    return found


def _is_of_same_list(found: str, target: str) -> bool:
    """Whether two pages are of one list; a proxy may have taken a prefix away, which links still have."""
    there, here = (unquote(text.partition("?")[0]).removeprefix("/v2") for text in (found, target))
    return there.endswith(here)
