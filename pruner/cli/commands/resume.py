"""``pruner resume``."""

from typing import Any

import click

from pruner.app.applying import resume_run
from pruner.cli.asynchronous import run_async
from pruner.cli.options import (
    connection_options,
    deadline_option,
    durable_option,
    in_use_options,
    max_age_option,
    state_option,
)
from pruner.cli.running import RunOptions, apply_options, finish, options_from
from pruner.cli.talk import Talk
from pruner.cli.watching import watched
from pruner.engine.runs import RunDirectory, find_run, state_directory
from pruner.errors import ExitCode


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
def command(talk: Talk, /, run: str | None, **rest: Any) -> int:
    """The plan minus what the journal says is done; every image is listed again first."""
    options = options_from(rest)
    directory = find_run(state_directory(options.state_dir), run)
    return run_async(lambda: _resume(directory, options, talk))


async def _resume(run: RunDirectory, options: RunOptions, talk: Talk) -> ExitCode:
    return finish(await resume_run(run, apply_options(options, talk), talk), options, talk)
