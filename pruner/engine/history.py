"""How much earlier runs deleted, for the guard against sudden growth."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pruner.engine.runs import all_runs
from pruner.errors import InputError
from pruner.plan.file import open_plan

RUNS_CONSIDERED: Final = 5


def planned_before(state: Path, registries: Iterable[str], except_run: str) -> list[int]:
    """The deletions planned by the latest runs on the same registries, newest first.

    The shards of a plan count as one run; ``except_run`` is the run (with all shards of its plan) that is not
    looked at.
    """
    wanted = set(registries)
    counts: dict[str, int] = {}
    for run in reversed(all_runs(state)):
        if len(counts) == RUNS_CONSIDERED and run.group not in counts:
            break
        if run.group == except_run or not run.journal.exists():
            continue
        try:
            plan = open_plan(run.plan, allow_edited=True)
        except InputError:
            # A plan that cannot be read says nothing of how much is usual.
            continue
        if set(plan.header.registries) == wanted:
            counts[run.group] = counts.get(run.group, 0) + plan.entries_left
    return list(counts.values())
