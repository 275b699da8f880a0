"""The invariants of every run, written once, and what the tests of this folder drive the program with."""

import json
import random
import re
import resource
import urllib.request
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from conftest import Program, policy_text, seed

from pruner.engine.hints import save_rate
from pruner.engine.journal import NOT_FINAL, Claim, Done, read_journal
from pruner.engine.runs import RunDirectory, all_runs
from pruner.plan.file import open_plan

ROOT = Path(__file__).parent.parent.parent
FAST = ("--rate", "100000", "--concurrency", "16")
ALL = "    limits: {keep_at_least: 0}\n"
EXIT_CODES = {0, 1, 2, 3, 4, 5, 6, 130, 143}
"""Those of docs/exit-codes.md."""
_SIGNATURE = re.compile(r"(?<!sha256-)(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{43}=(?!=)")


class Ended(NamedTuple):
    """How a process ended."""

    returncode: int
    stdout: str
    stderr: str


def numbered(count, prefix="t"):
    return [f"{prefix}{number:05}" for number in range(count)]


def write_policy(program, text=None, name="policy.yaml"):
    """A policy file, by default one that deletes everything of the registry acme."""
    path = program.folder / name
    path.write_text(policy_text(extra=ALL) if text is None else text)
    return path


def images(**counts):
    """A seed document: image -> how many tags."""
    return seed({name: numbered(count) for name, count in counts.items()})


def fresh(program, name):
    """The same program with a state directory and a folder of its own."""
    folder = program.folder / name
    folder.mkdir()
    return Program({**program.env, "PRUNER_STATE_DIR": str(folder / "state")}, folder)


def at(program, server):
    """The program at a server's endpoint, with a hint of an earlier run so that it starts at full speed."""
    program.state.mkdir(mode=0o700, exist_ok=True)
    save_rate(program.state, server.endpoint, program.env["NCLOUD_ACCESS_KEY_ID"], 100_000, limit=True)
    return Program({**program.env, "PRUNER_ENDPOINT": server.endpoint}, program.folder)


def finished(process, seconds=120):
    stdout, stderr = process.communicate(timeout=seconds)
    return Ended(process.returncode, stdout, stderr)


def post(emulator, path, body):
    """A control request to an emulator, as another process would send it."""
    url = f"{emulator.origin}/_emulator/{path}"
    request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200


def measured(program, *args, **env):
    """Run the program to its end; how it ended, and the most memory that it held, in MiB."""
    peak = program.folder / "peak.json"
    python = ("-m", "benchmarks.measured", peak)
    done = finished(program.start(*args, python=python, PYTHONPATH=str(ROOT), **env), 600)
    return done, json.loads(peak.read_text())["peak_mib"]


def cpu_of_children():
    """Seconds of CPU time of the children that have ended, which the load of the machine does not change."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def resume(program, *more, **env):
    return program("resume", *FAST, *more, timeout=120, **env)


def check_said(program, *ended):
    """No traceback, a documented exit code, and no secret or signature in any output or file."""
    secret = program.env["NCLOUD_SECRET_ACCESS_KEY"]
    files = [path for path in program.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    texts = [(path, path.read_bytes().decode("utf-8", "replace")) for path in files]
    for done in ended:
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode in EXIT_CODES, done
        texts += [("stdout", done.stdout), ("stderr", done.stderr)]
    for where, text in texts:
        assert secret not in text, where
        assert not _SIGNATURE.search(text), (where, _SIGNATURE.search(text))


def status_by_journal(run, seqs):
    """What the journal says of each entry, read independently of the report; each ends at most once."""
    said, final = {}, set()
    for line in read_journal(run.journal):
        if isinstance(line, Claim):
            assert line.seq not in final, "a DELETE after the final outcome"
            said[line.seq] = "unknown"
        elif isinstance(line, Done):
            assert line.seq not in final, "two final outcomes"
            said[line.seq] = str(line.outcome.status)
            if line.outcome.status not in NOT_FINAL:
                final.add(line.seq)
    assert set(said) <= set(seqs), "an outcome of something that is not in the plan"
    return {seqs[seq]: said.get(seq, "not_attempted") for seq in seqs}


def planned(run):
    """The plan of a run: number -> target."""
    plan = open_plan(run.plan, allow_edited=True)
    return {entry.seq: str(entry.target) for _, entries in plan.images() for entry in entries}


def removed_by(*emulators):
    return [f"{registry}/{image}:{tag}" for one in emulators for registry, image, tag in one.deleted_tags]


def check_run(program, emulator, done, *, run=None, report_folder=None, resent=0):
    """The invariants of a run that has reported; the report.

    ``resent`` is how many claimed but unanswered DELETEs may rightly have been sent again after they were
    carried out.
    """
    check_said(program, done)
    run = run or all_runs(program.state)[-1]
    report = json.loads(((report_folder or run.path) / "report.json").read_bytes())
    outcomes = {str_of(item["target"]): item["status"] for item in report["outcomes"]}
    seqs = planned(run)
    assert len(report["outcomes"]) == len(outcomes) == report["targets"] == len(seqs)
    assert outcomes == status_by_journal(run, seqs)
    counts = {status: count for status, count in report["counts"].items() if count}
    assert counts == dict(Counter(outcomes.values()))
    assert report["exit_code"] == done.returncode
    check_server(program, emulator, resent=resent)
    deleted = {target for target, status in outcomes.items() if status == "deleted"}
    assert deleted <= set(removed_by(emulator))
    return report


def check_server(program, emulator, *, resent=0):
    """What the server really removed: each tag once, all of it planned, nothing but tags."""
    removed = removed_by(emulator)
    plans = [run for run in all_runs(program.state) if run.plan.exists()]
    assert len(removed) == len(set(removed)) == emulator.counters.deleted
    assert set(removed) <= {target for run in plans for target in planned(run).values()}
    assert emulator.counters.duplicate_deletes <= resent
    assert emulator.counters.forbidden_deletes == 0


def str_of(target):
    return f"{target['registry']}/{target['image']}:{target['tag']}"


def by_status(report, status):
    """The outcomes of one status, by tag."""
    return {item["target"]["tag"]: item for item in report["outcomes"] if item["status"] == status}


def latest(program) -> RunDirectory:
    return all_runs(program.state)[-1]


def nothing_deleted(program, emulator, done, code):
    """A refusal before the first DELETE."""
    assert done.returncode == code, (done.returncode, done.stderr)
    check_said(program, done)
    assert emulator.counters.deleted == 0
    assert not any("delete" in name for name in emulator.counters.by_operation)


def dice(seed):
    return random.Random(seed)


def memory_mib(pid, field="VmRSS"):
    """Resident memory of a process (VmHWM: its peak), or None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    found = re.search(rf"{field}:\s+(\d+) kB", text)
    return int(found[1]) / 1024 if found else None


def descriptors(pid):
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return None
