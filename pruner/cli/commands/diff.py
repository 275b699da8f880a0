"""``pruner diff``."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pruner.app.options import ConnectionOptions
from pruner.app.planning import Source, plan_offline
from pruner.cli.options import offline_options
from pruner.cli.talk import show
from pruner.errors import InputError
from pruner.files import open_regular
from pruner.names import shown_path
from pruner.plan.file import Plan, PlanError, open_plan
from pruner.plan.guards import Guards
from pruner.policy.loader import load_policies
from pruner.report.diff import compare_plans, diff_markdown, diff_text, same_places

if TYPE_CHECKING:
    from pruner.plan.inventory_file import InventoryFile

_PLAN_START = b'{"type":"header"'


@click.command(
    "diff", help="Compare two policies over one inventory, or two plans: what newly goes or stays."
)
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(("table", "markdown")), default="table")
@offline_options
def command(old: Path, new: Path, form: str, inventory: "InventoryFile | None", now: int | None) -> int:
    """Compare A with B."""
    with tempfile.TemporaryDirectory(prefix="pruner-") as folder:
        source = Source(ConnectionOptions(), inventory, now)
        plans = [
            _plan(path, source, Path(folder) / f"{number}.jsonl") for number, path in enumerate((old, new))
        ]
        if not same_places(*plans):
            raise InputError(
                f"{shown_path(old)} and {shown_path(new)} are about registries at different endpoints"
            )
        changes = list(compare_plans(*plans))
    if form == "markdown":
        click.echo(diff_markdown(changes), nl=False)
    else:
        for line in diff_text(changes):
            show(line)
    return 0


def _plan(path: Path, source: Source, target: Path) -> Plan:
    if _is_plan(path):
        try:
            return open_plan(path)
        except PlanError:
            return open_plan(path, allow_edited=True)
    if source.inventory is None:
        raise InputError("two policies are compared over an inventory: give --inventory FILE")
    return plan_offline(source, load_policies([str(path)]), Guards(), target)


def _is_plan(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return file.read(len(_PLAN_START)) == _PLAN_START
    except OSError:
        return False
