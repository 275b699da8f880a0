"""The geometry of the pictures: bars, the age histogram, the time line of a run.

Widths are in per cent of the picture, so that a template can draw them at any width without scaling text.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from math import floor, log10
from typing import Final, NamedTuple

from pruner.report.outcomes import RunRecord

DAY_MS: Final = 86_400_000
_VISIBLE: Final = 0.7
"""No part of a bar is narrower (per cent), however few tags it stands for."""


class Segment(NamedTuple):
    """One part of a bar: what it stands for, how many, and where it lies, in per cent."""

    kind: str
    tags: int
    x: float
    width: float


def bar(parts: Iterable[tuple[str, int]]) -> list[Segment]:
    """A bar over its whole width; parts without tags are left out."""
    present = [(kind, count) for kind, count in parts if count > 0]
    whole = sum(count for _, count in present)
    widths = [max(_VISIBLE, 100 * count / whole) for _, count in present]
    scale = 100 / sum(widths) if widths else 0
    segments, x = [], 0.0
    for (kind, count), width in zip(present, widths, strict=True):
        segments.append(Segment(kind, count, round(x, 3), round(width * scale, 3)))
        x += width * scale
    return segments


EDGES: Final = (0, 1, 7, 14, 30, 60, 90, 180, 365, 730, 1095, 1825)
"""Where the bins of the age histogram begin, in days. The last one has no end."""


_WIDEST: Final = 12.0
"""No column of a histogram is wider (per cent), however few there are."""


class Column(NamedTuple):
    """A column of a histogram: position and size in per cent, and what it says."""

    x: float
    width: float
    height: float
    tags: int
    label: str


class Mark(NamedTuple):
    """A label below an axis."""

    x: float
    label: str


@dataclass(slots=True)
class AgeHistogram:
    """How many tags are how old."""

    counts: list[int] = field(default_factory=lambda: [0] * len(EDGES))
    unknown: int = 0

    def take(self, age: int | None) -> None:
        """Count a tag of so many milliseconds; None if nobody knows."""
        if age is None:
            self.unknown += 1
        else:
            self.counts[bisect_right(EDGES, max(0, age) // DAY_MS) - 1] += 1

    @property
    def _bins(self) -> range:
        """The bins to draw: from the first to the last with anything in it."""
        filled = [index for index, count in enumerate(self.counts) if count]
        return range(filled[0], filled[-1] + 1) if filled else range(0)

    @property
    def _step(self) -> float:
        return min(_WIDEST, 100 / (len(self._bins) + 1 + (1.25 if self.unknown else 0)))

    def columns(self) -> list[Column]:
        """The columns, the one of unknown ages last and apart."""
        top, step = max(*self.counts, self.unknown, 1), self._step
        found = [
            Column(
                round((place + 0.5) * step, 3),
                round(step, 3),
                round(100 * self.counts[index] / top, 3),
                self.counts[index],
                _bin_text(index),
            )
            for place, index in enumerate(self._bins)
        ]
        if self.unknown:
            x = (len(self._bins) + 0.75) * step
            height = 100 * self.unknown / top
            found.append(Column(round(x, 3), round(step, 3), round(height, 3), self.unknown, "unknown age"))
        return found

    def marks(self) -> list[Mark]:
        """The days at the edges between the columns."""
        step = self._step
        marks = [Mark(round((place + 0.5) * step, 3), str(EDGES[i])) for place, i in enumerate(self._bins)]
        if self._bins:
            after = self._bins[-1] + 1
            end = str(EDGES[after]) if after < len(EDGES) else "…"
            marks.append(Mark(round((len(self._bins) + 0.5) * step, 3), end))
        if self.unknown:
            marks.append(Mark(round((len(self._bins) + 1.25) * step, 3), "unknown"))
        return marks


def _bin_text(index: int) -> str:
    if index == len(EDGES) - 1:
        return f"{EDGES[-1]} days or more"
    first, last = EDGES[index], EDGES[index + 1] - 1
    return f"{first} to {last} days" if last > first else "under 1 day"


class Sample(NamedTuple):
    """How a run went between two ticks: from ``since`` to ``at``, in seconds of running; rates per second.

    ``granted`` is what the pacer allowed, None without a limit.
    """

    session: int
    since: float
    at: float
    sent: float
    refused: float
    in_flight: float
    granted: float | None


def samples(record: RunRecord) -> list[Sample]:
    """What happened between the ticks; the pauses between sessions take no time.

    Counts of a tick go on from the listing before the session, so the first one is only a beginning.
    """
    starts = [start.at for start in record.starts]
    found: list[Sample] = []
    for session, ticks in groupby(record.ticks, key=lambda tick: bisect_right(starts, tick.at)):
        begin = found[-1].at if found else 0.0
        elapsed = 0.0
        for before, tick in pairwise(ticks):
            seconds = (tick.at - before.at) / 1000
            if seconds <= 0:  # the clock was set back
                continue
            since, elapsed = elapsed, elapsed + seconds
            sent = max(0, tick.requests - before.requests) / seconds
            refused = max(0, tick.throttled - before.throttled) / seconds
            span = begin + since, begin + elapsed
            found.append(Sample(session, *span, sent, refused, tick.in_flight, tick.rate or None))
    return found


class Panel(NamedTuple):
    """A small picture over time: lines as points in a square of 1000 x 100, with y pointing down."""

    title: str
    kind: str
    top: float
    lines: list[str]
    limits: list[str]
    """Lines of what was allowed; empty for most panels."""


class TimeLine(NamedTuple):
    """Rate, throttling and requests in flight of a run, under each other on one axis."""

    panels: list[Panel]
    seconds: float
    resumed: list[float]
    """Where a session was resumed, in per cent."""


def time_line(record: RunRecord) -> TimeLine | None:
    """The time line of a run; None if it was too short for one."""
    found = samples(record)
    if len(found) < 2 or found[-1].at <= 0:
        return None
    end = found[-1].at
    borders = [round(100 * old.at / end, 2) for old, new in pairwise(found) if old.session != new.session]
    panels = [
        _panel("requests sent per second", "sent", found, lambda sample: sample.sent),
        _panel("refused (throttled) per second", "refused", found, lambda sample: sample.refused),
        _panel("requests in flight", "in-flight", found, lambda sample: sample.in_flight),
    ]
    return TimeLine(panels, end, borders)


def _panel(title: str, kind: str, found: Sequence[Sample], value: Callable[[Sample], float]) -> Panel:
    granted = [sample.granted for sample in found if sample.granted is not None] if kind == "sent" else []
    highest = max(map(value, found))
    # What was allowed may be far above what was needed; it must not press the rest flat.
    top = nice_ceiling(max([highest, *(min(rate, 2 * highest) for rate in granted)]))
    lines = _lines(found, value, top)
    limits = _lines(found, lambda sample: sample.granted, top) if granted else []
    return Panel(title, kind, top, lines, limits)


def _lines(found: Sequence[Sample], value: Callable[[Sample], float | None], top: float) -> list[str]:
    """One line per stretch of known values within a session."""
    end = found[-1].at
    lines = []
    for (_, known), group in groupby(found, key=lambda sample: (sample.session, value(sample) is not None)):
        if known:
            stretch = list(group)
            moments = [stretch[0].since, *(sample.at for sample in stretch)]
            levels = [min(value(sample) or 0, top) for sample in (stretch[0], *stretch)]
            points = zip(moments, levels, strict=True)
            lines.append(" ".join(f"{1000 * x / end:.1f},{100 - 100 * y / top:.1f}" for x, y in points))
    return lines


def nice_ceiling(value: float) -> float:
    """The next number of the form 1, 2 or 5 times a power of ten; 1 for nothing."""
    if value <= 1:
        return 1
    power = 10 ** floor(log10(value))
    return float(next(step * power for step in (1, 2, 5, 10) if value <= step * power * (1 + 1e-9)))
