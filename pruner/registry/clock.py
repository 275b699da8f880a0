"""Comparing the local clock with the time of a server, which every answer tells (``Date``). Pure.

Ages are judged by the local clock. Where it is wrong, everything may look old.
"""

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from pruner.errors import ClockError, MalformedReplyError

LIMIT_SECONDS: Final = 300
"""As NCR's gateway allows."""
OLDEST_SECONDS: Final = 30
"""An answer that a cache on the way has kept for longer does not tell what is there now."""


def server_time(headers: Mapping[str, str]) -> float | None:
    """The time of the server in epoch seconds; None if the answer does not tell it."""
    date = headers.get("Date")
    try:
        moment = parsedate_to_datetime(date) if date else None
        if moment is None:
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        # What a cache has kept was dated when the server wrote it (RFC 9111, section 5.1).
        return moment.timestamp() + _age(headers)
    except (ValueError, OverflowError):
        return None


def _age(headers: Mapping[str, str]) -> int:
    """For how many seconds a cache has kept an answer; of several caches the longest."""
    ages = [age.strip() for age in headers.get("Age", "").split(",")]
    return max((int(age[:9]) for age in ages if age.isascii() and age.isdecimal()), default=0)


def check_fresh(headers: Mapping[str, str]) -> None:
    """Raise MalformedReplyError for an answer that a cache has kept: what it tells may not be so any more."""
    if (age := _age(headers)) > OLDEST_SECONDS:
        raise MalformedReplyError(
            f"the answer comes out of a cache on the way, which has kept it for {age:,} seconds; have it "
            f"pass on what the registry answers"
        )


def check_clock(headers: Mapping[str, str], sent: float, received: float) -> None:
    """Raise ClockError if the local clock is more than five minutes off.

    ``sent`` and ``received`` are when the request was sent and its answer came, in epoch seconds by the local
    clock: the server's time lies between them.
    """
    there = server_time(headers)
    if there is None:
        return
    ahead = sent - there if there < sent else received - there if there > received else 0.0
    if abs(ahead) > LIMIT_SECONDS:
        way = "ahead of" if ahead > 0 else "behind"
        raise ClockError(
            f"the local clock is {_span(abs(ahead))} {way} the registry's, and ages are judged by the local "
            f"clock; at most {LIMIT_SECONDS // 60} minutes are allowed: set the clock"
        )


def _span(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3_600)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds / 60:.0f} minutes"
