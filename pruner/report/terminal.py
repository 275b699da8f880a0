"""The summary of a run on a terminal."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from pruner.model import Status
from pruner.report.columns import Column, column_lines, print_lines
from pruner.report.markdown import STORAGE_NOTE
from pruner.report.summary import hint_for, totals
from pruner.report.text import counted, size_text
from pruner.report.write import Report

if TYPE_CHECKING:
    from rich.console import Console

_SHOWN: Final = 30
_STYLES: Final = {
    Status.DELETED: "green",
    Status.GONE: "green",
    Status.KEPT: "yellow",
    Status.CHANGED: "yellow",
    Status.FAILED: "red",
    Status.UNKNOWN: "red",
    Status.NOT_ATTEMPTED: "yellow",
}


def show_summary(report: Report, console: "Console") -> None:
    """Counts by status, per policy and per image; failures by cause; requests and time."""
    summary = report.summary
    statuses = [status for status in Status if summary.counts[status]]
    console.print()
    _show_counts(console, "policy", summary.policies, statuses)
    if len(summary.images) > 1 or len(summary.policies) > 1:
        _show_counts(console, "image", summary.images, statuses)
    _show_failures(report, console)
    _show_stops(report, console)
    for shard in report.missing:
        console.print(f"[red]shard {shard} is missing[/]: there is no run of it")
    sums = totals(report.record)
    console.print(
        f"{counted(summary.total, 'target')}: "
        + (", ".join(f"{summary.counts[s]:,} {s.value}" for s in statuses) or "nothing to do")
    )
    console.print(
        f"{counted(sums['requests'], 'request')} sent, {sums['throttled_share']:.1%} throttled, "
        f"{sums['seconds']:.1f} s. The deleted tags referred to {size_text(summary.bytes_referenced)}."
    )
    console.print(f"[dim]{STORAGE_NOTE}[/]")


def _show_counts(
    console: "Console", title: str, counts: Mapping[str, Counter[Status]], statuses: list[Status]
) -> None:
    columns = [Column(title, share=1)] + [Column(s.value, _STYLES[s], right=True) for s in statuses]
    rows = [
        (name, *(f"{numbers[status]:,}" for status in statuses))
        for name, numbers in sorted(counts.items())[:_SHOWN]
    ]
    print_lines(console, column_lines(console, rows, columns))
    if len(counts) > _SHOWN:
        console.print(f"… and {len(counts) - _SHOWN:,} more, see the report")


def _show_failures(report: Report, console: "Console") -> None:
    from rich.markup import escape

    for item in sorted(report.summary.failures.values(), key=lambda item: -item.count):
        console.print(f"[red]{counted(item.count, 'tag')} failed[/]: {escape(item.error)}")
        console.print(f"  what to do: {hint_for(item.cause)}")
        console.print(f"  [dim]{escape(', '.join(item.examples))}{' …' if item.count > 5 else ''}[/]")


def _show_stops(report: Report, console: "Console") -> None:
    from rich.markup import escape

    for registry, reason in report.record.registry_stops.items():
        console.print(f"[red]stopped on registry {escape(registry)}[/]: {escape(reason)}")
    end = report.record.end
    if end is not None and end.stop is not None:
        console.print(f"[red]stopped ({end.stop})[/]: {escape(end.message or '')}")
