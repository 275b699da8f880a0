"""SIGINT, SIGTERM and SIGHUP, once and twice, at every stage of a run."""

import signal

import pytest
from conftest import HELD, stopping, until

from chaos.harness import (
    FAST,
    at,
    check_run,
    check_said,
    finished,
    images,
    resume,
    write_policy,
)
from pruner.emulator import Fault

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}


@pytest.mark.rows(2)
@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_a_drained_run_is_resumed(program, emulated, saw, number):
    emulator = emulated(seed=images(a=100, b=100))
    gate = emulator.hold("DELETE", after=10)
    program = at(program, emulator)
    process = program.start("run", write_policy(program), "--yes", *HELD)
    until(lambda: gate.held == 16, process)
    stopping(process, number)
    gate.open()
    done = finished(process)
    assert done.returncode == CODES[number], done.stderr
    report = check_run(program, emulator, done)
    assert report["counts"]["unknown"] == report["counts"]["failed"] == 0
    assert report["counts"]["not_attempted"] > 0
    done = resume(program)
    assert done.returncode == 0
    assert check_run(program, emulator, done)["counts"]["deleted"] == 200
    saw(f"{number.name}: drained, {CODES[number]}, resumed to the end")


@pytest.mark.rows(2)
def test_a_run_under_nohup_outlives_its_terminal(program, emulated, saw):
    emulator = emulated(seed=images(a=100))
    gate = emulator.hold("DELETE", after=10)
    program = at(program, emulator)
    process = program.start(
        "run",
        write_policy(program),
        "--yes",
        *HELD,
        wrapper=["sh", "-c", 'trap "" HUP; exec "$@"', "sh"],
    )
    until(lambda: gate.held == 16, process)
    process.send_signal(signal.SIGHUP)
    gate.open()
    done = finished(process)
    assert done.returncode == 0, done.stderr
    assert check_run(program, emulator, done)["counts"]["deleted"] == 100
    saw("SIGHUP under nohup: finished")


@pytest.mark.rows(2)
def test_what_a_second_signal_cancelled_is_settled_by_resume(program, emulated, saw):
    hang = Fault(action="hang", method="DELETE", after=20, commit=True)
    emulator = emulated(seed=images(a=100), faults=(hang,))
    program = at(program, emulator)
    process = program.start("run", write_policy(program), "--yes", *FAST)
    until(lambda: emulator.counters.faults >= 16, process)
    stopping(process, signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    done = finished(process)
    assert done.returncode == 143, done.stderr
    report = check_run(program, emulator, done)
    unknown = report["counts"]["unknown"]
    assert unknown == 16
    emulator.set_faults(())
    done = resume(program)
    assert done.returncode == 0, done.stderr
    assert check_run(program, emulator, done)["counts"]["deleted"] == emulator.counters.deleted == 100
    saw(f"{unknown} in flight at the second signal: `unknown`, settled by resume")


@pytest.mark.rows(2)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_while_planning_deletes_nothing(program, emulated, saw, number):
    emulator = emulated(seed=images(a=100), faults=(Fault(action="hang", method="GET", after=1),))
    program = at(program, emulator)
    process = program.start("run", write_policy(program), "--yes", *FAST)
    until(lambda: emulator.counters.faults >= 1, process)
    process.send_signal(number)
    done = finished(process)
    # Nothing is at stake yet: SIGTERM may end the process at once, which a shell shows as 143.
    done = done._replace(returncode=143 if done.returncode == -signal.SIGTERM else done.returncode)
    assert done.returncode == CODES[number], done.stderr
    check_said(program, done)
    assert emulator.counters.deleted == 0
    saw(f"{number.name} while planning: nothing deleted")
