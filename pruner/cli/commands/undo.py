"""``pruner undo``."""

from pathlib import Path
from typing import Any

import click

from pruner.cli.asynchronous import run_async
from pruner.cli.options import connection_options, split_connection, state_option
from pruner.cli.talk import Talk
from pruner.cli.undoing import UndoOptions, undo_run
from pruner.engine.runs import RunDirectory, all_runs, find_run, latest_run, state_directory


@click.command(
    "undo",
    help="Put back the tags that a run (by default the latest that kept manifests) deleted.\n\n"
    "It works until the registry collects what has lost its tag, and never overwrites a tag that points "
    "elsewhere now, unless --force.",
)
@click.argument("run", required=False, metavar="[RUN]")
@click.option(
    "--only", multiple=True, metavar="GLOB", help="Only these, as registry/image:tag; may be repeated."
)
@click.option("--force", is_flag=True, help="Also take back names that point elsewhere now.")
@click.option("--dry-run", is_flag=True, help="Only find out what can be put back.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before putting back.")
@click.option("--format", "form", type=click.Choice(("table", "json")), default="table")
@state_option
@connection_options
@click.pass_obj
def command(talk: Talk, /, run: str | None, **rest: Any) -> int:
    """Look, ask, put back, report."""
    state = state_directory(rest.pop("state_dir"))
    options = UndoOptions(split_connection(rest), state, **rest)
    return run_async(lambda: undo_run(_chosen(state, run), options, talk))


def _chosen(state: Path, run: str | None) -> RunDirectory:
    """The run that is named, or the latest that kept manifests."""
    kept = [own for own in all_runs(state) if own.manifests.exists()]
    return latest_run(kept) if run is None and kept else find_run(state, run)
