"""``pruner delete``."""

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
from pruner.errors import InputError
from pruner.plan.guards import Guards
from pruner.policy.explicit import explicit_policies


@click.command("delete", help="Delete the tags that are named: REGISTRY/IMAGE:TAG, or from a file.")
@click.argument("references", nargs=-1, metavar="[REF...]")
@click.option("--from", "source", metavar="FILE|-", help="Lines, CSV (registry,image,tag) or JSON Lines.")
@click.option(
    "--shared-digest",
    type=click.Choice(("keep", "delete")),
    default="keep",
    help="What to do with a tag whose digest a kept tag has (default: keep).",
)
@run_options
@format_options
@guard_options
@connection_options
@click.pass_obj
def command(
    talk: Talk,
    references: tuple[str, ...],
    source: str | None,
    shared_digest: str,
    dry_run: bool,
    yes: bool,
    state_dir: str | None,
    report_dir: Path | None,
    durable: bool,
    form: str,
    all_tags: bool,
    **rest: Any,
) -> int:
    """Collect the targets, then go the way of ``run``."""
    connection = split_connection(rest)
    if not references and source is None:
        raise InputError("nothing to delete: name tags as registry/image:tag, or a file with --from")
    policies = explicit_policies(references, source, delete_shared=shared_digest == "delete")
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
    return run_async(lambda: run_policies(policies, options, talk))
