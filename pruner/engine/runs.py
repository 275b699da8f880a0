"""Run directories under the state directory: plan, journal and report of each run."""

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pruner import names
from pruner.errors import InputError, RefusedError
from pruner.files import private_folder
from pruner.plan.file import Plan
from pruner.plan.shards import Shard

STATE_VARIABLE: Final = "PRUNER_STATE_DIR"
CLOCK_TOLERANCE_SECONDS: Final = 300.0
_RUN_ID: Final = re.compile(
    r"(?P<group>[0-9]{8}T[0-9]{9}Z-[0-9a-f]{4,12})(?:-(?P<number>[0-9]{1,4})of(?P<of>[0-9]{1,4}))?"
)


def state_directory(option: str | None, env: Mapping[str, str] = os.environ) -> Path:
    """The state directory: ``--state-dir``, PRUNER_STATE_DIR or the XDG state directory."""
    chosen = option or env.get(STATE_VARIABLE)
    if chosen:
        return Path(chosen)
    from platformdirs import user_state_path

    return user_state_path("pruner")


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The files of one run. All are readable by their owner only."""

    path: Path

    @property
    def run_id(self) -> str:
        """The name of the run, which sorts by time."""
        return self.path.name

    @property
    def group(self) -> str:
        """What the runs of all shards of a plan have in common; of any other run its name."""
        match = _RUN_ID.fullmatch(self.run_id)
        return self.run_id if match is None else match["group"]

    @property
    def shard(self) -> Shard | None:
        """The shard of a plan that the run carries out; None for a whole plan."""
        match = _RUN_ID.fullmatch(self.run_id)
        if match is None or match["of"] is None:
            return None
        return Shard(int(match["number"]), int(match["of"]))

    @property
    def tries_failed_again(self) -> bool:
        """Whether a further session takes up what failed: a shard is started again just for that."""
        return self.shard is not None

    @property
    def plan(self) -> Path:
        """The plan that the run carries out."""
        return self.path / "plan.jsonl"

    @property
    def journal(self) -> Path:
        """The journal of the run."""
        return self.path / "journal.jsonl"

    @property
    def manifests(self) -> Path:
        """The manifests of what the run deleted, if it was asked to keep them."""
        return self.path / "manifests.sqlite3"

    @property
    def undo_journal(self) -> Path:
        """What was put back."""
        return self.path / "undo.jsonl"


def _stamp(now: float) -> str:
    moment = datetime.fromtimestamp(now, UTC)
    return f"{moment:%Y%m%dT%H%M%S}{moment.microsecond // 1000:03}Z"


def shard_run(state: Path, plan: Plan, shard: Shard) -> RunDirectory:
    """The directory of a shard's run: always the same one for the same plan, made if it is not there.

    RefusedError if the plan is being carried out in another number of shards: some images would be in two.
    """
    group = shard_group(plan)
    _check_number(state, group, shard)
    runs = private_folder(private_folder(state) / "runs")
    run = RunDirectory(private_folder(runs / f"{group}-{shard.number}of{shard.of}"))
    # Somebody may have begun the plan otherwise at the same moment: then neither goes on.
    _check_number(state, group, shard)
    return run


def _check_number(state: Path, group: str, shard: Shard) -> None:
    others = {run.shard.of for run in runs_of_group(state, group) if run.shard is not None} - {shard.of}
    if others:
        raise RefusedError(
            f"refused, nothing was deleted: this plan was begun in {min(others)} shards, not {shard.of}; "
            f"go on with that number, or make a new plan"
        )


def shard_group(plan: Plan) -> str:
    """What the runs of all shards of a plan are called by: when it was listed, and what it says."""
    return f"{_stamp(plan.header.listed_at / 1000)}-{plan.sha256[:12]}"


def runs_of_group(state: Path, group: str) -> list[RunDirectory]:
    """The runs of a plan's shards, by number."""
    runs = [run for run in all_runs(state) if run.shard is not None and run.group == group]
    return sorted(runs, key=lambda run: run.shard or Shard(0, 0))


def new_run(state: Path, now: float) -> RunDirectory:
    """Make the directory of a new run; ``now`` in epoch seconds. InputError when that is impossible."""
    stamp = _stamp(now)
    runs = private_folder(private_folder(state) / "runs")
    for number in range(0x10000):
        path = runs / f"{stamp}-{number:04x}"
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            continue
        except OSError as error:
            raise InputError(f"{path} cannot be written to: {error.strerror or error}") from None
        return RunDirectory(private_folder(path))
    raise InputError(f"{runs}: too many runs at once")


def all_runs(state: Path) -> list[RunDirectory]:
    """The runs of a state directory, oldest first."""
    runs = state / "runs"
    if not runs.is_dir():
        return []
    return [RunDirectory(path) for path in sorted(runs.iterdir()) if _RUN_ID.fullmatch(path.name)]


def find_run(state: Path, run_id: str | None) -> RunDirectory:
    """The run named ``run_id`` (or the only one that starts so), by default the latest.

    InputError if there is none, or several that may be meant.
    """
    runs = all_runs(state)
    matching = [run for run in runs if run_id is None or run.run_id.startswith(run_id)]
    matching = [run for run in matching if run.run_id == run_id] or matching
    if not matching:
        known = ", ".join(run.run_id for run in runs[-5:]) or "none"
        what = "there is no run yet" if run_id is None else f"no run '{names.printable(run_id)}'"
        raise InputError(f"{what} in {names.shown_path(state)} (latest: {known})")
    if run_id is None:
        return latest_run(matching)
    if len(matching) > 1:
        meant = ", ".join(run.run_id for run in matching[:5])
        raise InputError(f"'{names.printable(run_id)}' may be {meant}; write more of it")
    return matching[0]


def latest_run(runs: list[RunDirectory], now: float | None = None) -> RunDirectory:
    """The last of runs, by the clock at ``now`` (epoch seconds; by default the present).

    InputError if it is one of several shards of a plan, any of which may be meant, or if there are only runs
    that begin later than now: which of those was the last cannot be told.
    """
    latest = _stamp((time.time() if now is None else now) + CLOCK_TOLERANCE_SECONDS)
    runs, later = [run for run in runs if run.group[:19] <= latest], runs
    if not runs:
        raise InputError(
            f"{later[-1].run_id} is a run of a time yet to come, by this machine's clock; name the run to use"
        )
    shards = [run for run in runs if run.group == runs[-1].group]
    if len(shards) > 1:
        raise InputError(
            f"the latest runs are {len(shards)} shards of one plan; name the one that is meant: "
            f"{', '.join(run.run_id for run in shards)}"
        )
    return runs[-1]
