"""A seeded random registry in virtual time, and the engine's whole life on it: runs, crashes, resumes.

``Simulation(seed).run()`` plays one history and checks every invariant on the way; the same seed plays the
same history again.
"""

import asyncio
import random
from collections import Counter
from contextlib import nullcontext

from virtual_time import VirtualLoop

from pruner.engine.access import RegistryAccess
from pruner.engine.executor import Executor, ExecutorSettings
from pruner.engine.gate import Gate
from pruner.engine.governor import Governor
from pruner.engine.journal import NOT_FINAL, Claim, Done, JournalWriteError, Progress, Start
from pruner.engine.pacing import AdaptivePacer
from pruner.engine.retry import Backoff
from pruner.engine.state import RunState
from pruner.errors import (
    ConnectError,
    ListingError,
    LostReplyError,
    MalformedReplyError,
    RedirectError,
    ResponseError,
    StopKind,
)
from pruner.model import ReasonKind, Status, Tag
from pruner.plan.records import Entry, ImageRecord
from pruner.registry.base import Deletion

HOURS = 12 * 3600.0
MAX_SESSIONS = 12

# What a server may do to one request, and how often in a sick history.
REFUSALS = {
    "throttled": (429, "gateway", 410),
    "too many": (429, "gateway", 420),
    "quota": (429, "gateway", 400),
    "key": (401, "gateway", 200),
    "permission": (401, "gateway", 210),
    "forbidden": (403, "ncr", 403),
    "conflict": (409, "ncr", 409),
    "bad": (400, "ncr", 400),
    "wrong url": (404, "gateway", 300),
    "page not found": (404, "unknown", None),
}
TROUBLE = {"500": (500, "gateway", 900), "503": (503, "gateway", 500), "ncr 500": (500, "ncr", 500)}
RARE = {"quota", "key", "permission", "forbidden", "wrong url", "bad", "redirect"}


