"""A discrete-event simulation of workers, pacers and a throttling server; seconds pass at no cost.

The server's limits are those of the embedded emulator, with its clock and dice replaced. Latency varies
from request to request, several processes may share the server, and everything follows from a seed. Used
by the pacing benchmark and by tests.
"""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from pruner.emulator.throttle import Limits, Throttle

_WAY = 0.1
"""Share of the latency that a request travels, and its answer; in between the server works on it."""


@dataclass(frozen=True, slots=True)
class World:
    """A server and the way to it. ``latency`` in seconds, ``jitter`` the share it varies by, up and down."""

    limits: Limits = field(default_factory=Limits)
    latency: float = 0.03
    jitter: float = 0.0
    seed: int = 1
    others: float = 0.0
    """Requests per second that somebody else sends on the same allowance."""


@dataclass(slots=True)
class Result:
    """What happened to one process: accepted and refused requests, and how they were spread over time.

    ``seconds`` is when it ended: at the end of the simulation, or when all that it had to send was accepted.
    """

    seconds: float
    accepted: int = 0
    refused: int = 0
    by_second: list[int] = field(default_factory=list)
    refused_by_second: list[int] = field(default_factory=list)

    @property
    def refused_share(self) -> float:
        """Refused of all requests."""
        return self.refused / max(1, self.accepted + self.refused)

    def accepted_between(self, start: int, end: int) -> int:
        """Accepted in the seconds ``start`` to ``end``."""
        return sum(self.by_second[start:end])


class Simulation:
    """Processes on one server. ``start`` each, then ``run``."""

    def __init__(self, world: World) -> None:
        self.now = 0.0
        self.world = world
        self.dice = Random(world.seed)
        self.throttle = Throttle(world.limits, lambda: self.now, Random(world.seed + 1))
        self.at_server = 0
        self.processes: list[_Process] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0

    def start(self, pacer, *, workers: int = 64, at: float = 0.0, requests: float = float("inf")) -> None:
        """Begin a process at the moment ``at`` that has so many requests to send."""
        process = _Process(self, pacer, workers, requests)
        self.processes.append(process)
        self.at(at, process.pump)

    def at(self, moment: float, action: Callable[[], None]) -> None:
        """Do ``action`` at ``moment``."""
        self._sequence += 1
        heapq.heappush(self._events, (moment, self._sequence, action))

    def run(self, seconds: float) -> list[Result]:
        """Simulate so many seconds, or until all is sent; the results of the processes."""
        for process in self.processes:
            process.result.seconds = seconds
            process.result.by_second = [0] * (int(seconds) + 1)
            process.result.refused_by_second = [0] * (int(seconds) + 1)
        if self.world.others:
            self.at(1.0 / self.world.others, self._other_client)
        while self._events and self._events[0][0] <= seconds:
            self.now, _, action = heapq.heappop(self._events)
            action()
            if all(process.left <= 0 for process in self.processes):
                break
        return [process.result for process in self.processes]

    def latency(self) -> float:
        """How long one request takes in all."""
        jitter = self.world.jitter
        return self.world.latency * (self.dice.uniform(1.0 - jitter, 1.0 + jitter) if jitter else 1.0)

    def _other_client(self) -> None:
        self.throttle.refusal(self.at_server + 1)
        self.at(self.now + 1.0 / self.world.others, self._other_client)


