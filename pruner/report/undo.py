"""What became of tags that were to be put back: for a terminal, and as JSON."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from pruner import __version__
from pruner.engine.undo import Restored, UndoOutcome
from pruner.report.columns import Column, column_lines, print_lines
from pruner.report.text import counted

if TYPE_CHECKING:
    from rich.console import Console

FORMAT: Final = "ncr-pruner.undo"
VERSION: Final = 1
_SHOWN: Final = 30
_COLUMNS: Final = (Column("tag", share=3), Column("outcome", "bold"), Column("why", "dim", share=5))


def undo_report(run_id: str, outcomes: Sequence[UndoOutcome], *, dry_run: bool) -> dict[str, Any]:
    """The report as it is written."""
    counts = Counter(outcome.status for outcome in outcomes)
    return {
        "format": FORMAT,
        "version": VERSION,
        "tool": __version__,
        "run": run_id,
        "dry_run": dry_run,
        "targets": len(outcomes),
        "counts": {status.value: counts[status] for status in Restored},
        "outcomes": outcomes,
    }


def show_undo(outcomes: Sequence[UndoOutcome], console: "Console", *, dry_run: bool) -> None:
    """Counts, and each tag that was not put back, with the reason."""
    counts = Counter(outcome.status for outcome in outcomes)
    others = [o for o in outcomes if o.status not in (Restored.RESTORED, Restored.THERE)]
    if others:
        rows = [(str(o.target), o.status.value, o.error or "") for o in others[:_SHOWN]]
        print_lines(console, column_lines(console, rows, _COLUMNS))
    if len(others) > _SHOWN:
        console.print(f"… and {len(others) - _SHOWN:,} more, see the report")
    said = [f"{counts[status]:,} {_name(status, dry_run)}" for status in Restored if counts[status]]
    console.print(f"{counted(len(outcomes), 'tag')}: {', '.join(said)}")


def _name(status: Restored, dry_run: bool) -> str:
    return "can be put back" if dry_run and status is Restored.RESTORED else status.value
