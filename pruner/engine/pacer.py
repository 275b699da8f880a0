"""When the next request may be sent. Pure: the clock (monotonic seconds) is passed in."""

from typing import NamedTuple, Protocol


class Hint(NamedTuple):
    """Where to start: at ``rate`` requests per second, which is near the server's limit or just passed."""

    rate: float
    is_limit: bool


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

    def on_overloaded(
        self, now: float, sent_at: float, retry_after: float | None, in_flight: int = 0
    ) -> None:
        """A request sent at ``sent_at`` was answered with 503; ``retry_after`` in seconds, if given."""


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

    def on_overloaded(
        self, now: float, sent_at: float, retry_after: float | None, in_flight: int = 0
    ) -> None:
        """Learn nothing."""
