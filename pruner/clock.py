"""A clock that goes on while the machine sleeps."""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

_BOOT_CLOCK: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)

# Asked several times for each DELETE: a partial costs less than a function that decides anew.
running_clock: Final[Callable[[], float]] = (
    time.monotonic if _BOOT_CLOCK is None else partial(time.clock_gettime, _BOOT_CLOCK)
)
"""Seconds since some moment, those included in which the machine was suspended.

Linux only (CLOCK_BOOTTIME); elsewhere the monotonic clock, which on macOS stands still meanwhile.
"""
