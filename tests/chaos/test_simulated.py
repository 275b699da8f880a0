"""Thousands of short histories in virtual time: refusals, lost replies, crashes, full disks, resumes.

A failing history prints its seed; in ``tests/`` this plays it again, the same way every time:
``python -c "from chaos.simulated import Simulation; Simulation(SEED, strict=False).run()"``.
"""

from collections import Counter

import pytest
from virtual_time import DeadlockError

from chaos.simulated import Simulation
from pruner.engine.journal import Done


def play(seeds, saw):
    stops, ended = Counter(), Counter()
    for seed in seeds:
        simulation = Simulation(seed, strict=False)
        try:
            simulation.run()
        except (AssertionError, DeadlockError, Exception) as error:
            raise AssertionError(f"seed {seed}: {error!r} (sessions so far: {simulation.stops})") from error
        stops.update(str(getattr(stop, "value", stop)) for stop in simulation.stops)
        ended.update(line.outcome.status for line in simulation.lines if isinstance(line, Done))
    # The histories must be worth the name: every kind of end comes up.
    assert stops["killed"] > len(seeds) / 50
    assert {"interrupted", "disk", "None"} <= set(stops)
    assert {"deleted", "gone", "changed", "failed"} <= {str(status) for status in ended}
    saw(f"{len(seeds)} simulated histories")
    saw(f"{sum(stops.values())} sessions in them", 1)
    saw(f"{stops['killed']} crashes in them", 1)


@pytest.mark.rows(5)
@pytest.mark.parametrize("seed", [107_300, 110_160, 116_754])
def test_a_disk_that_is_full_while_an_image_is_listed_again_stops_the_run(seed):
    Simulation(seed, strict=False).run()


@pytest.mark.rows(1, 2, 5, 9, 10, 16, 18, 20, 24, 25, 26, 27, 30)
@pytest.mark.parametrize("batch", range(8))
def test_every_simulated_history_keeps_the_promises(saw, batch):
    play(range(250 * batch, 250 * (batch + 1)), saw)


@pytest.mark.slow
@pytest.mark.rows(1, 2, 5, 9, 10, 16, 18, 20, 24, 25, 26, 27, 30)
@pytest.mark.parametrize("batch", range(20))
def test_many_more_simulated_histories_keep_the_promises(saw, batch):
    play(range(100_000 + 1000 * batch, 100_000 + 1000 * (batch + 1)), saw)


def test_a_seed_plays_the_same_history_again():
    first, second = Simulation(7).run(), Simulation(7).run()
    assert first.lines == second.lines
    assert first.stops == second.stops


@pytest.mark.rows(16)
@pytest.mark.parametrize("seed", [222, 223])
def test_a_202_after_an_error_is_deleted_and_not_gone(seed):
    Simulation(seed).run()


@pytest.mark.rows(5, 29)
@pytest.mark.parametrize("seed", [3903, 6739])
def test_a_claimed_tag_whose_image_cannot_be_listed_is_unknown_and_not_failed(seed):
    Simulation(seed).run()
