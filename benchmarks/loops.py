"""The event loop of a client or server: uvloop where it is installed, as pruner does."""

import asyncio
import json
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], *, plain: bool = False) -> T:
    """Run ``main``; ``plain`` asks for asyncio's own loop."""
    with asyncio.Runner(loop_factory=None if plain else _factory()) as runner:
        return runner.run(main)


def _factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


class Stopwatch:
    """Wall and CPU seconds between its making and ``tell``."""

    def __init__(self) -> None:
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    def tell(self, count: int) -> None:
        """Print a Sample as JSON."""
        seconds, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        print(json.dumps({"count": count, "seconds": seconds, "cpu": cpu}))
