"""What passed between two refusals, and the rates that follow from it. Pure; seconds, requests per second."""

from typing import NamedTuple


class Reading(NamedTuple):
    """What passed between two moments at which the allowance was used up.

    A pause may or may not have filled the allowance, so it gives a ``lower`` rate (counting the pauses) and
    an ``upper`` one (not counting them); ``rate`` is the one between where it is known, else None.
    """

    accepted: int
    elapsed: float
    active: float
    """``elapsed`` less the pauses."""
    rate: float | None = None

    @property
    def paused(self) -> float:
        """Seconds in which nothing was sent."""
        return self.elapsed - self.active

    @property
    def lower(self) -> float:
        """Requests per second, pauses counted."""
        return self.accepted / self.elapsed

    @property
    def upper(self) -> float:
        """Requests per second, pauses not counted."""
        return self.accepted / self.active
