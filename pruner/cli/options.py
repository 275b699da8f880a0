"""Options that several commands share."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from pruner.app.options import ConnectionOptions, InUseOptions

F = TypeVar("F", bound=Callable[..., Any])
BEGAN = "pruner.began"
"""Where the context of a command has when it began, in seconds of the running clock."""


def with_options(function: F, *options: Callable[[F], F]) -> F:
    """Add options to a command, in the order in which its help is to show them."""
    for option in reversed(options):
        function = option(function)
    return function


def _rate(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    if value is None or value == "auto":
        return None if value is None else float("inf")
    try:
        rate = float(value)
    except ValueError:
        rate = 0.0
    if not 0.0 < rate <= 100_000:
        raise click.BadParameter(f"'{value}' is not a rate; write requests per second, as in 50, or auto")
    return rate


def _share(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    digits = value.removesuffix("%")
    if not digits.isascii() or not digits.isdecimal() or not 1 <= int(digits) <= 100:
        raise click.BadParameter(f"'{value}' is not a percentage; write 1% to 100%")
    return int(digits) / 100


def connection_options(function: F) -> F:
    """Add the options of ConnectionOptions; the command gets them as keywords of the same names."""
    return with_options(
        function,
        click.option(
            "--endpoint",
            envvar="PRUNER_ENDPOINT",
            metavar="URL",
            help="URL before /repositories; wins over policies.",
        ),
        click.option("--region", envvar="PRUNER_REGION", help="KR SGN JPN gov-KR gov-KRS, or fin-KR."),
        click.option(
            "--oci",
            multiple=True,
            metavar="NAME=URL",
            help="A registry of the OCI kind.",
        ),
        click.option("--profile", help="Profile of ~/.ncloud/configure; wins over the environment."),
        click.option(
            "--rate", callback=_rate, metavar="N|auto", help="Most requests per second (auto: find out)."
        ),
        click.option(
            "--concurrency",
            type=click.IntRange(1, 512),
            metavar="N",
            help="Most requests in flight at each endpoint (default 64).",
        ),
        click.option(
            "--timeout",
            type=click.FloatRange(0.05, 600),
            default=30.0,
            metavar="SECONDS",
            help="For one attempt (default 30).",
        ),
        click.option("--ca-bundle", metavar="PEM", help="Certificates to trust instead of the system's."),
        click.option("--allow-plain-http", is_flag=True, help="Allow http:// beyond loopback. Unsafe."),
        click.option(
            "--only-host",
            "only_hosts",
            multiple=True,
            envvar="PRUNER_ONLY_HOSTS",
            metavar="HOST",
            help="Send keys and logins to these hosts only, whatever policies name (or PRUNER_ONLY_HOSTS).",
        ),
        click.option(
            "--key-host",
            "key_hosts",
            multiple=True,
            envvar="PRUNER_KEY_HOSTS",
            metavar="HOST",
            help="Also send NCR's key to this host of a v2_url (or PRUNER_KEY_HOSTS).",
        ),
    )


def split_connection(values: dict[str, Any]) -> ConnectionOptions:
    """Take the options of a connection out of a command's keywords."""
    fields = ConnectionOptions.__dataclass_fields__
    return ConnectionOptions(**{name: values.pop(name) for name in fields})


def guard_options(function: F) -> F:
    """Add the guards."""
    return with_options(
        function,
        click.option("--max-deletions", type=click.IntRange(0), metavar="N", help="Refuse if more would go."),
        click.option(
            "--max-share",
            callback=_share,
            metavar="PERCENT",
            help="Refuse if more of an image's tags would go.",
        ),
        click.option(
            "--keep-at-least",
            type=click.IntRange(0),
            metavar="N",
            help="Fewest tags that rules leave in an image.",
        ),
    )