class Server:
    """Registries with images with tags; does to requests what the dice say."""

    def __init__(self, sim):
        self.sim, self.dice = sim, sim.dice
        self.tags = {}
        self.removed = Counter()
        self.taken_away = set()
        self.moved_at = {}
        self.listed_at = {}
        self.looked_at = {}
        self.in_doubt = set()
        self.open = 0
        self.healthy = False
        names = [
            *REFUSALS,
            *TROUBLE,
            "lost before",
            "lost after",
            "late",
            "connect",
            "202",
            "lie",
            "redirect",
        ]
        names += ["malformed"]
        self.weights = {name: self._weight(name) for name in names}
        self.health = self.dice.choice([0.0, 0.5, 0.9, 0.97, 1.0])
        self.missing = self.dice.choice([(404, "ncr", 404), (500, "ncr", 500), (404, "unknown", None)])
        self.burst = self.dice.choice([None, None, self.dice.uniform(2, 200)])
        self.tokens, self.filled = 5.0, 0.0

    def _weight(self, name):
        return self.dice.random() * (0.05 if name in RARE else 1.0) if self.dice.random() < 0.5 else 0.0

    def fault(self):
        """What goes wrong with this request, or None."""
        if self.healthy or self.dice.random() < self.health or not any(self.weights.values()):
            return None
        return self.dice.choices(list(self.weights), list(self.weights.values()))[0]

    def over_the_limit(self):
        if self.burst is None or self.healthy:
            return False
        now = self.sim.now()
        self.tokens = min(5.0, self.tokens + (now - self.filled) * self.burst)
        self.filled = now
        if self.tokens < 1.0:
            return True
        self.tokens -= 1.0
        return False

    def error(self, name):
        status, layer, code = (REFUSALS | TROUBLE | {"missing": self.missing})[name]
        wish = self.dice.choice([None, None, "0", "-1", "2", "1e9", "9999999999", "soon"])
        return ResponseError(status, layer, code, name, retry_after=wish if status == 429 else None)

    async def arrive(self):
        """The way to the server; raises what happens before anything is carried out."""
        self.open += 1
        try:
            await asyncio.sleep(self.dice.expovariate(20))
        finally:
            self.open -= 1
        if self.over_the_limit():
            raise self.error("throttled")
        fault = self.fault()
        if fault == "connect":
            raise ConnectError("no connection")
        if fault == "lost before":
            await asyncio.sleep(self.dice.choice([0.0, 30.0]))
            raise LostReplyError("no answer")
        if fault == "redirect":
            raise RedirectError("elsewhere")
        if fault in REFUSALS:
            raise self.error(fault)
        return fault

    def commit(self, entry, late=False):
        """Carry a DELETE out, perhaps long after it was given up; whether the tag was there."""
        tags = self.tags[entry.registry, entry.image]
        if entry.tag not in tags:
            return False
        tag = tags.pop(entry.tag)
        self.removed[entry.target] += 1
        key = entry.registry, entry.image, entry.tag
        if tag.digest != entry.digest and not late:
            assert self.moved_at[key] >= max(
                self.listed_at[key[:2]], self.looked_at.get(entry.target, 0.0)
            ), "deleted although it had changed"
        return True

    async def delete(self, entry):
        fault = await self.arrive()
        target = entry.target
        if fault in TROUBLE:
            if self.dice.random() < 0.5:
                self.commit(entry)
                self.in_doubt.add(target)
            raise self.error(fault)
        if fault == "late":
            self.in_doubt.add(target)
            loop = asyncio.get_running_loop()
            loop.call_later(self.dice.uniform(0, 60), self.commit, entry, True)
            raise LostReplyError("no answer")
        if fault == "lie":
            return Deletion(self.dice.choice([200, 202]), confirmed=False)
        self.in_doubt.add(target)
        there = self.commit(entry)
        await asyncio.sleep(self.dice.expovariate(50))
        if fault == "lost after":
            raise LostReplyError("the connection broke")
        if fault == "malformed":
            raise MalformedReplyError("endless")
        if not there:
            raise self.error("missing")
        if self.sim.strict or fault != "202":
            self.in_doubt.discard(target)
        return Deletion(202, confirmed=False) if fault == "202" else Deletion(204, confirmed=True)

    async def read(self):
        """A reading request that may fail like any other."""
        fault = await self.arrive()
        if fault in TROUBLE:
            raise self.error(fault)
        if fault in ("lost after", "late"):
            raise LostReplyError("no answer")
        if fault in ("malformed", "lie"):
            raise MalformedReplyError("not what the API documents")

    def meddle(self):
        """What others do meanwhile: push a tag again, or take it away."""
        image = self.dice.choice(list(self.tags))
        tags = self.tags[image]
        if not tags:
            return
        name = self.dice.choice(sorted(tags))
        if self.dice.random() < 0.5:
            tags[name] = Tag(tags[name].target, f"sha256:{self.dice.random()}", 1, None, 10**13)
            self.moved_at[(*image, name)] = self.sim.now()
        else:
            self.taken_away.add(tags.pop(name).target)


class Reader:
    """What the engine reads with: every request through the governor, as the real one."""

    always_reads_times = True

    def __init__(self, server, governor):
        self._server, self._governor = server, governor

    async def tags(self, registry, image, want=None):
        await self._governor.run(self._server.read)
        if not self._server.healthy and self._server.dice.random() < 0.02:
            raise ListingError("the list does not hold together")
        self._server.listed_at[registry, image] = self._server.sim.now()
        return list(self._server.tags[registry, image].values())

    async def images(self, registry):
        await self._governor.run(self._server.read)
        return sorted({image for of, image in self._server.tags if of == registry})

    async def tag(self, target):
        await self._governor.run(self._server.read)
        if not self._server.healthy and self._server.dice.random() < 0.02:
            raise ListingError("the list does not hold together")
        self._server.looked_at[target] = self._server.sim.now()
        return self._server.tags[target.registry, target.image].get(target.tag)


class Deleter:
    """Checks, at every DELETE, what must hold at that moment."""

    looks_at_each = False
    takes_siblings = False

    def __init__(self, session):
        self._session = session

    def was_refused(self, image, digest):
        pass

    def turn(self, target, digest):
        return nullcontext()

    def may_have_deleted(self, image, digest):
        return False

    async def delete(self, target, digest):
        self._session.check_may_delete(target)
        return await self._session.sim.server.delete(self._session.sim.entries[target])


