"""The whole way of a plan that was made before: checks, consent, execution, report; and of going on."""

import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import anyio

from pruner import names
from pruner.app.connections import Connections
from pruner.app.deadline import before
from pruner.app.executing import Helper, StopAt, execute, locked, progress_of
from pruner.app.options import ConnectionOptions, ExecutionOptions, InUseOptions
from pruner.app.places import endpoint_asked_for
from pruner.app.proving import Proved, prove_again
from pruner.app.saying import Say
from pruner.clock import running_clock
from pruner.engine.history import planned_before
from pruner.engine.journal import Progress
from pruner.engine.presence import Presence, presence
from pruner.engine.runs import RunDirectory, new_run, shard_run
from pruner.errors import ExitCode, InputError, PrunerError, RefusedError
from pruner.files import atomic_file, private_folder
from pruner.plan.file import Plan, open_plan
from pruner.plan.guards import check_age, check_growth
from pruner.plan.settings import check_endpoint, settings_of
from pruner.plan.shards import Shard, write_shard
from pruner.policy.in_use import InUse
from pruner.report.summary import exit_code
from pruner.report.text import counted
from pruner.report.write import Report, write_report
from pruner.tasks import in_thread_if_long

_SHOWN = 3


class ReportError(PrunerError):
    """The report of a run that has ended cannot be written; the journal has everything."""

    exit_code = ExitCode.PARTIAL


class Ended(NamedTuple):
    """A run that has ended, for whatever reason."""

    report: Report
    exit_code: ExitCode


Consent = Callable[[Plan], Awaitable[None] | None]
"""Looks at what is about to be carried out; RefusedError if that is not to be."""


async def ask(consent: Consent, plan: Plan) -> None:
    """Ask, whether the answer comes at once or later; RefusedError if it is no."""
    answer = consent(plan)
    if answer is not None:
        await answer


def allow(plan: Plan) -> None:
    """Nobody is asked."""


@dataclass(frozen=True, slots=True)
class ApplyOptions:
    """How a plan is carried out, or a run gone on with.

    ``state`` is the state directory, ``report_dir`` where the report goes (None: to the run), ``max_age`` how
    old a plan may be (milliseconds), ``max_growth`` how many times more may go than in the last runs.
    """

    connection: ConnectionOptions
    state: Path
    max_age: int
    execution: ExecutionOptions = field(default_factory=ExecutionOptions)
    in_use: InUseOptions = field(default_factory=InUseOptions)
    report_dir: Path | None = None
    max_growth: float | None = None
    helpers: Sequence[Helper] = ()
    consent: Consent = allow


async def apply_plan(plan: Plan, options: ApplyOptions, talk: Say, shard: Shard | None = None) -> Ended:
    """Carry out a plan, or one shard of it; a shard that was begun before is gone on with.

    Raises RefusedError, and deletes nothing, for a plan that is too old, of another endpoint, or whose proof
    of what is in use is too old.
    """
    proved = check_plan(plan, options)
    if options.report_dir is not None:
        private_folder(options.report_dir)
    if shard is not None:
        shard.check()
    run = new_run(options.state, time.time()) if shard is None else shard_run(options.state, plan, shard)
    try:
        if shard is not None:
            return await _apply_shard(plan, shard, run, proved, options, talk)
        with plan.path.open("rb") as source, atomic_file(run.plan) as copy:
            shutil.copyfileobj(source, copy)
        own = await in_thread_if_long(
            plan.entries_left, lambda: open_plan(run.plan, allow_edited=plan.edits.altered)
        )
        if own.entries_left:
            check_grown(own, run, options.state, options.max_growth)
        return await _connected(own, run, proved, options, talk, asks=True)
    finally:
        if shard is None:
            forget_unused(run)


def check_again(plan: Plan, proved: Proved | None, options: ApplyOptions) -> float | None:
    """After somebody took their time to consent: what may be too old by now.

    How many seconds are left until what is in use has to be looked up again; None for ever.
    """
    now = int(time.time() * 1000)
    check_age(plan.header, options.max_age, now)
    if proved is None:
        return None
    proved.check(now)
    return (proved.expires_at - now) / 1000


def check_plan(plan: Plan, options: ApplyOptions) -> Proved | None:
    """What can be said without the registry; the proof of what is in use, if there is one."""
    now = int(time.time() * 1000)
    check_age(plan.header, options.max_age, now)
    check_endpoint(plan.header.registries, endpoint_asked_for(options.connection))
    return prove_again(plan.header, options.in_use, now)


async def _apply_shard(
    plan: Plan, shard: Shard, run: RunDirectory, proved: Proved | None, options: ApplyOptions, talk: Say
) -> Ended:
    """Begin the shard's run, or go on with it, or say that it is complete."""
    own = _own_plan(plan, shard, run)
    progress = progress_of(run, own)
    left = own.entries_left - progress.done.count
    said = None
    if progress.sessions:
        said = f"Shard {shard}, run {run.run_id}: {counted(left, 'target')} of {own.entries_left:,} left"
        if left == 0:
            talk.say(said)
            return report_on(own, run, _report_folder(run, options))
    else:
        # Guards are about the whole plan, whatever it is cut into.
        check_grown(plan, run, options.state, options.max_growth)
    return await _connected(own, run, proved, options, talk, said, asks=said is None)


def _own_plan(plan: Plan, shard: Shard, run: RunDirectory) -> Plan:
    """The shard's part of the plan, as the run keeps it."""
    _check_not_undone(run)
    if not run.plan.exists():
        write_shard(plan, shard, run.plan)
    own = open_plan(run.plan, allow_edited=True)
    if own.header != plan.header or own.footer != plan.footer:
        raise RefusedError(
            f"refused, nothing was deleted: run {run.run_id} has another plan; make a new plan"
        )
    return own


