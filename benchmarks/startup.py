"""Start-up: ``pruner --help`` against ``python -c pass``."""

import subprocess
import sys
import time
from functools import partial

from benchmarks.harness import Figure, Settings, compare, cores, interleaved, start

REPEATS = 15


def run(settings: Settings) -> list[Figure]:
    """Measure whole processes by the clock."""
    cases = {
        "help": partial(_milliseconds, "-m", "pruner", "--help"),
        "pass": partial(_milliseconds, "-c", "pass"),
    }
    found = interleaved(cases, REPEATS, warm=True)
    return [compare("pruner --help / python -c pass", found["help"], found["pass"], "{:.0f} ms", at_most=6)]


def _milliseconds(*arguments: str) -> float:
    started = time.perf_counter()
    process = start([sys.executable, *arguments], cores()[0], stdout=subprocess.DEVNULL)
    if process.wait():
        raise SystemExit(f"failed: {arguments}")
    return (time.perf_counter() - started) * 1000
