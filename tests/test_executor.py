"""The executor in virtual time: what it sends, what it looks at before, and what it says of the end."""

import asyncio
import random
from contextlib import nullcontext

import pytest
from virtual_time import run

from pruner.engine.access import RegistryAccess
from pruner.engine.confirming import STILL_THERE
from pruner.engine.executor import Executor, ExecutorSettings
from pruner.engine.feed import CHECK_HOLDS_SECONDS
from pruner.engine.gate import Gate
from pruner.engine.governor import Governor
from pruner.engine.journal import Done, Progress
from pruner.engine.pacing import AdaptivePacer
from pruner.engine.retry import Backoff
from pruner.engine.state import RunState
from pruner.errors import ConnectError, ExitCode, LostReplyError, ResponseError, StopKind
from pruner.model import ReasonKind, Status, Tag, Target
from pruner.plan.records import Entry, ImageRecord
from pruner.registry.base import Deletion
from pruner.registry.ncr.protocol import RESOURCE_NOT_READY
from pruner.report.summary import _STOP_CODES

TAKES = 0.05
"""Seconds from a request to its answer."""
DELETED = Deletion(204, confirmed=True)
ACCEPTED = Deletion(202, confirmed=False, accepted=True)
THROTTLED = ResponseError(429, "gateway", 410)
UNAVAILABLE = ResponseError(503, "gateway", 500)
NOT_READY = ResponseError(409, "gateway", RESOURCE_NOT_READY)
FAILED_DEPENDENCY = ResponseError(424, "unknown")


class World:
    """A registry in memory and the executor on it; ``on_delete`` answers a DELETE, or carries it out."""

    def __init__(self, *images, rate=1000.0, workers=4, looks_at_each=False, on_delete=None):
        self.rate, self.workers, self.looks_at_each = rate, workers, looks_at_each
        self.on_delete = on_delete or (lambda world, name: None)
        self.tags, self.entries, self.plan = {}, {}, []
        self.sent, self.checked, self.ages, self.lines = [], {}, [], []
        self.slept = 0.0
        for number, count in enumerate(images or (1,)):
            image = f"i{number:03}"
            names = [f"{image}-t{tag:03}" for tag in range(count)]
            entries = [self._entry(image, name) for name in names]
            self.plan.append((ImageRecord("acme", image, count, count), entries))

    def _entry(self, image, name):
        digest = f"sha256:{name}"
        self.tags[name] = Tag(Target("acme", image, name), digest, 1, None, 1)
        entry = Entry(
            len(self.entries) + 1,
            "acme",
            image,
            name,
            "p",
            "f:1",
            ReasonKind.DELETE_RULE,
            "",
            digest=digest,
            size=1,
            updated=1,
        )
        self.entries[name] = entry
        return entry

    def push(self, name):
        """Somebody pushes a tag again."""
        target = self.entries[name].target
        self.tags[name] = Tag(target, f"sha256:other-{name}", 1, None, 2)

    @property
    def now(self):
        """Seconds of a clock that goes on in suspend."""
        return asyncio.get_running_loop().time() + self.slept

    async def _took(self, what, name):
        self.sent.append((asyncio.get_running_loop().time(), what, name))
        await asyncio.sleep(TAKES)

    async def listing(self, image):
        await self._took("GET", image)
        found = [tag for tag in self.tags.values() if tag.target.image == image]
        self.checked.update((tag.name, self.now) for tag in found)
        return found

    async def look(self, name):
        await self._took("HEAD", name)
        self.checked[name] = self.now
        return self.tags.get(name)

    async def delete(self, name):
        self.ages.append(self.now - self.checked[name])
        await self._took("DELETE", name)
        answer = self.on_delete(self, name)
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            if self.tags.pop(name, None) is None:
                raise ResponseError(404, "ncr", 404)
            return DELETED
        return answer

    def deletes(self, name=None):
        return [(when, own) for when, what, own in self.sent if what == "DELETE" and name in (None, own)]

    def write(self, *lines):
        self.lines.extend(lines)

    async def session(self):
        loop = asyncio.get_running_loop()
        dice = random.Random(1)
        self.gate = Gate(AdaptivePacer(ceiling=self.rate), loop.time)
        self.state = RunState([self.gate])
        reader = Reader(self, Governor(self.gate, Backoff(), dice, loop.time, self.state.sleep))
        drain = Reader(self, Governor(self.gate, Backoff(), dice, loop.time, essential=True))
        executor = Executor(
            {"acme": RegistryAccess(reader, drain, Deleter(self), self.gate)},
            self.state,
            self,
            ExecutorSettings(workers=lambda registry: self.workers),
            dice=dice,
            clock=lambda: self.now,
            wall_clock=loop.time,
        )
        await executor.run({"acme": iter(self.plan)}, Progress.after(self.lines))
        self.seconds = loop.time()

    def run(self):
        run(self.session())
        return self.outcomes

    @property
    def outcomes(self):
        return {line.outcome.target.tag: line.outcome for line in self.lines if isinstance(line, Done)}

    @property
    def statuses(self):
        return {outcome.status for outcome in self.outcomes.values()}


