"""The whole way of ``undo``: what a run deleted, the question, putting it back, the report."""

import signal
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import anyio
import click
import msgspec

from pruner.app.applying import connect, what_of
from pruner.app.connections import Connections
from pruner.app.executing import locked, progress_of
from pruner.app.options import ConnectionOptions
from pruner.app.places import endpoint_asked_for
from pruner.cli.consoles import result_console
from pruner.cli.running import confirm
from pruner.cli.signals import obey_signals
from pruner.cli.talk import Talk
from pruner.engine.lock import run_lock
from pruner.engine.manifest_store import ManifestStore
from pruner.engine.runs import RunDirectory
from pruner.engine.undo import Restored, Undoer, UndoOutcome
from pruner.engine.undo_journal import UndoJournal, may_be_gone
from pruner.errors import ExitCode, InputError, PrunerError, RefusedError
from pruner.files import atomic_file
from pruner.model import Target
from pruner.plan.file import Plan, open_plan
from pruner.plan.settings import check_endpoint, settings_of
from pruner.policy.patterns import compile_globs
from pruner.report.text import counted
from pruner.report.undo import show_undo, undo_report
from pruner.tasks import task_group

Item = tuple[Target, str]
"""A tag that was deleted, and the digest that it had."""


@dataclass(frozen=True, slots=True)
class UndoOptions:
    """What to put back, and how."""

    connection: ConnectionOptions
    state: Path
    only: tuple[str, ...] = ()
    force: bool = False
    dry_run: bool = False
    yes: bool = False
    form: str = "table"


async def undo_run(run: RunDirectory, options: UndoOptions, talk: Talk) -> ExitCode:
    """Put back what ``run`` deleted."""
    if not run.manifests.exists():
        raise InputError(
            f"run {run.run_id} kept no manifests, so nothing of it can be put back; to be able to, delete "
            f"with --keep-manifests, or write 'undo: true' in the policy"
        )
    plan = open_plan(run.plan, allow_edited=True)
    check_endpoint(plan.header.registries, endpoint_asked_for(options.connection))
    settings = settings_of(plan.header.registries)
    with ExitStack() as stack:
        store = ManifestStore.open(run.manifests)
        stack.callback(store.close)
        async with Connections(options.connection, settings, talk, state=options.state) as connections:
            connections.resolve(sorted(plan.header.registries))
            items = list(_deleted(plan, run, store, options.only))
            if not items:
                what = " that --only names (as in 'registry/image:tag')" if options.only else ""
                talk.say(f"Run {run.run_id} deleted nothing{what}: nothing to put back ({what_of(plan)})")
                return ExitCode.DONE
            talk.say(
                f"Run {run.run_id}: {counted(len(items), 'tag')} to put back ({what_of(plan)}). That works "
                f"until the registry collects what has lost its tag."
            )
            if not options.dry_run:
                confirm(len(items), options.yes, "put back", "put back")
                stack.enter_context(locked(connections, options.state, run))
                if not stack.enter_context(run_lock(run)):
                    raise RefusedError(f"run {run.run_id} is being worked on; nothing was put back")
            await connect(connections, plan)
            kept = [name for name in sorted(plan.header.registries) if name in store.registries]
            doors = await connections.open_doors(kept)
            undoer = Undoer(doors, store, force=options.force, dry_run=options.dry_run)
            session = _Session(undoer, run, options)
            most = max(map(connections.concurrency_of, plan.header.registries))
            return await session.work(items, most, talk)


def _deleted(plan: Plan, run: RunDirectory, store: ManifestStore, only: tuple[str, ...]) -> Iterator[Item]:
    """What a run deleted, or may have deleted, in the order of its plan, by the manifests that it kept."""
    progress_of(run, plan)
    gone = may_be_gone(run.journal)
    try:
        matches = compile_globs(only) if only else None
    except ValueError as error:
        raise InputError(f"--only: {error}") from None
    for _, entries in plan.streamed_images():
        for entry in entries:
            wanted = matches is None or matches(str(entry.target))
            if wanted and entry.seq in gone and entry.digest is not None:
                yield entry.target, store.digest_of(entry.target) or entry.digest


class _Session:
    """One session of putting back."""

    def __init__(self, undoer: Undoer, run: RunDirectory, options: UndoOptions) -> None:
        self._undoer = undoer
        self._run = run
        self._options = options
        self._outcomes: list[UndoOutcome] = []
        self._journal: UndoJournal | None = None
        self._stopped: signal.Signals | None = None
        """The signal that asked to stop."""

    async def work(self, items: list[Item], workers: int, talk: Talk) -> ExitCode:
        """Put ``items`` back, and report. Raises what ended the session early, after the report."""
        if not self._options.dry_run:
            self._journal = UndoJournal(self._run.undo_journal, self._options.only, force=self._options.force)
        problem: PrunerError | None = None
        try:
            async with task_group() as helpers:
                with anyio.CancelScope() as working:
                    await helpers.start(
                        obey_signals, lambda: self._stopped is not None, self._stop, working.cancel, talk
                    )
                    await self._all(items, workers)
                helpers.cancel_scope.cancel()
        except PrunerError as error:
            problem = error
        finally:
            if self._journal is not None:
                self._journal.close()
            self._tell(items, talk)
        if problem is not None:
            raise problem
        if self._stopped is not None:
            return ExitCode.INTERRUPTED if self._stopped == signal.SIGINT else ExitCode.TERMINATED
        counts = Counter(outcome.status for outcome in self._outcomes)
        fine = counts[Restored.RESTORED] + counts[Restored.THERE]
        return ExitCode.DONE if fine == len(items) else ExitCode.SOME_FAILED

    def _stop(self, received: signal.Signals) -> None:
        self._stopped = received

    async def _all(self, items: list[Item], workers: int) -> None:
        """Put everything back: what belongs to something after it, as a registry may check that."""
        waves: dict[int, deque[Item]] = {}
        for item in items:
            waves.setdefault(self._undoer.depth_of(item[1]), deque()).append(item)
        for _, waiting in sorted(waves.items()):
            async with task_group() as group:
                for _ in range(min(workers, len(waiting))):
                    group.start_soon(self._work, waiting)

    async def _work(self, waiting: deque[Item]) -> None:
        while waiting and self._stopped is None:
            outcome = await self._undoer.restore(*waiting.popleft())
            if self._journal is not None:
                self._journal.done(outcome)
            self._outcomes.append(outcome)

    def _tell(self, items: list[Item], talk: Talk) -> None:
        """Show what became of each tag, and write it down."""
        ended = {outcome.target for outcome in self._outcomes}
        left = [
            UndoOutcome(target, digest, Restored.NOT_ATTEMPTED)
            for target, digest in items
            if target not in ended
        ]
        outcomes = sorted([*self._outcomes, *left], key=lambda outcome: outcome.target)
        report = undo_report(self._run.run_id, outcomes, dry_run=self._options.dry_run)
        if self._options.form == "json":
            click.echo(msgspec.json.encode(report))
        else:
            show_undo(outcomes, result_console(), dry_run=self._options.dry_run)
        if not self._options.dry_run:
            path = self._run.path / "undo.json"
            with atomic_file(path) as file:
                file.write(msgspec.json.encode(report) + b"\n")
            talk.say(f"Report: {path}")
