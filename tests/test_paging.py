"""Listings in pages: complete and consistent, listed again when they shift, or an error; never a part."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruner.errors import ListingError, MalformedReplyError
from pruner.registry import paging
from pruner.registry.paging import LISTINGS, MOST_ITEMS, PAGES_AT_ONCE, Page, PageMissingError, collect


class Pages:
    """Answers a listing with scripted pages; the last listing repeats for ever."""

    def __init__(self, *listings):
        self.listings = list(listings)
        self.asked = []

    async def __call__(self, number):
        if number == 1 and self.asked and len(self.listings) > 1:
            self.listings.pop(0)
        self.asked.append(number)
        if number not in self.listings[0]:
            raise PageMissingError(f"page {number} is missing")
        return self.listings[0][number]

    def read(self):
        return asyncio.run(collect("the tags of acme/web", self, str))


GOOD = {1: Page(["a", "b"], 3, 2), 2: Page(["c"], 3, None)}
TWICE = {1: Page(["a", "b"], 3, 2), 2: Page(["b"], 3, None)}
COUNT_CHANGES = {1: Page(["a", "b"], 3, 2), 2: Page(["c"], 4, None)}
COUNT_CHANGES_BACK = {1: Page(["a"], 2, 2), 2: Page(["b"], 3, 3), 3: Page(["c"], 3, None)}
ONE_LOST = {1: Page(["a", "b"], 3, 2), 2: Page([], 3, None)}
ONE_TOO_MANY = {1: Page(["a", "b"], 2, 2), 2: Page(["c"], 2, None)}
CUT_SHORT = {1: Page(["a", "b"], 3, None)}
EMPTY_BUT_COUNTED = {1: Page([], 3, None)}
BROKEN = [TWICE, COUNT_CHANGES, COUNT_CHANGES_BACK, ONE_LOST, ONE_TOO_MANY, CUT_SHORT, EMPTY_BUT_COUNTED]


def test_one_page():
    pages = Pages({1: Page(["b", "a"], 2, None)})
    assert pages.read() == ["b", "a"]
    assert pages.asked == [1]


def test_no_items_at_all():
    assert Pages({1: Page([], 0, None)}).read() == []


def test_many_pages_are_followed_by_their_next():
    pages = Pages({1: Page(["a"], 3, 4), 4: Page(["b"], 3, 9), 9: Page(["c"], 3, None)})
    assert pages.read() == ["a", "b", "c"]
    assert pages.asked == [1, 4, 9]


def test_an_empty_page_in_the_middle_is_not_the_end():
    assert Pages({1: Page(["a"], 2, 2), 2: Page([], 2, 3), 3: Page(["b"], 2, None)}).read() == ["a", "b"]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_listing_that_shifts_once_is_listed_again_from_the_start(broken):
    pages = Pages(broken, GOOD)
    assert pages.read() == ["a", "b", "c"]
    assert pages.asked[-2:] == [1, 2]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_listing_that_never_holds_together_is_an_error(broken):
    pages = Pages(broken)
    with pytest.raises(ListingError, match="the tags of acme/web does not hold together after 3 readings"):
        pages.read()
    assert pages.asked.count(1) == LISTINGS == 3


def test_items_of_an_earlier_reading_are_forgotten():
    assert Pages({1: Page(["x", "y"], 3, None)}, GOOD).read() == ["a", "b", "c"]


def test_an_item_twice_on_one_page_counts_as_shifted():
    with pytest.raises(ListingError):
        Pages({1: Page(["a", "a"], 2, None)}).read()


@pytest.mark.parametrize("following", [1, 2, 0, -1])
def test_a_next_that_does_not_increase_is_an_error(following):
    pages = Pages({1: Page(["a"], 9, 2), 2: Page(["b"], 9, following)})
    with pytest.raises((ListingError, MalformedReplyError)):
        pages.read()
    assert len(pages.asked) <= 2 * LISTINGS + PAGES_AT_ONCE


class Endless:
    """Every page has a next one; after the first there is nothing on them."""

    def __init__(self, items):
        self.items = items
        self.asked = 0

    async def __call__(self, number):
        self.asked += 1
        return Page(self.items if number == 1 else [], 2, number + 1)


def test_a_listing_without_an_end_is_an_error(monkeypatch):
    monkeypatch.setattr(paging, "MAX_PAGES", 50)
    pages = Endless(["a", "b"])
    with pytest.raises((ListingError, MalformedReplyError)):
        asyncio.run(collect("tags", pages, str))
    assert pages.asked <= 50 * LISTINGS


def test_a_listing_without_an_end_is_soon_given_up():
    pages = Endless(["a", "b"])
    with pytest.raises((ListingError, MalformedReplyError)):
        asyncio.run(collect("tags", pages, str))
    assert pages.asked < 1000


def test_an_error_of_a_page_ends_the_listing():
    async def fetch(number):
        raise MalformedReplyError("no page")

    with pytest.raises(MalformedReplyError, match="no page"):
        asyncio.run(collect("tags", fetch, str))


def test_a_page_that_goes_missing_begins_the_listing_again():
    pages = Pages({1: Page(["a", "b"], 5, 2), 2: Page(["c", "d"], 5, 3)}, GOOD)
    assert pages.read() == ["a", "b", "c"]
    assert pages.asked[-2:] == [1, 2]


class Counting:
    """Pages of one item each, answered in reverse order; how many were asked for at the same time."""

    def __init__(self, total):
        self.total = total
        self.open = self.most = self.asked = 0

    async def __call__(self, number):
        self.asked += 1
        self.open += 1
        self.most = max(self.most, self.open)
        for _ in range(20 - number % 20):
            await asyncio.sleep(0)
        self.open -= 1
        return Page([f"t{number}"], self.total, number + 1 if number < self.total else None)


def test_pages_are_fetched_at_the_same_time_and_kept_in_order():
    pages = Counting(30)
    assert asyncio.run(collect("tags", pages, str)) == [f"t{number}" for number in range(1, 31)]
    assert (pages.asked, pages.most) == (30, PAGES_AT_ONCE)


def test_a_count_that_promises_too_much_asks_for_few_pages_that_are_not_there():
    pages = server(["a", "b", "c"], 1, 10**6)
    asked = []

    async def fetch(number):
        asked.append(number)
        await asyncio.sleep(0)
        return await pages(number)

    with pytest.raises(ListingError, match="3 listed, 1000000 counted"):
        asyncio.run(collect("tags", fetch, str))
    assert len(asked) <= LISTINGS * (3 + PAGES_AT_ONCE)


def test_a_list_that_is_too_long_is_refused_at_its_first_page():
    asked = []

    async def fetch(number):
        asked.append(number)
        return Page([f"t{number}"], MOST_ITEMS + 1, number + 1)

    with pytest.raises(ListingError, match="has 2,000,001 items; at most 2,000,000 are read"):
        asyncio.run(collect("tags", fetch, str))
    assert asked == [1]


@pytest.mark.parametrize("grows", [False, True], ids=["more than counted", "a count that grows"])
def test_a_list_that_does_not_end_is_not_read_to_its_end(grows):
    asked = []

    async def fetch(number):
        asked.append(number)
        return Page([f"t{number}-{item}" for item in range(10)], 20 + 10 * number * grows, number + 1)

    with pytest.raises(ListingError, match="counted"):
        asyncio.run(collect("tags", fetch, str))
    assert len(asked) <= LISTINGS * (3 + PAGES_AT_ONCE)


def server(items, size, total=None):
    """Cut ``items`` into pages as a server would."""
    count = len(items) if total is None else total

    async def fetch(number):
        start = (number - 1) * size
        more = start + size < len(items)
        return Page(items[start : start + size], count, number + 1 if more else None)

    return fetch


@given(st.lists(st.text(max_size=5), unique=True, max_size=60), st.integers(1, 20))
def test_all_items_come_back_once_and_in_order(items, size):
    assert asyncio.run(collect("tags", server(items, size), str)) == items


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 10), st.integers(0, 45))
def test_a_listing_is_complete_or_an_error(items, size, total):
    try:
        found = asyncio.run(collect("tags", server(items, size, total), str))
    except ListingError:
        assert len(set(items)) < len(items) or total != len(items)
    else:
        assert found == items
        assert len(set(found)) == total


@given(st.data())
def test_deleting_while_listing_never_yields_a_part(data):
    items = [f"t{n}" for n in range(data.draw(st.integers(1, 40), "items"))]
    size = data.draw(st.integers(1, 10), "page size")
    doomed = data.draw(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 39)), max_size=4), "deletions")
    present = list(items)
    asked = 0

    async def fetch(number):
        nonlocal asked
        asked += 1
        for moment, index in doomed:
            if moment == asked and f"t{index}" in present:
                present.remove(f"t{index}")
        return await server(present, size)(number)

    try:
        found = asyncio.run(collect("tags", fetch, str))
    except ListingError:
        return
    assert set(present) <= set(found)
