"""Run pruner as ``python -m benchmarks.measured FILE ARGUMENT…`` and write what it took to FILE, as JSON."""

import asyncio
import contextlib
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

BEAT_SECONDS = 0.005


def peak_mib() -> float:
    """The most memory this process held; the kernel's mark of it, since a parent's counts in getrusage."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Pulse:
    """The longest time for which the event loop did not come round, in seconds."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def beat(self) -> None:
        """Ask for a turn every few milliseconds and note how late it comes."""
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(BEAT_SECONDS)
            self.longest = max(self.longest, time.perf_counter() - asked - BEAT_SECONDS)

    def during(self, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """The same function with the pulse taken while it runs."""

        async def watched(*args: Any, **more: Any) -> Any:
            beating = asyncio.create_task(self.beat())
            try:
                return await function(*args, **more)
            finally:
                beating.cancel()

        return watched


def main() -> None:
    """Run, then write down the peak of memory, and the longest block of the event loop while deleting."""
    from pruner.cli import main as pruner

    file, *arguments = sys.argv[1:]
    pulse = Pulse()
    if "report" not in arguments:
        # What only reports needs none of this, and its memory is to be its own.
        from pruner.app import applying

        applying.execute = pulse.during(applying.execute)
    try:
        pruner(arguments)
    finally:
        facts = {"peak_mib": peak_mib(), "blocked_ms": pulse.longest * 1000}
        Path(file).write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
