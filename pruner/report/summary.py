"""The totals of a run, counted while its outcomes stream by, and the exit code they mean."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pruner.errors import ExitCode, StopKind
from pruner.model import Outcome, Status
from pruner.plan.file import Plan
from pruner.report.outcomes import RunRecord, read_outcomes

_EXAMPLES: Final = 5

_HINTS: Final = (
    ("HTTP 409", "the registry refuses to delete these tags; look at the image's tag mutability"),
    ("HTTP 400", "the registry does not understand the request; check image and tag names"),
    ("HTTP 413", "a proxy or the gateway refuses the request; check proxies on the way"),
    ("HTTP 5", "the registry is in trouble; run the same policy again later"),
    ("listing", "the image's tag list did not hold together; run again when nobody pushes to it"),
    ("lostreply", "answers got lost on the way; check network and proxies, then run again"),
    ("connect", "no connection; check network, proxies and endpoint"),
    ("cut off", "resume the run to find out what became of these"),
)


def hint_for(cause: str) -> str:
    """What to do about failures of one cause."""
    return next((hint for prefix, hint in _HINTS if cause.startswith(prefix)), "see the error of each tag")


@dataclass(slots=True)
class Failures:
    """Targets that failed for one cause."""

    cause: str
    count: int = 0
    error: str = ""
    examples: list[str] = field(default_factory=list)

    def take(self, outcome: Outcome) -> None:
        """Count one more."""
        self.count += 1
        self.error = self.error or outcome.error or ""
        if len(self.examples) < _EXAMPLES:
            self.examples.append(str(outcome.target))


@dataclass(slots=True)
class StatusCounts:
    """Counts by status."""

    total: int = 0
    counts: Counter[Status] = field(default_factory=Counter)

    def count(self, status: Status) -> None:
        """Count one outcome."""
        self.total += 1
        self.counts[status] += 1

    @property
    def not_done(self) -> int:
        """Targets that a resumed run would take up again."""
        return self.counts[Status.NOT_ATTEMPTED] + self.counts[Status.UNKNOWN]

    def plain(self) -> dict[str, int]:
        """Those that are not 0, by name."""
        return plain_counts(self.counts)


def plain_counts(counts: Counter[Status]) -> dict[str, int]:
    """Those that are not 0, by name."""
    return {status.value: counts[status] for status in Status if counts[status]}


@dataclass(slots=True)
class Summary(StatusCounts):
    """Counts by status, per policy and per image; failures by cause."""

    policies: defaultdict[str, Counter[Status]] = field(default_factory=lambda: defaultdict(Counter))
    images: defaultdict[str, Counter[Status]] = field(default_factory=lambda: defaultdict(Counter))
    failures: dict[str, Failures] = field(default_factory=dict)
    bytes_referenced: int = 0
    attempts: int = 0

    def take(self, outcome: Outcome) -> None:
        """Count one outcome."""
        status = outcome.status
        self.count(status)
        self.attempts += outcome.attempts
        self.policies[outcome.policy or ""][status] += 1
        self.images[f"{outcome.target.registry}/{outcome.target.image}"][status] += 1
        if status is Status.DELETED:
            self.bytes_referenced += outcome.size or 0
        elif status in (Status.FAILED, Status.UNKNOWN):
            cause = outcome.cause or "other"
            self.failures.setdefault(cause, Failures(cause)).take(outcome)


def summarise(plan: Plan, journal: Path, *, tries_failed_again: bool = False) -> tuple[RunRecord, Summary]:
    """The totals of a run, without writing anything."""
    record, summary = RunRecord(), Summary()
    for outcome in read_outcomes(plan, journal, record, tries_failed_again=tries_failed_again):
        summary.take(outcome)
    return record, summary


def run_state(record: RunRecord, summary: StatusCounts) -> str:
    """One word for the state of a run."""
    if record.end is None:
        return "cut off" if record.starts else "not started"
    if summary.not_done:
        return "partial"
    return "complete"


_STOP_CODES: Final = {
    StopKind.CREDENTIALS: ExitCode.CREDENTIALS,
    StopKind.WRONG_ENDPOINT: ExitCode.UNREACHABLE,
    StopKind.UNREACHABLE: ExitCode.UNREACHABLE,
    StopKind.RETRY_BUDGET: ExitCode.UNREACHABLE,
    StopKind.QUOTA: ExitCode.PARTIAL,
    StopKind.NOT_READY: ExitCode.PARTIAL,
    StopKind.DEADLINE: ExitCode.PARTIAL,
    StopKind.DISK: ExitCode.PARTIAL,
    StopKind.INTERRUPTED: ExitCode.INTERRUPTED,
    StopKind.TERMINATED: ExitCode.TERMINATED,
}


def exit_code(record: RunRecord, summary: StatusCounts) -> ExitCode:
    """The exit code of a run: what stopped it, else whether a permission was missing or anything failed."""
    end = record.end
    if end is not None and end.stop is not None:
        return _STOP_CODES[StopKind(end.stop)]
    if record.lacks_permission:
        return ExitCode.CREDENTIALS
    if record.registry_stops or summary.counts[Status.FAILED] or summary.counts[Status.UNKNOWN]:
        return ExitCode.SOME_FAILED
    return ExitCode.PARTIAL if summary.not_done else ExitCode.DONE


def totals(record: RunRecord) -> dict[str, Any]:
    """Requests, refusals and seconds over all sessions of a run."""
    sums = {
        name: sum(stats.get(name, 0) for stats in record.stats)
        for name in ("requests", "throttled", "retries", "seconds")
    }
    if record.wall_seconds is not None:
        sums["seconds"] = record.wall_seconds
    requests = sums["requests"]
    share = round(sums["throttled"] / requests, 4) if requests else 0.0
    return {**sums, "seconds": round(sums["seconds"], 3), "throttled_share": share}
