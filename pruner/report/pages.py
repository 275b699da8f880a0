"""Self-contained HTML pages of a plan and of a run: no network, everything from a registry escaped."""

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from itertools import islice, pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec

from pruner import names
from pruner.engine.journal import Tick
from pruner.model import Outcome, ReasonKind, Status
from pruner.plan.file import Plan
from pruner.plan.records import Entry, ImageRecord
from pruner.report.markdown import STORAGE_NOTE
from pruner.report.outcomes import RunRecord, read_outcomes
from pruner.report.summary import Summary, hint_for, run_state, totals
from pruner.report.text import counted, date_text, size_text

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

MAX_TABLE_ROWS: Final = 200_000
MAX_LIST_ROWS: Final = 200
_BATCH: Final = 500
_DAY_MS: Final = 86_400_000
_AGES: Final = ((7, "under a week"), (30, "under a month"), (90, "under 3 months"), (365, "under a year"))

_PLAN_COLUMNS: Final = (
    ("image", "text"),
    ("tag", "text"),
    ("updated", "time"),
    ("last pull", "time"),
    ("size", "bytes"),
    ("policy", "choice"),
    ("rule", "text"),
    ("reason", "text"),
    ("digest", "text"),
)
_RUN_COLUMNS: Final = (
    ("image", "text"),
    ("tag", "text"),
    ("status", "choice"),
    ("attempts", "number"),
    ("HTTP", "number"),
    ("seconds", "number"),
    ("policy", "text"),
    ("error", "text"),
)


@dataclass(slots=True)
class Section:
    """A part of a page: a picture, a table, or both."""

    title: str
    columns: tuple[str, ...] = ()
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    picture: "Markup | None" = None
    cut: str = ""


