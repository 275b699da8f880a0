"""An emulator in a thread of its own, for callers that are not asynchronous."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from pruner.emulator.config import EmulatorConfig
from pruner.emulator.server import Emulator


@contextmanager
def running_in_thread(
    config: EmulatorConfig | None = None,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[Emulator]:
    """Run an emulator while the ``with`` block lasts; errors of its start are raised here."""
    emulator = Emulator(config or EmulatorConfig(), clock, monotonic)
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = threading.Thread(
        target=lambda: asyncio.run(_serve(emulator, started)), name="ncr-emulator", daemon=True
    )
    thread.start()
    loop, finish = started.result()
    try:
        yield emulator
    finally:
        loop.call_soon_threadsafe(finish.set)
        thread.join()


async def _serve(
    emulator: Emulator, started: "Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]"
) -> None:
    finish = asyncio.Event()
    try:
        await emulator.start()
    except OSError as error:
        started.set_exception(error)
        return
    started.set_result((asyncio.get_running_loop(), finish))
    await finish.wait()
    await emulator.stop()
