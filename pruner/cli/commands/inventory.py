"""``pruner inventory``."""

import time
from pathlib import Path
from typing import Any

import click

from pruner import names
from pruner.app.connections import Connections
from pruner.app.options import ConnectionOptions
from pruner.cli.asynchronous import run_async
from pruner.cli.options import connection_options, split_connection
from pruner.cli.talk import Talk
from pruner.files import atomic_file
from pruner.plan.inventory import check_registries, list_everything
from pruner.plan.inventory_file import InventoryWriter, compressed
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
    return run_async(lambda: _save(list(registries), output, split_connection(rest), talk))


async def _save(registries: list[str], output: Path, options: ConnectionOptions, talk: Talk) -> int:
    async with Connections(options, {}, talk) as connections:
        if not registries:
            access = await connections.open_default()
            registries = list(await access.reader.registries())
        await connections.open(sorted(registries))
        readers = connections.readers()
        places = await check_registries(readers)
        with atomic_file(output) as file, compressed(file, output) as stream:
            writer = InventoryWriter(stream, connections.facts(places), int(time.time() * 1000))
            await list_everything(readers, writer.take)
            writer.finish()
    talk.say(f"{counted(writer.tags, 'tag')} of {counted(writer.images, 'image')} written to {output}")
    return 0
