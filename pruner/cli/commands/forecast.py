"""``pruner forecast``."""

import json
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from pruner.app.planning import Source, feed_images, indexed
from pruner.cli.asynchronous import run_async
from pruner.cli.options import connection_options, offline_options, split_connection
from pruner.cli.talk import Talk
from pruner.plan.inventory import ImageListing
from pruner.policy.forecast import DAY_MS, forecast_image
from pruner.policy.loader import load_policies
from pruner.report.text import counted, size_text

if TYPE_CHECKING:
    from pruner.plan.inventory_file import InventoryFile

_BAR = 40


@click.command("forecast", help="Show what becomes deletable day by day if nothing else is pushed.")
@click.argument("policies", nargs=-1, required=True, metavar="POLICY...")
@click.option("--days", type=click.IntRange(1, 3650), default=30, show_default=True)
@click.option("--format", "form", type=click.Choice(("table", "json")), default="table")
@offline_options
@connection_options
@click.pass_obj
def command(
    talk: Talk,
    /,
    policies: tuple[str, ...],
    days: int,
    form: str,
    inventory: "InventoryFile | None",
    now: int | None,
    **rest: Any,
) -> int:
    """Decide for each of the next days."""
    loaded = load_policies(policies)
    source = Source(split_connection(rest), inventory, now)
    index = indexed(loaded, None, source.registries(loaded))
    tags: Counter[int] = Counter()
    sizes: Counter[int] = Counter()
    moment = source.moment

    def take(listing: ImageListing) -> None:
        policies_of = index[listing.registry].of(listing.image)
        for day, decision in forecast_image(listing.tags or (), policies_of, moment, days):
            tags[day] += 1
            sizes[day] += decision.tag.size or 0

    run_async(lambda: feed_images(source, loaded, index, take, talk))
    _show(moment, days, tags, sizes, form)
    return 0


def _show(moment: int, days: int, tags: Counter[int], sizes: Counter[int], form: str) -> None:
    dates = [
        f"{datetime.fromtimestamp((moment + day * DAY_MS) / 1000, UTC):%Y-%m-%d}" for day in range(days + 1)
    ]
    if form == "json":
        rows = [{"date": date, "tags": tags[day], "bytes": sizes[day]} for day, date in enumerate(dates)]
        click.echo(json.dumps(rows, indent=1))
        return
    most = max([tags[day] for day in range(1, days + 1)] + [1])
    click.echo(f"{dates[0]}  {counted(tags[0], 'tag'):>12}  {size_text(sizes[0]):>10}  now")
    for day, date in enumerate(dates[1:], 1):
        bar = "█" * round(_BAR * tags[day] / most)
        size = size_text(sizes[day]) if tags[day] else ""
        click.echo(f"{date}  {counted(tags[day], 'tag'):>12}  {size:>10}  {bar}".rstrip())
    click.echo(f"in all {counted(tags.total(), 'tag')} that refer to {size_text(sizes.total())}")
