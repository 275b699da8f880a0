"""Waiting after a refusal, and the one request that then goes ahead alone. Pure; monotonic seconds."""

from typing import Final


class Pause:
    """Everybody waits, then a canary is sent; while it is refused the pause doubles.

    An episode lasts from the first refusal until a canary passes.
    """

    LONGEST_SECONDS: Final = 5.0
    """Between two canaries, where the server does not say how long."""
    USUAL_LATENCY_SECONDS: Final = 0.05
    """More of a refused canary's way is the distance's, not the server's."""

    def __init__(self) -> None:
        self.until = float("-inf")
        self.cost = 0.0
        """Seconds that this episode has been waited, until now."""
        self.denied = 0.0
        """Seconds of the episode in which requests were sent, and nothing passed."""
        self._seconds = 0.0
        self._canary_due = False
        self._canary_sent: float | None = None

    def left(self, now: float) -> float:
        """Seconds to wait; infinite while the canary is on its way."""
        return float("inf") if self._canary_sent is not None else max(0.0, self.until - now)

    def granted(self, now: float) -> None:
        """A request goes out."""
        if self._canary_due:
            self._canary_due = False
            self._canary_sent = now

    def is_canary(self, sent_at: float) -> bool:
        """Whether this is the request that goes ahead alone; others may still be on their way back."""
        return self._canary_sent is not None and sent_at >= self._canary_sent

    def episode(self) -> None:
        """A new one begins."""
        self.cost = self.denied = 0.0

    def wait(self, now: float, slot: float, retry_after: float | None) -> None:
        """Pause for as long as the server says, or for twice as long as before; at least for a ``slot``."""
        if self._canary_sent is not None:
            on_its_way = min(now - self._canary_sent, self.USUAL_LATENCY_SECONDS)
            self.denied += on_its_way + (0.0 if retry_after else self._seconds)
        if retry_after:
            self._seconds = max(retry_after, slot)
        elif self._seconds == 0.0:
            self._seconds = slot
        else:
            self._seconds = min(2.0 * self._seconds, max(self.LONGEST_SECONDS, slot))
        self.cost += self._seconds
        self.until = now + self._seconds
        self._canary_sent = None
        self._canary_due = True

    def extend(self, now: float, retry_after: float) -> float:
        """Wait longer if the server says so; the seconds that were added."""
        added = max(0.0, now + retry_after - max(now, self.until))
        self.until = max(self.until, now + retry_after)
        return added

    def passed(self) -> None:
        """The canary was let through."""
        self._canary_sent = None
        self._seconds = 0.0

    def lost(self) -> None:
        """The canary ended without an answer of the limiter: another one is due."""
        self._canary_sent = None
        self._canary_due = True
