"""Measuring honestly: interleaved repeats, ratios of neighbours, medians, quartiles, pinned processes."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Settings:
    """``full`` asks for the largest sizes, which take longer than a minute."""

    full: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: a ratio (or an amount in ``unit``), its quartiles, and its goal if it has one.

    ``measured`` and ``against`` are the two sides in absolute terms, which drift with the machine.
    """

    what: str
    value: float
    low: float
    high: float
    repeats: int
    measured: str
    against: str
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "x"
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if self.at_least is not None:
            return self.value >= self.at_least
        return None if self.at_most is None else self.value <= self.at_most


def interleaved(
    cases: Mapping[str, Callable[[], float]], repeats: int, *, warm: bool = False
) -> dict[str, list[float]]:
    """Run all cases one after the other, ``repeats`` times; with ``warm`` once more before, uncounted."""
    if warm:
        for case in cases.values():
            case()
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, case in cases.items():
            found[name].append(case())
    return found


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def compare(
    what: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    shown: str = "{:,.0f}/s",
    **more: Any,
) -> Figure:
    """The ratios of neighbouring measurements ``ours / theirs``; ``shown`` formats either side's median."""
    ratios = [own / other for own, other in zip(ours, theirs, strict=True)]
    low, middle, high = quartiles(ratios)
    measured, against = (shown.format(statistics.median(side)) for side in (ours, theirs))
    return Figure(what, middle, low, high, len(ratios), measured, against, **more)


def cores() -> tuple[int | None, int | None]:
    """The cores of client and server: different where there are two; None where pinning cannot be done."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    usable = sorted(_ALLOWED)
    return usable[-1], usable[0]


_ALLOWED = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def pin(core: int | None) -> None:
    """Keep this process on one core."""
    if core is not None:
        os.sched_setaffinity(0, {core})


def start(command: Sequence[str], core: int | None, **more: Any) -> "subprocess.Popen[Any]":
    """Start a process of ours on a core."""
    return subprocess.Popen(command, preexec_fn=lambda: pin(core), cwd=ROOT, **more)


@dataclass(frozen=True, slots=True)
class Sample:
    """What a client says of its own run: requests, seconds, and its own CPU seconds."""

    count: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.count / self.seconds


def client(module: str, **arguments: Any) -> Sample:
    """Run ``python -m MODULE`` on the client's core; it prints a Sample as JSON."""
    return Sample(**json.loads(output([sys.executable, "-m", module, json.dumps(arguments)])))


def output(command: Sequence[str], **more: Any) -> str:
    """What a command prints, run on the client's core."""
    process = start(command, cores()[0], stdout=subprocess.PIPE, text=True, **more)
    text, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"benchmark failed: {' '.join(map(str, command))}")
    return str(text)