class MemoryJournal:
    """A journal in memory, whose disk may be full from some line on."""

    def __init__(self, lines, room):
        self.lines, self.room, self.full = lines, room, False

    def write(self, *lines):
        if self.room is not None:
            self.room -= len(lines)
            if self.room < 0:
                self.full = True
                raise JournalWriteError("no space left")
        self.lines.extend(lines)


class Session:
    """One process's life: from the journal so far to its end, its crash or its cancellation."""

    def __init__(self, sim, healthy):
        self.sim, self.dice = sim, sim.dice
        self.healthy = sim.server.healthy = healthy
        room = None if healthy or self.dice.random() < 0.8 else self.dice.randrange(60)
        self.journal = MemoryJournal(sim.lines, room)
        self.workers = self.dice.choice([1, 2, 4, 16])
        self.attempts = Counter()
        loop = asyncio.get_running_loop()
        gate = Gate(AdaptivePacer(ceiling=self.dice.choice([5.0, 50.0, 1000.0])), loop.time)
        self.gate = gate
        self.state = RunState([gate])
        backoff = Backoff()
        clock = sim.wall_clock
        reader = Reader(sim.server, Governor(gate, backoff, self.dice, clock, self.state.sleep))
        drain_reader = Reader(sim.server, Governor(gate, backoff, self.dice, clock, essential=True))
        access = RegistryAccess(reader, drain_reader, Deleter(self), gate)
        self.executor = Executor(
            dict.fromkeys(sim.registries, access),
            self.state,
            self.journal,
            ExecutorSettings(workers=lambda _: self.workers, budget=self.dice.choice([5, 200])),
            dice=self.dice,
            clock=loop.time,
            wall_clock=clock,
        )

    def check_may_delete(self, target):
        entry = self.sim.entries[target]
        assert self.state.stop_kind is None, "a DELETE after the run was stopped"
        assert entry.registry not in self.state.stopped_registries, "a DELETE in a stopped registry"
        assert not self.journal.full, "a DELETE after the journal failed"
        assert Claim(entry.seq) in self.journal.lines[self.begin :], "a DELETE that was not claimed"
        assert entry.seq not in self.done.done, "a DELETE of what was done before"
        assert self.sim.server.open < self.workers + 8, "too many requests at once"
        self.attempts[target] += 1

    async def run(self):
        """Play; the kind of stop, ``"killed"`` or None when all was worked on."""
        self.done = Progress.after(self.sim.lines)
        self.begin = len(self.sim.lines)
        before = self.begin
        try:
            self.journal.write(Start(1, 0, 0, "simulated"))
        except JournalWriteError:
            return StopKind.DISK
        work = asyncio.create_task(self.executor.run({"": iter(self.sim.images)}, self.done))
        timers = self._plan_troubles(work)
        try:
            await work
        except asyncio.CancelledError:
            return "killed"
        finally:
            for timer in timers:
                timer.cancel()
        assert self.gate.in_flight == 0, "a slot that was never given back"
        ended = [line for line in self.sim.lines[before:] if isinstance(line, Done)]
        if not self.journal.full:
            # A refused DELETE is noted as not attempted, and may be followed by another.
            count = len({line.seq for line in ended})
            assert count == self.state.stats.done, "totals that disagree with the journal"
        return self.state.stop_kind

    def _plan_troubles(self, work):
        if self.healthy:
            return []
        loop = asyncio.get_running_loop()
        later = self.dice.expovariate
        timers = [loop.call_later(later(1), self.sim.server.meddle) for _ in range(self.dice.randrange(4))]
        if self.dice.random() < 0.25:
            timers.append(loop.call_later(later(1), self.state.stop, StopKind.INTERRUPTED, "SIGINT"))
        if self.dice.random() < 0.25:
            timers.append(loop.call_later(later(0.7), work.cancel))
        if self.dice.random() < 0.2:
            timers.append(loop.call_later(later(1), self.sim.jump, self.dice.uniform(-1e5, 1e5)))
        return timers


