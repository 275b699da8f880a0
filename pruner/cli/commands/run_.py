"""``pruner run``."""

from pathlib import Path
from typing import Any

import click

from pruner.cli.asynchronous import run_async
from pruner.cli.executing import ExecutionOptions
from pruner.cli.options import (
    connection_options,
    format_options,
    guard_options,
    run_options,
    split_connection,
)
from pruner.cli.running import RunOptions, run_policies
from pruner.cli.talk import Talk
from pruner.plan.guards import Guards
from pruner.policy.loader import load_policies


@click.command("run", help="Plan, ask, delete and report.")
@click.argument("policies", nargs=-1, required=True, metavar="POLICY...")
@run_options
@format_options
@guard_options
@connection_options
@click.pass_obj
def command(
    talk: Talk,
    policies: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    state_dir: str | None,
    report_dir: Path | None,
    durable: bool,
    form: str,
    all_tags: bool,
    **rest: Any,
) -> int:
    """Load, plan, preview, ask, delete, report."""
    connection = split_connection(rest)
    loaded = load_policies(policies)
    options = RunOptions(
        connection,
        Guards(**rest),
        ExecutionOptions(durable),
        dry_run=dry_run,
        yes=yes,
        state_dir=state_dir,
        report_dir=report_dir,
        form=form,
        all_tags=all_tags,
    )
    return run_async(lambda: run_policies(loaded, options, talk))