class Reader:
    always_reads_times = True

    def __init__(self, world, governor):
        self._world, self._governor = world, governor

    async def tags(self, registry, image, want=None):
        return await self._governor.run(lambda: self._world.listing(image))

    async def images(self, registry):
        return sorted({tag.target.image for tag in self._world.tags.values()})

    async def tag(self, target):
        return await self._governor.run(lambda: self._world.look(target.tag))


class Deleter:
    def __init__(self, world):
        self._world = world
        self.looks_at_each = world.looks_at_each

    def turn(self, target, digest):
        return nullcontext()

    takes_siblings = False

    def may_have_deleted(self, image, digest):
        return False

    def was_refused(self, image, digest):
        pass

    async def delete(self, target, digest):
        return await self._world.delete(target.tag)


def first(answer, then=lambda world, name: None):
    """The first DELETE is answered so, while ``then`` happens; every other one is carried out."""

    def on_delete(world, name):
        if len(world.deletes()) > 1:
            return None
        then(world, name)
        return answer

    return on_delete


FAILURES = {
    "429": THROTTLED,
    "503": UNAVAILABLE,
    "500 of the gateway": ResponseError(500, "gateway", 900),
    "500 of NCR": ResponseError(500, "ncr", 500),
    "lost": LostReplyError("the connection broke"),
    "no connection": ConnectError("refused"),
}


# Compared again before each request


@pytest.mark.parametrize("looks_at_each", [False, True])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_tag_that_was_pushed_again_after_a_failed_delete_stays(failure, looks_at_each):
    world = World(looks_at_each=looks_at_each, on_delete=first(FAILURES[failure], World.push))
    [outcome] = world.run().values()
    assert outcome.status is Status.CHANGED
    assert "pushed again" in outcome.error
    assert len(world.deletes()) == 1
    assert world.tags


@pytest.mark.parametrize("failure", FAILURES)
def test_a_tag_that_is_as_planned_after_a_failed_delete_is_deleted(failure):
    world = World(on_delete=first(FAILURES[failure]))
    [outcome] = world.run().values()
    assert (outcome.status, outcome.attempts, world.tags) == (Status.DELETED, 2, {})


@pytest.mark.parametrize("looks_at_each", [False, True])
@pytest.mark.parametrize("images", [(200,), (1,) * 60, (120, 1, 1, 40)], ids=["one", "many", "mixed"])
def test_at_one_request_a_second_no_delete_is_sent_long_after_its_check(images, looks_at_each):
    world = World(*images, rate=1.0, workers=16, looks_at_each=looks_at_each)
    world.run()
    assert world.statuses == {Status.DELETED}
    assert not world.tags
    assert max(world.ages) <= CHECK_HOLDS_SECONDS


def test_a_tag_that_was_pushed_again_while_the_machine_slept_stays():
    def sleeps(world, name):
        if len(world.deletes()) == 5:
            world.slept += 3600.0
            world.push("i000-t030")
            world.push("i000-t006")

    world = World(40, rate=2.0, on_delete=sleeps)
    outcomes = world.run()
    moved = {name for name, outcome in outcomes.items() if outcome.status is Status.CHANGED}
    assert moved == set(world.tags) == {"i000-t030", "i000-t006"}
    assert max(world.ages) <= CHECK_HOLDS_SECONDS


@pytest.mark.parametrize("rate", [1.0, 20.0])
def test_on_oci_a_look_and_a_delete_each_take_a_slot_of_the_rate(rate):
    world = World(60, rate=rate, workers=8, looks_at_each=True)
    world.run()
    assert len(world.deletes()) == 60
    assert len(world.sent) >= 121
    times = sorted(when for when, _, _ in world.sent)
    begun = max(sum(1 for other in times if when <= other < when + 10) for when in times)
    assert begun <= 10 * rate + max(2, rate / 10)


# What was accepted


def after(seconds, change):
    def on_delete(world, name):
        asyncio.get_running_loop().call_later(seconds, change, world, name)
        return ACCEPTED

    return on_delete


def vanish(world, name):
    world.tags.pop(name)


def test_what_was_accepted_is_deleted_when_the_list_does_not_have_it_any_more():
    world = World(10, on_delete=lambda world, name: vanish(world, name) or ACCEPTED)
    outcomes = world.run()
    assert {(outcome.status, outcome.http_status) for outcome in outcomes.values()} == {(Status.DELETED, 202)}
    # Once before, and, as an empty list is not believed at once, twice when the image is through.
    assert [what for _, what, _ in world.sent if what != "DELETE"] == ["GET"] * 3
    assert world.state.stats.done == 10


