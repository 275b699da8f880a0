"""Saving what registries hold."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pruner.app.connections import Connections
from pruner.app.options import ConnectionOptions
from pruner.app.saying import Say
from pruner.files import atomic_file
from pruner.plan.inventory import list_everything
from pruner.plan.inventory_file import InventoryWriter, compressed


class InventorySize(NamedTuple):
    """How much an inventory holds."""

    images: int
    tags: int


async def write_inventory(
    path: Path, registries: Sequence[str], options: ConnectionOptions, talk: Say
) -> InventorySize:
    """List all of ``registries``, or of the account if none is named, and write it to ``path``."""
    async with Connections(options, {}, talk) as connections:
        if not registries:
            access = await connections.open_default()
            registries = list(await access.reader.registries())
        await connections.open(sorted(registries))
        readers = connections.readers()
        places = await connections.check_registries()
        with atomic_file(path) as file, compressed(file, path) as stream:
            writer = InventoryWriter(stream, connections.facts(places), int(time.time() * 1000))
            await list_everything(readers, writer.take)
            writer.finish()
    return InventorySize(writer.images, writer.tags)
