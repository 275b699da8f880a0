"""Finding a server's cap on requests in flight. Pure; monotonic seconds.

A cap shows itself by refusals at moments when more requests are open than at nearly all that pass; a limit
of the rate does not care how many are open. So the bound goes to just below such a refusal. Since the two
can look alike, the bound rises again after a while, slowly at first and then faster, and a refusal well
below it shows that there is no cap there.
"""

from collections import deque
from typing import Final


class InFlightCap:
    """The most requests that may be open, at most ``most``."""

    MEMORY: Final = 100
    """Accepted requests whose numbers in flight are remembered."""
    SHARE: Final = 0.05
    """A refusal is one of a cap if at most this share passed with as many open."""
    APART: Final = 30
    """Accepted requests between two refusals of a cap, at least: a rate that is passed refuses more."""
    FEWEST: Final = 4
    BINDING: Final = 0.5
    """The bound rises only where so many of those that pass come close to it."""
    HOLD_SECONDS: Final = 5.0
    LONGEST_HOLD_SECONDS: Final = 60.0
    HOLD_PER_PAUSE: Final = 40.0
    STEP_SECONDS: Final = 1.0
    STEP_PER_PAUSE: Final = 0.15
    """Where a refusal costs a pause the bound is lowered by this share of it, else by one."""
    SOON: Final = 400
    """Accepted requests within which another refusal contradicts a cap just found."""
    MOST_IN_A_ROW: Final = 3
    """So often may that be, where it costs a pause each time, until the rate is taken for what is limited,"""
    TRUSTED: Final = 20
    """and for so many refusals nothing is taken for a cap."""
    NEAR: Final = 0.75
    """One cap is not found again below this share of where it was found first."""
    DISPROVED: Final = 0.75
    OVERLOADED_SHARE: Final = 0.05
    """So large a share of 503 is the server's overload; single ones are trouble of its own."""
    OVERLOADED_MEMORY: Final = 50
    """Answers over which that share is taken."""

    def __init__(self, most: int) -> None:
        self.bound = most
        self._most = most
        self._passed: deque[int] = deque(maxlen=self.MEMORY)
        self._since = 0
        self._hold = self.HOLD_SECONDS
        self._next = float("inf")
        self._step = 1
        self._found = self._first = most
        self._overloaded = 0.0
        self._in_a_row = 0
        self._trusted = 0
        self._pause = 0.0
        self._crept = False
        self._coarse = False

    @property
    def is_lowered(self) -> bool:
        """Whether a cap was found."""
        return self.bound < self._most

    def accepted(self, in_flight: int) -> None:
        """A request passed while so many were open."""
        self._passed.append(in_flight)
        self._since += 1
        self._overloaded -= self._overloaded / self.OVERLOADED_MEMORY

    def overlooked(self) -> None:
        """A refusal that was not looked into."""
        self._since = 0

    def creep(self, now: float) -> None:
        """Raise the bound where nothing was refused for long enough and more would be used."""
        if now < self._next:
            return
        close = sum(1 for passed in self._passed if passed >= self.bound - 1)
        if close >= self.BINDING * len(self._passed):
            self.bound = min(self._most, self.bound + self._step)
            self._crept = True
            if self._pause:
                self._next = now + self._patience()
            else:
                self._step *= 2
                self._next = now + self.STEP_SECONDS

    def _patience(self) -> float:
        """Seconds to stay at a bound: short where it was lowered by so much that it may be too low."""
        return self._hold if self._coarse else max(self._hold, self.HOLD_PER_PAUSE * self._pause)

    def explains(self, in_flight: int) -> bool:
        """Whether a refusal with so many open looks like a cap's."""
        if self.is_lowered and in_flight <= self.NEAR * self._first:
            return False
        if self.is_lowered and in_flight >= self.bound - 1 >= self.FEWEST - 1:
            return True
        if in_flight < self.FEWEST or len(self._passed) < self.MEMORY // 2:
            return bool(self._passed) and in_flight > max(self._passed)
        as_many = sum(1 for passed in self._passed if passed >= in_flight)
        return as_many <= self.SHARE * len(self._passed)

    def refused(self, now: float, in_flight: int, pause: float) -> bool:
        """A refusal that asks for ``pause`` seconds; True if it was the cap's, and the bound is lower now."""
        apart, self._since = self._since, 0
        self._trusted = max(0, self._trusted - 1)
        if (apart >= self.APART or self.is_lowered) and not self._trusted and self.explains(in_flight):
            self._in_a_row = self._in_a_row + 1 if apart < self.SOON else 1
            if pause and self._in_a_row > self.MOST_IN_A_ROW:
                self._give_up()
                return False
            self.lower(now, in_flight, pause)
            return True
        if self.is_lowered and in_flight < self.DISPROVED * self.bound:
            self.bound = min(self._most, int(1.5 * self.bound) + 1)
        return False

    def overloaded(self, now: float, in_flight: int, pause: float) -> bool:
        """A 503; True if by it the server shows that too many are open, and the bound is lower now."""
        self._overloaded += (1.0 - self._overloaded) / self.OVERLOADED_MEMORY
        capped = pause > 0.0 and self.explains(in_flight)
        if self._overloaded <= self.OVERLOADED_SHARE and not capped:
            return False
        self._overloaded = 0.0
        self.lower(now, max(1, int(0.9 * min(self.bound, in_flight))) + 1, pause)
        return True

    def lower(self, now: float, in_flight: int, pause: float) -> None:
        """There is a cap below ``in_flight``; finding it cost ``pause`` seconds."""
        seen = min(self.bound, in_flight)
        by_one = self._crept or not pause
        bound = max(1, seen - (1 if by_one else max(1, round(self.STEP_PER_PAUSE * seen))))
        again = self._crept and bound <= self._found + 1
        self._hold = min(2 * self._hold, self.LONGEST_HOLD_SECONDS) if again else self.HOLD_SECONDS
        if not self.is_lowered:
            self._first = bound
        self._coarse = seen - bound > 1
        self.bound = self._found = bound
        self._pause = pause
        self._step = 1
        self._crept = False
        self._next = now + self._patience()
        self._passed.clear()

    def _give_up(self) -> None:
        """It was no cap: one that is found is not contradicted so often."""
        self.bound = self._found = self._first = self._most
        self._in_a_row = 0
        self._trusted = self.TRUSTED
        self._next = float("inf")
        self._step = 1
