"""When to go faster, and by how much. Pure; monotonic seconds, requests per second."""

from math import sqrt
from typing import Final


class Climb:
    """Doubles the rate before the first refusal; later holds it for a while and then tries a little more."""

    DOUBLING_SECONDS: Final = 0.1
    HOLD_SECONDS: Final = 2.0
    LONGEST_HOLD_SECONDS: Final = 300.0
    HOLD_REQUESTS: Final = 300.0
    """The longest hold where an episode costs nothing: few of few requests are to be refused."""
    SHORTEST_PER_COST: Final = 5.0
    LONGEST_PER_COST: Final = 25.0
    """The shortest and the longest hold, as multiples of the time that an episode costs."""
    STEP_SECONDS: Final = 0.5
    FIRST_STEP: Final = 0.6
    """Times the root of the rate: of several clients on one account the slower gains more."""
    STEP_GROWTH: Final = 2.0
    PROOFS: Final = 2
    """So often in a row must an estimate prove right to show that there is a limit at all."""

    def __init__(self) -> None:
        self.limit_seen = False
        self._hold = self.HOLD_SECONDS
        self._hold_until = float("inf")
        self._step = self.FIRST_STEP
        self._stepped_at: float | None = None

    def start(self, now: float, rate: float) -> float:
        """The rate to go to while nothing was refused yet."""
        if self._stepped_at is None:
            self._stepped_at = now
        if now - self._stepped_at < self.DOUBLING_SECONDS:
            return rate
        self._stepped_at = now
        return 2.0 * rate

    def ramp(self, now: float, rate: float) -> float:
        """The rate to go to once the hold is over."""
        if self._stepped_at is None:
            self._stepped_at = now
        if now < self._hold_until or now - self._stepped_at < self.STEP_SECONDS:
            return rate
        self._stepped_at = now
        higher = min(2.0 * rate, rate + self._step * sqrt(rate))
        self._step *= self.STEP_GROWTH
        return higher

    def wait(self) -> None:
        """Something was refused: no step until ``hold`` or ``resume``."""
        self._hold_until = float("inf")

    def hold(self, now: float, rate: float, cost: float = 0.0) -> None:
        """Cruise at ``rate`` for a while after an episode that cost so many seconds."""
        longest = max(self.HOLD_SECONDS, self.HOLD_REQUESTS / rate, self.LONGEST_PER_COST * cost)
        hold = min(max(self._hold, self.SHORTEST_PER_COST * cost), longest, self.LONGEST_HOLD_SECONDS)
        self.resume(now + hold)
        self._stepped_at = now

    def resume(self, moment: float) -> None:
        """Try more from ``moment`` on, in small steps at first."""
        self._hold_until = moment
        self._step = self.FIRST_STEP

    def proved(self) -> None:
        """The estimate was right again: the next hold may be longer."""
        self._hold = min(2.0 * self._hold, self.LONGEST_HOLD_SECONDS)
        if self._hold >= self.HOLD_SECONDS * 2.0**self.PROOFS:
            self.limit_seen = True

    def surprised(self) -> None:
        """The estimate was wrong: perhaps the server's rate has changed."""
        self._hold = self.HOLD_SECONDS