class Simulation:
    """One history: a plan, sessions that go wrong, and a last one in health.

    Unless ``strict``, two known mistakes of the engine are let pass: a tag whose DELETE was answered with
    202 may be called ``gone``, and one claimed before a crash ``failed`` when its image cannot be listed.
    """

    def __init__(self, seed, *, strict=True):
        self.seed, self.dice, self.strict = seed, random.Random(seed), strict
        self.lines = []
        self.jumped = 0.0
        self.stops = []
        self.server = Server(self)
        self.images = []
        self.entries = {}
        self.registries = [f"r{number}" for number in range(self.dice.choice([1, 1, 2]))]
        for registry in self.registries:
            for number in range(self.dice.randint(1, 3)):
                self._image(registry, f"i{number}")

    def _image(self, registry, image):
        entries, tags = [], {}
        for number in range(self.dice.randint(1, 12)):
            digest = f"sha256:{registry}{image}{number}"
            entry = Entry(
                len(self.entries) + 1, registry, image, f"t{number}", "p", "f:1", ReasonKind.DELETE_RULE, "",
                digest, 1, 1,
            )  # fmt: skip
            tags[entry.tag] = Tag(entry.target, digest, 1, None, 1)
            entries.append(entry)
            self.entries[entry.target] = entry
        self.images.append((ImageRecord(registry, image, len(tags), len(entries)), entries))
        self.server.tags[registry, image] = tags

    def now(self):
        return asyncio.get_running_loop().time()

    def wall_clock(self):
        return 1.7e9 + self.now() + self.jumped

    def jump(self, seconds):
        self.jumped += seconds

    def run(self):
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(self._play())
        return self

    async def _play(self):
        for number in range(MAX_SESSIONS):
            # Failing histories end: a run is resumed in the end on a server that works.
            healthy = number >= self.dice.randint(1, 4)
            began = self.now()
            self.stops.append(await Session(self, healthy).run())
            assert self.now() - began < HOURS, "a session that takes for ever"
            self.check()
            if healthy:
                await asyncio.sleep(100)
                break
        assert self.stops[-1] is None, f"stopped in health: {self.stops[-1]}"
        self.check_finished()

    def check(self):
        """After every session: each entry ends once, and what is ``deleted`` is."""
        server = self.server
        assert set(server.removed) <= set(self.entries), "outside of the plan"
        assert not server.removed or max(server.removed.values()) == 1
        seen = set()
        for line in self.lines:
            if isinstance(line, Claim):
                assert line.seq not in seen, "a DELETE after the final outcome"
            elif isinstance(line, Done) and line.outcome.status not in NOT_FINAL:
                assert line.seq not in seen, "two final outcomes"
                seen.add(line.seq)
                self.check_outcome(line)

    def check_outcome(self, line):
        target, status = line.outcome.target, line.outcome.status
        assert self.entries[target].seq == line.seq
        gone = target in self.server.removed or target in self.server.taken_away
        if status is Status.DELETED:
            assert gone, "deleted, but it is there"
            assert target in self.server.removed or self.was_claimed(line.seq), "deleted without a DELETE"
        elif status is Status.GONE:
            assert gone, "gone, but it is there"
        elif status is Status.CHANGED:
            assert target not in self.server.removed or target in self.server.in_doubt

    def was_claimed(self, seq):
        return Claim(seq) in self.lines

    def check_finished(self):
        """In the end every entry has an outcome, and nothing was lost."""
        final = {
            line.outcome.target: line.outcome
            for line in self.lines
            if isinstance(line, Done) and line.outcome.status not in NOT_FINAL
        }
        assert set(final) == set(self.entries), "a target without an outcome"
        for target in self.server.removed:
            said = final[target]
            allowed = {Status.DELETED}
            if target in self.server.in_doubt:
                # The server carried it out after it was given up: nobody can know.
                allowed |= {Status.GONE, Status.FAILED, Status.CHANGED}
            if not self.strict and said.attempts == 0:
                allowed.add(Status.FAILED)
            assert said.status in allowed, f"{target} was deleted, but is said to be {said.status}"