@cache
def _template() -> "Template":
    from jinja2 import Environment

    source = files("pruner.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)


def write_plan_page(plan: Plan, file: IO[bytes]) -> None:
    """Write the page of a plan; its rows are streamed."""
    reasons: Counter[tuple[str, str, str]] = Counter()
    ages: Counter[str] = Counter()
    images: list[tuple[ImageRecord, int]] = []
    for record, entries in plan.images():
        going = [entry for entry in entries if not entry.missing]
        images.append((record, len(going)))
        for entry in going:
            attached = entry.kind is ReasonKind.COSIGN
            reason = "attached to an image that goes" if attached else entry.reason
            reasons[(entry.policy, entry.source, reason)] += 1
            ages[_age_class(entry.updated, plan.header.decided_at)] += 1
    kept = [(names.printable(f"{k.registry}/{k.image}:{k.tag}"), k.reason) for k in plan.kept_targets()]
    total = sum(count for _, count in images)
    _write(
        file,
        title="pruner plan",
        subtitle=f"listed {date_text(plan.header.listed_at)} UTC; {_places(plan)}",
        totals=[
            ("tags that go", f"{total:,}"),
            ("tags that stay", f"{plan.footer.tags_listed - total:,}"),
            ("images listed", f"{plan.footer.images_listed:,}"),
            ("referred to", size_text(plan.footer.bytes)),
        ],
        sections=[
            _bars(
                [
                    (f"{r.registry}/{r.image}", [("go", count), ("stay", r.tags - count)])
                    for r, count in images
                ]
            ),
            _histogram(ages),
            _listed("Reasons", ("policy", "rule", "where", "tags"), _by_count(reasons)),
            _listed("Explicit targets that stay all the same", ("target", "why"), kept),
        ],
        table_title="Deletions",
        columns=_PLAN_COLUMNS,
        rows=(_plan_row(entry) for _, entries in plan.images() for entry in entries),
        total=plan.entries_left,
        everything="pruner plan --format csv",
    )


def write_run_page(plan: Plan, journal: Path, run_id: str, file: IO[bytes]) -> None:
    """Write the page of a run; its rows are streamed out of the journal."""
    record, summary = RunRecord(), Summary()
    for outcome in read_outcomes(plan, journal, record):
        summary.take(outcome)
    sums, end = totals(record), record.end
    images = [
        (name, [(status.value, counts[status]) for status in Status if counts[status]])
        for name, counts in sorted(summary.images.items())
    ]
    failures = [
        (item.cause, item.count, item.error, hint_for(item.cause)) for item in summary.failures.values()
    ]
    stops = [f"{registry}: {reason}" for registry, reason in record.registry_stops.items()]
    if end is not None and end.stop is not None:
        stops.append(f"stopped ({end.stop}): {end.message}")
    _write(
        file,
        title=f"pruner run {run_id}",
        subtitle=f"{run_state(record, summary)}; {_places(plan)}",
        stop="; ".join(map(names.printable, stops)),
        totals=[
            *((status.value, f"{summary.counts[status]:,}") for status in Status if summary.counts[status]),
            ("requests", f"{sums['requests']:,}"),
            ("throttled", f"{sums['throttled_share']:.1%}"),
            ("seconds", f"{sums['seconds']:,.1f}"),
            ("deleted tags referred to", size_text(summary.bytes_referenced)),
        ],
        sections=[
            _bars(images),
            _listed("Failures", ("cause", "tags", "first error", "what to do"), failures),
            _time_line(record.ticks),
        ],
        table_title="Outcomes",
        columns=_RUN_COLUMNS,
        rows=(_run_row(outcome) for outcome in read_outcomes(plan, journal, RunRecord())),
        total=summary.total,
        everything="outcomes.csv",
    )


def _write(
    file: IO[bytes],
    *,
    sections: list[Section],
    columns: Iterable[tuple[str, str]],
    rows: Iterator[list[Any]],
    total: int,
    everything: str,
    **page: Any,
) -> None:
    from markupsafe import Markup

    script = files("pruner.report").joinpath("page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    described = [
        {"name": name, "kind": "text" if kind == "choice" else kind, "choice": kind == "choice"}
        for name, kind in columns
    ]
    cut = (
        f"The first {MAX_TABLE_ROWS:,} of {total:,}; all are in {everything}."
        if total > MAX_TABLE_ROWS
        else ""
    )
    pieces = _template().generate(
        script=Markup(script),  # noqa: S704 - our own file
        script_hash=f"sha256-{digest}",
        note=STORAGE_NOTE,
        sections=[section for section in sections if section.rows or section.picture],
        columns=Markup(_inert_json(described)),  # noqa: S704 - escaped for a script element
        rows=_row_pieces(islice(rows, MAX_TABLE_ROWS)),
        table_cut=cut,
        **page,
    )
    for piece in pieces:
        file.write(piece.encode())


def _row_pieces(rows: Iterator[list[Any]]) -> "Iterator[Markup]":
    from markupsafe import Markup

    separator = ""
    while batch := list(islice(rows, _BATCH)):
        yield Markup(separator + _inert_json(batch)[1:-1])  # noqa: S704 - escaped for a script element
        separator = ",\n"


def _inert_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = msgspec.json.encode(value).decode()
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _plan_row(entry: Entry) -> list[Any]:
    return [
        f"{entry.registry}/{entry.image}",
        names.printable(entry.tag),
        entry.updated,
        entry.last_pulled,
        entry.size,
        names.printable(entry.policy),
        names.printable(entry.source),
        "already gone" if entry.missing else names.printable(entry.reason),
        names.printable(entry.digest or ""),
    ]


def _run_row(outcome: Outcome) -> list[Any]:
    target = outcome.target
    return [
        f"{target.registry}/{target.image}",
        target.tag,
        outcome.status.value,
        outcome.attempts,
        outcome.http_status,
        outcome.elapsed,
        names.printable(outcome.policy or ""),
        names.printable(outcome.error or ""),
    ]


def _places(plan: Plan) -> str:
    return ", ".join(f"{name} at {facts.endpoint}" for name, facts in plan.header.registries.items())


def _by_count(reasons: Counter[tuple[str, str, str]]) -> list[tuple[Any, ...]]:
    return [(policy, reason, source, f"{n:,}") for (policy, source, reason), n in reasons.most_common()]


def _listed(title: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Section:
    shown = [
        tuple(names.printable(cell, 400) if isinstance(cell, str) else cell for cell in row)
        for row in rows[:MAX_LIST_ROWS]
    ]
    more = f"… and {len(rows) - MAX_LIST_ROWS:,} more" if len(rows) > MAX_LIST_ROWS else ""
    return Section(title, columns, shown, cut=more)


def _bars(images: list[tuple[str, list[tuple[str, int]]]]) -> Section:
    """One bar per image, the parts in proportion."""
    from markupsafe import Markup

    rows: list[tuple[Any, ...]] = []
    for name, parts in images:
        total = sum(count for _, count in parts) or 1
        bar = Markup("").join(
            Markup('<i class="{}" style="width:{:.1f}%" title="{}"></i>').format(
                kind, 100 * count / total, f"{count} {kind}"
            )
            for kind, count in parts
        )
        text = ", ".join(f"{count:,} {kind}" for kind, count in parts if count)
        label = Markup('<div class="bar" role="img" aria-label="{}">{}</div>').format(text, bar)
        rows.append((names.printable(name), label, text))
    rows.sort(key=lambda row: str(row[0]))
    more = f"… and {len(rows) - MAX_LIST_ROWS:,} more images" if len(rows) > MAX_LIST_ROWS else ""
    return Section("Images", ("image", "", "tags"), rows[:MAX_LIST_ROWS], cut=more)


def _age_class(updated: int | None, now: int) -> str:
    if updated is None:
        return "unknown"
    days = (now - updated) / _DAY_MS
    return next((name for limit, name in _AGES if days < limit), "a year or more")


def _histogram(ages: Counter[str]) -> Section:
    """How long ago what goes was last updated."""
    from markupsafe import Markup

    order = [*(name for _, name in _AGES), "a year or more", "unknown"]
    most = max(ages.values(), default=0)
    if not most:
        return Section("Age")
    bars = Markup("").join(
        Markup(
            '<text x="150" y="{}" text-anchor="end">{}</text>'
            '<rect class="go" x="160" y="{}" width="{:.1f}" height="16" fill="var(--go)"/>'
            '<text x="{:.1f}" y="{}">{}</text>'
        ).format(y + 13, name, y, 560 * ages[name] / most, 168 + 560 * ages[name] / most, y + 13, ages[name])
        for y, name in ((24 * number, name) for number, name in enumerate(order))
        if ages[name]
    )
    picture = Markup(
        '<svg viewBox="0 0 800 {}" role="img" aria-label="Age of the tags that go">{}</svg>'
    ).format(24 * len(order), bars)
    return Section("Age of the tags that go", picture=picture)


def _time_line(ticks: list[Tick]) -> Section:
    """Requests and refusals per second, and requests in flight, over the run."""
    from markupsafe import Markup

    if len(ticks) < 3:
        return Section("Time line")
    start, seconds = ticks[0].at, max(1.0, (ticks[-1].at - ticks[0].at) / 1000)
    series = {"requests/s": "var(--link)", "refused/s": "var(--bad)", "in flight": "var(--stay)"}
    points: dict[str, list[tuple[float, float]]] = {name: [] for name in series}
    for before, tick in pairwise(ticks):
        span = max(0.001, (tick.at - before.at) / 1000)
        at = (tick.at - start) / 1000
        points["requests/s"].append((at, max(0, tick.requests - before.requests) / span))
        points["refused/s"].append((at, max(0, tick.throttled - before.throttled) / span))
        points["in flight"].append((at, tick.in_flight))
    top = max(1.0, *(value for line in points.values() for _, value in line))
    lines = Markup("").join(
        Markup('<polyline fill="none" stroke="{}" stroke-width="1.6" points="{}"/>').format(
            color,
            " ".join(f"{50 + 720 * x / seconds:.1f},{180 - 160 * y / top:.1f}" for x, y in points[name]),
        )
        for name, color in series.items()
    )
    legend = Markup("").join(
        Markup('<text x="{}" y="12" style="fill:{}">{}</text>').format(60 + 110 * number, color, name)
        for number, (name, color) in enumerate(series.items())
    )
    frame = Markup(
        '<line class="axis" x1="50" y1="180" x2="770" y2="180"/>'
        '<text x="46" y="26" text-anchor="end">{:.0f}</text>'
        '<text x="46" y="184" text-anchor="end">0</text><text x="770" y="198" text-anchor="end">{}</text>'
    ).format(top, counted(round(seconds), "second"))
    picture = Markup('<svg viewBox="0 0 800 205" role="img" aria-label="{}">{}{}{}</svg>').format(
        "Requests, refusals and requests in flight over time", frame, lines, legend
    )
    return Section("Time line", picture=picture)
