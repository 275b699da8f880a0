"""How much a rested server takes at once, and the rate beside it, told from readings with pauses. Pure.

What passes between two refusals is what came back while requests were sent, and what had come back before:
``accepted = rate * active + burst``, where a pause was long enough to fill the allowance, else the pause
counts like any other time. One reading has two unknowns, but two of different length give both. From then on
one is enough: until a refusal no stretch of time can have let more pass than ``burst + rate * seconds``, and
the one that began when the allowance was last full let exactly so much pass (a token bucket, as in RFC 2697).
"""

from collections.abc import Iterable
from typing import Final

from pruner.engine.pacing.reading import Reading


class Burst:
    """Learns the burst, in requests; ``rate`` reads with it, in requests per second."""

    SHORTEST_PAUSE_SECONDS: Final = 0.2
    FEWEST: Final = 10
    """Accepted requests that a reading needs, and that two readings must differ by."""
    LENGTHS: Final = 1.4
    """One of two readings must be so many times as long as the other."""
    SHORTEST_SECONDS: Final = 0.5
    FEWEST_BEYOND: Final = 40
    """A shorter stretch of time, or one with fewer beyond the burst, says more of the latency."""

    def __init__(self) -> None:
        self.size: float | None = None
        self._last: Reading | None = None

    def learn(self, reading: Reading, *, drained: bool) -> None:
        """Take a reading; ``drained`` says that the allowance was never full, but for the pause before it."""
        last, self._last = self._last, reading if drained else None
        if last is None or not drained or min(last.paused, reading.paused) < self.SHORTEST_PAUSE_SECONDS:
            return
        short, long = sorted((last, reading), key=lambda one: one.active)
        more = long.accepted - short.accepted
        if long.active < self.LENGTHS * short.active or min(more, short.accepted) < self.FEWEST:
            return
        rate = more / (long.active - short.active)
        if max(short.lower, long.lower) <= rate <= min(short.upper, long.upper):
            self.size = short.accepted - rate * short.active

    def rate(self, reading: Reading, ages: Iterable[float]) -> float | None:
        """The server's rate, or None where nothing was paused for, or the burst is not known.

        ``ages`` are the seconds from each request of the reading to its end, the latest request first.
        """
        if self.size is None or reading.paused < self.SHORTEST_PAUSE_SECONDS:
            return None
        best = max(reading.lower, (reading.accepted - self.size) / reading.active)
        for count, age in enumerate(ages, 1):
            if age >= self.SHORTEST_SECONDS and count >= self.size + self.FEWEST_BEYOND:
                best = max(best, (count - self.size) / age)
        return min(best, reading.upper)
