"""pruner as a library: load policies, list, plan, explain, apply, resume, report.

The command line is built on the same functions.

What ``__all__`` names is public and follows semantic versioning; everything else may change. All that can go
wrong raises a ``PrunerError`` with one sentence, whose ``exit_code`` is what the command line would have
ended with.

Functions that are asynchronous run in asyncio. Cancelling ``apply`` or ``resume`` ends a run at once, like a
second signal on the command line: its journal is closed, and ``resume`` goes on with it. ``Stop`` ends it in
good order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import TaskStatus

from pruner.app.applying import ApplyOptions, Consent, Ended, allow, apply_plan, report_on, resume_run
from pruner.app.executing import Helper, Working
from pruner.app.listing import InventorySize, write_inventory
from pruner.app.options import ConnectionOptions, ExecutionOptions, InUseOptions
from pruner.app.planning import Source, explain_tags, make_plan
from pruner.app.saying import Say, Silent
from pruner.engine.gate import GateTotals
from pruner.engine.runs import find_run, runs_of_group, shard_group, state_directory
from pruner.errors import (
    CredentialsError,
    ExitCode,
    InputError,
    ListingError,
    PolicyError,
    PrunerError,
    QuotaError,
    RefusedError,
    StopKind,
    UnreachableError,
)
from pruner.model import Action, Outcome, Reason, ReasonKind, Status, Tag, Target
from pruner.plan.file import Plan, open_plan
from pruner.plan.guards import Guards
from pruner.plan.inventory_file import InventoryFile
from pruner.plan.records import Entry, ImageRecord
from pruner.plan.shards import Shard
from pruner.policy.explain import Explanation
from pruner.policy.loader import load_policies
from pruner.policy.policy import PolicySet
from pruner.report.shards import ShardRuns
from pruner.report.summary import Summary
from pruner.report.write import Report, write_merged_report

__all__ = [
    "Action",
    "ConnectionOptions",
    "CredentialsError",
    "Ended",
    "Entry",
    "ExecutionOptions",
    "ExitCode",
    "Explanation",
    "Guards",
    "ImageRecord",
    "InUseOptions",
    "InputError",
    "InventoryFile",
    "InventorySize",
    "ListingError",
    "Outcome",
    "Plan",
    "PolicyError",
    "PolicySet",
    "Progress",
    "PrunerError",
    "QuotaError",
    "Reason",
    "ReasonKind",
    "RefusedError",
    "Report",
    "Say",
    "Shard",
    "Silent",
    "Status",
    "Stop",
    "Summary",
    "Tag",
    "Target",
    "UnreachableError",
    "apply",
    "explain",
    "list_tags",
    "load_policies",
    "open_plan",
    "plan",
    "report",
    "report_of_plan",
    "resume",
]

DAY_MS: Final = 24 * 60 * 60 * 1000
PROGRESS_SECONDS: Final = 0.5
_SILENT: Final = Silent()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: targets that have ended in this session, by status, of ``total``.

    ``requests`` and ``refused`` count requests, ``rate`` is what the pacer grants now (requests per second,
    infinite without a limit).
    """

    done: int
    total: int
    statuses: dict[Status, int]
    requests: int
    refused: int
    rate: float


@dataclass(slots=True)
class Stop:
    """Asks a run to end in good order: what is in flight is finished, and the report written."""

    _event: anyio.Event = field(default_factory=anyio.Event)

    def request(self) -> None:
        """Ask; from a task of the same event loop."""
        self._event.set()

    async def __call__(self, working: Working, *, task_status: TaskStatus[None]) -> None:
        """Wait for the request beside a run."""
        task_status.started()
        await self._event.wait()
        working.state.stop(StopKind.INTERRUPTED, "the caller asked to stop")


async def list_tags(
    path: Path,
    registries: Sequence[str] = (),
    *,
    connection: ConnectionOptions | None = None,
    say: Say = _SILENT,
) -> InventorySize:
    """Save what ``registries`` hold, by default all of the account, to an inventory file; how much it is."""
    return await write_inventory(path, registries, connection or ConnectionOptions(), say)


async def plan(
    policies: PolicySet,
    path: Path,
    *,
    connection: ConnectionOptions | None = None,
    inventory: InventoryFile | None = None,
    now: datetime | None = None,
    guards: Guards | None = None,
    in_use: InUseOptions | None = None,
    true_bytes: bool = False,
    say: Say = _SILENT,
) -> Plan:
    """Decide what would go, and write a plan to ``path``. Cannot delete.

    With an ``inventory`` that is what is decided on, and nothing touches the network; ages are judged at
    ``now``, by default when it was saved. RefusedError if a guard is exceeded, or a policy asks for a proof
    of what is in use that is not given.
    """
    source = _source(connection, inventory, now, in_use or InUseOptions())
    return await make_plan(source, policies, guards or Guards(), path, say, true_bytes=true_bytes)


async def explain(
    policies: PolicySet,
    take: Callable[[Explanation], None],
    targets: Sequence[Target] | None = None,
    *,
    connection: ConnectionOptions | None = None,
    inventory: InventoryFile | None = None,
    now: datetime | None = None,
    keep_at_least: int | None = None,
    in_use: InUseOptions | None = None,
    say: Say = _SILENT,
) -> None:
    """Give ``take`` why each of ``targets`` goes or stays; of all tags that policies concern with None.

    InputError names those that are not there.
    """
    await explain_tags(
        _source(connection, inventory, now, in_use), policies, take, targets, keep_at_least, say
    )


