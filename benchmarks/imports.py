"""What a real command imports, and what its report takes: measured from outside, each in a fresh process."""

import importlib
import tempfile
import time
from pathlib import Path


def import_run() -> None:
    """Import what ``pruner run`` imports until its first request on a direct connection."""
    for name in ("cli.main", "cli.commands.run", "app.connections", "policy.loader", "registry.wire"):
        importlib.import_module(f"pruner.{name}")


def report_seconds(count: int) -> float:
    """Seconds that writing all reports of a run of ``count`` deletions takes."""
    from benchmarks.engine import write_plan
    from pruner.engine.journal import Claim, Done, Journal, Start
    from pruner.model import Outcome, Status
    from pruner.report.write import write_report

    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        folder = Path(name)
        plan = write_plan(folder / "plan.jsonl", count, "http://127.0.0.1:1")
        journal = Journal(folder / "journal.jsonl")
        journal.write(Start(1, 0, 0, "benchmark"))
        for _, entries in plan.images():
            for entry in entries:
                outcome = Outcome(entry.target, Status.DELETED, 1, 204, None, None, 0, 0.03, entry.policy, 1)
                journal.write(Claim(entry.seq), Done(entry.seq, outcome))
        journal.close()
        started = time.perf_counter()
        write_report(plan, folder / "journal.jsonl", folder / "report", "benchmark")
        return time.perf_counter() - started
