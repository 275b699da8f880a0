"""Whole processes, from start to exit: list, plan, look again, delete, journal, report; and other ways.

Wall and CPU seconds are those of the client's process; the server has a core of its own.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks import work
from benchmarks.baselines import tools
from benchmarks.harness import ROOT, Figure, Settings, client, cores, pin
from benchmarks.sink import delayed_sink

LATENCY_SECONDS = 0.03
TAGS = 5_000
SERIAL_TAGS = 100
CURL_TAGS = 50
MANY_TAGS = 10_000
REPEATS = 3
GOALS_BARE_SECONDS = 0.94
"""What the bare loop took on the machine that the goals in seconds were set on."""
_GO = Path(__file__).parent / "baselines/go_client.go"
_POLICY = f"""\
version: 1
policies:
  - name: everything
    registry: {work.REGISTRY}
    images: ["**"]
    delete: [{{tags: ["*"]}}]
    limits: {{keep_at_least: 0}}
"""


class Spent(NamedTuple):
    """Wall and CPU seconds of a process."""

    wall: float
    cpu: float


Case = Callable[[], Spent]


def run(settings: Settings) -> list[Figure]:
    """5,000 tags at 30 ms in several ways; 10,000 tags without latency; starting and reporting."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        folder = Path(name)
        go = build_go(folder)
        distant, (near, bare) = _distant(folder, go), _near(folder, go)
        own = [*near, _imports(), _report()]
        return [*distant, *own, *(_in_bare_loops(figure, bare) for figure in own if figure.at_most)]


def build_go(folder: Path) -> Path | None:
    """The Go client, built into ``folder``; None where there is no Go."""
    if shutil.which("go") is None:
        return None
    made = folder / "go_client"
    env = {**os.environ, "GOCACHE": str(folder / "cache"), "GO111MODULE": "off", "GOFLAGS": ""}
    subprocess.run(["go", "build", "-o", made, _GO], env=env, check=True)
    return made


def spend(command: Sequence[str | Path], folder: Path) -> Spent:
    """Run a command with a state directory of its own; SystemExit if it fails."""
    with tempfile.TemporaryDirectory(dir=folder) as home:
        keys = {"NCLOUD_ACCESS_KEY_ID": work.ACCESS_KEY, "NCLOUD_SECRET_ACCESS_KEY": work.SECRET_KEY}
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": home, **keys}
        env["PRUNER_STATE_DIR"] = f"{home}/state"
        with (Path(home) / "output").open("w+") as output:
            started = time.perf_counter()
            process = subprocess.Popen(
                [str(part) for part in command],
                env=env,
                cwd=home,
                stdout=output,
                stderr=output,
                preexec_fn=lambda: pin(cores()[0]),
            )
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                output.seek(0)
                raise SystemExit(f"{command} failed: {output.read()[-2000:]}")
        return Spent(wall, usage.ru_utime + usage.ru_stime)


def pruner(folder: Path, port: int, tags: int, *more: str) -> Spent:
    """``pruner run`` of everything there is."""
    policy = folder / "policy.yaml"
    policy.write_text(_POLICY)
    endpoint = f"http://127.0.0.1:{port}{work.PREFIX}"
    return spend_on(policy, folder, "--endpoint", endpoint, "--max-deletions", str(tags), *more)


def spend_on(policy: Path, folder: Path, *more: str) -> Spent:
    """``pruner run`` of a policy."""
    return spend([sys.executable, "-m", "pruner", "run", policy, "--yes", *more], folder)


def _go(binary: Path, folder: Path, port: int, workers: int) -> Spent:
    return spend([binary, str(port), str(workers), folder / "go.journal"], folder)


def _scaled(seconds: float, count: int) -> Spent:
    """From ``count`` requests to all of a run's, listing included."""
    requests = TAGS + TAGS // work.PAGE_SIZE + 2
    return Spent(seconds * requests / count, 0.0)


def _serial(port: int) -> Spent:
    sample = client("benchmarks.baselines.serial", port=port, count=SERIAL_TAGS)
    return _scaled(sample.seconds, SERIAL_TAGS)


def _curl(port: int) -> Spent:
    return _scaled(CURL_TAGS / (tools.curl_rate(port, CURL_TAGS) or float("nan")), CURL_TAGS)


def _repeated(cases: dict[str, Case]) -> dict[str, list[Spent]]:
    """All cases one after the other, several times."""
    found: dict[str, list[Spent]] = {name: [] for name in cases}
    for _ in range(REPEATS):
        for name, case in cases.items():
            found[name].append(case())
    return found