class _Process:
    """Workers that always have something to send, and one pacer."""

    def __init__(self, simulation: Simulation, pacer, workers: int, requests: float) -> None:
        self.simulation = simulation
        self.pacer = pacer
        self.left = self.unsent = requests
        self.result = Result(0.0)
        self.idle = deque(range(workers))
        self.in_flight = 0
        self.timer_at = float("inf")
        self.refusals: dict[int, int] = {}

    def wake(self) -> None:
        """The timer of the queue's head."""
        if self.simulation.now >= self.timer_at - 1e-9:
            self.timer_at = float("inf")
            self.pump()

    def pump(self) -> None:
        """Hand out slots while there are any."""
        now = self.simulation.now
        while self.idle and self.unsent > 0 and self.in_flight < self.pacer.max_in_flight:
            wait = self.pacer.reserve(now)
            if wait > 0.0:
                if wait != float("inf") and now + wait < self.timer_at:
                    self.timer_at = now + wait
                    self.simulation.at(self.timer_at, self.wake)
                return
            self.send(now, self.idle.popleft())

    def send(self, now: float, worker: int) -> None:
        """A request sets out."""
        self.in_flight += 1
        self.unsent -= 1
        latency = self.simulation.latency()
        self.simulation.at(now + _WAY * latency, lambda: self.arrive(now, worker, latency))

    def arrive(self, sent_at: float, worker: int, latency: float) -> None:
        """The server decides; a refusal costs it nothing."""
        simulation = self.simulation
        simulation.at_server += 1
        refusal = simulation.throttle.refusal(simulation.at_server)
        service = (1.0 - 2 * _WAY) * latency if refusal is None else 0.0
        simulation.at(simulation.now + service, lambda: self.leave(sent_at, worker, latency, refusal))

    def leave(self, sent_at: float, worker: int, latency: float, refusal) -> None:
        """The server is done with it."""
        self.simulation.at_server -= 1
        moment = self.simulation.now + _WAY * latency
        self.simulation.at(moment, lambda: self.answer(sent_at, worker, refusal))

    def answer(self, sent_at: float, worker: int, refusal) -> None:
        """The client hears of it."""
        now = self.simulation.now
        self.timer_at = float("inf")
        if refusal is None:
            self.accepted(now, sent_at)
            self.refusals.pop(worker, None)
            self.idle.append(worker)
        else:
            self.refused(now, sent_at, worker, refusal)
        self.in_flight -= 1
        self.pump()

    def accepted(self, now: float, sent_at: float) -> None:
        """One request less."""
        self.left -= 1
        if self.left <= 0:
            self.result.seconds = now
        self.result.accepted += 1
        self.result.by_second[int(now)] += 1
        self.pacer.on_accepted(now, sent_at, self.in_flight)

    def refused(self, now: float, sent_at: float, worker: int, refusal) -> None:
        """The same request comes again."""
        self.unsent += 1
        self.result.refused += 1
        self.result.refused_by_second[int(now)] += 1
        header = (refusal.headers or {}).get("Retry-After")
        retry_after = None if header is None else float(header)
        told = self.pacer.on_refused if refusal.status == 429 else self.pacer.on_overloaded
        told(now, sent_at, retry_after, self.in_flight)
        if not hasattr(self.pacer, "worker_delay"):
            self.idle.append(worker)
            return
        self.refusals[worker] = self.refusals.get(worker, 0) + 1
        delay = self.pacer.worker_delay(self.refusals[worker], retry_after)
        self.simulation.at(now + delay, lambda: self.rested(worker))

    def rested(self, worker: int) -> None:
        """A worker that backed off by itself is there again."""
        self.idle.append(worker)
        self.pump()


def simulate(pacer, world: World, seconds: float, *, workers: int = 64, requests=float("inf")) -> Result:
    """One process on a server."""
    simulation = Simulation(world)
    simulation.start(pacer, workers=workers, requests=requests)
    return simulation.run(seconds)[0]


def allowance(world: World, seconds: float, workers: int = 64) -> float:
    """The most that a perfect client could get accepted in so many seconds."""
    limits = world.limits
    best = workers / world.latency * seconds
    if limits.in_flight:
        best = min(best, limits.in_flight.maximum / ((1.0 - 2 * _WAY) * world.latency) * seconds)
    if limits.bucket:
        bucket = limits.bucket
        gained = Throttle._gained(bucket, 0.0, seconds)
        best = min(best, bucket.burst + gained - world.others * seconds)
    for window in (limits.window, limits.sliding):
        if window:
            best = min(best, window.requests * -(-seconds // window.seconds))
    return best * (1.0 - (limits.noise.share if limits.noise else 0.0) * (not _rated(limits)))


def _rated(limits: Limits) -> bool:
    """Whether noise costs nothing, because a refused request leaves the rate to others."""
    return bool(limits.bucket or limits.window or limits.sliding)
