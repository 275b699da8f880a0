"""Many small images, and several endpoints: nothing waits that need not."""

import weakref

import anyio
import pytest
from conftest import HELD, policy_text, seed, until
from virtual_time import run

from pruner.engine.feed import IMAGES_AHEAD, MOST_DELETIONS_AHEAD, Feed, _Ahead
from pruner.engine.journal import Progress
from pruner.engine.state import RunState
from pruner.model import ReasonKind
from pruner.plan import inventory
from pruner.plan.inventory import list_everything
from pruner.plan.records import Entry, ImageRecord
from pruner.registry.paging import Page, collect
from pruner.room import Room

ALL = "    limits: {keep_at_least: 0}\n"


def policy_of(endpoints):
    """A policy for each registry, each at an endpoint of its own."""
    registries = "".join(f"  {name}: {{endpoint: '{url}'}}\n" for name, url in endpoints.items())
    policies = "".join(
        policy_text(registry=name, extra=ALL).split("policies:\n")[1].replace("name: p", f"name: {name}")
        for name in endpoints
    )
    return f"version: 1\nregistries:\n{registries}policies:\n{policies}"


def test_several_endpoints_are_worked_on_side_by_side(program, emulated):
    tags = {"web": [f"t{number}" for number in range(150)]}
    servers = {f"r{number}": emulated(seed=seed(tags, f"r{number}")) for number in range(6)}
    gates = [server.hold("DELETE", after=10) for server in servers.values()]
    path = program.folder / "policy.yaml"
    path.write_text(policy_of({name: server.endpoint for name, server in servers.items()}))
    process = program.start("run", path, "--yes", "--max-deletions", "1000", *HELD)
    # None of them goes on, and so none has ended, before all of them have begun.
    until(lambda: all(gate.held for gate in gates), process)
    for gate in gates:
        gate.open()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert [server.counters.deleted for server in servers.values()] == [150] * 6
    [report] = program.reports()
    times = {name: [] for name in servers}
    for outcome in report["outcomes"]:
        times[outcome["target"]["registry"]].append(outcome["started"])
    last_to_begin = max(min(started) for started in times.values())
    first_to_end = min(max(started) for started in times.values())
    assert last_to_begin < first_to_end


def test_small_images_are_in_flight_together(program, emulated):
    images = {f"i{number:03}": ["a", "b"] for number in range(120)}
    emulator = emulated(seed=seed(images))
    gate = emulator.hold("DELETE")
    path = program.folder / "policy.yaml"
    path.write_text(policy_text(extra=ALL))
    process = program.at(emulator).start("run", path, "--yes", *HELD, "--concurrency", "48")
    until(lambda: gate.held > 24, process)
    gate.open()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert emulator.counters.deleted == 240


class Reader:
    """Images of so many tags; notes how many were being listed at the same time, and how many are held."""

    def __init__(self, tags):
        self.listing = self.most = self.begun = 0
        self._tags = tags

    async def images(self, registry):
        return [f"i{number:03}" for number in range(100)]

    async def tags(self, registry, image, want=None):
        self.begun += 1
        self.listing += 1
        self.most = max(self.most, self.listing)
        await anyio.sleep(0.001 if image != "i000" else 0.1)
        self.listing -= 1
        return ["t"] * self._tags


@pytest.mark.parametrize(("tags", "ahead"), [(1, 100), (1000, 12)])
def test_images_that_wait_for_the_first_one_are_bounded_by_their_tags(tags, ahead, monkeypatch):
    monkeypatch.setattr(inventory, "TAGS_WAITING", 5000)
    reader, taken, begun_before_first = Reader(tags), [], []

    def take(listing):
        taken.append(listing.image)
        if len(taken) == 1:
            begun_before_first.append(reader.begun)

    async def work():
        await list_everything({"acme": reader}, take, lambda _: 8)

    run(work())
    assert taken == sorted(taken)
    assert len(taken) == 100
    assert reader.most == 8
    assert begun_before_first[0] <= ahead + 1
    assert begun_before_first[0] >= min(100, 5)


def test_long_lists_are_read_one_at_a_time():
    held = []

    async def work():
        room = Room(150)

        async def fetch(number):
            await anyio.sleep(0.001)
            held.append(room.held)
            return Page([f"t{number}-{n}" for n in range(50)], 100, number + 1 if number < 2 else None)

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(collect, "tags", fetch, str, room)

    run(work())
    assert max(held) == 100


def test_room_is_given_first_come_first_served():
    order = []

    async def work():
        room = Room(10)
        await room.enter(8)

        async def come(name, amount):
            await room.enter(amount)
            order.append(name)

        async with anyio.create_task_group() as group:
            for name, amount in (("large", 20), ("small", 1)):
                group.start_soon(come, name, amount)
                await anyio.sleep(0)
            assert order == []
            room.leave(8)
            await anyio.sleep(0)
            room.leave(20)

    run(work())
    assert order == ["large", "small"]


@pytest.mark.parametrize(
    ("size", "small", "expected"),
    [(1, 100, 100), (10, 100, 10), (100, 100, IMAGES_AHEAD), (MOST_DELETIONS_AHEAD, 100, 1)],
)
def test_more_images_are_looked_at_ahead_where_they_are_small(size, small, expected):
    async def work():
        ahead, images = _Ahead(small), iter([("image", [0] * size) for _ in range(200)])
        entered = 0
        with anyio.move_on_after(0.05):
            while True:
                await ahead.enter(images)
                entered += 1
        return entered

    assert run(work()) == expected


class Held(list):
    """A list whose life can be followed."""

    __hash__ = object.__hash__


def test_an_image_is_let_go_before_the_next_one_is_waited_for():
    """A task that waits must not hold the deletions of the image that it looked at last."""
    alive, most = weakref.WeakSet(), []

    def images():
        for number in range(200):
            held = Held(
                Entry(number, "acme", f"i{number}", "t", "", "", ReasonKind.UNMATCHED, "") for _ in "ab"
            )
            alive.add(held)
            most.append(len(alive))
            yield ImageRecord("acme", f"i{number}", 1, 1), held

    async def work():
        state = RunState([])
        feed = Feed(images(), {}, state, Progress(), lambda *_: None, lambda *_: None, workers=40)

        async def nothing_left(record, entries):
            await anyio.sleep(0)
            return []

        feed._prepare_image = nothing_left
        async with anyio.create_task_group() as group:
            for _ in range(feed.preparers):
                group.start_soon(feed.prepare)
        feed.abandon()

    run(work())
    assert len(most) == 200
    assert max(most) <= IMAGES_AHEAD + 2


def test_a_listing_is_let_go_before_the_next_one_is_waited_for():
    alive, most = weakref.WeakSet(), []

    class Lists(Reader):
        async def tags(self, registry, image, want=None):
            await anyio.sleep(0.001)
            held = Held(["t"])
            alive.add(held)
            return held

    def take(listing):
        most.append(len(alive))

    run(list_everything({"acme": Lists(1)}, take, lambda _: 20))
    assert len(most) == 100
    # Those that came together wait for their turn in ``take``; those of the turn before are gone.
    assert max(most) <= 21
