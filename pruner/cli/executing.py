"""Carrying a plan out for a command: lock, journal, signals, progress, report, exit code."""

import os
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import anyio

from pruner import __version__
from pruner.cli.connections import Connections
from pruner.cli.progress import show_progress
from pruner.cli.signals import obey_signals
from pruner.cli.talk import Talk
from pruner.cli.watching import Watch
from pruner.engine.executor import Executor, ExecutorSettings
from pruner.engine.journal import VERSION, End, Journal, JournalWriteError, Progress, Start, Tick
from pruner.engine.lock import registry_locks, run_lock
from pruner.engine.runs import RunDirectory
from pruner.engine.state import RunState
from pruner.errors import RefusedError
from pruner.model import StopKind
from pruner.plan.file import Plan
from pruner.policy.in_use import InUse
from pruner.tasks import task_group

if TYPE_CHECKING:
    from pruner.engine.keeping import Keeper

TICK_SECONDS = 1.0
_SIGNALS = {
    signal.SIGINT: StopKind.INTERRUPTED,
    signal.SIGTERM: StopKind.TERMINATED,
    signal.SIGHUP: StopKind.TERMINATED,
}


@dataclass(frozen=True, slots=True)
class ExecutionOptions:
    """How a plan is carried out. ``deadline`` in seconds."""

    durable: bool = False
    deadline: float | None = None
    keep_manifests: bool = False
    watch: Watch | None = None


async def execute(
    connections: Connections,
    plan: Plan,
    run: RunDirectory,
    state_dir: Path,
    options: ExecutionOptions,
    talk: Talk,
    in_use: InUse | None = None,
) -> None:
    """Delete what is left of the plan. Everything worth knowing afterwards is in the run's journal."""
    access = await connections.open(sorted(plan.header.registries))
    scopes = connections.lock_scopes()
    shared_by = None if run.shard is None else run.group
    locks = registry_locks(state_dir, scopes, run.run_id, shared_by=shared_by)
    with ExitStack() as stack, locks, run_lock(run) as held:
        if not held:
            raise RefusedError(f"run {run.run_id} is being worked on already; nothing was deleted", "lock")
        keeper = await _keeper(connections, plan, run, stack, options)
        progress = Progress.of(run.journal, tries_failed_again=run.shard is not None)
        journal = Journal(run.journal, durable=options.durable)
        state = RunState(connections.gates)
        state.stats.total = plan.entries_left - progress.done.count
        if options.watch is not None:
            options.watch.follow(state, connections.gates)
        requests, started = connections.requests_sent, time.monotonic()
        journal.write(Start(VERSION, int(time.time() * 1000), os.getpid(), __version__))
        # That the plan was confirmed outlasts even a loss of power: without it, resume does nothing.
        journal.sync()
        executor = Executor(
            access,
            state,
            journal,
            ExecutorSettings(workers=connections.concurrency),
            dice=Random(),  # noqa: S311 - jitter, not a secret
            keeper=keeper,
            in_use=in_use,
        )
        try:
            cancelled = await _supervised(
                executor, journal, plan, progress, state, connections, options, talk
            )
        finally:
            seconds = time.monotonic() - started
            connections.remember_rates()
            _end(journal, state, connections, requests, seconds)
        if cancelled:
            talk.warn("cancelled: what was in flight is unknown until the run is resumed")


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
    return Keeper(await connections.open_doors(sorted(store.registries)), store)


async def _supervised(
    executor: Executor,
    journal: Journal,
    plan: Plan,
    progress: Progress,
    state: RunState,
    connections: Connections,
    options: ExecutionOptions,
    talk: Talk,
) -> bool:
    """Run the executor under signals, deadline and progress; whether a second signal cancelled it."""

    def stop(received: signal.Signals) -> None:
        state.stop(_SIGNALS[received], f"{received.name} received")

    async with task_group() as helpers:
        with anyio.CancelScope() as working:
            await helpers.start(obey_signals, lambda: state.stop_kind is not None, stop, working, talk)
            helpers.start_soon(show_progress, state, connections.gates, talk)
            helpers.start_soon(_tick, journal, state, connections)
            helpers.start_soon(connections.keep_parts)
            if options.watch is not None:
                helpers.start_soon(options.watch.keep_written)
            if options.deadline is not None:
                helpers.start_soon(_stop_at, options.deadline, state)
            await executor.run([plan.images_of(lane) for lane in connections.lanes(plan.starts)], progress)
        helpers.cancel_scope.cancel()
    return working.cancelled_caught


async def _tick(journal: Journal, state: RunState, connections: Connections) -> None:
    """Note once a second how the run goes, for the report's time line."""
    gates = connections.gates
    while True:
        await anyio.sleep(TICK_SECONDS)
        rate = sum(gate.pacer.rate for gate in gates)
        try:
            journal.write(
                Tick(
                    int(time.time() * 1000),
                    state.stats.done,
                    sum(gate.granted for gate in gates),
                    sum(gate.refusals for gate in gates),
                    sum(gate.in_flight for gate in gates),
                    0.0 if rate == float("inf") else round(rate, 2),
                )
            )
        except JournalWriteError as error:
            state.stop(StopKind.DISK, str(error))
            return


async def _stop_at(seconds: float, state: RunState) -> None:
    await anyio.sleep(seconds)
    state.stop(StopKind.DEADLINE, f"the deadline of {seconds:.0f} s has passed")


def _end(
    journal: Journal, state: RunState, connections: Connections, requests_before: int, seconds: float
) -> None:
    kind = state.stop_kind
    stats = {
        "requests": connections.requests_sent - requests_before,
        "throttled": sum(gate.refusals for gate in connections.gates),
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
