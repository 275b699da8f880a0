"""When the next request may be sent. Pure: the clock (monotonic seconds) is passed in."""

from typing import Final, Protocol

_CATCH_UP_SECONDS: Final = 0.005
"""Timers fire late; this much of a missed schedule may be caught up at once, more would be a burst."""


class Pacer(Protocol):
    """Grants slots; one per (endpoint, credential), shared by listing and deleting."""

    @property
    def rate(self) -> float:
        """Requests per second that are granted now; infinite without a limit."""

    @property
    def paused_until(self) -> float:
        """The moment before which nothing is granted."""

    @property
    def max_in_flight(self) -> int:
        """Most requests that may be open at the same time."""

    def reserve(self, now: float) -> float:
        """Take the next slot: 0.0 if it is granted, otherwise the seconds until asking again makes sense."""

    def on_accepted(self, now: float, sent_at: float, in_flight: int = 0) -> None:
        """A request sent at ``sent_at`` was let through by the limiter; ``in_flight`` are open now."""

    def on_ended(self, now: float, sent_at: float) -> None:
        """A request ended without an answer of the limiter: lost, failed or cancelled."""

    def on_refused(self, now: float, sent_at: float, retry_after: float | None, in_flight: int = 0) -> None:
        """A request sent at ``sent_at`` was refused for speed; ``retry_after`` in seconds, if given."""


class TokenBucketPacer:
    """A fixed ceiling that halves on a refusal and recovers; slots are evenly spaced.

    Refusals of requests sent before the last reaction are one episode and change nothing more.
    """

    RECOVERY_SECONDS: Final = 10.0
    MIN_RATE: Final = 0.1

    def __init__(self, ceiling: float, max_in_flight: int = 512) -> None:
        self._ceiling = ceiling
        self._rate = ceiling
        self._next = 0.0
        self._reacted_at = float("-inf")
        self._paused_until = float("-inf")
        self.max_in_flight = max_in_flight

    @property
    def rate(self) -> float:
        """Requests per second that are granted now."""
        return self._rate

    @property
    def paused_until(self) -> float:
        """The moment before which nothing is granted."""
        return self._paused_until

    def reserve(self, now: float) -> float:
        """Grant a slot (0.0) or say how many seconds are left until the next."""
        if now < self._paused_until:
            return self._paused_until - now
        if now < self._next:
            return self._next - now
        self._next = max(self._next, now - _CATCH_UP_SECONDS) + 1.0 / self._rate
        return 0.0

    def on_ended(self, now: float, sent_at: float) -> None:
        """Says nothing of the limit."""

    def on_accepted(self, now: float, sent_at: float, in_flight: int = 0) -> None:
        """Recover towards the ceiling, all of it within RECOVERY_SECONDS."""
        if self._rate < self._ceiling and sent_at > self._reacted_at:
            gained = self._ceiling / (self._rate * self.RECOVERY_SECONDS)
            self._rate = min(self._ceiling, self._rate + gained)

    def on_refused(self, now: float, sent_at: float, retry_after: float | None, in_flight: int = 0) -> None:
        """Halve the rate once per episode and pause everybody."""
        if sent_at > self._reacted_at:
            self._rate = max(min(self.MIN_RATE, self._ceiling), self._rate / 2)
            self._reacted_at = now
        pause = 1.0 / self._rate if retry_after is None else retry_after
        self._paused_until = max(self._paused_until, now + pause)


class UnlimitedPacer:
    """No ceiling and no reaction: for measuring what the rest costs."""

    rate = float("inf")
    paused_until = float("-inf")

    def __init__(self, max_in_flight: int = 512) -> None:
        self.max_in_flight = max_in_flight

    def reserve(self, now: float) -> float:
        """Always grant."""
        return 0.0

    def on_accepted(self, now: float, sent_at: float, in_flight: int = 0) -> None:
        """Learn nothing."""

    def on_ended(self, now: float, sent_at: float) -> None:
        """Learn nothing."""

    def on_refused(self, now: float, sent_at: float, retry_after: float | None, in_flight: int = 0) -> None:
        """Learn nothing."""