async def apply(
    plan: Plan,
    *,
    connection: ConnectionOptions | None = None,
    execution: ExecutionOptions | None = None,
    in_use: InUseOptions | None = None,
    state_dir: Path | None = None,
    report_dir: Path | None = None,
    max_age_ms: int = DAY_MS,
    max_growth: float | None = None,
    shard: Shard | None = None,
    consent: Consent = allow,
    on_progress: Callable[[Progress], None] | None = None,
    stop: Stop | None = None,
    say: Say = _SILENT,
) -> Ended:
    """Carry out a plan, or one ``shard`` of it. Deletes.

    Every image is listed again just before its deletions; what moved is left alone. ``consent`` is asked
    once, with what is about to be carried out, and raises RefusedError to refuse. ``on_progress`` is called
    every half second and at the end, in the event loop. Errors of single targets, and what stopped the run,
    are in the report.
    """
    progresses = None if on_progress is None else _Progresses(on_progress)
    options = _options(
        connection,
        execution,
        in_use,
        state_dir,
        report_dir,
        max_age_ms,
        max_growth,
        consent,
        progresses,
        stop,
    )
    ended = await apply_plan(plan, options, say, shard)
    _raise_of(progresses)
    return ended


async def resume(
    run_id: str | None = None,
    *,
    connection: ConnectionOptions | None = None,
    execution: ExecutionOptions | None = None,
    in_use: InUseOptions | None = None,
    state_dir: Path | None = None,
    report_dir: Path | None = None,
    max_age_ms: int = 7 * DAY_MS,
    on_progress: Callable[[Progress], None] | None = None,
    stop: Stop | None = None,
    say: Say = _SILENT,
) -> Ended:
    """Go on with a run that was interrupted, killed or stopped; by default the latest."""
    progresses = None if on_progress is None else _Progresses(on_progress)
    options = _options(
        connection, execution, in_use, state_dir, report_dir, max_age_ms, None, allow, progresses, stop
    )
    ended = await resume_run(find_run(options.state, run_id), options, say)
    _raise_of(progresses)
    return ended


def report(folder: Path, *run_ids: str, state_dir: Path | None = None) -> Report:
    """Write the report of a run (by default the latest) to ``folder``; of shards of one plan, together."""
    state = _state(state_dir)
    if len(run_ids) > 1:
        return write_merged_report(ShardRuns([find_run(state, run_id) for run_id in run_ids]), folder)
    run = find_run(state, run_ids[0] if run_ids else None)
    return report_on(open_plan(run.plan, allow_edited=True), run, folder).report


def report_of_plan(folder: Path, plan: Plan, *, state_dir: Path | None = None) -> Report:
    """Write one report of the runs of all shards of ``plan``; shards that nobody began are named in it."""
    state = _state(state_dir)
    found = runs_of_group(state, shard_group(plan))
    if not found:
        raise InputError(f"{plan.path}: no shard of this plan was begun in {state}")
    return write_merged_report(ShardRuns(found, plan), folder)


def _source(
    connection: ConnectionOptions | None,
    inventory: InventoryFile | None,
    now: datetime | None,
    in_use: InUseOptions | None,
) -> Source:
    moment = None
    if now is not None:
        moment = int((now if now.tzinfo else now.replace(tzinfo=UTC)).timestamp() * 1000)
    return Source(connection or ConnectionOptions(), inventory, moment, in_use)


def _state(state_dir: Path | None) -> Path:
    return state_directory(None if state_dir is None else str(state_dir))


def _options(
    connection: ConnectionOptions | None,
    execution: ExecutionOptions | None,
    in_use: InUseOptions | None,
    state_dir: Path | None,
    report_dir: Path | None,
    max_age_ms: int,
    max_growth: float | None,
    consent: Consent,
    progresses: "_Progresses | None",
    stop: Stop | None,
) -> ApplyOptions:
    helpers: list[Helper] = [] if stop is None else [stop]
    if progresses is not None:
        helpers.append(progresses)
    return ApplyOptions(
        connection or ConnectionOptions(),
        _state(state_dir),
        max_age_ms,
        execution or ExecutionOptions(),
        in_use or InUseOptions(),
        report_dir,
        max_growth,
        helpers,
        consent,
    )


class _Progresses:
    """Calls back while a run is on, and once more at its end. Where that fails the run ends in good order."""

    def __init__(self, call: Callable[[Progress], None]) -> None:
        self._call = call
        self.error: Exception | None = None

    async def __call__(self, working: Working, *, task_status: TaskStatus[None]) -> None:
        task_status.started()
        try:
            while self.error is None:
                await anyio.sleep(PROGRESS_SECONDS)
                self._tell(working)
        finally:
            if self.error is None:
                self._tell(working)

    def _tell(self, working: Working) -> None:
        try:
            self._call(_progress(working))
        except Exception as error:
            self.error = error
            working.state.stop(StopKind.INTERRUPTED, "the caller's on_progress failed")


def _raise_of(progresses: _Progresses | None) -> None:
    """What the caller's own callback raised, once the run has ended and its report is written."""
    if progresses is not None and progresses.error is not None:
        raise progresses.error


def _progress(working: Working) -> Progress:
    stats, totals = working.state.stats, GateTotals.of(working.gates)
    return Progress(
        stats.done,
        stats.total,
        dict(stats.statuses),
        totals.granted,
        totals.refusals,
        totals.rate,
    )
