"""Complete listings out of numbered pages, or an error: a partial list must never look like a whole one."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from pruner.errors import ListingError
from pruner.room import Room
from pruner.tasks import task_group

T = TypeVar("T")

MAX_PAGES: Final = 100_000
MOST_ITEMS: Final = 2_000_000
"""Items of one list. A longer list is refused before it fills the memory."""
LISTINGS: Final = 3
"""How often a listing that changes while it is read is begun again before giving up."""
PAGES_AT_ONCE: Final = 16
"""Pages of one list that are asked for at the same time."""


class Page(NamedTuple, Generic[T]):
    """One page: its items, how many there are on all pages, and the number of the next page or None."""

    items: Sequence[T]
    total: int
    next: int | None


class PageMissingError(Exception):
    """A page that other pages promised is not there; for ``fetch`` of ``collect`` to raise."""


class _ShiftedError(Exception):
    """The pages do not fit together."""


class _TooLongError(Exception):
    """The list is longer than any that is read."""


async def collect(
    what: str,
    fetch: Callable[[int], Awaitable[Page[T]]],
    name_of: Callable[[T], str],
    room: Room | None = None,
) -> list[T]:
    """All items of ``what``, each name once and as many as the server counts.

    Pages are numbered from 1 and followed by their ``next``; as many as the count promises are fetched at
    the same time. When they do not fit together (an item twice, a count that changes or disagrees, a page
    that is missing), the listing is begun again, one page after the other; ListingError after the third, and
    for a list of more than ``MOST_ITEMS``. While there is more than one page, the items are in ``room``, if
    there is one.
    """
    problem = ""
    room = room or Room(0)
    for reading in range(LISTINGS):
        try:
            return await _collect_once(fetch, name_of, PAGES_AT_ONCE if reading == 0 else 1, room)
        except _TooLongError as error:
            raise ListingError(f"the list of {what} {error}") from None
        except (_ShiftedError, PageMissingError) as error:
            problem = str(error)
    raise ListingError(
        f"the list of {what} does not hold together after {LISTINGS} readings: {problem}; "
        f"nothing is deleted on an incomplete list"
    )


async def _collect_once(
    fetch: Callable[[int], Awaitable[Page[T]]], name_of: Callable[[T], str], at_once: int, room: Room
) -> list[T]:
    first = await fetch(1)
    listing = _Listing(name_of)
    following = listing.take(1, first)
    if following is None:
        return listing.complete()
    async with room.hold(first.total):
        return await _collect_rest(fetch, listing, first, following, at_once)


async def _collect_rest(
    fetch: Callable[[int], Awaitable[Page[T]]],
    listing: "_Listing[T]",
    first: Page[T],
    following: int | None,
    at_once: int,
) -> list[T]:
    """All pages after the first."""
    if following == 2 and at_once > 1 and first.items:
        promised = min(-(-first.total // len(first.items)), MAX_PAGES)
        for number, page in sorted((await _fetch_ahead(fetch, promised, at_once)).items()):
            if following != number:
                raise _ShiftedError(f"page {following} is the next one, not {number}")
            following = listing.take(number, page)
    while following is not None:
        following = listing.take(following, await fetch(following))
    return listing.complete()


async def _fetch_ahead(
    fetch: Callable[[int], Awaitable[Page[T]]], last: int, at_once: int
) -> dict[int, Page[T]]:
    """The pages from 2 to ``last``, or as far as there are any."""
    found: dict[int, Page[T]] = {}
    numbers = iter(range(2, last + 1))
    ended = False

    async def work() -> None:
        nonlocal ended
        for number in numbers:
            found[number] = page = await fetch(number)
            ended = ended or page.next is None or not page.items
            if ended:
                return

    async with task_group() as group:
        for _ in range(min(at_once, last - 1)):
            group.start_soon(work)
    return found


class _Listing(Generic[T]):
    """The items of the pages so far, in order."""

    def __init__(self, name_of: Callable[[T], str]) -> None:
        self._name_of = name_of
        self._found: dict[str, T] = {}
        self._total: int | None = None
        """What every page counts."""
        self._pages = 0

    def take(self, number: int, page: Page[T]) -> int | None:
        """Add page ``number``; the number of the next one. _ShiftedError if it does not fit."""
        self._pages += 1
        self._count(page)
        for item in page.items:
            name = self._name_of(item)
            if name in self._found:
                raise _ShiftedError("an item stands on two pages")
            self._found[name] = item
        if page.next is None:
            return None
        if len(self._found) >= page.total and not page.items:
            raise _ShiftedError("pages go on after the last item")
        if page.next <= number or self._pages >= MAX_PAGES:
            raise _ShiftedError(f"page {number} names {page.next} as its next page")
        return page.next

    def _count(self, page: Page[T]) -> None:
        """Check the count of a page: a list that grows without end must not be read to its end."""
        listed = len(self._found) + len(page.items)
        if max(page.total, listed) > MOST_ITEMS:
            raise _TooLongError(f"has {max(page.total, listed):,} items; at most {MOST_ITEMS:,} are read")
        if self._total is None:
            self._total = page.total
        if page.total != self._total:
            raise _ShiftedError(f"{self._total} counted first, then {page.total}")
        if listed > self._total:
            raise _ShiftedError(f"at least {listed} listed, {self._total} counted")

    def complete(self) -> list[T]:
        """All items; _ShiftedError unless they are as many as every page counted."""
        if self._total != len(self._found):
            raise _ShiftedError(f"{len(self._found)} listed, {self._total} counted")
        return list(self._found.values())
