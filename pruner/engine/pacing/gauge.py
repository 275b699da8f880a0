"""Counts what passes from one refusal to the next. Pure; monotonic seconds."""

from typing import Final

from pruner.engine.pacing.burst import Burst
from pruner.engine.pacing.reading import Reading
from pruner.engine.pacing.traffic import Traffic

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
        self._burst = Burst()

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
        """Nothing was sent, be it that the server asked to wait or that a canary was long on its way."""
        self._paused += seconds

    def read(self, sent_at: float, traffic: Traffic, *, drained: bool) -> Reading | None:
        """What passed until the refused request that was sent at ``sent_at``; None without a mark.

        ``drained`` says that all the time more was sent than came back.
        """
        if self._mark is None:
            return None
        elapsed = max(sent_at - self._mark, 1e-6)
        accepted = self._granted - self._refused - traffic.granted_after(sent_at)
        reading = Reading(accepted, elapsed, max(elapsed - self._paused, _LEAST_ACTIVE * elapsed))
        self._burst.learn(reading, drained=drained)
        return reading._replace(rate=self._burst.rate(reading, traffic.ages(self._mark, sent_at)))

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
