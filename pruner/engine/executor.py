"""The worker pool: takes deletions from the feed, sends one DELETE each, and says how each ended."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

from pruner.engine.access import RegistryAccess
from pruner.engine.feed import Feed
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
from pruner.engine.retry import Backoff, RetryBudget, Verdict, classify_delete
from pruner.engine.state import RunState
from pruner.errors import ListingError, PrunerError, RequestError, ResponseError
from pruner.model import Outcome, Status, StopKind, Target
from pruner.plan.records import Entry, ImageRecord
from pruner.policy.in_use import InUse
from pruner.registry.base import Deletion
from pruner.tasks import task_group

if TYPE_CHECKING:
    from pruner.engine.keeping import Keeper

OUTAGE_SECONDS: Final = 600.0
"""A server that does not answer for this long ends the run."""
READINGS: Final = 4
"""How often a tag is looked for in a list that does not hold together."""
REFUSALS_IN_A_ROW: Final = 25
"""So many tags of a registry refused one after the other (409, say) end the work on it."""


@dataclass(slots=True)
class _Trial:
    """One target on its way: what has been tried so far."""

    entry: Entry
    target: Target
    access: RegistryAccess
    started: int = 0
    clock_started: float = 0.0
    attempts: int = 0
    failures: int = 0
    claimed: bool = False
    in_doubt: bool = False
    """An attempt may have been carried out without an answer that said so."""
    missing_said: bool = False
    """The answer was one that a tag which is not there may get."""
    last_error: RequestError | None = None
    status: int | None = None
    """Of the last success."""


@dataclass(frozen=True, slots=True)
class ExecutorSettings:
    """How hard to try. ``workers`` bounds the requests in flight of each endpoint."""

    workers: int = 16
    backoff: Backoff = field(default_factory=Backoff)
    budget: int = 200


class Executor:
    """Carries a plan out. ``clock`` is monotonic seconds, ``wall_clock`` epoch seconds.

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
        clock: Callable[[], float] = time.monotonic,
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

    async def run(
        self, lanes: Sequence[Iterator[tuple[ImageRecord, list[Entry]]]], progress: Progress
    ) -> None:
        """Work until the plan is done or the run stops; every outcome is in the journal.

        Each lane holds images of one gate, and has feed and workers of its own: none waits for another.
        """
        async with task_group() as group:
            for images in lanes:
                group.start_soon(self._run_lane, images, progress)

    async def _run_lane(self, images: Iterator[tuple[ImageRecord, list[Entry]]], progress: Progress) -> None:
        workers = self._settings.workers
        feed = Feed(
            images,
            self._access,
            self._state,
            progress,
            self._end,
            self.stop_registry,
            workers,
            self._in_use,
        )
        try:
            async with task_group() as helpers:
                helpers.start_soon(self._abandon_when_stopping, feed)
                async with task_group() as group:
                    for _ in range(feed.preparers):
                        group.start_soon(feed.prepare)
                    for _ in range(workers):
                        group.start_soon(self._work, feed)
                helpers.cancel_scope.cancel()
        finally:
            feed.abandon()

    async def _abandon_when_stopping(self, feed: Feed) -> None:
        await self._state.stopping.wait()
        feed.abandon()

    async def _work(self, feed: Feed) -> None:
        while (entry := await feed.next()) is not None:
            if not self._state.may_work_on(entry.registry):
                continue
            try:
                await self._delete(_Trial(entry, entry.target, self._access[entry.registry]))
            except JournalWriteError as error:
                self._state.stop(StopKind.DISK, str(error))
                return

    async def _delete(self, trial: _Trial) -> None:
        """Try until the target has an outcome or the run stops."""
        try:
            if self._keeper is not None and not await self._is_kept(self._keeper, trial):
                return
            while (verdict := await self._attempt(trial)) is not None:
                if await self._settle(trial, verdict):
                    return
        except GateClosedError:
            self._leave(trial)

    async def _is_kept(self, keeper: "Keeper", trial: _Trial) -> bool:
        """Whether the manifest is on the disk; where it is not, the target ends here."""
        if not keeper.keeps(trial.entry.registry):
            return True
        trial.started, trial.clock_started = int(self._wall_clock() * 1000), self._clock()
        try:
            await keeper.keep(trial.target, trial.entry.digest)
        except (JournalWriteError, GateClosedError):
            # The disk is full, or the run stops: the target was not attempted.
            raise
        except PrunerError as error:
            await self._end_unkept(trial, error)
            return False
        return True

    async def _end_unkept(self, trial: _Trial, error: PrunerError) -> None:
        """A manifest that cannot be kept: because its tag has gone meanwhile, or for some other reason."""
        try:
            there = await self._is_there(trial)
        except PrunerError:
            there = True
        if not there:
            self._finish(trial, Status.GONE)
            return
        why = f"its manifest cannot be kept, so it was not deleted: {error}"
        self._finish(trial, Status.FAILED, error=why)
        self._count_refusal(trial, why)

    async def _attempt(self, trial: _Trial) -> Verdict | None:
        """One DELETE through the gate. None if the registry was stopped while waiting."""
        gate = trial.access.gate
        sent_at = await gate.acquire()
        if not self._state.may_work_on(trial.entry.registry):
            gate.abandoned(sent_at)
            self._leave(trial)
            return None
        try:
            self._begin(trial)
            result: Deletion | RequestError = await trial.access.deleter.delete(
                trial.target, trial.entry.digest
            )
        except RequestError as error:
            result = error
        except BaseException:
            gate.abandoned(sent_at)
            raise
        verdict = classify_delete(result)
        if isinstance(result, RequestError):
            trial.last_error = result
            report_to_gate(gate, verdict, result, sent_at, self._wall_clock())
        else:
            trial.last_error = None
            trial.status = result.status
            gate.accepted(sent_at)
        return verdict

    def _begin(self, trial: _Trial) -> None:
        trial.attempts += 1
        if not trial.claimed:
            trial.started = int(self._wall_clock() * 1000)
            trial.clock_started = self._clock()
            self._journal.write(Claim(trial.entry.seq))
            trial.claimed = True

    async def _settle(self, trial: _Trial, verdict: Verdict) -> bool:
        """Act on a verdict; whether the target has ended."""
        if verdict is Verdict.DONE:
            self._finish(trial, Status.DELETED, trial.status)
        elif verdict is Verdict.GONE:
            # After an attempt in doubt, a 404 is that attempt's success.
            self._finish(trial, Status.DELETED if trial.in_doubt else Status.GONE, 404)
        elif verdict is Verdict.MOVED:
            self._finish(trial, Status.CHANGED, error=str(trial.last_error))
        elif verdict is Verdict.THROTTLED:
            return self._is_throttled_for_too_long(trial)
        elif verdict is Verdict.RETRY:
            return await self._wait_to_retry(trial)
        elif verdict is Verdict.RECHECK:
            return await self._recheck(trial)
        elif verdict is Verdict.FAIL:
            self._finish(trial, Status.FAILED)
            self._count_refusal(trial)
        else:
            self._stop(trial, verdict)
        return True

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

    async def _recheck(self, trial: _Trial) -> bool:
        """Read the tag: it decides what became of a DELETE without a clear answer."""
        error = trial.last_error
        trial.missing_said = not trial.in_doubt and _may_mean_missing(error)
        trial.in_doubt = trial.in_doubt or not trial.missing_said
        try:
            there = await self._is_there(trial)
        except PrunerError as problem:
            self._finish(trial, Status.UNKNOWN, error=f"{error}; reading it again failed: {problem}")
            return True
        if not there:
            self._finish(trial, Status.GONE if trial.missing_said else Status.DELETED)
            return True
        return await self._wait_to_retry(trial)

    async def _is_there(self, trial: _Trial) -> bool:
        """Read the tag; where its list shifts under the deletions of others, again a little later."""
        for failures in range(1, READINGS):
            try:
                return await trial.access.rechecker.has_tag(trial.target)
            except ListingError:
                await self._state.sleep(self._settings.backoff.delay(failures, self._dice.random()))
        return await trial.access.rechecker.has_tag(trial.target)

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

    def _stop(self, trial: _Trial, verdict: Verdict) -> None:
        """The server said something that concerns more than this target."""
        error = trial.last_error
        registry = trial.entry.registry
        self._leave(trial)
        if verdict is Verdict.STOP_REGISTRY:
            self.stop_registry(registry, permission_sentence(error, "delete"), permission=True)
        elif verdict is Verdict.STOP_QUOTA:
            self._state.stop(StopKind.QUOTA, quota_sentence(error))
        elif verdict is Verdict.STOP_CREDENTIALS and isinstance(error, ResponseError):
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
        elif trial.claimed:
            self._finish(trial, Status.NOT_ATTEMPTED)

    def _finish(
        self, trial: _Trial, status: Status, http_status: int | None = None, error: str | None = None
    ) -> None:
        last = trial.last_error
        if status in (Status.DELETED, Status.GONE):
            self._budget.succeeded()
            self._refused_in_a_row.pop(trial.entry.registry, None)
        elif error is None:
            error = "the server reported success, but the tag is still there" if last is None else str(last)
        if http_status is None and isinstance(last, ResponseError):
            http_status = last.status
        outcome = Outcome(
            trial.target,
            status,
            trial.attempts,
            http_status,
            error,
            None if error is None else _cause(last),
            trial.started,
            round(self._clock() - trial.clock_started, 4),
            trial.entry.policy,
            trial.entry.size,
        )
        self._end(trial.entry, outcome)

    def _end(self, entry: Entry, outcome: Outcome) -> None:
        self._journal.write(Done(entry.seq, outcome))
        self._state.stats.take(outcome)


def _may_mean_missing(error: RequestError | None) -> bool:
    """Whether an answer can stand for a tag that was not there: NCR's 500, or a 404 of unknown origin."""
    return isinstance(error, ResponseError) and (
        error.status == 404 or (error.status == 500 and error.layer == "ncr")
    )


def _cause(error: RequestError | None) -> str:
    """A short name that failures are grouped by."""
    if isinstance(error, ResponseError):
        return f"HTTP {error.status}" if error.code is None else f"HTTP {error.status}/{error.code}"
    return "no error" if error is None else type(error).__name__.removesuffix("Error").lower()
