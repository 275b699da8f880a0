"""``pruner run``."""

from typing import Any

import click

from pruner.cli.asynchronous import run_async
from pruner.cli.options import connection_options, format_options, guard_options, in_use_options, run_options
from pruner.cli.running import options_from, run_policies
from pruner.cli.talk import Talk
from pruner.cli.watching import watched
from pruner.policy.loader import load_policies


@click.command("run", help="Plan, ask, delete and report.")
@click.argument("policies", nargs=-1, required=True, metavar="POLICY...")
@run_options
@format_options
@guard_options
@in_use_options
@connection_options
@click.pass_obj
@watched
def command(talk: Talk, /, policies: tuple[str, ...], **rest: Any) -> int:
    """Load, plan, preview, ask, delete, report."""
    loaded = load_policies(policies)
    options = options_from(rest)
    return run_async(lambda: run_policies(loaded, options, talk))
