"""Progress of a run: a bar on a terminal, a plain line every few seconds elsewhere."""

import sys
import time
from typing import Final

import anyio
from anyio.abc import TaskStatus

from pruner.app.executing import Working
from pruner.cli.talk import Talk
from pruner.engine.gate import Gate, GateTotals
from pruner.engine.state import RunState
from pruner.model import Status

LINE_SECONDS: Final = 5.0
_FRAME_SECONDS: Final = 0.1
_RATE_WINDOW_SECONDS: Final = 5.0


class Meter:
    """Turns totals into a rate and the time left."""

    def __init__(self, state: RunState, gates: list[Gate]) -> None:
        self._state = state
        self._gates = gates
        self._samples: list[tuple[float, int]] = []

    @property
    def done(self) -> int:
        """Targets that have ended."""
        return self._state.stats.done

    @property
    def total(self) -> int:
        """Targets of the plan that are to be done in this session."""
        return self._state.stats.total

    def rate(self, now: float) -> float:
        """Targets per second over the last seconds."""
        self._samples.append((now, self.done))
        while len(self._samples) > 2 and now - self._samples[0][0] > _RATE_WINDOW_SECONDS:
            self._samples.pop(0)
        (start, before), (end, after) = self._samples[0], self._samples[-1]
        return (after - before) / (end - start) if end > start else 0.0

    def text(self, now: float) -> str:
        """Rate, failures, refusals, why it waits and the time left."""
        rate = self.rate(now)
        stats = self._state.stats
        parts = [f"{rate:.0f}/s"]
        totals = GateTotals.of(self._gates)
        if totals.refusals:
            parts.append(f"{totals.refusals / totals.granted:.1%} throttled")
        failed = stats.statuses[Status.FAILED] + stats.statuses[Status.UNKNOWN]
        if failed:
            parts.append(f"{failed} failed")
        parts.append(self._waiting() or self._left(rate))
        return ", ".join(part for part in parts if part)

    def _waiting(self) -> str:
        if self._state.stop_kind is not None:
            return "stopping"
        for gate in self._gates:
            pause = gate.pacer.paused_until - gate.now()
            if gate.breaker.is_open:
                return "waiting: the server does not work"
            if pause > 1.0:
                return f"waiting {pause:.0f} s: the server asked for it"
        return ""

    def _left(self, rate: float) -> str:
        if rate <= 0.0:
            return ""
        seconds = (self.total - self.done) / rate
        return f"{seconds:.0f} s left" if seconds < 120 else f"{seconds / 60:.0f} min left"


class ProgressHelper:
    """Shows the progress of a run."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk

    async def __call__(self, working: Working, *, task_status: TaskStatus[None]) -> None:
        """Show it until the run ends."""
        task_status.started()
        meter = Meter(working.state, working.gates)
        if self._talk.quiet:
            return
        if sys.stderr.isatty() and not self._talk.as_json:
            await _bar(meter)
        else:
            await _lines(meter, self._talk)


async def _lines(meter: Meter, talk: Talk) -> None:
    while True:
        await anyio.sleep(LINE_SECONDS)
        talk.say(
            f"{meter.done:,} of {meter.total:,} done, {meter.text(time.monotonic())}",
            done=meter.done,
            total=meter.total,
        )


async def _bar(meter: Meter) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from pruner.cli.consoles import result_console

    columns = (
        TextColumn("Deleting"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=result_console(stderr=True), auto_refresh=False, expand=True) as bar:
        task = bar.add_task("", total=meter.total, text="")
        try:
            while True:
                bar.update(task, completed=meter.done, text=meter.text(time.monotonic()), refresh=True)
                await anyio.sleep(_FRAME_SECONDS)
        finally:
            bar.update(task, completed=meter.done, text=meter.text(time.monotonic()), refresh=True)
