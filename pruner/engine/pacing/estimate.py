"""The server's rate, judged from a reading. Pure; requests per second."""

from typing import Final, NamedTuple

from pruner.engine.pacing.reading import Reading

_FIRST: Final = 0.93
_FEWEST: Final = 20
"""Accepted requests that a reading needs to be believed."""
_LEAP: Final = 2.0
"""A ramp that got so far above the estimate shows that the server's rate has changed."""
_NO_NEWS: Final = 1.05
"""If it has, more passed than so many times the estimate."""
_AS_READ: Final = 1.1
_EXPECTED: Final = 1.5
"""Up to so many times the estimate the end of a ramp is no surprise."""


class Judgement(NamedTuple):
    """The new estimate, and whether the reading was long enough to begin a new one."""

    estimate: float
    proved: bool
    """The old estimate was right."""
    settled: bool


def first(rate: float, used: float | None) -> float:
    """An estimate from nothing but the rate at which the first request was refused."""
    return _FIRST * min(rate, used or rate)


def ends_ramp(rate: float, old: float | None) -> bool:
    """Whether a refusal at ``rate`` came where it was expected: not far above the estimate."""
    return old is not None and old < rate < _EXPECTED * old


def judge(reading: Reading, old: float, rate: float, used: float | None, cruise: float) -> Judgement:
    """The estimate after a refusal at ``rate``, where ``old`` was believed and ``used`` passed lately.

    ``cruise`` is the share of the estimate at which one cruises.
    """
    if reading.accepted < _FEWEST:
        return _glimpsed(reading, old, rate, cruise)
    if rate > _LEAP * old and (reading.rate or reading.upper) > _NO_NEWS * old:
        # The ramp has left the old estimate far behind, and so has the server.
        return Judgement(max(old, reading.lower, 0.95 * min(rate, used or rate)), False, True)
    if rate > 1.001 * cruise * old:
        if reading.rate is not None and reading.rate < cruise * old:
            return Judgement(reading.rate, True, True)
        # Below the estimate the allowance may have been full for a while: the reading is a lower bound.
        least = reading.rate or reading.lower
        return Judgement(max(old, least), least <= 1.03 * old, True)
    if reading.rate is not None:
        return Judgement(min(0.99 * old, reading.rate), False, True)
    step = 0.98 if reading.active >= 5.0 else 0.9 if reading.active >= 1.0 else 0.8
    return Judgement(min(max(step * old, 0.97 * reading.lower), reading.upper), False, True)


def _glimpsed(reading: Reading, old: float, rate: float, cruise: float) -> Judgement:
    """Too short to read well: step down and go on reading."""
    if ends_ramp(rate, old):
        return Judgement(old, False, False)
    current = min(old, rate / cruise)
    rough = reading.lower if reading.accepted >= 4 else 0.0
    return Judgement(max(0.8 * current, min(rough, 0.97 * current)), False, False)


def explains(reading: Reading | None, old: float, rate: float) -> bool:
    """Whether a refusal at ``rate``, above the estimate ``old``, is what a limit of the rate would do."""
    known = None if reading is None else reading.rate
    return rate < _LEAP * old or (known is not None and known < _AS_READ * old)
