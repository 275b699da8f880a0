"""``pruner plan``."""

from pathlib import Path
from typing import Any

import click

from pruner.cli.asynchronous import run_async
from pruner.cli.options import (
    connection_options,
    format_options,
    guard_options,
    in_use_options,
    offline_options,
    step_summary_option,
)
from pruner.cli.running import options_from, preview_only
from pruner.cli.talk import Talk
from pruner.policy.loader import load_policies

EDIT_CHECK = "edit-check"


@click.command(
    "plan",
    help="Show what policies would delete; cannot delete. 'pruner plan edit-check PLAN...' says what was "
    "removed from plan files.",
)
@click.argument("policies", nargs=-1, required=True, metavar="POLICY...")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Write a plan file.")
@click.option(
    "--true-bytes",
    is_flag=True,
    help="Also count the bytes that nothing refers to any more (oci registries; reads every manifest).",
)
@step_summary_option
@offline_options
@format_options
@guard_options
@in_use_options
@connection_options
@click.pass_obj
def command(talk: Talk, /, policies: tuple[str, ...], output: Path | None, **rest: Any) -> int:
    """Plan and preview."""
    if policies[0] == EDIT_CHECK:
        from pruner.cli.commands.apply import edit_check

        return edit_check(policies[1:])
    loaded = load_policies(policies)
    options = options_from(rest)
    return run_async(lambda: preview_only(loaded, options, talk, output))