def _deadline(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    milliseconds = duration_option(ctx, param, value)
    if milliseconds is None:
        return None
    from pruner.app.deadline import Deadline

    return Deadline(milliseconds / 1000, ctx.meta[BEGAN])


step_summary_option = click.option(
    "--step-summary", is_flag=True, help="Also write Markdown to $GITHUB_STEP_SUMMARY."
)
state_option = click.option("--state-dir", metavar="DIR", help="Where runs are kept (or PRUNER_STATE_DIR).")
durable_option = click.option(
    "--durable", is_flag=True, help="Force the journal to the disk as it is written."
)
keep_option = click.option(
    "--keep-manifests", is_flag=True, help="Keep the manifest of each tag before it goes, for undo."
)
deadline_option = click.option(
    "--deadline",
    callback=_deadline,
    metavar="DURATION",
    help="End in good order after this time, listing included, as in 55m.",
)


def run_options(function: F) -> F:
    """Add what carrying out a plan takes."""
    return with_options(
        function,
        click.option("--dry-run", is_flag=True, help="Only show what would be deleted."),
        click.option("--yes", "-y", is_flag=True, help="Do not ask before deleting."),
        state_option,
        click.option(
            "--report",
            "report_dir",
            type=click.Path(file_okay=False, path_type=Path),
            metavar="DIR",
            help="Folder for the report (default: the run's own).",
        ),
        keep_option,
        durable_option,
        deadline_option,
        click.option(
            "--max-growth",
            type=click.FloatRange(1),
            metavar="FACTOR",
            help="Refuse if so many times more would go than in the last runs.",
        ),
        step_summary_option,
    )


def _inventory(ctx: click.Context, param: click.Parameter, value: Path | None) -> Any:
    if value is None:
        return None
    from pruner.plan.inventory_file import InventoryFile

    return InventoryFile(value)


def _moment(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"'{value}' is not a time; write 2026-12-01 or 2026-12-01T08:00Z") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def offline_options(function: F) -> F:
    """Add what lets a command decide without the registry."""
    return with_options(
        function,
        click.option(
            "--inventory",
            type=click.Path(dir_okay=False, path_type=Path),
            callback=_inventory,
            metavar="FILE",
            help="Decide on a saved inventory; no network.",
        ),
        click.option("--now", callback=_moment, metavar="TIME", help="Judge ages as of this time (UTC)."),
    )


def duration_option(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """The milliseconds of a duration option."""
    from pruner.policy.duration import parse_duration

    try:
        return None if value is None else parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def max_age_option(default: str) -> Callable[[F], F]:
    """How old a plan may be that is carried out."""
    return click.option(
        "--max-age",
        callback=duration_option,
        default=default,
        show_default=True,
        metavar="DURATION",
        help="Refuse a plan older than this.",
    )


FORMATS = ("table", "json", "csv", "markdown", "html")
form_option = click.option(
    "--format", "form", type=click.Choice(FORMATS), default="table", help="Form of the preview."
)


def format_options(function: F) -> F:
    """Add how a preview is shown."""
    return with_options(
        function,
        form_option,
        click.option("--all-tags", is_flag=True, help="Do not fold long lists of tags."),
    )


def in_use_options(function: F) -> F:
    """Add them; ``split_in_use`` takes them out of the keywords again."""
    return with_options(
        function,
        click.option(
            "--in-use",
            "in_use",
            multiple=True,
            type=click.Path(dir_okay=False, path_type=Path),
            envvar="PRUNER_IN_USE",
            metavar="FILE",
            help="What is in use stays; written by pruner in-use (or PRUNER_IN_USE).",
        ),
        click.option(
            "--in-use-max-age",
            callback=duration_option,
            metavar="DURATION",
            help="Refuse if that is older (default 2h, or as policies say).",
        ),
    )


def split_in_use(values: dict[str, Any]) -> InUseOptions:
    """Take the options out of a command's keywords."""
    return InUseOptions(values.pop("in_use", ()), values.pop("in_use_max_age", None))
