"""``pruner resume``."""

import time
from typing import Any

import click

from pruner.cli.asynchronous import run_async
from pruner.cli.connections import Connections
from pruner.cli.options import (
    connection_options,
    deadline_option,
    durable_option,
    max_age_option,
    state_option,
)
from pruner.cli.places import endpoint_asked_for
from pruner.cli.proving import in_use_options, prove_again
from pruner.cli.running import RunOptions, carry_out, connect, options_from
from pruner.cli.talk import Talk
from pruner.cli.watching import watched
from pruner.engine.journal import Progress
from pruner.engine.runs import RunDirectory, find_run, state_directory
from pruner.errors import ExitCode, InputError, RefusedError
from pruner.plan.file import open_plan
from pruner.plan.guards import check_age
from pruner.plan.settings import check_endpoint, settings_of
from pruner.report.text import counted


@click.command("resume", help="Go on with a run that was interrupted (by default the latest).")
@click.argument("run", required=False, metavar="[RUN]")
@max_age_option("7d")
@click.option(
    "--yes", "-y", is_flag=True, help="Accepted for schedulers: the run was confirmed when it began."
)
@in_use_options
@state_option
@durable_option
@deadline_option
@connection_options
@click.pass_obj
@watched
def command(talk: Talk, /, run: str | None, max_age: int, **rest: Any) -> int:
    """The plan minus what the journal says is done; every image is listed again first."""
    options = options_from(rest)
    directory = find_run(state_directory(options.state_dir), run)
    return run_async(lambda: _resume(directory, options, max_age, talk))


async def _resume(run: RunDirectory, options: RunOptions, max_age: int, talk: Talk) -> ExitCode:
    progress = Progress.of(run.journal)
    if not progress.sessions:
        # Its plan may be whole and yet one that somebody was still to confirm, or that a guard refused.
        raise InputError(f"run {run.run_id} never began: its plan was not confirmed; start it anew")
    if run.undo_journal.exists():
        raise RefusedError(f"run {run.run_id} was undone, at least in part; to delete again, make a new plan")
    plan = open_plan(run.plan, allow_edited=True)
    now = int(time.time() * 1000)
    check_age(plan.header, max_age, now)
    proved = prove_again(plan.header, options.in_use, now)
    state = state_directory(options.state_dir)
    check_endpoint(plan.header.registries, endpoint_asked_for(options.connection))
    left = plan.entries_left - progress.done.count
    if left == 0:
        talk.say(f"Run {run.run_id} is complete: nothing left to do")
    else:
        talk.say(f"Run {run.run_id}: {counted(left, 'target')} of {plan.entries_left:,} left")
    async with Connections(
        options.connection, settings_of(plan.header.registries), talk, state=state
    ) as connections:
        in_use = await connect(connections, plan, proved)
        return await carry_out(connections, plan, run, state, options, talk, in_use)
