"""The outcomes of a run, each target once, streamed out of its journal and its plan."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import UnsetType

from pruner.engine.final_check import outcome_of
from pruner.engine.journal import (
    NOT_FINAL,
    Claim,
    Done,
    End,
    Line,
    Owner,
    RegistryStop,
    SeqSet,
    Start,
    Tick,
    read_journal,
)
from pruner.model import Outcome, Status, Target
from pruner.plan.file import Plan
from pruner.plan.records import Entry, KeptTarget

MAX_TICKS = 2000
CUT_OFF = "its DELETE was sent, and the run was cut off before an answer; resume the run to find out"


class RunRecord:
    """What the journal says beside the outcomes: sessions and why they ended."""

    def __init__(self) -> None:
        self.starts: list[Start] = []
        self.stats: list[dict[str, Any]] = []
        """The totals of each session; of one that was cut off those that it noted last."""
        self.registry_stops: dict[str, str] = {}
        self.lacks_permission = False
        self.ticks: list[Tick] = []
        self.end: End | None = None
        """How the last session ended; None if it was cut off."""
        self.last_at = 0
        """When something was noted last, in epoch milliseconds."""
        self.wall_seconds: float | None = None
        """From the first start to what was noted last, where sessions ran side by side."""

    def take(self, line: Line) -> None:
        """Note a line that is no outcome."""
        if isinstance(line, Start | Tick | End):
            self.last_at = max(self.last_at, line.at)
        if isinstance(line, Start):
            self.starts.append(line)
            self.stats.append({})
            self.end = None
            self.registry_stops.clear()
            self.lacks_permission = False
        elif isinstance(line, End):
            self.stats[-1:] = [line.stats]
            self.end = line
        elif isinstance(line, Tick):
            self._take_tick(line)
        elif isinstance(line, RegistryStop):
            self.registry_stops[line.registry] = line.reason
            self.lacks_permission = self.lacks_permission or line.permission

    def _take_tick(self, tick: Tick) -> None:
        """Keep at most MAX_TICKS: of a long run every second one is dropped, again and again."""
        if self.starts:
            seconds = (tick.at - self.starts[-1].at) / 1000
            self.stats[-1] = {"requests": tick.requests, "throttled": tick.throttled, "seconds": seconds}
        self.ticks.append(tick)
        if len(self.ticks) > MAX_TICKS:
            del self.ticks[1::2]


def read_outcomes(
    plan: Plan, journal: Path, record: RunRecord, *, tries_failed_again: bool = False
) -> Iterator[Outcome]:
    """Every target of the plan exactly once: first those that ended, in that order, then the rest.

    Among the rest are explicit targets that the plan keeps. ``record`` is complete when the iterator is
    exhausted. Where sessions try again what failed, as those of a shard do, what the journal says last holds.
    JournalDamagedError for the journal of another run.
    """
    owner = Owner(journal.parent.name, plan.sha256)
    done, claimed = SeqSet(), SeqSet()
    again = _tried_again(journal) if tries_failed_again else SeqSet()
    open_ended: dict[int, Outcome] = {}
    for line in read_journal(journal) if journal.exists() else ():
        if isinstance(line, Done):
            if line.outcome.status in NOT_FINAL or line.seq in again:
                open_ended[line.seq] = line.outcome
            else:
                done.add(line.seq)
                yield line.outcome
        elif isinstance(line, Claim):
            claimed.add(line.seq)
            open_ended.pop(line.seq, None)
        else:
            if isinstance(line, Start):
                owner.check(line)
            record.take(line)
    if done.count == plan.entries_left and not plan.footer.kept_targets:
        return
    for entry in plan.records():
        if isinstance(entry, Entry) and entry.seq not in done:
            yield _left_over(entry, open_ended.get(entry.seq), entry.seq in claimed, record)
        elif isinstance(entry, KeptTarget):
            yield kept_outcome(entry)


def kept_outcome(record: KeptTarget) -> Outcome:
    """A target that was asked for and is kept: what the plan says of it."""
    policy = None if isinstance(record.policy, UnsetType) else record.policy
    target = Target(record.registry, record.image, record.tag)
    return Outcome(target, Status.KEPT, error=record.reason, cause="kept", policy=policy)


def _tried_again(journal: Path) -> SeqSet:
    """The entries that failed and were taken up again."""
    failed, again = SeqSet(), SeqSet()
    for line in read_journal(journal) if journal.exists() else ():
        if isinstance(line, Claim | Done) and line.seq in failed:
            again.add(line.seq)
        if isinstance(line, Done) and line.outcome.status is Status.FAILED:
            failed.add(line.seq)
    return again


def _left_over(entry: Entry, known: Outcome | None, claimed: bool, record: RunRecord) -> Outcome:
    if known is not None:
        return known
    if claimed:
        return outcome_of(entry, Status.UNKNOWN, CUT_OFF, "cut off")
    return outcome_of(entry, Status.NOT_ATTEMPTED, record.registry_stops.get(entry.registry))
