"""``kill -9`` at random moments, and journals that are torn or damaged: a resumed run finishes the work."""

import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from conftest import HELD, kill, until

from chaos.harness import (
    FAST,
    at,
    check_run,
    check_said,
    check_server,
    dice,
    fresh,
    images,
    latest,
    nothing_deleted,
    resume,
    write_policy,
)
from pruner.engine.journal import Progress
from pruner.engine.runs import all_runs

TARGETS = 90


def begin(program, emulated, number):
    """An emulator and a program of this round's own."""
    emulator = emulated(seed=images(a=30, b=30, c=30), latency_seconds=0.005)
    return at(fresh(program, f"round{number}"), emulator), emulator


def kill_at_random(program, emulator, process, chance):
    """Kill the process at one of the moments of the matrix; which one."""
    before = emulator.counters.deleted

    def is_reporting():
        return any(program.state.glob("runs/*/.report.json.*.tmp")) or process.poll() is not None

    def has(pattern):
        return lambda: any(program.state.glob(pattern)) or process.poll() is not None

    moments = {
        "while planning": has("runs/*"),
        "before the first DELETE": has("runs/*/journal.jsonl"),
        "in mid-run": lambda: emulator.counters.deleted > before + wanted or process.poll() is not None,
        "while reporting": is_reporting,
        "at any time": lambda: time.monotonic() > deadline or process.poll() is not None,
    }
    wanted = chance.randrange(max(1, TARGETS - before))
    deadline = time.monotonic() + chance.uniform(0.1, 0.8)
    moment = chance.choice(list(moments))
    until(moments[moment])
    time.sleep(chance.choice([0.0, 0.0, chance.uniform(0.0, 0.02)]))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    return moment


def has_begun(program):
    """Whether there is a run that began; there is nothing to resume of others."""
    runs = all_runs(program.state)
    return bool(runs) and Progress.of(runs[-1].journal).sessions > 0


def kill_round(program, emulated, number):
    """One run that is killed one to three times; the moments it was killed at."""
    chance = dice(number)
    program, emulator = begin(program, emulated, number)
    process = program.start("run", write_policy(program), "--yes", *FAST)
    moments = [kill_at_random(program, emulator, process, chance)]
    while not has_begun(program):
        assert emulator.counters.deleted == 0
        process = program.start("run", write_policy(program), "--yes", *FAST)
        moments.append(kill_at_random(program, emulator, process, chance))
    while chance.random() < 0.35:
        process = program.start("resume", *FAST)
        moments.append(kill_at_random(program, emulator, process, chance))
        check_server(program, emulator)
    done = resume(program)
    assert done.returncode == 0, (number, moments, done.stderr)
    report = check_run(program, emulator, done)
    assert report["counts"]["deleted"] == emulator.counters.deleted == TARGETS, (number, moments)
    return moments


@pytest.mark.rows(1)
@pytest.mark.parametrize("number", range(12))
def test_a_run_killed_at_a_random_moment_is_finished_by_resume(program, emulated, saw, number):
    saw(f"{len(kill_round(program, emulated, number))} kills, each target deleted exactly once")


@pytest.mark.slow
@pytest.mark.rows(1)
@pytest.mark.parametrize("batch", range(24))
def test_many_runs_killed_at_random_moments_are_finished_by_resume(program, emulated, saw, batch):
    for number in range(1000 + 10 * batch, 1010 + 10 * batch):
        saw("1 rounds")
        saw(f"{len(kill_round(program, emulated, number))} kills, each target deleted exactly once")


@pytest.fixture
def killed(program, emulated):
    """A run that was killed in the middle, with 16 in flight."""
    emulator = emulated(seed=images(a=60, b=60))
    gate = emulator.hold("DELETE", after=30)
    program = at(program, emulator)
    process = program.start("run", write_policy(program), "--yes", *HELD)
    until(lambda: gate.held == 16, process)
    kill(process, gate)
    return program, emulator, latest(program).journal


@pytest.mark.rows(3)
@pytest.mark.parametrize("share", [0.1, 0.4, 0.8, 0.97])
def test_a_journal_that_lost_its_end_is_read_again_from_the_server(killed, saw, share):
    program, emulator, journal = killed
    content = journal.read_bytes()
    journal.write_bytes(content[: int(len(content) * share)])
    done = resume(program)
    assert done.returncode == 0, done.stderr
    report = check_run(program, emulator, done)
    assert report["counts"]["deleted"] + report["counts"]["gone"] == emulator.counters.deleted == 120
    saw("1 journals cut at any byte, power loss included; all targets accounted for")


@pytest.mark.rows(3)
def test_a_journal_that_lost_everything_is_not_resumed(killed, saw):
    program, emulator, journal = killed
    before = emulator.counters.deleted
    journal.write_bytes(b"")
    done = resume(program)
    assert done.returncode == 2
    assert "never began: its plan was not confirmed" in done.stderr
    check_said(program, done)
    assert emulator.counters.deleted == before
    saw("an empty journal says nothing of a confirmation: exit code 2, nothing sent")


@pytest.mark.rows(4)
def test_a_journal_damaged_in_the_middle_is_refused_with_its_line(killed, saw):
    program, emulator, journal = killed
    content = journal.read_bytes()
    lines = content.splitlines(keepends=True)
    before = emulator.counters.deleted
    for damage in (b"\0" * 30 + b"\n", lines[19][:-9] + b"\n"):
        journal.write_bytes(b"".join([*lines[:19], damage, *lines[20:]]))
        done = resume(program)
        assert done.returncode == 2
        assert "journal.jsonl:20: damaged" in done.stderr
        check_said(program, done)
    assert emulator.counters.deleted == before
    journal.write_bytes(content)
    check_run(program, emulator, resume(program))
    saw("exit code 2, the line is named, nothing sent; the restored journal is resumed")


@pytest.mark.rows(1)
def test_a_run_killed_before_its_plan_was_whole_deletes_nothing(program, emulated, saw):
    emulator = emulated(seed=images(a=50))
    gate = emulator.hold()
    program = at(program, emulator)
    process = program.start("run", write_policy(program), "--yes", *FAST)
    until(lambda: gate.held, process)
    kill(process, gate)
    nothing_deleted(program, emulator, resume(program), 2)
    saw("killed while planning: there is nothing to resume, and it says so")


@pytest.mark.rows(1)
def test_a_run_killed_while_it_asks_is_never_carried_out(program, emulated, saw):
    emulator = emulated(seed=images(a=10))
    program = at(program, emulator)
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pruner", "run", write_policy(program), *FAST],
        stdin=its,
        stdout=subprocess.DEVNULL,
        stderr=its,
        env=program.env,
        cwd=program.folder,
    )
    said = b""
    while b"Type 10" not in said:
        said += os.read(ours, 1000)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    os.close(ours)
    os.close(its)
    done = resume(program)
    assert "never began: its plan was not confirmed" in done.stderr
    nothing_deleted(program, emulator, done, 2)
    saw("killed at the question: resume deletes nothing")
