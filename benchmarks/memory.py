"""Peak memory of whole commands at many targets against few, with the emulator in another process."""

import contextlib
import json
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
BYTES_A_TAG = 1_300
"""An image is decided as a whole, so its tags are in memory together: 1.3 GB for a million of them."""
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
        few = _taken(Path(name) / "few", FEW)
        lots = _taken(Path(name) / "many", many)
        alone = _alone(Path(name) / "alone", many)
    note = f"{many:,} targets / {FEW:,} targets, images of {TAGS_PER_IMAGE:,} tags"
    peaks = [_peak(command, lots[command]["peak_mib"], few[command]["peak_mib"], note) for command in few]
    return [*peaks, *alone, _blocked(lots["run"]["blocked_ms"], few["run"]["blocked_ms"], note)]


def _peak(command: str, lots: float, few: float, note: str) -> Figure:
    ratio = lots / few
    sides = f"{lots:.0f} MiB", f"{few:.0f} MiB"
    return Figure(f"peak memory of {command}", ratio, ratio, ratio, 1, *sides, at_most=1.2, note=note)


def _alone(folder: Path, tags: int) -> list[Figure]:
    """What each tag of one large image costs, beyond what a small image does."""
    folder.mkdir()
    policy = folder / "policy.yaml"
    policy.write_text(_POLICY)
    peaks: dict[str, list[float]] = {"plan": [], "run": []}
    for size in (FEW, tags):
        with _emulator(size, per_image=size) as env:
            plan = ("-o", str(folder / "plan.jsonl"), "--format", "csv")
            peaks["plan"].append(_command(env, folder, "plan", str(policy), *plan, *_FAST)["peak_mib"])
            peaks["run"].append(_command(env, folder, "run", str(policy), "--yes", *_FAST)["peak_mib"])
    figures = []
    for command, (few, lots) in peaks.items():
        each = (lots - few) * 2**20 / (tags - FEW)
        what = f"one image of {tags:,} tags: memory of {command} for each tag"
        sides = f"{lots:.0f} MiB", f"{few:.0f} MiB"
        figures.append(Figure(what, each, each, each, 1, *sides, at_most=BYTES_A_TAG, unit="bytes"))
    return figures


def _blocked(lots: float, few: float, note: str) -> Figure:
    what = "longest time the event loop did not come round while run deletes"
    return Figure(what, lots, lots, lots, 1, f"{lots:.0f} ms", f"{few:.0f} ms", unit="ms", note=note)


def _taken(folder: Path, targets: int) -> dict[str, dict[str, float]]:
    """What each command took. The emulator is started anew for what deletes."""
    folder.mkdir()
    policy, plan, names = folder / "policy.yaml", folder / "plan.jsonl", folder / "names.txt"
    policy.write_text(_POLICY)
    taken = {}
    with _emulator(targets) as env:
        taken["plan"] = _command(env, folder, "plan", str(policy), "-o", str(plan), "--format", "csv", *_FAST)
        _write_names(plan, names, targets)
        taken["apply"] = _command(env, folder, "apply", str(plan), "--yes", *_FAST)
    with _emulator(targets) as env:
        given = ("--from", str(names), "--shared-digest", "delete")
        taken["delete --from"] = _command(env, folder, "delete", *given, "--yes", *_FAST)
    with _emulator(targets) as env:
        taken["run"] = _command(env, folder, "run", str(policy), "--yes", *_FAST)
    for form in ("json", "csv", "markdown", "html"):
        taken[f"report --format {form}"] = _command(dict(os.environ), folder, "report", "--format", form)
    return taken


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


def _command(env: dict[str, str], folder: Path, *arguments: str) -> dict[str, float]:
    report = folder / "taken"
    command = [sys.executable, "-m", "benchmarks.measured", str(report), "-q", *arguments]
    own = {**env, "PRUNER_STATE_DIR": str(folder / "state")}
    process = start(command, cores()[0], env=own, stdout=subprocess.DEVNULL)
    if process.wait():
        raise SystemExit(f"failed: {arguments}")
    return dict(json.loads(report.read_text()))


@contextlib.contextmanager
def _emulator(targets: int, per_image: int = TAGS_PER_IMAGE) -> Iterator[dict[str, str]]:
    """An emulator with so many tags, on the server's core; the environment of its clients."""
    seed = f"generate:1x{targets // per_image}x{per_image}"
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
