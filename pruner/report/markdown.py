"""Markdown for job summaries and pull-request comments. Nothing from a registry can break a table."""

from collections.abc import Sequence
from typing import Final

from pruner.model import Status
from pruner.names import one_line
from pruner.plan.file import Plan
from pruner.report.outcomes import RunRecord
from pruner.report.summary import Summary, hint_for, run_state, totals
from pruner.report.text import counted, size_text

MAX_ROWS: Final = 50
STORAGE_NOTE: Final = "Deleting tags may not free storage by itself; sizes are what the tags referred to."
_SPECIAL: Final = str.maketrans(
    {char: f"\\{char}" for char in "\\`*_{}[]()#!|~"} | {"<": "&lt;", ">": "&gt;"}
)


def cell(text: str) -> str:
    """``text`` as one harmless cell of a table."""
    return _one_line(text).translate(_SPECIAL)


def code_cell(text: str) -> str:
    """A name as code; names cannot hold backticks or bars, but this does not rely on it."""
    return f"`{_one_line(text).replace('`', chr(39)).replace('|', '¦')}`"


def _one_line(text: str) -> str:
    return one_line(" ".join(text.split()))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table of at most MAX_ROWS rows, saying how many were cut."""
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows[:MAX_ROWS]]
    if len(rows) > MAX_ROWS:
        lines += ["", f"… and {len(rows) - MAX_ROWS:,} more."]
    return lines


def summary_markdown(run_id: str, plan: Plan, record: RunRecord, summary: Summary) -> str:
    """The summary of a run."""
    sums = totals(record)
    lines = [f"## pruner run {run_id}: {run_state(record, summary)}", ""]
    end = record.end
    if end is not None and end.message:
        lines += [f"**Stopped** ({cell(end.stop or '')}): {cell(end.message)}", ""]
    lines += table(
        ("outcome", "tags"),
        [(status.value, f"{summary.counts[status]:,}") for status in Status if summary.counts[status]],
    )
    lines += [
        "",
        f"{counted(summary.total, 'target')}, {counted(sums['requests'], 'request')} sent, "
        f"{sums['throttled_share']:.1%} throttled, {sums['seconds']:.1f} s. "
        f"Deleted tags referenced {size_text(summary.bytes_referenced)}.{_planned(plan)} {STORAGE_NOTE}",
        "",
        *_images(summary),
        *_failures(summary),
    ]
    return "\n".join(lines) + "\n"


def _planned(plan: Plan) -> str:
    """What the whole plan frees, if that was counted."""
    if plan.freed is None or plan.freed.bytes is None:
        return ""
    return f" Once the whole plan is done, nothing refers to {size_text(plan.freed.bytes)} of that."


def _images(summary: Summary) -> list[str]:
    rows = [
        (
            code_cell(image),
            str(counts[Status.DELETED]),
            str(counts.total() - counts[Status.DELETED]),
        )
        for image, counts in sorted(summary.images.items())
    ]
    return [*table(("image", "deleted", "other"), rows), ""]


def _failures(summary: Summary) -> list[str]:
    if not summary.failures:
        return []
    rows = [
        (cell(item.cause), str(item.count), cell(item.error), cell(hint_for(item.cause)))
        for item in sorted(summary.failures.values(), key=lambda item: -item.count)
    ]
    return [*table(("failure", "tags", "first error", "what to do"), rows), ""]
