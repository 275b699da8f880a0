"""The adaptive pacer against simulated servers: the goals of pacing, and its rules one by one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.simulation import Simulation, allowance
from pruner.emulator.throttle import Bucket, InFlight, Limits, Window
from pruner.engine.adaptive import AdaptivePacer


def simulated(limits, seconds, *, latency=0.03, others=0.0, ceiling=float("inf"), workers=64):
    simulation = Simulation(
        AdaptivePacer(ceiling, workers), limits, latency=latency, others=others, workers=workers
    )
    best = allowance(limits, seconds, workers=workers, latency=latency, others=others)
    return simulation.run(seconds), best


@pytest.mark.parametrize(
    ("limits", "seconds", "others"),
    [
        (Limits(bucket=Bucket(rate=200, burst=50)), 120, 0),
        (Limits(bucket=Bucket(rate=200, burst=2000)), 120, 0),
        (Limits(bucket=Bucket(rate=10, burst=10)), 300, 0),
        (Limits(bucket=Bucket(rate=10, burst=10, retry_after=1)), 300, 0),
        (Limits(bucket=Bucket(rate=200, burst=50)), 120, 60),
    ],
    ids=["200/s", "burst 2000", "10/s", "10/s Retry-After", "others"],
)
def test_the_allowance_is_used_and_little_is_refused(limits, seconds, others):
    result, best = simulated(limits, seconds, others=others)
    half = seconds // 2
    assert result.accepted >= 0.96 * best
    refused = sum(result.refused_by_second[half:])
    assert refused <= 0.01 * (refused + sum(result.by_second[half:]))


def test_with_retry_after_pauses_stay_rare():
    result, best = simulated(Limits(bucket=Bucket(rate=200, burst=50, retry_after=1)), 300)
    assert result.accepted >= 0.95 * best
    assert result.refused_share < 0.002


def test_a_limit_that_changes_is_followed():
    limits = Limits(bucket=Bucket(rate=200, burst=50, schedule=((40, 50), (80, 400))))
    result, best = simulated(limits, 120)
    assert result.accepted >= 0.93 * best
    assert result.refused_share < 0.005
    assert result.accepted_between(90, 91) >= 0.9 * 400


def test_a_fixed_window_is_hardly_overrun():
    result, best = simulated(Limits(window=Window(requests=1000, seconds=60, retry_after=5)), 600)
    assert result.accepted >= 0.97 * best
    assert result.refused_share < 0.02


@pytest.mark.parametrize("status", [429, 503])
def test_a_cap_on_requests_in_flight_is_found(status):
    result, best = simulated(Limits(in_flight=InFlight(maximum=16, status=status)), 120)
    assert result.accepted >= 0.8 * best
    assert result.refused_share < 0.005


def test_without_a_limit_the_ceiling_is_kept():
    result, _ = simulated(Limits(), 60, ceiling=100)
    assert result.refused == 0
    assert max(result.by_second) <= 101
    assert result.accepted >= 0.93 * 6000


def test_after_a_pause_one_request_goes_ahead_alone():
    pacer = AdaptivePacer()
    assert pacer.reserve(0.0) == 0.0
    pacer.on_refused(0.1, 0.0, 2.0)
    assert pacer.reserve(0.2) == pytest.approx(1.9)
    assert pacer.reserve(2.2) == 0.0
    assert pacer.reserve(2.3) == float("inf")
    pacer.on_accepted(2.4, 2.2)
    assert pacer.reserve(2.4) == 0.0
    assert 0.0 < pacer.reserve(2.401) < 1.0


def test_a_refused_canary_doubles_the_pause():
    pacer = AdaptivePacer()
    pacer.reserve(0.0)
    pacer.on_refused(0.1, 0.0, None)
    now, pauses = 0.1, []
    for _ in range(6):
        wait = pacer.reserve(now)
        pauses.append(wait)
        now += wait + 1e-9
        assert pacer.reserve(now) == 0.0
        pacer.on_refused(now, now, None)
    assert pauses == sorted(pauses)
    assert max(pauses) <= AdaptivePacer.LONGEST_PAUSE_SECONDS


def test_a_lost_canary_does_not_block():
    pacer = AdaptivePacer()
    pacer.reserve(0.0)
    pacer.on_refused(0.1, 0.0, 1.0)
    assert pacer.reserve(1.2) == 0.0
    pacer.on_ended(1.3, 1.2)
    assert pacer.reserve(2.0) == 0.0


def overloaded(pacer, every, answers=1000, in_flight=64):
    """Every so many answers a 503."""
    for number in range(1, answers + 1):
        now = number / 100
        if number % every:
            pacer.on_accepted(now, now, in_flight)
        else:
            pacer.on_overloaded(now, now, None, in_flight)
    return pacer


def test_single_503s_among_many_answers_change_nothing():
    pacer = overloaded(AdaptivePacer(max_in_flight=64), 100)
    assert pacer.max_in_flight == 64
    assert pacer.estimate is None


def test_many_503s_lower_the_requests_in_flight_and_not_the_rate():
    pacer = AdaptivePacer(max_in_flight=64)
    rate = pacer.rate
    overloaded(pacer, 5)
    assert pacer.max_in_flight < 64
    assert (pacer.rate, pacer.estimate) == (rate, None)


def test_a_503_that_says_when_to_come_back_is_obeyed_by_all():
    pacer = AdaptivePacer()
    assert pacer.reserve(0.0) == 0.0
    pacer.on_overloaded(0.1, 0.0, 30.0)
    assert pacer.reserve(0.2) == pytest.approx(29.9)
    assert pacer.reserve(30.2) == 0.0
    assert pacer.reserve(30.3) == float("inf")
    pacer.on_overloaded(30.4, 30.2, 5.0)
    assert pacer.reserve(30.5) == pytest.approx(4.9)
    assert pacer.reserve(35.5) == 0.0
    pacer.on_overloaded(35.6, 35.5, None)
    assert pacer.reserve(37.0) == 0.0
    pacer.on_accepted(37.1, 37.0)
    assert pacer.reserve(38.0) == 0.0


@settings(max_examples=40, deadline=None)
@given(
    rate=st.floats(1, 500),
    burst=st.integers(1, 500),
    retry_after=st.sampled_from([None, 0, 1, 5]),
    latency=st.floats(0.001, 0.3),
)
def test_it_never_stalls_and_never_storms(rate, burst, retry_after, latency):
    limits = Limits(bucket=Bucket(rate=rate, burst=burst, retry_after=retry_after))
    result, best = simulated(limits, 60, latency=latency)
    assert result.accepted >= 0.3 * best - 20
    assert result.refused <= 0.1 * result.accepted + 200
