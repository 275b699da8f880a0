"""What was sent and accepted lately, as far as pacing asks for it. Pure; monotonic seconds."""

from collections import deque
from collections.abc import Iterator
from typing import Final

_FEWEST: Final = 5
"""Accepted requests below which a rate says nothing."""


class Traffic:
    """Remembers the moments of ``size`` grants, and what was accepted in the last ``recent`` seconds."""

    def __init__(self, size: int, recent: float) -> None:
        self.peak: float | None = None
        """Most requests per second that passed, over ``recent`` seconds."""
        self._recent = recent
        self._grants: deque[float] = deque(maxlen=size)
        self._accepted: deque[float] = deque()

    def granted(self, now: float) -> None:
        """A request goes out."""
        self._grants.append(now)

    def accepted(self, now: float) -> None:
        """A request was let through."""
        self._accepted.append(now)
        if now - self._accepted[0] > self._recent:
            self.rate(now)

    def rate(self, now: float) -> float | None:
        """Accepted requests per second over the last moments; None if they are too few to tell."""
        accepted = self._accepted
        while accepted and now - accepted[0] > self._recent:
            accepted.popleft()
        if len(accepted) < _FEWEST:
            return None
        rate = len(accepted) / self._recent
        self.peak = max(rate, self.peak or 0.0)
        return rate

    def ages(self, start: float, end: float) -> Iterator[float]:
        """How long before ``end`` each request went out, the latest first, back to ``start``."""
        for granted in reversed(self._grants):
            if granted <= start:
                return
            if granted <= end:
                yield end - granted

    def granted_after(self, moment: float) -> int:
        """How many requests went out later than ``moment``."""
        count = 0
        for granted in reversed(self._grants):
            if granted <= moment:
                break
            count += 1
        return count
