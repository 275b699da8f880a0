"""Several runs on one registry at the same moment."""

import pytest
from conftest import HELD, until

from chaos.harness import at, check_run, check_said, finished, images, write_policy
from pruner.engine.runs import all_runs


@pytest.mark.rows(7)
def test_of_four_schedulers_that_start_at_once_no_two_work(program, emulated, saw):
    emulator = emulated(seed=images(a=200))
    gate = emulator.hold("DELETE", after=20)
    program = at(program, emulator)
    path = write_policy(program)
    processes = [program.start("run", path, "--yes", *HELD) for _ in range(4)]
    until(lambda: sum(process.poll() is not None for process in processes) == 3)
    gate.open()
    ended = [finished(process) for process in processes]
    check_said(program, *ended)
    refused = [done for done in ended if done.returncode == 3]
    assert sorted(done.returncode for done in ended) == [0, 3, 3, 3]
    for done in refused:
        # One that was still listing while the first deleted cannot make a plan of a list that shifts.
        said = "registry 'acme' is being worked on by", "nothing is deleted on an incomplete list"
        assert any(sentence in done.stderr for sentence in said), done.stderr
    [run] = all_runs(program.state)
    [winner] = [done for done in ended if done.returncode == 0]
    assert check_run(program, emulator, winner, run=run)["counts"]["deleted"] == 200
    saw("4 runs started at once: one worked, three were refused")