async def resume_run(run: RunDirectory, options: ApplyOptions, talk: Say) -> Ended:
    """Go on with a run: the plan minus what the journal says is done.

    InputError for a run that was never confirmed, RefusedError for one that was undone or is too old.
    """
    plan = open_plan(run.plan, allow_edited=True) if run.journal.exists() else None
    progress = Progress() if plan is None else progress_of(run, plan)
    if plan is None or not progress.sessions:
        # Its plan may be whole and yet one that was still to be confirmed, or that a guard refused.
        raise InputError(f"run {run.run_id} never began: its plan was not confirmed; start it again")
    _check_not_undone(run)
    proved = check_plan(plan, options)
    left = plan.entries_left - progress.done.count
    if left == 0:
        said = f"Run {run.run_id} is complete: nothing left to do ({what_of(plan)})"
    else:
        targets = counted(left, "target")
        said = f"Run {run.run_id}: {targets} of {plan.entries_left:,} left ({what_of(plan)})"
    return await _connected(plan, run, proved, options, talk, said)


def what_of(plan: Plan) -> str:
    """The registries and the policy files of a plan, for people."""
    registries = ", ".join(sorted(plan.header.registries))
    files = ", ".join(names.printable(name, 60) for name in plan.header.policy_files[:_SHOWN])
    more = " …" if len(plan.header.policy_files) > _SHOWN else ""
    return f"registry {registries}; policy {files or 'on the command line'}{more}"


def _check_not_undone(run: RunDirectory) -> None:
    if run.undo_journal.exists():
        raise RefusedError(f"run {run.run_id} was undone, at least in part; to delete again, make a new plan")


async def _connected(
    plan: Plan,
    run: RunDirectory,
    proved: Proved | None,
    options: ApplyOptions,
    talk: Say,
    said: str | None = None,
    *,
    asks: bool = False,
) -> Ended:
    """Execute over connections of its own, sharing what the account may send with other shards.

    ``said`` is what the caller is told first, after where requests go; ``asks`` for consent before anything
    is sent.
    """
    settings = settings_of(plan.header.registries)
    with _among_shards(run, options) as present:
        async with Connections(
            options.connection, settings, talk, state=options.state, presence=present
        ) as connections:
            connections.resolve(sorted(plan.header.registries))
            if said is not None:
                talk.say(said)
            with locked(connections, options.state, run):
                if asks:
                    await ask(options.consent, plan)
                left = check_again(plan, proved, options)
                with before(options.execution.deadline):
                    await connections.sharing.take_part()
                    in_use = await connect(connections, plan, proved)
                return await carry_out(connections, plan, run, options, talk, in_use, left)


def _among_shards(run: RunDirectory, options: ApplyOptions) -> AbstractContextManager[Presence | None]:
    """Being there for other shards; a whole plan is carried out alone."""
    return nullcontext() if run.shard is None else presence(options.state, run.group, run.shard).entered()


async def connect(connections: Connections, plan: Plan, proved: Proved | None = None) -> InUse:
    """Connect to the registries of an earlier plan; what is in use of them, by a new proof.

    Raises UnknownRegistryError where the account has none of that name: to the key of another account all
    of its tags would look as if they were gone.
    """
    await connections.open(sorted(plan.header.registries))
    places = await connections.check_registries()
    return {} if proved is None else proved.in_use(connections.facts(places), places.others)


async def carry_out(
    connections: Connections,
    plan: Plan,
    run: RunDirectory,
    options: ApplyOptions,
    talk: Say,
    in_use: InUse | None = None,
    proof_seconds: float | None = None,
) -> Ended:
    """Execute a plan and write the report; for ``proof_seconds`` at most, as long as the proof holds."""
    helpers = list(options.helpers)
    if proof_seconds is not None:
        ends_at = running_clock() + proof_seconds
        why = "what is in use was read too long ago by now: read it again"
        helpers.append(StopAt(lambda: ends_at - running_clock(), why))
    await execute(connections, plan, run, options.execution, talk, in_use, helpers)
    # A cancelled caller must not cost the run its report.
    with anyio.CancelScope(shield=True):
        folder = _report_folder(run, options)
        ended = await in_thread_if_long(plan.entries_left, report_on, plan, run, folder)
    return ended  # noqa: RET504 - for mypy a scope may end without it


def _report_folder(run: RunDirectory, options: ApplyOptions) -> Path | None:
    """Where the report goes; each shard has a folder of its own there."""
    if options.report_dir is None or run.shard is None:
        return options.report_dir
    return options.report_dir / f"{run.shard.number}of{run.shard.of}"


def report_on(plan: Plan, run: RunDirectory, folder: Path | None = None) -> Ended:
    """Write the report of a run that has ended; ReportError if that is not possible."""
    try:
        report = write_report(
            plan,
            run.journal,
            folder or run.path,
            run.run_id,
            tries_failed_again=run.tries_failed_again,
        )
    except InputError as error:
        raise ReportError(
            f"the run has ended, but its report {error}; nothing is lost: pruner report {run.run_id}"
        ) from None
    return Ended(report, exit_code(report.record, report.summary))


def check_grown(plan: Plan, run: RunDirectory, state: Path, max_growth: float | None) -> None:
    """Raise RefusedError if so many times more would go than in the last runs."""
    before = planned_before(state, plan.header.registries, run.group)
    check_growth(plan.entries_left, before, max_growth)


def forget_unused(run: RunDirectory) -> None:
    """A run that never began leaves no directory behind."""
    if not run.journal.exists():
        shutil.rmtree(run.path, ignore_errors=True)
