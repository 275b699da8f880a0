"""The runs of a plan's shards as one: each target once, and which shards are missing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pruner.engine.final_check import outcome_of
from pruner.engine.runs import RunDirectory
from pruner.errors import InputError
from pruner.model import Outcome, Status
from pruner.plan.file import Plan, open_plan
from pruner.plan.records import Entry, KeptTarget
from pruner.plan.shards import Shard, Sharding
from pruner.report.outcomes import RunRecord, kept_outcome, read_outcomes
from pruner.report.summary import StatusCounts, exit_code, run_state


class ShardEnd(NamedTuple):
    """How one shard's run stands."""

    shard: Shard
    run_id: str
    record: RunRecord
    counts: StatusCounts

    def facts(self) -> dict[str, Any]:
        """As the report has it."""
        return {
            "shard": str(self.shard),
            "run": self.run_id,
            "state": run_state(self.record, self.counts),
            "exit_code": int(exit_code(self.record, self.counts)),
            "targets": self.counts.total,
            "counts": self.counts.plain(),
        }


@dataclass(slots=True)
class ShardRuns:
    """The runs of some shards of one plan; ``whole`` is that plan, where it is at hand.

    InputError unless all are shards of one plan.
    """

    runs: Sequence[RunDirectory]
    whole: Plan | None = None
    ends: list[ShardEnd] = field(default_factory=list)
    name: str = field(init=False)
    """What all of them are called by."""
    _of: int = field(init=False)

    def __post_init__(self) -> None:
        groups = {(run.group, run.shard and run.shard.of) for run in self.runs}
        shards = [run.shard for run in self.runs if run.shard is not None]
        if len(shards) != len(self.runs) or len(groups) != 1:
            raise InputError("only the runs of the shards of one plan can be put together in one report")
        if len(set(shards)) != len(shards):
            raise InputError("a run is named twice")
        self._of = shards[0].of
        self.name = self.runs[0].group
        # A directory without a journal is of somebody who never began.
        self.runs = [run for run in self.runs if run.plan.exists() and run.journal.exists()]

    @property
    def missing(self) -> list[Shard]:
        """The shards of which there is no run."""
        there = {run.shard for run in self.runs}
        every = (Shard(number, self._of) for number in range(1, self._of + 1))
        return [shard for shard in every if shard not in there]

    @property
    def plan(self) -> Plan:
        """The whole plan, or else what all of them have of it in common."""
        if self.whole is None and not self.runs:
            raise InputError("none of these shards was begun; name their plan with --plan")
        return self.whole or open_plan(self.runs[0].plan, allow_edited=True)

    def outcomes(self, record: RunRecord) -> Iterator[Outcome]:
        """Every target of the shards exactly once; with the whole plan also those of the missing ones.

        ``record`` is complete when the iterator is exhausted.
        """
        for run in self.runs:
            assert run.shard is not None
            end = ShardEnd(run.shard, run.run_id, RunRecord(), StatusCounts())
            plan = open_plan(run.plan, allow_edited=True)
            for outcome in read_outcomes(
                plan, run.journal, end.record, tries_failed_again=run.tries_failed_again
            ):
                end.counts.count(outcome.status)
                yield outcome
            self.ends.append(end)
        if self.whole is not None and self.missing:
            yield from self._of_missing(self.whole)
        self._merge(record)

    def _of_missing(self, whole: Plan) -> Iterator[Outcome]:
        sharding = Sharding(whole, self._of)
        numbers = {shard.number: f"shard {shard} is missing: nobody began it" for shard in self.missing}
        for entry in whole.records():
            if not isinstance(entry, Entry | KeptTarget):
                continue
            why = numbers.get(sharding.of(entry.registry, entry.image))
            if why is None:
                continue
            if isinstance(entry, Entry):
                yield outcome_of(entry, Status.NOT_ATTEMPTED, why)
            else:
                yield kept_outcome(entry)

    def _merge(self, record: RunRecord) -> None:
        """What all of them say beside the outcomes. Their time lines stay with them."""
        for end in self.ends:
            record.starts += end.record.starts
            record.stats += end.record.stats
            record.registry_stops |= end.record.registry_stops
            record.lacks_permission = record.lacks_permission or end.record.lacks_permission
        record.starts.sort(key=lambda start: start.at)
        if all(end.record.end is not None for end in self.ends):
            record.end = max(
                (end.record.end for end in self.ends if end.record.end is not None),
                key=lambda end: (end.stop is not None, end.at),
            )
        if record.starts:
            last_at = max(end.record.last_at for end in self.ends)
            record.wall_seconds = (last_at - record.starts[0].at) / 1000
