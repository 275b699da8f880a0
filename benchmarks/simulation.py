"""A discrete-event simulation of workers, a pacer and a throttling server; seconds pass at no cost.

The server's limits are those of the embedded emulator, with its clock replaced. Used by the pacing
benchmark and by tests.
"""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from pruner.emulator.throttle import Limits, Throttle


@dataclass(slots=True)
class Result:
    """What happened: accepted and refused requests, and how they were spread over time."""

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
    """Workers that always have something to send, one pacer, one server, a fixed latency."""

    def __init__(
        self, pacer, limits: Limits, *, workers: int = 64, latency: float = 0.03, others: float = 0.0
    ) -> None:
        self.now = 0.0
        self.pacer = pacer
        self.throttle = Throttle(limits, lambda: self.now)
        self.workers = workers
        self.latency = latency
        self.others = others
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.sequence = 0
        self.idle = deque(range(workers))
        self.in_flight = 0
        self.at_server = 0
        self.timer_at = float("inf")
        self.refusals: dict[int, int] = {}

    def at(self, moment: float, action: Callable[[], None]) -> None:
        """Do ``action`` at ``moment``."""
        self.sequence += 1
        heapq.heappush(self.events, (moment, self.sequence, action))

    def run(self, seconds: float) -> Result:
        """Simulate so many seconds."""
        buckets = int(seconds) + 1
        self.result = Result(seconds, by_second=[0] * buckets, refused_by_second=[0] * buckets)
        self.at(0.0, self.pump)
        if self.others:
            self.at(1.0 / self.others, self.other_client)
        while self.events and self.events[0][0] <= seconds:
            self.now, _, action = heapq.heappop(self.events)
            action()
        return self.result

    def other_client(self) -> None:
        """Somebody else uses the same allowance."""
        self.throttle.refusal(self.at_server + 1)
        self.at(self.now + 1.0 / self.others, self.other_client)

    def wake(self) -> None:
        """The timer of the queue's head."""
        if self.now >= self.timer_at - 1e-9:
            self.timer_at = float("inf")
            self.pump()

    def pump(self) -> None:
        """Hand out slots while there are any."""
        while self.idle and self.in_flight < self.pacer.max_in_flight:
            wait = self.pacer.reserve(self.now)
            if wait > 0.0:
                if wait != float("inf") and self.now + wait < self.timer_at:
                    self.timer_at = self.now + wait
                    self.at(self.timer_at, self.wake)
                return
            worker = self.idle.popleft()
            self.in_flight += 1
            sent_at = self.now
            self.at(self.now + self.latency * 0.1, lambda s=sent_at, w=worker: self.arrive(s, w))

    def arrive(self, sent_at: float, worker: int) -> None:
        """The server decides."""
        self.at_server += 1
        refusal = self.throttle.refusal(self.at_server)
        # A refusal costs the server nothing.
        service = 0.8 * self.latency if refusal is None else 0.0
        self.at(self.now + service, lambda: self.leave(sent_at, worker, refusal))

    def leave(self, sent_at: float, worker: int, refusal) -> None:
        """The server is done with it."""
        self.at_server -= 1
        self.at(self.now + self.latency * 0.1, lambda: self.answer(sent_at, worker, refusal))

    def answer(self, sent_at: float, worker: int, refusal) -> None:
        """The client hears of it."""
        retry_after = None
        if refusal is None:
            self.result.accepted += 1
            self.result.by_second[int(self.now)] += 1
            self.pacer.on_accepted(self.now, sent_at, self.in_flight)
        else:
            self.result.refused += 1
            self.result.refused_by_second[int(self.now)] += 1
            header = (refusal.headers or {}).get("Retry-After")
            retry_after = None if header is None else float(header)
            told = self.pacer.on_refused if refusal.status == 429 else self.pacer.on_overloaded
            told(self.now, sent_at, retry_after, self.in_flight)
        self.in_flight -= 1
        self.timer_at = float("inf")
        if refusal is not None and hasattr(self.pacer, "worker_delay"):
            self.refusals[worker] = self.refusals.get(worker, 0) + 1
            delay = self.pacer.worker_delay(self.refusals[worker], retry_after)
            self.at(self.now + delay, lambda: self.rested(worker))
        else:
            self.refusals.pop(worker, None)
            self.idle.append(worker)
        self.pump()

    def rested(self, worker: int) -> None:
        """A worker that backed off by itself is there again."""
        self.idle.append(worker)
        self.pump()


def allowance(limits: Limits, seconds: float, *, workers: int, latency: float, others: float = 0.0) -> float:
    """The most that a perfect client could get accepted in so many seconds."""
    best = workers / latency * seconds
    if limits.in_flight:
        best = min(best, limits.in_flight.maximum / (0.8 * latency) * seconds)
    if limits.bucket:
        bucket = limits.bucket
        best = min(best, bucket.burst + Throttle._gained(bucket, 0.0, seconds) - others * seconds)
    if limits.window:
        best = min(best, limits.window.requests * -(-seconds // limits.window.seconds))
    return best
