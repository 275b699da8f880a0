"""The worker pool: takes deletions from the feed, sends one DELETE each, and says how each ended."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

import anyio

from pruner.clock import running_clock
from pruner.engine.access import RegistryAccess
from pruner.engine.confirming import MOST_ACCEPTED, confirm
from pruner.engine.feed import CHECK_HOLDS_SECONDS, Accepted, Batch, Feed, want_of_check
from pruner.engine.final_check import change_of, compare
from pruner.engine.gate import GateClosedError
from pruner.engine.governor import (
    THROTTLED_SECONDS,
    credentials_sentence,
    permission_sentence,
    quota_sentence,
    report_to_gate,
    wrong_endpoint_sentence,
)
from pruner.engine.journal import Claim, Done, Journal, JournalWriteError, Progress, RegistryStop
from pruner.engine.readiness import Readiness
from pruner.engine.retry import Backoff, NextStep, RetryBudget, classify_delete, was_refused
from pruner.engine.state import RunState
from pruner.errors import ListingError, PrunerError, RequestError, ResponseError, StopKind
from pruner.model import Outcome, Status, Tag, Target
from pruner.plan.records import Entry, ImageRecord
from pruner.policy.in_use import InUse
from pruner.registry.base import Deletion, TagReader
from pruner.tasks import in_thread_if_long, task_group

if TYPE_CHECKING:
    from pruner.engine.keeping import Keeper

OUTAGE_SECONDS: Final = 600.0
"""A server that does not answer for this long ends the run."""
READINGS: Final = 4
"""How often a tag is looked for in a list that is inconsistent."""
REFUSALS_IN_A_ROW: Final = 25
"""So many tags of a registry refused one after the other (409, say) end the work on it."""
LISTINGS_SHARE: Final = 4.0
"""Where listing an image takes long, it is listed again after so many times as long."""
_LONG_AGO: Final = float("-inf")


@dataclass(slots=True)
class _Trial:
    """One target on its way: what has been tried so far."""

    entry: Entry
    target: Target
    access: RegistryAccess
    batch: Batch
    checked_at: float
    """When it was last seen to be as planned, in seconds of the clock."""
    started: int = 0
    clock_started: float = 0.0
    attempts: int = 0
    failures: int = 0
    claimed: bool = False
    """Whether the journal says that a DELETE may be on its way."""
    in_doubt: bool = False
    """An attempt may have been carried out without an answer that said so."""
    missing_said: bool = False
    """The answer was one that a tag which is not there may get."""
    last_error: RequestError | None = None
    status: int | None = None
    """Of the last success."""

    @property
    def is_unclear(self) -> bool:
        """Whether a DELETE was sent of which it has to be found out what became of it."""
        return self.in_doubt or self.missing_said


@dataclass(frozen=True, slots=True)
class ExecutorSettings:
    """How hard to try."""

    workers: Callable[[str], int] = lambda registry: 16
    """How many requests may be in flight at the endpoint of a registry."""
    backoff: Backoff = field(default_factory=Backoff)
    budget: int = 200
    largest_image: int = 0
    """The most deletions of one image."""


class Executor:
    """Carries a plan out. ``clock`` is seconds that go on in suspend, ``wall_clock`` epoch seconds.

    With a ``keeper`` a tag is deleted only after its manifest is kept; what is ``in_use`` is left alone.
    """

    def __init__(
        self,
        access: Mapping[str, RegistryAccess],
        state: RunState,
        journal: Journal,
        settings: ExecutorSettings,
        *,
        dice: Random,
        keeper: "Keeper | None" = None,
        in_use: InUse | None = None,
        clock: Callable[[], float] = running_clock,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._access = access
        self._state = state
        self._journal = journal
        self._settings = settings
        self._budget = RetryBudget(settings.budget)
        self._dice = dice
        self._keeper = keeper
        self._in_use = in_use
        self._clock = clock
        self._wall_clock = wall_clock
        self._refused_in_a_row: dict[str, int] = {}
        self._readiness = Readiness(clock)
        self._looking_again: dict[int, anyio.Lock] = {}
        """Of each gate."""
        self._unconfirmed: dict[int, Batch] = {}
        """Images with deletions that were accepted and not seen carried out."""

    async def run(
        self, lanes: Mapping[str, Iterator[tuple[ImageRecord, list[Entry]]]], progress: Progress
    ) -> None:
        """Work until the plan is done or the run stops; every outcome is in the journal.

        Each lane holds images of one endpoint, by one of its registries, and has feed and workers of its
        own: none waits for another.
        """
        async with task_group() as group:
            for registry, images in lanes.items():
                group.start_soon(self._run_lane, images, progress, self._settings.workers(registry))

    async def _run_lane(
        self, images: Iterator[tuple[ImageRecord, list[Entry]]], progress: Progress, workers: int
    ) -> None:
        feed = Feed(
            images,
            self._access,
            self._state,
            progress,
            self._end,
            self.stop_registry,
            workers,
            self._in_use,
            self._clock,
            largest_image=self._settings.largest_image,
        )
        try:
            async with task_group() as helpers:
                helpers.start_soon(self._abandon_when_stopping, feed)
                async with task_group() as group:
                    for _ in range(feed.preparers):
                        group.start_soon(feed.prepare)
                    for _ in range(workers):
                        group.start_soon(self._work, feed)
                # Of a run that stops, images are left that are not through.
                await self._confirm_rest()
                helpers.cancel_scope.cancel()
        finally:
            feed.abandon()

    async def _abandon_when_stopping(self, feed: Feed) -> None:
        await self._state.stopping.wait()
        feed.abandon()

    async def _work(self, feed: Feed) -> None:
        try:
            while (found := await feed.next()) is not None:
                entry, batch = found
                if self._state.may_work_on(entry.registry):
                    await self._delete(
                        _Trial(entry, entry.target, self._access[entry.registry], batch, batch.checked_at)
                    )
                else:
                    batch.closed_one()
                if batch.accepted:
                    await self._confirm_if_through(batch)
        except JournalWriteError as error:
            self._state.stop(StopKind.DISK, str(error))

    async def _delete(self, trial: _Trial) -> None:
        """Try until the target has an outcome or the run stops."""
        try:
            async with trial.access.deleter.turn(trial.target, trial.entry.digest):
                if self._keeper is not None and not await self._is_kept(self._keeper, trial):
                    return
                while (step := await self._attempt(trial)) is not None:
                    if await self._settle(trial, step):
                        return
        except GateClosedError:
            self._leave(trial)
        finally:
            trial.batch.closed_one()

    async def _is_kept(self, keeper: "Keeper", trial: _Trial) -> bool:
        """Whether the manifest is on the disk; where it is not, the target ends here."""
        if not keeper.keeps(trial.entry.registry):
            return True
        self._start(trial)
        try:
            await keeper.keep(trial.entry)
        except (JournalWriteError, GateClosedError):
            # The disk is full, or the run stops: the target was not attempted.
            raise
        except PrunerError as error:
            if error.stops is not None:
                self._stop_by(trial, error)
            else:
                await self._end_unkept(trial, error)
            return False
        return True

    async def _end_unkept(self, trial: _Trial, error: PrunerError) -> None:
        """A manifest that cannot be kept: because its tag has gone meanwhile, or for some other reason."""
        if not await self._is_as_planned(trial):
            return
        why = f"its manifest cannot be kept, so it was not deleted: {error}"
        self._finish(trial, Status.FAILED, error=why)
        self._count_refusal(trial, why)

    def _start(self, trial: _Trial) -> None:
        if not trial.started:
            trial.started, trial.clock_started = int(self._wall_clock() * 1000), self._clock()

    async def _attempt(self, trial: _Trial) -> NextStep | None:
        """One DELETE through the gate. None if the target has ended, or its registry was stopped."""
        self._start(trial)
        gate = trial.access.gate
        if self._readiness.pauses:
            await self._readiness.wait(trial.entry.registry, self._state.sleep)
        must_look = trial.access.deleter.looks_at_each or trial.checked_at == _LONG_AGO
        if must_look and not await self._may_go(trial):
            return None
        sent_at = await gate.acquire(first=must_look)
        while self._is_stale(trial):
            # It waited too long for its slot.
            gate.abandoned(sent_at)
            # One at a time: if all looked again at once, each look would be old before its turn, for ever.
            async with self._looking_again.setdefault(id(gate), anyio.Lock()):
                if not await self._may_go(trial):
                    return None
                sent_at = await gate.acquire(first=True)
        if not self._state.may_work_on(trial.entry.registry):
            gate.abandoned(sent_at)
            self._leave(trial)
            return None
        return await self._send(trial, sent_at)

    async def _send(self, trial: _Trial, sent_at: float) -> NextStep:
        gate = trial.access.gate
        try:
            self._claim(trial)
            result: Deletion | RequestError = await trial.access.deleter.delete(
                trial.target, trial.entry.digest
            )
        except RequestError as error:
            result = error
        except BaseException:
            gate.abandoned(sent_at)
            raise
        step = classify_delete(result)
        # Whatever comes next, the tag is looked at again before it.
        trial.checked_at = _LONG_AGO
        if isinstance(result, RequestError):
            trial.last_error = result
            report_to_gate(gate, step, result, sent_at, self._wall_clock())
            if was_refused(step):
                trial.access.deleter.was_refused(trial.entry.image, trial.entry.digest)
                if not trial.in_doubt:
                    self._unclaim(trial)
        else:
            trial.last_error = None
            trial.status = result.status
            gate.accepted(sent_at)
        return step

    def _claim(self, trial: _Trial) -> None:
        trial.attempts += 1
        trial.missing_said = False
        if not trial.claimed:
            self._journal.write(Claim(trial.entry.seq))
            trial.claimed = True

    def _unclaim(self, trial: _Trial) -> None:
        """The DELETE was refused, so whatever happens to the tag now is not this run's doing."""
        outcome = self._outcome(trial, Status.NOT_ATTEMPTED, error=str(trial.last_error))
        self._journal.write(Done(trial.entry.seq, outcome))
        trial.claimed = False

    def _is_stale(self, trial: _Trial) -> bool:
        return self._clock() - trial.checked_at > CHECK_HOLDS_SECONDS

    async def _may_go(self, trial: _Trial) -> bool:
        """Look at a tag before its DELETE, and at the others of its image if they may go with it."""
        return await self._siblings_may_go(trial) and await self._is_as_planned(trial)

    async def _siblings_may_go(self, trial: _Trial) -> bool:
        """Whether no tag that stays goes with this one; the image is listed again if its list has grown old.

        A registry that deletes manifests deletes every tag of them, among them those of the last minute.
        """
        if not trial.access.deleter.takes_siblings:
            return True
        batch = trial.batch
        try:
            async with batch.listing:
                holds = max(CHECK_HOLDS_SECONDS, LISTINGS_SHARE * batch.seconds)
                if self._clock() - batch.checked_at > holds:
                    await self._list_siblings(trial)
        except GateClosedError:
            raise
        except PrunerError as problem:
            self._end_unseen(trial, problem)
            return False
        if (why := batch.kept.get(trial.entry.seq)) is None:
            return True
        self._finish(trial, Status.CHANGED, error=why)
        return False

    async def _list_siblings(self, trial: _Trial) -> None:
        """Compare all that was planned of an image with its list now."""
        batch, record, began = trial.batch, trial.batch.record, self._clock()
        reader = trial.access.reader
        tags = await reader.tags(record.registry, record.image, want_of_check(batch.planned))
        in_use = (self._in_use or {}).get((record.registry, record.image))
        times = reader.always_reads_times
        checked = await in_thread_if_long(
            len(tags or ()),
            lambda: compare(record, batch.planned, tags, in_use=in_use, times_were_read=times),
        )
        # What is not there any more is looked at when its turn comes.
        batch.kept = {
            entry.seq: outcome.error or ""
            for entry, outcome in checked.ended
            if outcome.status is Status.CHANGED
        }
        batch.checked_at, batch.seconds = began, self._clock() - began

    def _end_unseen(self, trial: _Trial, problem: PrunerError) -> None:
        """A target that cannot be looked at."""
        if trial.is_unclear:
            error = f"{trial.last_error}; reading the tag again failed: {problem}"
            self._finish(trial, Status.UNKNOWN, error=error)
        elif problem.stops is not None:
            self._stop_by(trial, problem)
        else:
            self._finish(trial, Status.FAILED, error=f"it cannot be looked at: {problem}")

    async def _is_as_planned(self, trial: _Trial) -> bool:
        """Look at one tag; if it is not as planned any more, the target ends here."""
        began = self._clock()
        try:
            tag = await self._read(trial)
        except GateClosedError:
            raise
        except PrunerError as problem:
            self._end_unseen(trial, problem)
            return False
        if tag is None:
            self._end_missing(trial)
            return False
        times = trial.access.reader.always_reads_times
        if (change := change_of(trial.entry, tag, times_were_read=times)) is not None:
            self._finish(trial, Status.CHANGED, error=change)
            return False
        trial.checked_at = began
        return True

    def _end_missing(self, trial: _Trial) -> None:
        """The tag is not there any more: who has deleted it?"""
        entry = trial.entry
        ours = trial.in_doubt or trial.access.deleter.may_have_deleted(entry.image, entry.digest)
        if ours:
            self._finish(trial, Status.DELETED)
        elif trial.missing_said and _status_of(trial.last_error) != 404:
            # NCR answers so for a tag that is not there, but also when it fails after the work is done.
            self._finish(trial, Status.GONE, error=f"{trial.last_error}; this DELETE may have deleted it")
        else:
            self._finish(trial, Status.GONE)

    async def _read(self, trial: _Trial) -> Tag | None:
        """One tag now; where its list shifts under the deletions of others, again a little later."""
        access = trial.access
        reader: TagReader = access.drain_reader if trial.is_unclear else access.reader
        for failures in range(1, READINGS):
            try:
                return await reader.tag(trial.target)
            except ListingError:
                await self._state.sleep(self._settings.backoff.delay(failures, self._dice.random()))
        return await reader.tag(trial.target)

    async def _settle(self, trial: _Trial, step: NextStep) -> bool:
        """Act on what an attempt led to; whether the target has ended."""
        if step is NextStep.DONE:
            self._finish(trial, Status.DELETED, trial.status)
        elif step is NextStep.ACCEPTED:
            self._accept(trial)
        elif step is NextStep.BY_DIGEST:
            return False
        elif step in (NextStep.GONE, NextStep.IN_DOUBT):
            return await self._find_out(trial, step)
        elif step is NextStep.THROTTLED:
            return self._is_throttled_for_too_long(trial)
        elif step is NextStep.NOT_READY:
            return self._is_unready_for_too_long(trial)
        elif step is NextStep.RETRY:
            return await self._wait_to_retry(trial)
        elif step is NextStep.FAIL:
            self._finish(trial, Status.FAILED)
            self._count_refusal(trial)
        else:
            self._stop(trial, step)
        return True

    def _accept(self, trial: _Trial) -> None:
        """The registry will delete the tag; whether it does is seen when its image is through."""
        self._note_success(trial.entry.registry)
        outcome = self._outcome(trial, Status.DELETED, trial.status)
        trial.batch.accepted.append(Accepted(trial.entry, outcome))
        self._unconfirmed[id(trial.batch)] = trial.batch
        self._state.stats.accepted += 1

    def _note_success(self, registry: str) -> None:
        """Record that the registry takes deletions."""
        self._budget.succeeded()
        self._refused_in_a_row.pop(registry, None)
        if self._readiness.pauses:
            self._readiness.ready(registry)

    async def _confirm_if_through(self, batch: Batch) -> None:
        """See what became of the accepted deletions of an image that is through, or that has many of them."""
        is_through = not batch.waiting and not batch.open
        if is_through or len(batch.accepted) >= MOST_ACCEPTED:
            await self._confirm(batch)

    async def _confirm(self, batch: Batch) -> None:
        accepted, batch.accepted = batch.accepted, []
        self._unconfirmed.pop(id(batch), None)
        reader = self._access[batch.record.registry].drain_reader
        await confirm(accepted, batch.record, reader, self._state, self._end)
        self._state.stats.accepted -= len(accepted)

    async def _confirm_rest(self) -> None:
        try:
            for batch in list(self._unconfirmed.values()):
                await self._confirm(batch)
        except JournalWriteError as error:
            self._state.stop(StopKind.DISK, str(error))

    def _is_throttled_for_too_long(self, trial: _Trial) -> bool:
        """Whether to give up; a refusal itself costs the target nothing."""
        accepted = trial.access.gate.accepted_at
        since = trial.clock_started if accepted is None else max(accepted, trial.clock_started)
        if self._clock() - since <= THROTTLED_SECONDS:
            return False
        minutes = THROTTLED_SECONDS / 60
        self._state.stop(StopKind.QUOTA, f"every request was refused for {minutes:.0f} minutes")
        self._leave(trial)
        return True

    def _is_unready_for_too_long(self, trial: _Trial) -> bool:
        """The registry takes no deletions for now; whether to give up."""
        seconds = self._readiness.refused(trial.entry.registry)
        if seconds <= THROTTLED_SECONDS:
            return False
        minutes = THROTTLED_SECONDS / 60
        self._state.stop(
            StopKind.NOT_READY,
            f"the registry took no deletions for {minutes:.0f} minutes: {trial.last_error}",
        )
        self._leave(trial)
        return True

    async def _find_out(self, trial: _Trial, step: NextStep) -> bool:
        """Read the tag: it decides what became of a DELETE without a clear answer."""
        trial.missing_said = not trial.in_doubt and (
            step is NextStep.GONE or _may_mean_missing(trial.last_error)
        )
        trial.in_doubt = trial.in_doubt or not trial.missing_said
        if not await self._is_as_planned(trial):
            return True
        return await self._wait_to_retry(trial)

    async def _wait_to_retry(self, trial: _Trial) -> bool:
        """Wait before the next attempt; True if there will be none."""
        trial.failures += 1
        if trial.failures >= self._settings.backoff.attempts:
            self._finish(trial, Status.FAILED)
            return True
        since = trial.access.gate.breaker.open_since
        if since is not None and self._clock() - since > OUTAGE_SECONDS:
            self._state.stop(StopKind.UNREACHABLE, f"no answer for {OUTAGE_SECONDS / 60:.0f} minutes")
        elif not self._budget.spend():
            self._state.stop(
                StopKind.RETRY_BUDGET, f"too many failures in this run, last: {trial.last_error}"
            )
        self._state.stats.retries += 1
        await self._state.sleep(self._settings.backoff.delay(trial.failures, self._dice.random()))
        if self._state.may_work_on(trial.entry.registry):
            return False
        self._leave(trial)
        return True

    def _count_refusal(self, trial: _Trial, why: str | None = None) -> None:
        registry = trial.entry.registry
        count = self._refused_in_a_row.get(registry, 0) + 1
        self._refused_in_a_row[registry] = count
        if count >= REFUSALS_IN_A_ROW:
            self.stop_registry(
                registry, f"{count} tags refused one after the other: {why or trial.last_error}"
            )

    def _stop_by(self, trial: _Trial, error: PrunerError) -> None:
        """Reading failed for a reason that concerns more than this target."""
        self._leave(trial)
        if error.stops is not None:
            self._state.stop(error.stops, str(error))

    def _stop(self, trial: _Trial, step: NextStep) -> None:
        """The server said something that concerns more than this target."""
        error = trial.last_error
        registry = trial.entry.registry
        self._leave(trial)
        if step is NextStep.STOP_REGISTRY:
            self.stop_registry(registry, permission_sentence(error, "delete"), permission=True)
        elif step is NextStep.STOP_QUOTA:
            self._state.stop(StopKind.QUOTA, quota_sentence(error))
        elif step is NextStep.STOP_CREDENTIALS and isinstance(error, ResponseError):
            self._state.stop(StopKind.CREDENTIALS, credentials_sentence(error))
        elif isinstance(error, ResponseError):
            self._state.stop(StopKind.WRONG_ENDPOINT, wrong_endpoint_sentence(error))
        else:
            self._state.stop(StopKind.WRONG_ENDPOINT, str(error))

    def stop_registry(self, registry: str, reason: str, *, permission: bool = False) -> None:
        """Work on a registry no longer, and say so in the journal."""
        if self._state.stop_registry(registry, reason):
            self._journal.write(RegistryStop(registry, reason, permission))

    def _leave(self, trial: _Trial) -> None:
        """The run stops before this target had an outcome."""
        if trial.in_doubt:
            self._finish(trial, Status.UNKNOWN)
        elif trial.attempts:
            self._finish(trial, Status.NOT_ATTEMPTED)

    def _finish(
        self, trial: _Trial, status: Status, http_status: int | None = None, error: str | None = None
    ) -> None:
        if status in (Status.DELETED, Status.GONE):
            self._note_success(trial.entry.registry)
        elif error is None:
            last = trial.last_error
            error = "the server reported success, but the tag is still there" if last is None else str(last)
        self._end(trial.entry, self._outcome(trial, status, http_status, error))

    def _outcome(
        self, trial: _Trial, status: Status, http_status: int | None = None, error: str | None = None
    ) -> Outcome:
        last = trial.last_error
        return Outcome(
            trial.target,
            status,
            trial.attempts,
            _status_of(last) if http_status is None else http_status,
            error,
            None if error is None else _cause(last),
            trial.started,
            round(self._clock() - trial.clock_started, 4),
            trial.entry.policy,
            trial.entry.size,
        )

    def _end(self, entry: Entry, outcome: Outcome) -> None:
        self._journal.write(Done(entry.seq, outcome))
        self._state.stats.take(outcome)


def _may_mean_missing(error: RequestError | None) -> bool:
    """Whether an answer can stand for a tag that was not there: NCR's 500, or a 404 of unknown origin."""
    return isinstance(error, ResponseError) and (
        error.status == 404 or (error.status == 500 and error.layer == "ncr")
    )


def _status_of(error: RequestError | None) -> int | None:
    return error.status if isinstance(error, ResponseError) else None


def _cause(error: RequestError | None) -> str:
    """A short name that failures are grouped by."""
    if isinstance(error, ResponseError):
        return f"HTTP {error.status}" if error.code is None else f"HTTP {error.status}/{error.code}"
    return "no error" if error is None else type(error).__name__.removesuffix("Error").lower()
