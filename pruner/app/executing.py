"""Carrying a plan out: lock, journal, workers, and whoever watches or ends it."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Protocol

import anyio
from anyio.abc import TaskStatus

from pruner import __version__
from pruner.app.connections import Connections
from pruner.app.options import ExecutionOptions
from pruner.app.saying import Say
from pruner.engine.executor import Executor, ExecutorSettings
from pruner.engine.gate import Gate, GateTotals
from pruner.engine.journal import VERSION, End, Journal, JournalWriteError, Owner, Progress, Start, Tick
from pruner.engine.lock import registry_locks, run_lock
from pruner.engine.runs import RunDirectory
from pruner.engine.state import RunState
from pruner.errors import RefusedError, ShardBusyError, StopKind
from pruner.plan.file import Plan
from pruner.policy.in_use import InUse
from pruner.tasks import task_group

if TYPE_CHECKING:
    from pruner.engine.keeping import Keeper

TICK_SECONDS = 1.0
LOOKED_AT_SECONDS = 5.0
"""So often it is seen whether the time is over: timers stand still while the machine sleeps."""


@dataclass(frozen=True, slots=True)
class Working:
    """A run that is on: what it knows of itself, and how to end it at once."""

    state: RunState
    gates: list[Gate]
    cancel: Callable[[], None]


class Helper(Protocol):
    """What goes on beside a run until that ends; it says when it has begun."""

    async def __call__(self, working: Working, *, task_status: TaskStatus[None]) -> None:
        """Watch the run, or end it."""


@contextmanager
def locked(connections: Connections, state_dir: Path, run: RunDirectory) -> Iterator[None]:
    """Hold the locks of all that was resolved; RefusedError names the run that holds one of them."""
    shared_by = None if run.shard is None else f"{run.group} in {run.shard.of} shards"
    with registry_locks(state_dir, connections.lock_scopes(), run.run_id, shared_by=shared_by):
        yield


async def execute(
    connections: Connections,
    plan: Plan,
    run: RunDirectory,
    options: ExecutionOptions,
    talk: Say,
    in_use: InUse | None = None,
    helpers: Sequence[Helper] = (),
) -> None:
    """Delete what is left of the plan, whose registries are locked.

    Everything worth knowing afterwards is in the run's journal.
    """
    access = await connections.open(sorted(plan.header.registries))
    with ExitStack() as stack, run_lock(run) as held:
        if not held:
            raise _busy(run)
        keeper = await _keeper(connections, plan, run, stack, options)
        progress = progress_of(run, plan)
        state = RunState(connections.gates)
        state.stats.total = plan.entries_left - progress.done.count
        sent = _Sent(connections)
        with _session(run, plan, state, sent, options) as journal, anyio.CancelScope() as scope:
            executor = Executor(
                access,
                state,
                journal,
                ExecutorSettings(connections.workers_of, largest_image=plan.largest),
                dice=Random(),  # noqa: S311 - jitter, not a secret
                keeper=keeper,
                in_use=in_use,
            )
            working = Working(state, connections.gates, scope.cancel)
            async with task_group() as group:
                for helper in [*helpers, *_deadline(options)]:
                    await group.start(helper, working)
                group.start_soon(_tick, journal, state, sent)
                group.start_soon(connections.sharing.keep_parts)
                lanes = connections.lanes(plan.starts)
                await executor.run({name: plan.images_of(lane) for name, lane in lanes.items()}, progress)
                group.cancel_scope.cancel()
        if scope.cancelled_caught:
            talk.warn("cancelled: what was in flight is unknown until the run is resumed")


def progress_of(run: RunDirectory, plan: Plan) -> Progress:
    """What the journal of a run says so far; JournalDamagedError for the journal of another run or plan."""
    return Progress.of(
        run.journal, tries_failed_again=run.tries_failed_again, owner=Owner(run.run_id, plan.sha256)
    )


class _Sent:
    """What was sent over ``connections`` since a session began; a listing before may have sent more."""

    def __init__(self, connections: Connections) -> None:
        self.connections = connections
        self._requests = connections.requests_sent
        self._throttled = GateTotals.of(connections.gates).refusals
        self._started = time.monotonic()

    @property
    def requests(self) -> int:
        return self.connections.requests_sent - self._requests

    @property
    def throttled(self) -> int:
        return GateTotals.of(self.connections.gates).refusals - self._throttled

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started


@contextmanager
def _session(
    run: RunDirectory, plan: Plan, state: RunState, sent: _Sent, options: ExecutionOptions
) -> Iterator[Journal]:
    """The journal of the run, which says when this session begins, and how it ends."""
    journal = Journal(run.journal, durable=options.durable)
    now = int(time.time() * 1000)
    journal.write(Start(VERSION, now, os.getpid(), __version__, run.run_id, plan.sha256))
    # That the plan was confirmed outlasts even a loss of power: without it, resume does nothing.
    journal.sync()
    try:
        yield journal
    except BaseException:
        state.stop(StopKind.INTERRUPTED, "cut off")
        raise
    finally:
        seconds = sent.seconds
        sent.connections.remember_rates()
        _end(journal, state, sent, seconds)


def _busy(run: RunDirectory) -> RefusedError:
    kind = RefusedError if run.shard is None else ShardBusyError
    return kind(f"run {run.run_id} is being worked on already; nothing was deleted", "lock")


def kept_registries(plan: Plan, options: ExecutionOptions) -> list[str]:
    """The registries of which manifests are to be kept, as the command line or a policy asks."""
    return [name for name, facts in plan.header.registries.items() if options.keep_manifests or facts.undo]


async def _keeper(
    connections: Connections, plan: Plan, run: RunDirectory, stack: ExitStack, options: ExecutionOptions
) -> "Keeper | None":
    """What keeps manifests, if the command line, a policy or an earlier session of the run asks for that."""
    registries = kept_registries(plan, options)
    if not registries and not run.manifests.exists():
        return None
    from pruner.engine.keeping import Keeper
    from pruner.engine.manifest_store import ManifestStore

    store = ManifestStore.create(run.manifests, registries)
    stack.callback(store.close)
    doors = await connections.open_doors(sorted(store.registries))
    return Keeper(doors, store, {name for name in doors if connections.names_platforms(name)})


def _deadline(options: ExecutionOptions) -> list[Helper]:
    deadline = options.deadline
    return [] if deadline is None else [StopAt(lambda: deadline.left, deadline.sentence)]


async def _tick(journal: Journal, state: RunState, sent: _Sent) -> None:
    """Note once a second how the run goes, for the report's time line."""
    gates = sent.connections.gates
    while True:
        await anyio.sleep(TICK_SECONDS)
        totals = GateTotals.of(gates)
        try:
            journal.write(
                Tick(
                    int(time.time() * 1000),
                    state.stats.done,
                    sent.requests,
                    sent.throttled,
                    totals.in_flight,
                    0.0 if totals.rate == float("inf") else round(totals.rate, 2),
                )
            )
        except JournalWriteError as error:
            state.stop(StopKind.DISK, str(error))
            return


class StopAt:
    """Ends a run in good order when no seconds are ``left``, those included in which the machine slept."""

    def __init__(self, left: Callable[[], float], why: str) -> None:
        self._left = left
        self._why = why

    async def __call__(self, working: Working, *, task_status: TaskStatus[None]) -> None:
        """Wait beside a run."""
        task_status.started()
        while (left := self._left()) > 0:  # noqa: ASYNC110 - no event tells that time has passed
            await anyio.sleep(min(left, LOOKED_AT_SECONDS))
        working.state.stop(StopKind.DEADLINE, self._why)


def _end(journal: Journal, state: RunState, sent: _Sent, seconds: float) -> None:
    kind = state.stop_kind
    stats = {
        "requests": sent.requests,
        "throttled": sent.throttled,
        "retries": state.stats.retries,
        "seconds": round(seconds, 3),
    }
    try:
        journal.write(
            End(
                int(time.time() * 1000),
                None if kind is None else kind.value,
                state.message or None,
                stats,
            )
        )
    finally:
        journal.close()
