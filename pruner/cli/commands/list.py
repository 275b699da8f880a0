"""``pruner list``."""

from typing import Any, Final

import click

from pruner import names
from pruner.app.connections import Connections
from pruner.app.options import ConnectionOptions
from pruner.cli.asynchronous import run_async
from pruner.cli.consoles import result_console
from pruner.cli.options import connection_options, split_connection
from pruner.cli.talk import Talk, show
from pruner.errors import InputError
from pruner.model import Tag
from pruner.policy.policy import RegistrySettings
from pruner.report.columns import Column, column_lines, print_lines
from pruner.report.text import date_text, size_text

_COLUMNS: Final = (
    Column("tag", share=1),
    Column("updated (UTC)"),
    Column("last pulled"),
    Column("size", right=True),
    Column("digest"),
)


@click.command("list", help="List registries, the images of a registry, or the tags of an image.")
@click.argument("reference", required=False, metavar="[REGISTRY[/IMAGE]]")
@click.option("--format", "form", type=click.Choice(("table", "json", "names")), default="table")
@connection_options
@click.pass_obj
def command(talk: Talk, /, reference: str | None, form: str, **rest: Any) -> int:
    """Show what is there."""
    registry, _, image = (reference or "").partition("/")
    if registry:
        names.check_registry(registry)
    if image:
        if ":" in image:
            raise InputError(f"'{names.printable(image)}' names a tag; write registry/image")
        names.check_image(image)
    return run_async(lambda: _list(registry, image, form, split_connection(rest), talk))


async def _list(registry: str, image: str, form: str, options: ConnectionOptions, talk: Talk) -> int:
    settings: dict[str, RegistrySettings] = {}
    async with Connections(options, settings, talk) as connections:
        if not registry:
            access = await connections.open_default()
            _show_names(list(await access.reader.registries()), form)
            return 0
        access = (await connections.open([registry]))[registry]
        await connections.check_registries()
        if not image:
            _show_names(await access.reader.images(registry), form)
            return 0
        tags = await access.reader.tags(registry, image)
        if tags is None:
            raise InputError(f"registry '{registry}' has no image '{image}'")
        _show_tags(tags, form)
    return 0


def _show_names(found: list[str], form: str) -> None:
    if form == "json":
        import json

        click.echo(json.dumps(found))
    else:
        for name in found:
            show(name)


def _show_tags(tags: list[Tag], form: str) -> None:
    tags = sorted(tags, key=lambda tag: (-(tag.updated or 0), tag.name))
    if form == "json":
        import msgspec

        for tag in tags:
            click.echo(msgspec.json.encode(tag))
    elif form == "names":
        _show_names([tag.name for tag in tags], form)
    else:
        _show_table(tags)


def _show_table(tags: list[Tag]) -> None:
    rows = [
        (
            tag.name,
            date_text(tag.updated) or "?",
            date_text(tag.last_pulled) or "?",
            size_text(tag.size),
            (tag.digest or "?").removeprefix("sha256:")[:12],
        )
        for tag in tags
    ]
    console = result_console()
    print_lines(console, column_lines(console, rows, _COLUMNS))
