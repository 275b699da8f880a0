"""Peak memory of whole commands at many targets against few, with the emulator in another process."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from benchmarks.harness import Figure, Settings, cores, start

FEW = 1_000
MANY = 100_000
MANY_IN_FULL = 1_000_000
TAGS_PER_IMAGE = 1_000
_POLICY = """\
version: 1
policies:
  - name: everything
    registry: gen-1
    images: ["**"]
    delete: [{tags: ["*"]}]
    shared_digest: delete
    limits: {keep_at_least: 0}
"""
_FAST = ("--rate", "100000", "--concurrency", "64")


def run(settings: Settings) -> list[Figure]:
    """Run each command at both sizes."""
    many = MANY_IN_FULL if settings.full else MANY
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        few = _peaks(Path(name) / "few", FEW)
        lots = _peaks(Path(name) / "many", many)
    note = f"{many:,} targets / {FEW:,} targets, images of {TAGS_PER_IMAGE:,} tags"
    return [
        Figure(
            f"peak memory of {command}",
            lots[command] / few[command],
            lots[command] / few[command],
            lots[command] / few[command],
            1,
            f"{lots[command]:.0f} MiB",
            f"{few[command]:.0f} MiB",
            at_most=1.2,
            note=note,
        )
        for command in few
    ]


def _peaks(folder: Path, targets: int) -> dict[str, float]:
    """MiB of each command. The emulator is started anew for what deletes."""
    folder.mkdir()
    policy, plan, names = folder / "policy.yaml", folder / "plan.jsonl", folder / "names.txt"
    policy.write_text(_POLICY)
    peaks = {}
    with _emulator(targets) as env:
        peaks["plan"] = _peak(env, folder, "plan", str(policy), "-o", str(plan), "--format", "csv", *_FAST)
        _write_names(plan, names, targets)
        peaks["apply"] = _peak(env, folder, "apply", str(plan), "--yes", *_FAST)
    with _emulator(targets) as env:
        given = ("--from", str(names), "--shared-digest", "delete")
        peaks["delete --from"] = _peak(env, folder, "delete", *given, "--yes", *_FAST)
    with _emulator(targets) as env:
        peaks["run"] = _peak(env, folder, "run", str(policy), "--yes", *_FAST)
    for form in ("json", "csv", "markdown", "html"):
        peaks[f"report --format {form}"] = _peak(dict(os.environ), folder, "report", "--format", form)
    return peaks


def _write_names(plan: Path, names: Path, targets: int) -> None:
    count = 0
    with plan.open("rb") as lines, names.open("w") as file:
        for line in lines:
            record = msgspec.json.decode(line)
            if record["type"] == "delete":
                file.write(f"{record['registry']}/{record['image']}:{record['tag']}\n")
                count += 1
    if count != targets:
        raise SystemExit(f"{count} instead of {targets} tags in the plan")


def _peak(env: dict[str, str], folder: Path, *arguments: str) -> float:
    report = folder / "peak"
    command = [sys.executable, "-m", "benchmarks.measured", str(report), "-q", *arguments]
    own = {**env, "PRUNER_STATE_DIR": str(folder / "state")}
    process = start(command, cores()[0], env=own, stdout=subprocess.DEVNULL)
    if process.wait():
        raise SystemExit(f"failed: {arguments}")
    return float(report.read_text())


@contextlib.contextmanager
def _emulator(targets: int) -> Iterator[dict[str, str]]:
    """An emulator with so many tags, on the server's core; the environment of its clients."""
    seed = f"generate:1x{targets // TAGS_PER_IMAGE}x{TAGS_PER_IMAGE}"
    command = [sys.executable, "-m", "pruner", "emulator", "--seed", seed, "--port", "0"]
    process = start(
        command, cores()[1], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
    )
    try:
        lines = [process.stdout.readline() for _ in range(3)]
        exported = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)
        yield {**os.environ, **exported}
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
