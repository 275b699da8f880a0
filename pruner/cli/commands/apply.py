"""``pruner apply``."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from pruner.app.applying import apply_plan, check_plan
from pruner.cli.asynchronous import run_async
from pruner.cli.options import (
    connection_options,
    form_option,
    in_use_options,
    max_age_option,
    run_options,
)
from pruner.cli.previewing import show_preview
from pruner.cli.running import RunOptions, apply_options, finish, options_from
from pruner.cli.talk import Talk, show
from pruner.cli.watching import watched
from pruner.errors import ExitCode, InputError
from pruner.plan.file import Plan, edits_text, open_plan
from pruner.plan.shards import MOST_SHARDS, Shard, write_shard
from pruner.report.text import counted

INDEX_VARIABLE = "JOB_COMPLETION_INDEX"


@click.command("apply", help="Carry out a plan that was written and reviewed before.")
@click.argument("plan", type=click.Path(dir_okay=False, path_type=Path))
@max_age_option("24h")
@click.option("--allow-edited", is_flag=True, help="Accept a plan that deletions were removed from.")
@click.option("--shard", metavar="N/OF", help="Carry out one shard of the plan, as in 3/16.")
@click.option(
    "--shards",
    type=click.IntRange(1, MOST_SHARDS),
    metavar="OF",
    help="The same; JOB_COMPLETION_INDEX says which (from 0).",
)
@run_options
@in_use_options
@form_option
@connection_options
@click.pass_obj
@watched
def command(
    talk: Talk,
    /,
    plan: Path,
    allow_edited: bool,
    shard: str | None,
    shards: int | None,
    **rest: Any,
) -> int:
    """Verify, preview, ask, delete what still holds, report."""
    chosen = chosen_shard(shard, shards)
    verified = open_plan(plan, allow_edited=allow_edited)
    options = options_from(rest)
    if verified.edits.altered:
        talk.say(f"Edited: {edits_text(verified.edits)}")
    if options.dry_run:
        check_plan(verified, apply_options(options, talk))
        return _preview(verified, chosen, options)
    return run_async(lambda: _apply(verified, chosen, options, talk))


async def _apply(plan: Plan, shard: Shard | None, options: RunOptions, talk: Talk) -> ExitCode:
    return finish(await apply_plan(plan, apply_options(options, talk), talk, shard), options, talk)


def _preview(plan: Plan, shard: Shard | None, options: RunOptions) -> ExitCode:
    with tempfile.TemporaryDirectory(prefix="pruner-") as folder:
        if shard is not None:
            path = Path(folder) / "plan.jsonl"
            write_shard(plan, shard, path)
            plan = open_plan(path, allow_edited=True)
        show_preview(plan, options.form, all_tags=options.all_tags)
    return ExitCode.DONE


def chosen_shard(shard: str | None, shards: int | None, env: Mapping[str, str] = os.environ) -> Shard | None:
    """The shard that the command line, or an Indexed Job of Kubernetes, asks for; InputError for none."""
    if shard is not None and shards is not None:
        raise InputError("--shard says how many shards there are; leave --shards out")
    if shard is not None:
        return Shard.parse(shard)
    if shards is None:
        return None
    index = env.get(INDEX_VARIABLE, "")
    if not index.isascii() or not index.isdecimal() or not int(index) < shards:
        raise InputError(
            f"--shards {shards}: {INDEX_VARIABLE} is '{index[:40]}', and not one of 0 to {shards - 1}"
        )
    return Shard(int(index) + 1, shards)


def edit_check(paths: tuple[str, ...]) -> int:
    """Say what a person removed from plans; an added or altered deletion is an error."""
    if not paths:
        raise InputError("which plan? Write pruner plan edit-check PLAN...")
    for path in paths:
        plan = open_plan(Path(path), allow_edited=True)
        said = edits_text(plan.edits)
        show(f"{path}: {said}; {counted(plan.entries_left, 'deletion')} left")
        for record, left in plan.edited_images():
            show(f"  {record.registry}/{record.image}: {record.entries - left} of {record.entries} removed")
    return 0
