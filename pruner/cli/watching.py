"""Letting others watch a run: metrics while it is on and at its end, and the end told to whoever asked."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
import click
from anyio.abc import TaskStatus

from pruner.app.executing import Working
from pruner.cli.asynchronous import run_async
from pruner.cli.notifying import Notifier
from pruner.cli.options import with_options
from pruner.cli.talk import Talk
from pruner.engine.gate import Gate, GateTotals
from pruner.engine.pacing import AdaptivePacer
from pruner.engine.state import RunState
from pruner.errors import ExitCode, Guard, InputError, PrunerError, RefusedError
from pruner.files import atomic_file
from pruner.plan.file import Plan
from pruner.report.metrics import RunNumbers, exposition, last_success_of
from pruner.report.summary import run_state
from pruner.report.write import Report

if TYPE_CHECKING:
    from pruner.cli.metrics_server import MetricsServer

EVERY_SECONDS: Final = 15.0
_MOST_READ: Final = 1024 * 1024
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, repr=False)
class WatchOptions:
    """Who watches."""

    metrics_file: Path | None = None
    metrics_listen: tuple[str, int] | None = None
    notifier: Notifier = field(default_factory=Notifier)


class Watch:
    """What a run shows of itself. Nothing here can change how it ends."""

    def __init__(self, options: WatchOptions, talk: Talk, clock: Callable[[], float] = time.time) -> None:
        self._options = options
        self._talk = talk
        self._clock = clock
        self._began = clock()
        self._state: RunState | None = None
        self._gates: list[Gate] = []
        self._end = RunNumbers()
        self._registries: list[str] = []
        self._server: MetricsServer | None = None
        self._warned = False
        self.report: Report | None = None
        """The report of the run, once it is written."""

    def begin(self) -> None:
        """Show that a run begins, or raise InputError: better now than at its end."""
        path, listen = self._options.metrics_file, self._options.metrics_listen
        if path is not None:
            self._end.last_success = _last_success(path)
            # Who gets this error needs no warning about the same.
            self._warned = True
            self._write(path)
            self._warned = False
        if listen is not None:
            self._server = _serve(listen, self.scrape, self._talk)

    def planned(self, plan: Plan) -> None:
        """There is a plan."""
        self._end.plan_targets = plan.entries_left
        self._registries = sorted(plan.header.registries)

    async def __call__(self, working: Working, *, task_status: TaskStatus[None]) -> None:
        """Show this run, and write the file again and again until it ends."""
        self._state, self._gates = working.state, working.gates
        task_status.started()
        while self._options.metrics_file is not None:
            await anyio.sleep(EVERY_SECONDS)
            await anyio.to_thread.run_sync(self._rewrite)

    def numbers(self) -> RunNumbers:
        """What is known now."""
        numbers = self._end
        if self._state is not None:
            totals, pacers = GateTotals.of(self._gates), [gate.pacer for gate in self._gates]
            numbers.outcomes = dict(self._state.stats.statuses)
            numbers.retries = self._state.stats.retries
            numbers.requests, numbers.refused = totals.granted, totals.refusals
            numbers.in_flight, numbers.rate = totals.in_flight, totals.rate
            numbers.ceiling = sum(pacer.ceiling for pacer in pacers if isinstance(pacer, AdaptivePacer))
        return numbers

    def scrape(self) -> bytes:
        """The metrics now."""
        return exposition(self.numbers())

    def end(self, code: int, error: PrunerError | None = None) -> None:
        """The command has ended: show it, and tell it."""
        now = self._clock()
        end = self.numbers()
        end.ended_at, end.exit_code, end.seconds = now, code, now - self._began
        end.refused_by = error.guards if isinstance(error, RefusedError) else ()
        if code == ExitCode.DONE:
            end.last_success = now
        self._rewrite()
        if self._server is not None:
            self._server.close()
        notifier = self._options.notifier
        if notifier.is_needed:
            facts = self._facts(code, error, end.refused_by)
            run_async(lambda: notifier.tell(facts, self._talk))

    def _facts(self, code: int, error: PrunerError | None, guards: tuple[Guard, ...]) -> dict[str, Any]:
        report, numbers = self.report, self._end
        stop = None if report is None or report.record.end is None else report.record.end
        message = str(error) if error is not None else (stop.message if stop is not None else None)
        state = "refused" if guards else "failed"
        if report is not None:
            state = run_state(report.record, report.summary)
        return {
            "run": None if report is None else report.run_id,
            "state": state,
            "exit_code": code,
            "message": message,
            "refused_by": guards,
            "registries": self._registries,
            "targets": numbers.plan_targets if report is None else report.summary.total,
            "counts": {} if report is None else report.summary.plain(),
            "bytes_referenced": 0 if report is None else report.summary.bytes_referenced,
            "requests": numbers.requests,
            "started": int(self._began * 1000),
            "ended": int((numbers.ended_at or self._began) * 1000),
        }

    def _rewrite(self) -> None:
        path = self._options.metrics_file
        if path is None:
            return
        try:
            self._write(path)
        except InputError as error:
            if not self._warned:
                self._talk.warn(f"the metrics of this run are not up to date: {error}")
            self._warned = True

    def _write(self, path: Path) -> None:
        # Whoever collects the file is somebody else.
        with atomic_file(path, mode=0o644) as file:
            file.write(self.scrape())


def _last_success(path: Path) -> float | None:
    try:
        if not path.is_file():
            return None
        with path.open(encoding="utf-8") as file:
            return last_success_of(file.read(_MOST_READ))
    except (OSError, UnicodeDecodeError):
        return None


def _serve(address: tuple[str, int], scrape: Callable[[], bytes], talk: Talk) -> "MetricsServer":
    from pruner.cli.metrics_server import MetricsServer

    # Better before the run: what is missing for it.
    scrape()
    server = MetricsServer(*address, scrape)
    talk.detail(f"metrics at port {server.port}", port=server.port)
    return server


def _address(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, int] | None:
    if value is None:
        return None
    host, colon, port = value.rpartition(":")
    if not colon or not port.isascii() or not port.isdecimal() or not 0 <= int(port) < 65_536:
        raise click.BadParameter(f"'{value}' is not an address; write HOST:PORT, as in 127.0.0.1:9464")
    return host.strip("[]") or "127.0.0.1", int(port)


def _code_of(error: BaseException) -> int:
    """The exit code that an error ends the program with."""
    if isinstance(error, PrunerError):
        return int(error.exit_code)
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code
    is_interrupt = isinstance(error, click.Abort | KeyboardInterrupt)
    return int(ExitCode.INTERRUPTED if is_interrupt else ExitCode.SOME_FAILED)


def watched(function: F) -> F:
    """Add the options; the command gets a Watch as ``watch``, which is told how it ended."""

    @functools.wraps(function)
    def command(
        talk: Talk,
        /,
        *,
        metrics_file: Path | None,
        metrics_listen: tuple[str, int] | None,
        notify: tuple[str, ...],
        webhook: tuple[str, ...],
        **values: Any,
    ) -> int:
        if values.get("dry_run"):
            return int(function(talk, watch=Watch(WatchOptions(), talk), **values))
        options = WatchOptions(metrics_file, metrics_listen, Notifier.of(notify, webhook))
        watch = Watch(options, talk)
        try:
            watch.begin()
            code = int(function(talk, watch=watch, **values))
        except BaseException as error:
            watch.end(_code_of(error), error if isinstance(error, PrunerError) else None)
            raise
        watch.end(code)
        return code

    return with_options(  # type: ignore[return-value]
        command,
        click.option(
            "--metrics-file",
            type=click.Path(dir_okay=False, path_type=Path),
            envvar="PRUNER_METRICS_FILE",
            help="Write metrics for Prometheus' textfile collector, every 15 s and at the end.",
        ),
        click.option(
            "--metrics-listen",
            callback=_address,
            metavar="HOST:PORT",
            help="Serve metrics while the run is on.",
        ),
        click.option(
            "--notify",
            multiple=True,
            envvar="PRUNER_NOTIFY",
            metavar="URL",
            help="Tell the end of the run, by Apprise (better: PRUNER_NOTIFY).",
        ),
        click.option(
            "--webhook",
            multiple=True,
            envvar="PRUNER_WEBHOOK",
            metavar="URL",
            help="Post the summary as JSON, signed with PRUNER_WEBHOOK_SECRET (better: PRUNER_WEBHOOK).",
        ),
    )
