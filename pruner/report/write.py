"""The files of a report, rendered from journal and plan in one streaming pass, each replaced atomically."""

import csv
import io
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final

import msgspec

from pruner import __version__
from pruner.files import atomic_file, private_folder
from pruner.model import Outcome, Status
from pruner.plan.file import Plan
from pruner.plan.shards import Shard
from pruner.report.html import RunPage
from pruner.report.markdown import STORAGE_NOTE, summary_markdown
from pruner.report.outcomes import RunRecord, read_outcomes
from pruner.report.shards import ShardRuns
from pruner.report.summary import Summary, exit_code, hint_for, plain_counts, run_state, totals
from pruner.report.text import inert_cell

FORMAT: Final = "ncr-pruner.report"
VERSION: Final = 1

CSV_COLUMNS: Final = (
    "registry",
    "image",
    "tag",
    "status",
    "policy",
    "attempts",
    "http_status",
    "cause",
    "error",
    "size",
    "started",
    "elapsed",
)


@dataclass(frozen=True, slots=True)
class Report:
    """A written report: its folder and what it says."""

    folder: Path
    run_id: str
    record: RunRecord
    summary: Summary
    missing: tuple[Shard, ...] = ()
    """Shards of the plan of which there is no run."""

    @property
    def json(self) -> Path:
        """The machine-readable report."""
        return self.folder / "report.json"


def write_report(
    plan: Plan, journal: Path, folder: Path, run_id: str, *, tries_failed_again: bool = False
) -> Report:
    """Write ``report.json``, ``outcomes.csv``, ``summary.md`` and ``report.html`` into ``folder``."""
    record = RunRecord()
    outcomes = read_outcomes(plan, journal, record, tries_failed_again=tries_failed_again)
    return _write(plan, outcomes, record, folder, run_id)


def write_merged_report(shards: ShardRuns, folder: Path) -> Report:
    """The same of all shards of a plan together."""
    record = RunRecord()
    return _write(shards.plan, shards.outcomes(record), record, folder, shards.name, shards)


def _write(
    plan: Plan,
    outcomes: Iterable[Outcome],
    record: RunRecord,
    folder: Path,
    run_id: str,
    shards: ShardRuns | None = None,
) -> Report:
    private_folder(folder)
    summary = Summary()
    with ExitStack() as stack:
        document = stack.enter_context(atomic_file(folder / "report.json"))
        table = stack.enter_context(atomic_file(folder / "outcomes.csv"))
        file = stack.enter_context(atomic_file(folder / "report.html"))
        page = RunPage(stack.enter_context(TemporaryFile("w+", encoding="utf-8", newline="", dir=folder)))
        _write_outcomes(outcomes, summary, page, document, table)
        facts = report_facts(plan, record, summary, run_id)
        if shards is not None:
            facts["shards"] = [end.facts() for end in shards.ends]
            facts["missing_shards"] = [str(shard) for shard in shards.missing]
        tail = msgspec.json.format(msgspec.json.encode(facts), indent=2)
        document.write(b"\n ],\n" + tail.removeprefix(b"{\n") + b"\n")
        page.write(file, plan, run_id, record, summary)
    with atomic_file(folder / "summary.md") as file:
        file.write(summary_markdown(run_id, plan, record, summary).encode())
    return Report(folder, run_id, record, summary, tuple(shards.missing) if shards is not None else ())


def _write_outcomes(
    outcomes: Iterable[Outcome], summary: Summary, page: RunPage, document: IO[bytes], table: IO[bytes]
) -> None:
    """One pass over a run of any length, into everything that shows each outcome."""
    encode = msgspec.json.Encoder().encode
    text = io.TextIOWrapper(table, encoding="utf-8", newline="")
    rows = csv.writer(text)
    rows.writerow(CSV_COLUMNS)
    document.write(f'{{\n "format": "{FORMAT}",\n "version": {VERSION},\n "outcomes": ['.encode())
    separator = b"\n  "
    for outcome in outcomes:
        summary.take(outcome)
        page.take(outcome)
        document.write(separator + encode(outcome))
        rows.writerow(csv_row(outcome))
        separator = b",\n  "
    text.flush()
    text.detach()


def csv_row(outcome: Outcome) -> list[Any]:
    """One line of ``outcomes.csv``; no cell can be taken for a formula."""
    target = outcome.target
    return [
        target.registry,
        target.image,
        target.tag,
        outcome.status.value,
        outcome.policy or "",
        outcome.attempts,
        outcome.http_status or "",
        outcome.cause or "",
        inert_cell(outcome.error or ""),
        "" if outcome.size is None else outcome.size,
        outcome.started or "",
        outcome.elapsed,
    ]


def report_facts(plan: Plan, record: RunRecord, summary: Summary, run_id: str) -> dict[str, Any]:
    """Everything of ``report.json`` but the outcomes."""
    end = record.end
    start = record.starts[0] if record.starts else None
    return {
        "run": run_id,
        "tool": __version__,
        "state": run_state(record, summary),
        "exit_code": int(exit_code(record, summary)),
        "started": None if start is None else start.at,
        "ended": None if end is None else end.at,
        "sessions": len(record.starts),
        "policy_fingerprint": plan.header.policy_fingerprint,
        "registries": plan.header.registries,
        "targets": summary.total,
        "counts": {status.value: summary.counts[status] for status in Status},
        "bytes_referenced": summary.bytes_referenced,
        "bytes_freed_planned": None if plan.freed is None else plan.freed.bytes,
        "delete_attempts": summary.attempts,
        **totals(record),
        "stop": None if end is None or end.stop is None else {"kind": end.stop, "message": end.message},
        "registry_stops": record.registry_stops,
        "policies": {name: plain_counts(counts) for name, counts in sorted(summary.policies.items())},
        "images": {name: plain_counts(counts) for name, counts in sorted(summary.images.items())},
        "failures": [
            {
                "cause": failure.cause,
                "count": failure.count,
                "error": failure.error,
                "what_to_do": hint_for(failure.cause),
                "examples": failure.examples,
            }
            for failure in sorted(summary.failures.values(), key=lambda item: -item.count)
        ],
        "note": STORAGE_NOTE,
    }
