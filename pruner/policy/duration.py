"""Durations of the policy language: ``90m 36h 14d 6w``, exact, bounded, nothing else."""

import re
from typing import Final

from pruner.names import printable

_UNITS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_PATTERN: Final = re.compile(r"([0-9]{1,8})([mhdw])")
MAX_MILLISECONDS: Final = 36_525 * 86_400_000
"""100 years: a longer duration is a typing error, and other tools have overflowed on one."""

DURATION_RULE: Final = "a whole number and a unit: m (minutes), h (hours), d (days) or w (weeks), as in 14d"


def parse_duration(text: str) -> int:
    """Milliseconds of ``text``. ValueError says what is wrong and what is allowed."""
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise ValueError(f"'{printable(text, 40)}' is not a duration; write {DURATION_RULE}")
    milliseconds = int(match[1]) * _UNITS[match[2]]
    if milliseconds == 0:
        raise ValueError(f"'{text}' is no time at all; write at least 1m")
    if milliseconds > MAX_MILLISECONDS:
        raise ValueError(f"'{text}' is longer than 100 years (36525d)")
    return milliseconds


def format_age(milliseconds: int) -> str:
    """An age for people: ``53 days``, ``7 hours``, ``12 minutes``."""
    for unit, size in (("day", _UNITS["d"]), ("hour", _UNITS["h"]), ("minute", _UNITS["m"])):
        count = milliseconds // size
        if count >= (2 if unit == "day" else 1):
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "under a minute"


def format_duration(milliseconds: int) -> str:
    """A duration as a policy writes it, in the largest unit that is exact; weeks are shown as days."""
    for unit in "dhm":
        if milliseconds % _UNITS[unit] == 0:
            return f"{milliseconds // _UNITS[unit]}{unit}"
    return f"{milliseconds}ms"
