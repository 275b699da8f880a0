"""The page of a run: what became of every target, what failed and what to do, how fast it went."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from pruner.model import Status
from pruner.plan.file import Plan
from pruner.report.html.page import write_page
from pruner.report.html.pictures import Segment, bar, time_line
from pruner.report.html.rows import MAX_ROWS, Column, Row, row_pieces
from pruner.report.outcomes import RunRecord, read_outcomes
from pruner.report.summary import Summary, exit_code, hint_for, run_state, summarise, totals

MAX_IMAGES: Final = 500
MAX_FAILURES: Final = 200

COLUMNS: Final = (
    Column("image", "name", 13, choice="all images"),
    Column("tag", "name", 13),
    Column("status", "status", 8, choice="all outcomes"),
    Column("attempts", "number", 6),
    Column("HTTP status", "number", 7),
    Column("error", "text", 16),
    Column("elapsed", "seconds", 6),
)


class ImageOutcomes(NamedTuple):
    """What became of the targets of one image."""

    name: str
    counts: Counter[Status]
    bar: list[Segment]


def write_run_page(
    plan: Plan, journal: Path, run_id: str, file: IO[bytes], known: tuple[RunRecord, Summary] | None = None
) -> None:
    """Write the page of a run. The same plan and journal give the same bytes.

    ``known`` is what ``summarise`` would say, where that was read already.
    """
    record, summary = known or summarise(plan, journal)
    write_page(
        file,
        "run.html.j2",
        plan=plan,
        run_id=run_id,
        record=record,
        summary=summary,
        state=run_state(record, summary),
        exit_code=int(exit_code(record, summary)),
        totals=totals(record),
        statuses=[status for status in Status if summary.counts[status]],
        all_statuses=list(Status),
        images=_images(summary),
        failures=_failures(summary),
        hint_for=hint_for,
        time_line=time_line(record),
        columns=COLUMNS,
        rows=row_pieces(outcome_rows(plan, journal), MAX_ROWS),
        row_count=summary.total,
        rows_written=min(summary.total, MAX_ROWS),
        where_all="outcomes.csv",
    )


def _images(summary: Summary) -> list[ImageOutcomes]:
    """The images to draw, those with the most trouble first."""
    ordered = sorted(summary.images.items(), key=lambda item: (-_trouble(item[1]), -item[1].total(), item[0]))
    return [
        ImageOutcomes(name, counts, bar((status.value, counts[status]) for status in Status))
        for name, counts in ordered[:MAX_IMAGES]
    ]


def _trouble(counts: Counter[Status]) -> int:
    return counts[Status.FAILED] + counts[Status.UNKNOWN]


def _failures(summary: Summary) -> list[Any]:
    ordered = sorted(summary.failures.values(), key=lambda failure: (-failure.count, failure.cause))
    return ordered[:MAX_FAILURES]


def outcome_rows(plan: Plan, journal: Path) -> Iterator[Row]:
    """The outcomes as rows of the table."""
    for outcome in read_outcomes(plan, journal, RunRecord()):
        target = outcome.target
        yield (
            f"{target.registry}/{target.image}",
            target.tag,
            outcome.status.value,
            outcome.attempts,
            outcome.http_status,
            outcome.error,
            outcome.elapsed if outcome.attempts else None,
        )
