"""``pruner plan``."""

from pathlib import Path
from typing import Any

import click

from pruner.cli.asynchronous import run_async
from pruner.cli.options import connection_options, format_options, guard_options
from pruner.cli.running import options_from, preview_only
from pruner.cli.talk import Talk
from pruner.policy.loader import load_policies


@click.command("plan", help="Show what policies would delete; cannot delete.")
@click.argument("policies", nargs=-1, required=True, metavar="POLICY...")
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Also write a plan file."
)
@format_options
@guard_options
@connection_options
@click.pass_obj
def command(talk: Talk, /, policies: tuple[str, ...], output: Path | None, **rest: Any) -> int:
    """Plan and preview."""
    loaded = load_policies(policies)
    options = options_from(rest)
    return run_async(lambda: preview_only(loaded, options, talk, output))
