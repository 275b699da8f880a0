"""Where a DELETE spends its time: cProfile over the throughput benchmark's engine, by own time."""

import json
import pstats
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.harness import ROOT, cores, start
from benchmarks.sink import fast_sink
from benchmarks.throughput import DELETES, WORKERS

LINES = 15


def table() -> str:
    """The top of the profile as Markdown."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder, fast_sink() as sink:
        path = str(Path(folder) / "profile")
        arguments = {"port": sink.port, "count": DELETES, "workers": WORKERS, "profile": path}
        command = [sys.executable, "-m", "benchmarks.engine", json.dumps(arguments)]
        if start(command, cores()[0], stdout=subprocess.DEVNULL).wait():
            raise SystemExit("the engine failed")
        stats = pstats.Stats(path).stats  # type: ignore[attr-defined]
    rows = sorted(stats.items(), key=lambda item: -item[1][2])
    lines = ["| own us per DELETE | calls per DELETE | function |", "| --- | --- | --- |"]
    for (file, _, function), (_, calls, own, _, _) in rows[:LINES]:
        lines.append(f"| {own * 1e6 / DELETES:.2f} | {calls / DELETES:.2f} | {_place(file)}{function} |")
    return "\n".join(lines)


def _place(file: str) -> str:
    """The file from its package on."""
    if file.startswith(("~", "<")):
        return ""
    path = Path(file)
    parts = path.relative_to(ROOT).parts if path.is_relative_to(ROOT) else path.parts[-2:]
    return f"{'/'.join(parts)} "
