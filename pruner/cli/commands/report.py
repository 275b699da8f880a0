"""``pruner report``."""

import shutil
import sys
import tempfile
from pathlib import Path

import click

from pruner.cli.consoles import result_console
from pruner.cli.options import state_option
from pruner.cli.talk import Talk
from pruner.engine.runs import find_run, state_directory
from pruner.plan.file import open_plan
from pruner.report.terminal import show_summary
from pruner.report.write import write_report

_FILES = {"json": "report.json", "csv": "outcomes.csv", "markdown": "summary.md", "html": "report.html"}


@click.command("report", help="Render the report of a run again, from its journal.")
@click.argument("run", required=False, metavar="[RUN]")
@click.option("--format", "form", type=click.Choice(("table", *_FILES)), default="table")
@click.option(
    "--output", "-o", type=click.Path(file_okay=False, path_type=Path), help="Write all files here."
)
@state_option
@click.pass_obj
def command(talk: Talk, /, run: str | None, form: str, output: Path | None, state_dir: str | None) -> int:
    """Show one form on stdout, or write all files to a folder."""
    directory = find_run(state_directory(state_dir), run)
    plan = open_plan(directory.plan, allow_edited=True)
    with tempfile.TemporaryDirectory(prefix="pruner-") as folder:
        report = write_report(plan, directory.journal, output or Path(folder), directory.run_id)
        if output is not None:
            talk.say(f"Report: {output}")
        elif form == "table":
            show_summary(report, result_console())
        else:
            with (report.folder / _FILES[form]).open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
    return 0