def _distant(folder: Path, go: Path | None) -> list[Figure]:
    """The table that a user would recognise."""
    with delayed_sink(LATENCY_SECONDS, TAGS // work.TAGS_PER_IMAGE) as sink:
        run_pruner = partial(pruner, folder, sink.port, TAGS)
        cases: dict[str, Case] = {
            "pruner, defaults": run_pruner,
            "pruner, 16 in flight": partial(run_pruner, "--concurrency", "16"),
            "pruner, 64 in flight": partial(run_pruner, "--concurrency", "64"),
            "pruner, 256 in flight": partial(run_pruner, "--concurrency", "256"),
            "one request after the other, as ncr-clean-tag": partial(_serial, sink.port),
        }
        if tools.curl_rate(sink.port, 1) is not None:
            cases["a shell loop of curl"] = partial(_curl, sink.port)
        if go is not None:
            for workers in (64, 256):
                cases[f"a Go client, {workers} in flight"] = partial(_go, go, folder, sink.port, workers)
        found = _repeated(cases)
    notes = {
        "one request after the other, as ncr-clean-tag": f"scaled from {SERIAL_TAGS} tags",
        "a shell loop of curl": f"scaled from {CURL_TAGS} tags, unsigned",
    }
    return [
        _seconds(f"{TAGS:,} tags at 30 ms: {name}", spent, note=notes.get(name, ""))
        for name, spent in found.items()
    ]


def _seconds(what: str, spent: list[Spent], at_most: float | None = None, note: str = "") -> Figure:
    walls = [each.wall for each in spent]
    cpu = statistics.median(each.cpu for each in spent)
    return Figure(
        what,
        statistics.median(walls),
        min(walls),
        max(walls),
        len(walls),
        f"{cpu:.2f} CPU-s" if cpu else "",
        "",
        at_most=at_most,
        unit="s",
        note=note,
    )


def _near(folder: Path, go: Path | None) -> tuple[list[Figure], list[float]]:
    """What the client itself costs, and CPU seconds of a bare aiohttp loop of as many DELETEs beside it."""
    with delayed_sink(0.0, MANY_TAGS // work.TAGS_PER_IMAGE) as sink:
        cases: dict[str, Case] = {
            "pruner": partial(pruner, folder, sink.port, MANY_TAGS, "--concurrency", "64"),
            "bare": partial(_bare, sink.port),
        }
        if go is not None:
            cases["a Go client"] = partial(_go, go, folder, sink.port, 64)
        found = _repeated(cases)
    ours, bare = found.pop("pruner"), found.pop("bare")
    name = f"{MANY_TAGS:,} tags, no latency"
    figures = [
        _seconds(f"{name}: pruner, wall", ours, 2.5),
        _seconds(f"{name}: pruner, CPU", [Spent(each.cpu, 0.0) for each in ours], 2.0),
        *(_seconds(f"{name}: {other}", spent) for other, spent in found.items()),
    ]
    return figures, [each.cpu for each in bare]


def _bare(port: int) -> Spent:
    sample = client("benchmarks.baselines.bare", port=port, count=MANY_TAGS, workers=64)
    return Spent(sample.seconds, sample.cpu)


def _in_bare_loops(figure: Figure, bare: Sequence[float]) -> Figure:
    """A figure in seconds, and its goal, by the bare loop's CPU seconds: the same on any machine."""
    unit = statistics.median(bare)
    assert figure.at_most is not None
    return Figure(
        f"{figure.what} / bare aiohttp loop of {MANY_TAGS:,} DELETEs",
        figure.value / unit,
        figure.low / unit,
        figure.high / unit,
        figure.repeats,
        f"{figure.value:.2f} s",
        f"{unit:.2f} CPU-s",
        at_most=round(figure.at_most / GOALS_BARE_SECONDS, 2),
        note=f"goal: {figure.at_most:g} s where the bare loop takes {GOALS_BARE_SECONDS:g}",
    )


def _imports() -> Figure:
    """Importing what ``pruner run`` needs, less the bare interpreter."""
    code = "import sys\nfrom benchmarks.imports import import_run\nimport_run()"
    taken = []
    for _ in range(7):
        both = []
        for source in (code, "import sys"):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", source], check=True, cwd=ROOT)
            both.append(time.perf_counter() - started)
        taken.append(both[0] - both[1])
    return _seconds("imports of pruner run", [Spent(each, 0.0) for each in taken], 0.3)


def _report() -> Figure:
    """Writing all reports of 10,000 outcomes."""
    code = f"from benchmarks.imports import report_seconds\nprint(report_seconds({MANY_TAGS}))"
    taken = []
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True
        )
        taken.append(Spent(float(done.stdout), 0.0))
    return _seconds(f"report of {MANY_TAGS:,} outcomes", taken, 0.15)
