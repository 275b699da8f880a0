"""``pruner delete``."""

from typing import Any

import click

from pruner.cli.asynchronous import run_async
from pruner.cli.options import connection_options, format_options, guard_options, in_use_options, run_options
from pruner.cli.running import options_from, run_policies
from pruner.cli.talk import Talk
from pruner.cli.watching import watched
from pruner.errors import InputError
from pruner.policy.explicit import explicit_policies
from pruner.policy.spool import TargetSpool


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
@in_use_options
@connection_options
@click.pass_obj
@watched
def command(
    talk: Talk, /, references: tuple[str, ...], source: str | None, shared_digest: str, **rest: Any
) -> int:
    """Collect the targets, then go the way of ``run``."""
    if not references and source is None:
        raise InputError("nothing to delete: name tags as registry/image:tag, or a file with --from")
    options = options_from(rest)
    with TargetSpool() as spool:
        policies = explicit_policies(references, source, spool, delete_shared=shared_digest == "delete")
        return run_async(lambda: run_policies(policies, options, talk))
