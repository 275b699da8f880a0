"""Complete listings out of numbered pages, or an error: a partial list must never look like a whole one."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from pruner.errors import ListingError

T = TypeVar("T")

MAX_PAGES: Final = 100_000
LISTINGS: Final = 3
"""How often a listing that changes while it is read is begun again before giving up."""


class Page(NamedTuple, Generic[T]):
    """One page: its items, how many there are on all pages, and the number of the next page or None."""

    items: Sequence[T]
    total: int
    next: int | None


class _ShiftedError(Exception):
    """The pages do not fit together."""


async def collect(
    what: str, fetch: Callable[[int], Awaitable[Page[T]]], name_of: Callable[[T], str]
) -> list[T]:
    """All items of ``what``, each name once and as many as the server counts.

    Pages are numbered from 1 and followed by their ``next``. When they do not fit together (an item
    twice, a count that changes or disagrees), the listing is begun again; ListingError after the third.
    """
    problem = ""
    for _ in range(LISTINGS):
        try:
            return await _collect_once(fetch, name_of)
        except _ShiftedError as error:
            problem = str(error)
    raise ListingError(
        f"the list of {what} does not hold together after {LISTINGS} readings: {problem}; "
        f"nothing is deleted on an incomplete list"
    )


async def _collect_once(fetch: Callable[[int], Awaitable[Page[T]]], name_of: Callable[[T], str]) -> list[T]:
    found: dict[str, T] = {}
    counts: set[int] = set()
    number: int | None = 1
    pages = 0
    while number is not None:
        page = await fetch(number)
        pages += 1
        counts.add(page.total)
        for item in page.items:
            name = name_of(item)
            if name in found:
                raise _ShiftedError("an item stands on two pages")
            found[name] = item
        if page.next is not None and len(found) >= page.total and not page.items:
            raise _ShiftedError("pages go on after the last item")
        if page.next is not None and (page.next <= number or pages >= MAX_PAGES):
            raise _ShiftedError(f"page {number} names {page.next} as its next page")
        number = page.next
    if counts != {len(found)}:
        raise _ShiftedError(f"{len(found)} listed, {' or '.join(map(str, sorted(counts)))} counted")
    return list(found.values())
