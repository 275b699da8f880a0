"""The ``Retry-After`` header: seconds or an HTTP date (RFC 9110, section 10.2.3), bounded."""

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

MAX_WAIT_SECONDS: Final = 300.0
"""No server's wish makes a run stand still for longer at one time."""


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait, between 0 and MAX_WAIT_SECONDS; None without a usable value.

    ``now`` is in epoch seconds and only used for dates.
    """
    if value is None:
        return None
    text = value.strip()
    try:
        seconds = float(text) if text.isascii() and text.replace(".", "", 1).isdigit() else _until(text, now)
    except (ValueError, OverflowError, TypeError):
        return None
    return min(max(seconds, 0.0), MAX_WAIT_SECONDS)


def _until(text: str, now: float) -> float:
    moment = parsedate_to_datetime(text)
    # A date without a zone (asctime, '-0000') is UTC, not local time.
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
