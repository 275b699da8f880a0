"""The page of a run: what became of every target, what failed and what to do, how fast it went."""

from collections import Counter
from typing import IO, Any, Final, NamedTuple

from pruner.model import Outcome, Status
from pruner.plan.file import Plan
from pruner.report.html.page import write_page
from pruner.report.html.pictures import Segment, bar, time_line
from pruner.report.html.rows import MAX_ROWS, Column, RowSpool
from pruner.report.outcomes import RunRecord
from pruner.report.summary import Summary, exit_code, hint_for, run_state, totals

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


class RunPage:
    """Takes the outcomes as they stream by, and writes the page once all are known.

    The rows wait in ``spool``, a text file, until the totals that stand above them are complete. The same
    outcomes give the same bytes.
    """

    def __init__(self, spool: IO[str]) -> None:
        self._rows = RowSpool(spool, MAX_ROWS)

    def take(self, outcome: Outcome) -> None:
        """One more row."""
        target = outcome.target
        self._rows.add(
            (
                f"{target.registry}/{target.image}",
                target.tag,
                outcome.status.value,
                outcome.attempts,
                outcome.http_status,
                outcome.error,
                outcome.elapsed if outcome.attempts else None,
            )
        )

    def write(self, file: IO[bytes], plan: Plan, run_id: str, record: RunRecord, summary: Summary) -> None:
        """The whole page."""
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
            rows=self._rows.pieces(),
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
