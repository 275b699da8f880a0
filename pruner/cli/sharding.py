"""One shard of a plan, on one of several machines: a run of its own that goes on when it is started again."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pruner.cli.connections import Connections
from pruner.cli.previewing import show_preview
from pruner.cli.proving import Proved
from pruner.cli.running import (
    RunOptions,
    carry_out,
    check_grown,
    confirm,
    connect,
    forget_unused,
    report_on,
    show_planned,
)
from pruner.cli.talk import Talk
from pruner.engine.journal import Progress
from pruner.engine.presence import presence
from pruner.engine.runs import RunDirectory, shard_run, state_directory
from pruner.errors import ExitCode, InputError, RefusedError
from pruner.files import private_folder
from pruner.plan.file import Plan, open_plan
from pruner.plan.settings import settings_of
from pruner.plan.shards import Shard, write_shard
from pruner.report.text import counted

INDEX_VARIABLE = "JOB_COMPLETION_INDEX"


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


async def apply_shard(
    plan: Plan, shard: Shard, proved: Proved | None, options: RunOptions, talk: Talk
) -> ExitCode:
    """Begin the shard's run, or go on with it, or say that it is complete."""
    if options.dry_run:
        return _preview(plan, shard, options)
    state = state_directory(options.state_dir)
    if options.report_dir is not None:
        private_folder(options.report_dir)
    run = shard_run(state, plan, shard)
    try:
        own = _own_plan(plan, shard, run)
        progress = Progress.of(run.journal, tries_failed_again=True)
        left = own.entries_left - progress.done.count
        if progress.sessions:
            talk.say(
                f"Shard {shard}, run {run.run_id}: {counted(left, 'target')} of {own.entries_left:,} left"
            )
            if left == 0:
                return report_on(own, run, options, talk)
        else:
            show_preview(own, options.form, all_tags=options.all_tags)
            # Guards are about the whole plan, whatever it is cut into.
            show_planned(own, options)
            check_grown(plan, run, state, options)
            confirm(own.entries_left, options.yes)
        settings = settings_of(own.header.registries)
        with presence(state, run.group, f"{shard.number}").entered() as present:
            async with Connections(
                options.connection, settings, talk, state=state, presence=present
            ) as connections:
                await connections.take_part()
                in_use = await connect(connections, own, proved)
                return await carry_out(connections, own, run, state, options, talk, in_use)
    finally:
        forget_unused(run)


def _preview(plan: Plan, shard: Shard, options: RunOptions) -> ExitCode:
    with tempfile.TemporaryDirectory(prefix="pruner-") as folder:
        path = Path(folder) / "plan.jsonl"
        write_shard(plan, shard, path)
        show_preview(open_plan(path, allow_edited=True), options.form, all_tags=options.all_tags)
    return ExitCode.DONE


def _own_plan(plan: Plan, shard: Shard, run: RunDirectory) -> Plan:
    """The shard's part of the plan, as the run keeps it."""
    if run.undo_journal.exists():
        raise RefusedError(f"run {run.run_id} was undone, at least in part; to delete again, make a new plan")
    if not run.plan.exists():
        write_shard(plan, shard, run.plan)
    own = open_plan(run.plan, allow_edited=True)
    if own.header != plan.header or own.footer != plan.footer:
        raise RefusedError(
            f"refused, nothing was deleted: run {run.run_id} has another plan; make a new plan"
        )
    return own
