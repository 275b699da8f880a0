"""How a command ends on a signal: the first lets what is in flight finish, the second cancels it."""

import signal
from collections.abc import Callable
from typing import Final

import anyio
import anyio.abc

from pruner.cli.talk import Talk

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def obey_signals(
    is_stopping: Callable[[], bool],
    stop: Callable[[signal.Signals], None],
    working: anyio.CancelScope,
    talk: Talk,
    *,
    task_status: anyio.abc.TaskStatus[None],
) -> None:
    """Call ``stop`` at the first signal, and cancel ``working`` at one that comes while it is stopping."""
    with anyio.open_signal_receiver(*_heeded()) as signals:
        task_status.started()
        async for number in signals:
            if is_stopping():
                working.cancel()
                return
            received = signal.Signals(number)
            stop(received)
            talk.warn(f"{received.name}: finishing what is in flight; once more cancels it")


def _heeded() -> list[signal.Signals]:
    """The signals that end a run; under nohup the end of the terminal does not."""
    under_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in _ENDING if not (under_nohup and number == signal.SIGHUP)]
