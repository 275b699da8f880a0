"""Times in NCR answers: numbers in seconds or milliseconds, or ISO 8601 strings; doubt is None."""

from datetime import UTC, datetime
from typing import Any, Final

_SECONDS_BELOW: Final = 1e11
_MILLISECONDS_BELOW: Final = 1e14


def epoch_ms(value: Any, now: int) -> int | None:
    """``value`` in epoch milliseconds; None when it is missing, zero, not a time or after ``now``.

    The unit of a number is told by its magnitude: below 1e11 it is seconds, below 1e14 milliseconds.
    """
    number = _number(value)
    if number is None or not 0 < number < _MILLISECONDS_BELOW:
        return None
    milliseconds = int(number * 1000 if number < _SECONDS_BELOW else number)
    return milliseconds if milliseconds <= now else None


def _number(value: Any) -> float | int | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return value
    if not isinstance(value, str):
        return None
    try:
        return float(value) if value.isdecimal() else _iso(value)
    except (ValueError, OverflowError):
        return None


def _iso(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000
