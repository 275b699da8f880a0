"""How a command ends on a signal: the first lets what is in flight finish, the second cancels it."""

import signal
from collections.abc import Callable
from typing import Final

import anyio
import anyio.abc

from pruner.app.executing import Working
from pruner.cli.talk import Talk
from pruner.errors import StopKind

_KINDS: Final = {
    signal.SIGINT: StopKind.INTERRUPTED,
    signal.SIGTERM: StopKind.TERMINATED,
    signal.SIGHUP: StopKind.TERMINATED,
}


async def obey_signals(
    is_stopping: Callable[[], bool],
    stop: Callable[[signal.Signals], None],
    cancel: Callable[[], None],
    talk: Talk,
    *,
    task_status: anyio.abc.TaskStatus[None],
) -> None:
    """Call ``stop`` at the first signal, and ``cancel`` at one that comes while it is stopping."""
    with anyio.open_signal_receiver(*_heeded()) as signals:
        task_status.started()
        async for number in signals:
            if is_stopping():
                cancel()
                return
            received = signal.Signals(number)
            stop(received)
            talk.warn(f"{received.name}: finishing what is in flight; once more cancels it")


class SignalHelper:
    """Lets signals end a run."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk

    async def __call__(self, working: Working, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Heed them until the run ends."""
        state = working.state

        def stop(received: signal.Signals) -> None:
            state.stop(_KINDS[received], f"{received.name} received")

        before = {number: signal.getsignal(number) for number in _heeded()}
        try:
            await obey_signals(
                lambda: state.stop_kind is not None, stop, working.cancel, self._talk, task_status=task_status
            )
        finally:
            # The event loop leaves the system's own behind.
            for number, handler in before.items():
                if handler is not None:
                    signal.signal(number, handler)


def _heeded() -> list[signal.Signals]:
    """The signals that end a run; under nohup the end of the terminal does not."""
    under_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in _KINDS if not (under_nohup and number == signal.SIGHUP)]