def test_what_is_deleted_a_little_later_is_deleted():
    world = World(3, on_delete=after(5.0, vanish))
    world.run()
    assert world.statuses == {Status.DELETED}


def test_what_was_accepted_and_stays_has_failed_with_the_reason():
    world = World(4, on_delete=lambda world, name: ACCEPTED if name.endswith("2") else None)
    outcomes = world.run()
    [stays] = [outcome for outcome in outcomes.values() if outcome.status is not Status.DELETED]
    assert (stays.target.tag, stays.status, stays.error) == ("i000-t002", Status.FAILED, STILL_THERE)
    assert len(world.deletes("i000-t002")) == 1


def test_what_was_accepted_and_pushed_again_since_is_deleted_and_left_alone():
    world = World(on_delete=lambda world, name: world.push(name) or ACCEPTED)
    [outcome] = world.run().values()
    assert outcome.status is Status.DELETED
    assert len(world.deletes()) == 1


def test_what_was_accepted_in_a_run_that_stops_is_unknown_while_it_is_there():
    def on_delete(world, name):
        world.state.stop(StopKind.INTERRUPTED, "SIGINT")
        return ACCEPTED

    world = World(1, 5, workers=1, on_delete=on_delete)
    [outcome] = world.run().values()
    assert outcome.status is Status.UNKNOWN


# Registries that are not ready


@pytest.mark.parametrize("answer", [NOT_READY, FAILED_DEPENDENCY], ids=["409", "424"])
def test_a_registry_that_is_not_ready_is_waited_for_as_a_whole(answer):
    world = World(40, workers=8, on_delete=lambda world, name: answer if world.now < 300 else None)
    world.run()
    assert world.statuses == {Status.DELETED}
    early = [when for when, _ in world.deletes() if when < 300]
    # The first of each worker, and then one after the other, further and further apart.
    assert len(early) <= 8 + 12
    assert world.seconds < 300 + 120


@pytest.mark.parametrize("answer", [NOT_READY, FAILED_DEPENDENCY], ids=["409", "424"])
def test_a_registry_that_does_not_become_ready_ends_the_run_in_good_order(answer):
    world = World(40, workers=8, on_delete=lambda world, name: answer)
    world.run()
    assert world.state.stop_kind is StopKind.NOT_READY
    assert _STOP_CODES[StopKind.NOT_READY] is ExitCode.PARTIAL
    assert world.statuses == {Status.NOT_ATTEMPTED}
    assert len(world.tags) == 40
    assert 1800 < world.seconds < 2000
    # Nothing of it was this run: what somebody else deletes now is gone.
    assert not any(seq in Progress.after(world.lines).claimed for seq in range(1, 41))


@pytest.mark.parametrize(
    "answer", [ResponseError(409, "ncr", 409), ResponseError(409, "gateway", "ResourceInUse")]
)
def test_another_conflict_fails_and_is_not_tried_again(answer):
    world = World(5, on_delete=lambda world, name: answer if name.endswith("2") else None)
    outcomes = world.run()
    assert outcomes["i000-t002"].status is Status.FAILED
    assert (outcomes["i000-t002"].attempts, outcomes["i000-t002"].http_status) == (1, 409)
    assert len(world.tags) == 1
    assert world.state.stop_kind is None


# Claims

REFUSALS = {
    "401": ResponseError(401, "gateway", 200),
    "403": ResponseError(403, "ncr", 403),
    "no permission": ResponseError(401, "gateway", 210),
    "quota": ResponseError(429, "gateway", 400),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_somebody_else_deletes_after_a_refused_delete_is_gone(refusal):
    world = World(on_delete=lambda world, name: REFUSALS[refusal])
    [outcome] = world.run().values()
    assert outcome.status is Status.NOT_ATTEMPTED
    world.tags.clear()
    [outcome] = world.run().values()
    assert outcome.status is Status.GONE
    assert len(world.deletes()) == 1


@pytest.mark.parametrize("answer", [THROTTLED, NOT_READY], ids=["429", "409"])
def test_what_somebody_else_deletes_while_a_run_has_to_wait_is_gone(answer):
    world = World(on_delete=first(answer, vanish))
    [outcome] = world.run().values()
    assert outcome.status is Status.GONE


@pytest.mark.parametrize("failure", ["lost", "503", "500 of the gateway"])
def test_what_is_not_there_after_a_delete_without_a_clear_answer_was_deleted_by_this_run(failure):
    world = World(on_delete=first(FAILURES[failure], vanish))
    [outcome] = world.run().values()
    assert outcome.status is Status.DELETED


def test_a_refusal_does_not_take_back_what_an_earlier_attempt_may_have_done():
    def on_delete(world, name):
        if len(world.deletes()) == 1:
            return LostReplyError("the connection broke")
        vanish(world, name)
        return THROTTLED

    [outcome] = World(on_delete=on_delete).run().values()
    assert outcome.status is Status.DELETED
