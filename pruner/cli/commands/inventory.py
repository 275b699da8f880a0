"""``pruner inventory``."""

from pathlib import Path
from typing import Any

import click

from pruner import api, names
from pruner.cli.asynchronous import run_async
from pruner.cli.options import connection_options, split_connection
from pruner.cli.talk import Talk
from pruner.report.text import counted


@click.command("inventory", help="Save what registries hold (all of them by default), for deciding offline.")
@click.argument("registries", nargs=-1, metavar="[REGISTRY...]")
@click.option(
    "--output",
    "-o",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file; gzipped if its name ends in .gz.",
)
@connection_options
@click.pass_obj
def command(talk: Talk, /, registries: tuple[str, ...], output: Path, **rest: Any) -> int:
    """List everything and write it down."""
    for registry in registries:
        names.check_registry(registry)
    connection = split_connection(rest)
    size = run_async(lambda: api.list_tags(output, registries, connection=connection, say=talk))
    talk.say(f"{counted(size.tags, 'tag')} of {counted(size.images, 'image')} written to {output}")
    return 0
