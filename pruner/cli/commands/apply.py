"""``pruner apply``."""

import shutil
import time
from pathlib import Path
from typing import Any

import click

from pruner.cli.asynchronous import run_async
from pruner.cli.connections import Connections
from pruner.cli.options import (
    connection_options,
    form_option,
    max_age_option,
    run_options,
)
from pruner.cli.places import endpoint_asked_for
from pruner.cli.previewing import show_preview
from pruner.cli.proving import Proved, in_use_options, prove_again
from pruner.cli.running import (
    RunOptions,
    before_deleting,
    carry_out,
    connect,
    forget_unused,
    options_from,
)
from pruner.cli.sharding import apply_shard, chosen_shard
from pruner.cli.talk import Talk
from pruner.cli.watching import watched
from pruner.engine.runs import new_run, state_directory
from pruner.errors import ExitCode, InputError
from pruner.files import atomic_file, private_folder
from pruner.plan.file import Plan, edits_text, open_plan
from pruner.plan.guards import check_age
from pruner.plan.settings import check_endpoint, settings_of
from pruner.plan.shards import MOST_SHARDS
from pruner.report.text import counted


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
    max_age: int,
    allow_edited: bool,
    shard: str | None,
    shards: int | None,
    **rest: Any,
) -> int:
    """Verify, preview, ask, delete what still holds, report."""
    chosen = chosen_shard(shard, shards)
    verified = open_plan(plan, allow_edited=allow_edited)
    options = options_from(rest)
    check_age(verified.header, max_age, int(time.time() * 1000))
    check_endpoint(verified.header.registries, endpoint_asked_for(options.connection))
    if verified.edits.altered:
        talk.say(f"Edited: {edits_text(verified.edits)}")
    proved = prove_again(verified.header, options.in_use, int(time.time() * 1000))
    if chosen is not None:
        return run_async(lambda: apply_shard(verified, chosen, proved, options, talk))
    return run_async(lambda: _apply(verified, proved, options, talk))


async def _apply(plan: Plan, proved: Proved | None, options: RunOptions, talk: Talk) -> ExitCode:
    if options.dry_run:
        show_preview(plan, options.form, all_tags=options.all_tags)
        return ExitCode.DONE
    state = state_directory(options.state_dir)
    if options.report_dir is not None:
        private_folder(options.report_dir)
    run = new_run(state, time.time())
    try:
        with plan.path.open("rb") as source, atomic_file(run.plan) as copy:
            shutil.copyfileobj(source, copy)
        own = open_plan(run.plan, allow_edited=plan.edits.altered)
        show_preview(own, options.form, all_tags=options.all_tags)
        before_deleting(own, run, state, options)
        settings = settings_of(own.header.registries)
        async with Connections(options.connection, settings, talk, state=state) as connections:
            in_use = await connect(connections, own, proved)
            return await carry_out(connections, own, run, state, options, talk, in_use)
    finally:
        forget_unused(run)


def edit_check(paths: tuple[str, ...]) -> int:
    """Say what a person removed from plans; an added or altered deletion is an error."""
    if not paths:
        raise InputError("which plan? Write pruner plan edit-check PLAN...")
    for path in paths:
        plan = open_plan(Path(path), allow_edited=True)
        said = edits_text(plan.edits)
        click.echo(f"{path}: {said}; {counted(plan.entries_left, 'deletion')} left")
        for record, left in plan.edited_images():
            click.echo(
                f"  {record.registry}/{record.image}: {record.entries - left} of {record.entries} removed"
            )
    return 0
