"""``pruner runs``."""

import json
import shutil
import time
from datetime import UTC, datetime
from typing import Any

import click

from pruner.cli.options import duration_option, state_option
from pruner.engine.lock import run_lock
from pruner.engine.runs import RunDirectory, all_runs, state_directory
from pruner.errors import PrunerError
from pruner.names import printable
from pruner.plan.file import open_plan
from pruner.report.outcomes import RunRecord
from pruner.report.summary import Summary, run_state, summarise
from pruner.report.text import counted


@click.group("runs", invoke_without_command=True, help="List the runs that are kept, or prune old ones.")
@state_option
@click.option("--format", "form", type=click.Choice(("table", "json")), default="table")
@click.pass_context
def command(ctx: click.Context, state_dir: str | None, form: str) -> int:
    """Each run with its state and counts."""
    ctx.meta["state_dir"] = state_dir
    if ctx.invoked_subcommand is None:
        rows = [_row(run) for run in all_runs(state_directory(state_dir))]
        if form == "json":
            click.echo(json.dumps(rows, indent=1))
        else:
            _show(rows)
    return 0


def _row(run: RunDirectory) -> dict[str, Any]:
    try:
        plan = open_plan(run.plan, allow_edited=True)
        record, summary = summarise(plan, run.journal, tries_failed_again=run.tries_failed_again)
    except PrunerError as error:
        return {"run": run.run_id, "state": "unreadable", "targets": 0, "counts": {}, "error": str(error)}
    counts = {status.value: count for status, count in sorted(summary.counts.items()) if count}
    return {
        "run": run.run_id,
        "state": _state(run, record, summary),
        "targets": summary.total,
        "counts": counts,
        "registries": sorted(plan.header.registries),
        "policies": list(plan.header.policy_files),
    }


def _state(run: RunDirectory, record: RunRecord, summary: Summary) -> str:
    with run_lock(run) as held:
        return run_state(record, summary) if held else "running"


def _show(rows: list[dict[str, Any]]) -> None:
    if not rows:
        click.echo("no runs")
    for row in rows:
        counts = ", ".join(f"{count:,} {name}" for name, count in row["counts"].items())
        where = ", ".join(printable(name, 60) for name in row.get("registries", ()))
        said = f"{counted(row['targets'], 'target')}: {counts or 'none'}"
        click.echo(f"{row['run']}  {row['state']:11}  {said}{f'  ({where})' if where else ''}")


@command.command("prune", help="Remove old runs; those that are not complete stay unless --all.")
@click.option("--older-than", callback=duration_option, default="90d", show_default=True, metavar="DURATION")
@click.option(
    "--keep",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="So many latest runs stay; all shards of a plan are one.",
)
@click.option("--all", "everything", is_flag=True, help="Also runs that could be resumed.")
@state_option
@click.pass_context
def prune(ctx: click.Context, older_than: int, keep: int, everything: bool, state_dir: str | None) -> int:
    """Remove runs by age and count."""
    runs = all_runs(state_directory(state_dir or ctx.meta["state_dir"]))
    latest = set(list(dict.fromkeys(run.group for run in runs))[-keep:] if keep else ())
    limit = time.time() * 1000 - older_than
    removed = 0
    for run in (run for run in runs if run.group not in latest):
        began = datetime.strptime(run.run_id[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        if began.timestamp() * 1000 < limit and (everything or _row(run)["state"] == "complete"):
            with run_lock(run) as held:
                if held:
                    shutil.rmtree(run.path)
                    removed += 1
    click.echo(f"{counted(removed, 'run')} removed")
    return 0
