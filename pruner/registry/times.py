"""Times in answers: numbers in seconds or milliseconds, or ISO 8601 text. Pure.

What is no believable time is unknown. A time after now is kept as it is: it is the newest possible, whoever's
clock is wrong.
"""

from datetime import UTC, datetime
from typing import Any, Final

_SECONDS_BELOW: Final = 1e11
_MILLISECONDS_BELOW: Final = 1e14
_EARLIEST: Final = 1_356_998_400_000
"""2013-01-01: no container image is older, so an earlier time is a mistake and not a great age."""


def epoch_ms(value: Any) -> int | None:
    """``value`` in epoch milliseconds; None when it is missing, zero, not a time or before 2013.

    The unit of a number is told by its magnitude: below 1e11 it is seconds, below 1e14 milliseconds.
    """
    if isinstance(value, str) and not value.isdecimal():
        moment = _iso(value)
        return moment if moment is not None and moment >= _EARLIEST else None
    number = _number(value)
    if number is None or not 0 < number < _MILLISECONDS_BELOW:
        return None
    milliseconds = int(number * 1000 if number < _SECONDS_BELOW else number)
    return milliseconds if milliseconds >= _EARLIEST else None


def _number(value: Any) -> float | int | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return value
    return float(value[:20]) if isinstance(value, str) and value.isascii() else None


def _iso(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
