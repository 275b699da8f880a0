"""Journal records, written and read: against json.dumps and one unbuffered write each, and json.loads."""

import json
import os
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks import work
from benchmarks.harness import Figure, Settings, compare, cores, interleaved, pin
from pruner.engine.journal import Claim, Done, Journal, Progress
from pruner.model import Outcome, Status, Target

DELETES = 20_000
REPEATS = 9


def run(settings: Settings) -> list[Figure]:
    """Measure the two records of a DELETE."""
    pin(cores()[0])
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        folder = Path(name)
        cases = {"journal": _write, "plain": _write_plainly, "read": _read, "loads": _read_plainly}
        found = interleaved({key: partial(case, folder) for key, case in cases.items()}, REPEATS, warm=True)
    note = "a claim and an outcome per DELETE; each is with the system before the next"
    return [
        compare(
            "records written, journal / json.dumps and write", found["journal"], found["plain"], note=note
        ),
        compare("records read, journal / json.loads", found["read"], found["loads"]),
    ]


def _rate(started: float) -> float:
    return 2 * DELETES / (time.process_time() - started)


def _write(folder: Path) -> float:
    path = folder / "journal.jsonl"
    path.unlink(missing_ok=True)
    targets = [Target("bench", "team/app", work.tag_name(number)) for number in range(DELETES)]
    journal = Journal(path)
    started = time.process_time()
    for number, target in enumerate(targets, 1):
        journal.write(Claim(number))
        outcome = Outcome(
            target, Status.DELETED, 1, 204, started=work.UPDATED_MS, elapsed=0.0312, policy="builds", size=1
        )
        journal.write(Done(number, outcome))
    rate = _rate(started)
    journal.close()
    return rate


def _write_plainly(folder: Path) -> float:
    path = folder / "plain.jsonl"
    names = [work.tag_name(number) for number in range(DELETES)]
    with path.open("wb") as file:
        descriptor = file.fileno()
        started = time.process_time()
        for number, tag in enumerate(names, 1):
            os.write(descriptor, json.dumps({"type": "claim", "seq": number}).encode() + b"\n")
            outcome = {
                "target": {"registry": "bench", "image": "team/app", "tag": tag},
                "status": "deleted",
                "attempts": 1,
                "http_status": 204,
                "started": work.UPDATED_MS,
                "elapsed": 0.0312,
                "policy": "builds",
                "size": 1,
            }
            record = {"type": "done", "seq": number, "outcome": outcome}
            os.write(descriptor, json.dumps(record).encode() + b"\n")
        return _rate(started)


def _read(folder: Path) -> float:
    started = time.process_time()
    assert Progress.of(folder / "journal.jsonl").done.count == DELETES
    return _rate(started)


def _read_plainly(folder: Path) -> float:
    started = time.process_time()
    done = set()
    with (folder / "plain.jsonl").open("rb") as file:
        for line in file:
            record = json.loads(line)
            if record["type"] == "done":
                done.add(record["seq"])
    assert len(done) == DELETES
    return _rate(started)
