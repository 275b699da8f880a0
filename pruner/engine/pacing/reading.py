"""The server's rate, read between two refusals. Pure; monotonic seconds, requests per second."""

from typing import Final, NamedTuple

from pruner.engine.pacing.traffic import Traffic


class Reading(NamedTuple):
    """What passed between two moments at which the allowance was used up.

    Time that the server asked to wait may or may not have filled the allowance, so it gives a ``lower``
    rate (counting the pauses) and an ``upper`` one (not counting them).
    """

    accepted: int
    elapsed: float
    active: float
    """``elapsed`` less the pauses."""

    @property
    def lower(self) -> float:
        """Requests per second, pauses counted."""
        return self.accepted / self.elapsed

    @property
    def upper(self) -> float:
        """Requests per second, pauses not counted."""
        return self.accepted / self.active


_LEAST_ACTIVE: Final = 0.02


class Gauge:
    """Measures from one refused request to the next, by the times they were sent.

    What was sent in between and not refused counts as accepted: its answer may come later than a refusal.
    """

    def __init__(self) -> None:
        self._mark: float | None = None
        self._granted = 0
        self._refused = 0
        self._paused = 0.0
        self._began: float | None = None
        self._before = (0.0, 0)

    @property
    def is_open(self) -> bool:
        """Whether there was a first refusal."""
        return self._mark is not None

    def granted(self, now: float) -> None:
        """A request goes out."""
        if self._began is None:
            self._began = now
        self._granted += 1

    def refused(self, sent_at: float) -> None:
        """A request was refused."""
        if self._mark is not None and sent_at > self._mark:
            self._refused += 1

    def paused(self, seconds: float) -> None:
        """The server asked to wait."""
        self._paused += seconds

    def read(self, sent_at: float, traffic: Traffic) -> Reading | None:
        """What passed until the refused request that was sent at ``sent_at``; None without a mark."""
        if self._mark is None:
            return None
        elapsed = max(sent_at - self._mark, 1e-6)
        accepted = self._granted - self._refused - traffic.granted_after(sent_at)
        return Reading(accepted, elapsed, max(elapsed - self._paused, _LEAST_ACTIVE * elapsed))

    def open(self, sent_at: float, traffic: Traffic) -> None:
        """Begin anew with the refusal of a request sent at ``sent_at``."""
        after = traffic.granted_after(sent_at)
        since = self._began if self._mark is None else self._mark
        self._before = (sent_at if since is None else since, self._granted - self._refused - after)
        self._mark = sent_at
        self._granted = after
        self._refused = 0
        self._paused = 0.0

    def over_denial(self, now: float) -> float:
        """The rate of what passed before the mark, if all the time until ``now`` belongs to it."""
        since, accepted = self._before
        return (accepted + self._granted - self._refused) / max(now - since, 1e-6)
