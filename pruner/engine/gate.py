"""The queue in front of the pacer: workers wait here, first come first served, outside any timeout."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import NamedTuple

from pruner.engine.breaker import Breaker
from pruner.engine.pacer import Pacer


class GateClosedError(Exception):
    """The run is stopping: no new request is let out."""


class GateTotals(NamedTuple):
    """What went through some gates so far, and how it goes now; ``rate`` in requests per second."""

    granted: int
    refusals: int
    in_flight: int
    rate: float

    @classmethod
    def of(cls, gates: "Sequence[Gate]") -> "GateTotals":
        """All of ``gates`` together."""
        return cls(
            sum(gate.granted for gate in gates),
            sum(gate.refusals for gate in gates),
            sum(gate.in_flight for gate in gates),
            sum(gate.pacer.rate for gate in gates),
        )


class Gate:
    """Hands out slots of one pacer in order. Only the head of the queue is ever woken: no stampede.

    Each granted slot ends with exactly one of ``accepted``, ``refused``, ``overloaded``, ``failed`` and
    ``abandoned``.
    """

    def __init__(self, pacer: Pacer, clock: Callable[[], float] | None = None) -> None:
        self.pacer = pacer
        self.breaker = Breaker()
        self.in_flight = 0
        self.granted = 0
        self.refusals = 0
        self.accepted_at: float | None = None
        self._clock = clock or monotonic
        self.closed = False
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._essential: set[asyncio.Future[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def heard(self) -> bool:
        """Whether the server has answered anything so far."""
        return self.accepted_at is not None or self.refusals > 0

    async def acquire(self, *, essential: bool = False, first: bool = False) -> float:
        """Wait for a slot; the moment (clock seconds) at which it was granted.

        After ``close`` only ``essential`` requests pass, those that find out what became of a DELETE;
        others raise GateClosedError. ``first`` is for a DELETE whose tag has just been looked at: it does
        not queue behind others, or the look would be old by the time of the DELETE.
        """
        if self.closed and not essential:
            raise GateClosedError
        now = self._clock()
        if (first or not self._waiters) and (wait := self._try(now)) <= 0.0:
            return now
        future = asyncio.get_running_loop().create_future()
        if first:
            self._waiters.appendleft(future)
        else:
            self._waiters.append(future)
        if essential:
            self._essential.add(future)
        if len(self._waiters) == 1:
            self._sleep(wait)
        await self._granted(future)
        return self._clock()

    def now(self) -> float:
        """The gate's clock."""
        return self._clock()

    def close(self) -> None:
        """Turn everybody away who waits for a request that is not essential."""
        self.closed = True
        for future in list(self._waiters):
            if future not in self._essential:
                self._waiters.remove(future)
                if not future.done():
                    future.set_exception(GateClosedError())
        if self._waiters and self._timer is None:
            self._pump()

    async def _granted(self, future: "asyncio.Future[None]") -> None:
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.abandoned(self._clock())
            elif future in self._waiters:
                self._waiters.remove(future)
            raise
        finally:
            self._essential.discard(future)

    def _try(self, now: float) -> float:
        """0.0 and the slot is taken, or how long to wait."""
        if self.in_flight >= self.pacer.max_in_flight:
            return float("inf")
        wait = self.breaker.wait(now) or self.pacer.reserve(now)
        if wait > 0.0:
            return wait
        self.breaker.sent()
        self.in_flight += 1
        self.granted += 1
        return 0.0

    def _sleep(self, wait: float) -> None:
        if self._timer is None and wait != float("inf"):
            self._timer = asyncio.get_running_loop().call_later(wait, self._pump)

    def _pump(self) -> None:
        self._timer = None
        while self._waiters:
            if self._waiters[0].done():
                self._waiters.popleft()
                continue
            wait = self._try(self._clock())
            if wait > 0.0:
                self._sleep(wait)
                return
            self._waiters.popleft().set_result(None)

    def _released(self) -> None:
        self.in_flight -= 1
        if self._waiters and self._timer is None:
            self._pump()

    def accepted(self, sent_at: float) -> None:
        """The server took the request of this slot."""
        self.accepted_at = now = self._clock()
        self.pacer.on_accepted(now, sent_at, self.in_flight)
        if self.breaker.is_open:
            self._wake()
        self.breaker.succeeded()
        self._released()

    def refused(self, sent_at: float, retry_after: float | None) -> None:
        """The server refused the request for speed."""
        self.refusals += 1
        self.pacer.on_refused(self._clock(), sent_at, retry_after, self.in_flight)
        self.breaker.succeeded()
        self._wake()
        self._released()

    def overloaded(self, sent_at: float, retry_after: float | None) -> None:
        """The server answered 503: trouble, or more requests open than it bears."""
        now = self._clock()
        self.pacer.on_overloaded(now, sent_at, retry_after, self.in_flight)
        self.breaker.failed(now)
        self._wake()
        self._released()

    def failed(self, sent_at: float) -> None:
        """The server, or the way to it, did not work."""
        now = self._clock()
        self.pacer.on_ended(now, sent_at)
        self.breaker.failed(now)
        self._wake()
        self._released()

    def abandoned(self, sent_at: float) -> None:
        """The slot was not used, or its request was cancelled."""
        self.pacer.on_ended(self._clock(), sent_at)
        self.breaker.abandoned()
        self._wake()
        self._released()

    def _wake(self) -> None:
        """Ask again now: a timer that was set before would fire too late, or for nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
