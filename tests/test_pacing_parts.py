"""The parts of the adaptive pacer, each alone."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruner.engine.pacing.burst import Burst
from pruner.engine.pacing.climb import Climb
from pruner.engine.pacing.estimate import ends_ramp, explains, first, judge
from pruner.engine.pacing.gauge import Gauge
from pruner.engine.pacing.in_flight import InFlightCap
from pruner.engine.pacing.noise import Noise, Verdict
from pruner.engine.pacing.pause import Pause
from pruner.engine.pacing.reading import Reading
from pruner.engine.pacing.traffic import Traffic

# What was sent and accepted


def test_traffic_counts_what_was_accepted_lately():
    traffic = Traffic(10, recent=1.0)
    for tenth in range(10):
        traffic.accepted(tenth / 10)
    assert traffic.rate(0.9) == 10.0
    assert traffic.rate(1.45) == 5.0
    assert traffic.rate(1.65) is None, "too few to tell"
    assert traffic.peak == 10.0


def test_traffic_knows_what_went_out_after_a_moment():
    traffic = Traffic(3, recent=1.0)
    for moment in (1.0, 2.0, 3.0):
        traffic.granted(moment)
    assert [traffic.granted_after(moment) for moment in (0.5, 1.0, 2.5, 3.0)] == [3, 2, 1, 0]


# Reading the rate


def gauge_of(moments, refused):
    gauge, traffic = Gauge(), Traffic(1000, 0.2)
    for moment in moments:
        gauge.granted(moment)
        traffic.granted(moment)
        if moment in refused:
            gauge.refused(moment)
            if not gauge.is_open:
                gauge.open(moment, traffic)
    return gauge, traffic


def test_a_reading_counts_what_passed_between_two_refusals():
    gauge, traffic = gauge_of([n / 10 for n in range(31)], {1.0, 3.0})
    reading = gauge.read(3.0, traffic, drained=True)
    assert reading is not None
    assert (reading.accepted, reading.elapsed) == (19, 2.0)
    assert reading.lower == reading.upper == 9.5


def test_a_pause_that_was_asked_for_makes_two_rates_of_one_reading():
    gauge, traffic = gauge_of([n / 10 for n in range(31)], {1.0, 3.0})
    gauge.paused(1.0)
    reading = gauge.read(3.0, traffic, drained=True)
    assert reading is not None
    assert (reading.lower, reading.upper) == (9.5, 19.0)


def test_without_a_first_refusal_there_is_no_reading():
    gauge, traffic = gauge_of([0.0, 0.1], set())
    assert gauge.read(0.1, traffic, drained=True) is None


def test_after_a_long_denial_what_passed_before_belongs_to_all_the_time():
    gauge, _ = gauge_of([n / 10 for n in range(11)], {1.0})
    assert gauge.over_denial(10.0) == pytest.approx(1.0, abs=0.11)


# The burst


def drained_reading(rate, burst, sent_rate, pause=1.0):
    """What a token bucket lets pass from one refusal to the next after a pause that filled it."""
    active = burst / (sent_rate - rate)
    return Reading(round(sent_rate * active), active + pause, active)


@given(rate=st.floats(70, 500), burst=st.integers(40, 60), faster=st.floats(1.2, 2.0))
def test_two_readings_of_different_length_tell_the_burst(rate, burst, faster):
    known = Burst()
    known.learn(drained_reading(rate, burst, 3.0 * rate), drained=True)
    assert known.size is None
    known.learn(drained_reading(rate, burst, faster * rate), drained=True)
    assert known.size == pytest.approx(burst, abs=4)
    again = drained_reading(rate, burst, 1.5 * rate)
    assert known.rate(again, []) == pytest.approx(rate, rel=0.1)


def test_a_reading_during_which_the_allowance_was_full_tells_no_burst():
    burst = Burst()
    burst.learn(drained_reading(200, 50, 600), drained=True)
    burst.learn(drained_reading(200, 50, 300), drained=False)
    burst.learn(drained_reading(200, 50, 250), drained=True)
    assert burst.size is None


def test_readings_from_before_and_after_a_change_tell_no_burst():
    burst = Burst()
    burst.learn(drained_reading(200, 50, 210), drained=True)
    burst.learn(drained_reading(50, 50, 200), drained=True)
    assert burst.size is None


def test_with_the_burst_known_the_end_of_a_ramp_tells_the_rate():
    """Cruising below the limit, the whole reading says too little; the stretch of the ramp says it all."""
    burst = Burst()
    burst.learn(drained_reading(200, 50, 600), drained=True)
    burst.learn(drained_reading(200, 50, 300), drained=True)
    moments = [n / 150 for n in range(1500)] + [10 + n / 300 for n in range(150)]
    ages = [10.5 - moment for moment in reversed(moments)]
    reading = Reading(len(moments), 11.5, 10.5)
    assert reading.upper < 160
    assert burst.rate(reading, ages) == pytest.approx(reading.upper), "never above all that passed"
    longer = [n / 150 for n in range(150)] + [1 + n / 300 for n in range(150)]
    ages = [1.5 - moment for moment in reversed(longer)]
    assert burst.rate(Reading(len(longer), 2.5, 1.5), ages) == pytest.approx(200, rel=0.02)


def test_without_a_pause_a_reading_needs_no_burst():
    burst = Burst()
    burst.size = 50.0
    assert burst.rate(Reading(100, 1.0, 1.0), []) is None


# Judging


def test_a_first_estimate_is_below_what_was_sent():
    assert 0.8 * 100 < first(200.0, 100.0) < 100
    assert first(200.0, None) < 200


def test_a_reading_at_the_end_of_a_ramp_only_raises():
    low, high = Reading(100, 1.0, 1.0), Reading(250, 1.0, 1.0)
    assert judge(low, 200.0, 230.0, 230.0, 0.99) == (200.0, True, True)
    assert judge(high, 200.0, 230.0, 230.0, 0.99) == (250.0, False, True)


def test_a_refusal_in_cruise_lowers_by_little_if_the_reading_is_long():
    for seconds, step in ((10.0, 0.98), (2.0, 0.9), (0.5, 0.8)):
        judged = judge(Reading(20, seconds, seconds), 200.0, 190.0, None, 0.99)
        assert judged.estimate <= 200.0 * step
        assert not judged.proved


def test_a_reading_of_a_few_requests_is_not_believed():
    judged = judge(Reading(3, 0.001, 0.001), 200.0, 190.0, None, 0.99)
    assert 0.7 * 200 < judged.estimate < 190
    assert not judged.settled


def test_a_ramp_that_got_far_has_left_the_old_estimate():
    judged = judge(Reading(800, 5.0, 5.0), 100.0, 400.0, 380.0, 0.99)
    assert 340 < judged.estimate <= 380


def test_a_leap_that_let_no_more_pass_is_none():
    judged = judge(Reading(100, 1.0, 1.0), 100.0, 400.0, 380.0, 0.99)
    assert judged == (100.0, True, True)


def test_a_rate_that_is_known_in_spite_of_a_pause_is_believed_at_once():
    dropped = Reading(60, 1.3, 0.3, rate=50.0)
    assert judge(dropped, 200.0, 199.0, None, 0.995).estimate == 50.0
    too_high = Reading(1600, 9.0, 8.0, rate=195.0)
    assert judge(too_high, 210.0, 260.0, None, 0.995) == (195.0, True, True)
    as_high = Reading(1600, 9.0, 8.0, rate=209.5)
    assert judge(as_high, 210.0, 260.0, None, 0.995) == (210.0, True, True)


def test_a_limit_of_the_rate_explains_a_ramps_end_unless_far_more_passed():
    assert explains(None, 100.0, 150.0)
    assert not explains(None, 100.0, 300.0)
    assert explains(Reading(900, 5.0, 4.0, rate=101.0), 100.0, 300.0)
    assert not explains(Reading(900, 5.0, 4.0, rate=220.0), 100.0, 300.0)


@given(
    accepted=st.integers(0, 10_000),
    elapsed=st.floats(1e-3, 1e3),
    old=st.floats(0.1, 1e4),
    rate=st.floats(0.1, 1e4),
    used=st.none() | st.floats(0.1, 1e4),
)
def test_an_estimate_is_never_above_all_that_was_seen(accepted, elapsed, old, rate, used):
    reading = Reading(accepted, elapsed, elapsed)
    judged = judge(reading, old, rate, used, 0.99)
    assert 0.0 < judged.estimate <= max(old, reading.upper, rate) * 1.001 or reading.upper == 0.0


def test_a_ramp_ends_where_it_is_expected_or_leaps():
    assert ends_ramp(110.0, 100.0)
    assert not ends_ramp(99.0, 100.0)
    assert not ends_ramp(200.0, 100.0)
    assert not ends_ramp(200.0, None)


# Climbing


def test_the_start_doubles_and_the_ramp_begins_gently():
    climb, rate = Climb(), 60.0
    rates = []
    for tick in range(6):
        rate = climb.start(tick * Climb.DOUBLING_SECONDS + 1e-9 * tick, rate)
        rates.append(rate)
    assert rates == [60.0, 120.0, 240.0, 480.0, 960.0, 1920.0]
    climb.hold(10.0, 100.0)
    assert climb.ramp(11.0, 100.0) == 100.0
    steps = [climb.ramp(20.0 + second, 100.0) - 100.0 for second in range(4)]
    assert steps == [6.0, 12.0, 24.0, 48.0]


def test_the_slower_client_gains_more():
    gains = []
    for rate in (25.0, 100.0):
        climb = Climb()
        climb.hold(0.0, rate)
        gains.append(climb.ramp(100.0, rate) / rate)
    assert gains[0] > gains[1]


def test_a_hold_grows_while_the_estimate_proves_right():
    climb, holds = Climb(), []
    for _ in range(5):
        climb.hold(0.0, 1000.0, cost=1.0)
        holds.append(next(second for second in range(400) if climb.ramp(second, 100.0) > 100.0))
        climb.proved()
    assert holds == sorted(holds)
    assert holds[0] == 5
    assert holds[-1] == 25
    assert climb.limit_seen
    climb.surprised()
    climb.hold(0.0, 1000.0)
    assert climb.ramp(2.1, 100.0) > 100.0


# Pausing


def test_while_the_canary_is_on_its_way_everybody_waits():
    pause = Pause()
    pause.wait(0.0, 0.1, None)
    assert pause.left(0.05) == pytest.approx(0.05)
    assert pause.left(0.2) == 0.0
    pause.granted(0.2)
    assert pause.left(0.3) == float("inf")
    assert pause.is_canary(0.2)
    assert not pause.is_canary(0.1)
    pause.passed()
    assert pause.left(0.3) == 0.0


def test_a_pause_doubles_up_to_its_longest_and_counts_its_cost():
    pause, now = Pause(), 0.0
    for _ in range(10):
        pause.wait(now, 0.1, None)
        now = pause.until
        pause.granted(now)
    assert pause.until - 0.1 * (2**6 - 1) == pytest.approx(4 * Pause.LONGEST_SECONDS, abs=2.0)
    assert pause.cost == pytest.approx(now)
    assert pause.denied > 0.0


def test_a_pause_is_only_ever_made_longer():
    pause = Pause()
    pause.wait(0.0, 0.1, 10.0)
    assert pause.extend(1.0, 2.0) == 0.0
    assert pause.until == 10.0
    assert pause.extend(1.0, 20.0) == pytest.approx(11.0)
    assert pause.until == 21.0


# Requests in flight


def test_a_cap_is_found_where_more_are_open_than_at_what_passes():
    cap = InFlightCap(64)
    for in_flight in [10, 12, 14, 15, 16] * 20:
        cap.accepted(in_flight)
    assert not cap.explains(12)
    assert cap.refused(1.0, 20, 0.0)
    assert cap.bound == 19
    assert cap.is_lowered


def test_a_lowered_bound_goes_on_to_where_nothing_is_refused_but_not_to_nothing():
    cap = InFlightCap(64)
    cap.lower(0.0, 20, 0.0)
    for _ in range(30):
        cap.accepted(cap.bound)
        cap.refused(1.0, cap.bound, 0.0)
    assert 13 <= cap.bound <= 15


def test_where_a_refusal_costs_a_pause_the_bound_is_lowered_by_more_and_raised_by_one():
    cap = InFlightCap(64)
    cap.lower(0.0, 20, 1.0)
    assert cap.bound == 17
    bounds = []
    for second in (4.9, 5.1, 10.2):
        for _ in range(10):
            cap.accepted(cap.bound)
        cap.creep(second)
        bounds.append(cap.bound)
    assert bounds == [17, 18, 19]
    cap.refused(10.3, 19, 1.0)
    assert cap.bound == 18
    for _ in range(10):
        cap.accepted(18)
    cap.creep(40.0)
    assert cap.bound == 18, "it was right, so it stays for long"


def test_a_cap_that_is_contradicted_again_and_again_was_none():
    cap = InFlightCap(64)
    for _ in range(200):
        cap.accepted(10)
    found = []
    for now in range(5):
        found.append(cap.refused(float(now), 30, 1.0))
        for _ in range(60):
            cap.accepted(cap.bound)
    assert found == [True, True, True, False, False]
    assert cap.bound == 64


def test_the_bound_rises_only_where_more_would_be_used():
    cap = InFlightCap(64)
    cap.lower(0.0, 17, 0.0)
    cap.accepted(3)
    cap.creep(100.0)
    assert cap.bound == 16
    for _ in range(10):
        cap.accepted(16)
    bounds = []
    for second in range(4):
        cap.creep(100.0 + second)
        for _ in range(10):
            cap.accepted(64)
        bounds.append(cap.bound)
    assert bounds == [17, 19, 23, 31]


def test_a_refusal_well_below_the_bound_disproves_it():
    cap = InFlightCap(256)
    cap.lower(0.0, 41, 0.0)
    for _ in range(100):
        cap.accepted(40)
    assert not cap.refused(1.0, 10, 0.0)
    assert cap.bound == 61


@given(st.lists(st.tuples(st.integers(1, 80), st.sampled_from("arox")), max_size=300))
def test_the_bound_stays_within_bounds(steps):
    cap = InFlightCap(64)
    for now, (in_flight, step) in enumerate(steps):
        if step == "a":
            cap.accepted(in_flight)
        elif step == "r":
            cap.refused(float(now), in_flight, 0.0)
        elif step == "o":
            cap.overloaded(float(now), in_flight, 0.0)
        else:
            cap.creep(float(now))
        assert 1 <= cap.bound <= 64


# Noise


def answered(noise, dice, share, count, *, rate=200.0):
    """So many requests, a share of which is refused at random; the share that was not overlooked."""
    reactions = 0
    for _ in range(count):
        if noise.trial_due:
            noise.begin_trial(0.5 * rate)
        if dice.random() >= share:
            noise.accepted()
        elif not noise.overlooks(rate, cruising=True, starting=False):
            reactions += 1
            if noise.suspects(cruising=True):
                noise.begin_trial(0.5 * rate)
    return reactions / count


@pytest.mark.parametrize("share", [0.01, 0.02, 0.03])
def test_refusals_that_go_on_at_half_the_rate_are_noise(share):
    noise, dice = Noise(), Random(1)
    answered(noise, dice, share, 2000)
    assert noise.is_noisy
    assert answered(noise, dice, share, 10_000) < 0.1 * share


def test_refusals_that_stop_at_half_the_rate_are_a_limit():
    noise = Noise()
    verdict = None
    for _ in range(20):
        for _ in range(40):
            verdict = noise.accepted() or verdict
        if noise.on_trial or noise.overlooks(200.0, cruising=True, starting=False):
            continue
        if noise.suspects(cruising=True):
            noise.begin_trial(100.0)
    assert verdict is Verdict.LIMIT
    assert not noise.is_noisy


def test_a_limit_that_is_passed_uses_up_the_credit():
    noise, dice = Noise(), Random(1)
    answered(noise, dice, 0.02, 3000)
    assert answered(noise, dice, 0.3, 200) > 0.1


def test_in_a_trial_a_wall_of_refusals_is_not_overlooked():
    noise = Noise()
    noise.begin_trial(100.0)
    overlooked = [noise.overlooks(100.0, cruising=True, starting=False) for _ in range(30)]
    assert overlooked.count(True) <= Noise.MOST_CLUSTERED + 1
    assert not overlooked[-1]


def test_a_rare_refusal_is_overlooked_and_watched():
    noise = Noise()
    assert noise.overlooks(200.0, cruising=True, starting=False)
    assert not noise.is_calm
    assert not noise.overlooks(200.0, cruising=True, starting=False)
    for _ in range(Noise.WATCHED):
        noise.accepted()
    assert noise.is_calm
