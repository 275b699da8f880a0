"""``pruner report``."""

import shutil
import sys
import tempfile
from pathlib import Path

import click

from pruner import api
from pruner.cli.consoles import result_console
from pruner.cli.options import state_option
from pruner.cli.talk import Talk
from pruner.engine.runs import state_directory
from pruner.errors import InputError
from pruner.report.terminal import show_summary

_FILES = {"json": "report.json", "csv": "outcomes.csv", "markdown": "summary.md", "html": "report.html"}


@click.command(
    "report",
    help="Render the report of a run again, from its journal, or one of the runs of all shards of a plan.",
)
@click.argument("runs", nargs=-1, metavar="[RUN...]")
@click.option(
    "--plan",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PLAN",
    help="The runs of all shards of this plan.",
)
@click.option("--format", "form", type=click.Choice(("table", *_FILES)), default="table")
@click.option(
    "--output", "-o", type=click.Path(file_okay=False, path_type=Path), help="Write all files here."
)
@state_option
@click.pass_obj
def command(
    talk: Talk,
    /,
    runs: tuple[str, ...],
    plan: Path | None,
    form: str,
    output: Path | None,
    state_dir: str | None,
) -> int:
    """Show one form on stdout, or write all files to a folder."""
    state = state_directory(state_dir)
    with tempfile.TemporaryDirectory(prefix="pruner-") as folder:
        report = _written(state, runs, plan, output or Path(folder))
        if output is not None:
            talk.say(f"Report: {output}")
        elif form == "table":
            show_summary(report, result_console())
        else:
            with (report.folder / _FILES[form]).open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
    return 0


def _written(state: Path, runs: tuple[str, ...], plan: Path | None, folder: Path) -> api.Report:
    if plan is None:
        return api.report(folder, *runs, state_dir=state)
    if runs:
        raise InputError("--plan names the runs of all its shards; leave the runs out")
    return api.report_of_plan(folder, api.open_plan(plan, allow_edited=True), state_dir=state)
