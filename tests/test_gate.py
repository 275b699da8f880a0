"""Pacing: the pacer's schedule, the breaker, and the queue in front of both, in virtual time."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_time import DeadlockError, run

from pruner.engine.breaker import Breaker
from pruner.engine.gate import Gate, GateClosedError
from pruner.engine.pacer import UnlimitedPacer
from pruner.engine.pacing import AdaptivePacer

# The pacer


def grants(pacer, asks):
    """The moments of ``asks`` at which the pacer grants a slot."""
    return [moment for moment in asks if pacer.reserve(moment) <= 0.0]


RATES = st.floats(0.1, 5000)
GAPS = st.lists(st.floats(0, 3) | st.floats(0, 0.01), max_size=200)


def moments(gaps):
    now, found = 100.0, []
    for gap in gaps:
        now += gap
        found.append(now)
    return found


@given(RATES, GAPS)
def test_never_more_than_the_rate_in_any_stretch_of_time(rate, gaps):
    granted = grants(AdaptivePacer(rate), moments(gaps))
    for first in range(len(granted)):
        for last in range(first, len(granted)):
            elapsed = granted[last] - granted[first]
            # One slot at either end, and what timers that fire late may catch up.
            assert last - first + 1 <= rate * (elapsed + 0.005) + 1 + 1e-6


@given(
    RATES,
    st.lists(
        st.tuples(st.floats(0, 2), st.sampled_from(["ask", "accept", "refuse", "overload"])), max_size=100
    ),
)
def test_never_above_the_ceiling_whatever_the_server_says(ceiling, steps):
    pacer, now, granted = AdaptivePacer(ceiling), 100.0, []
    for gap, step in steps:
        now += gap
        if step == "ask" and pacer.reserve(now) <= 0.0:
            granted.append(now)
        elif step == "accept":
            pacer.on_accepted(now, now)
        elif step == "refuse":
            pacer.on_refused(now, now, None)
        elif step == "overload":
            pacer.on_overloaded(now, now, None)
        assert 0.98 * min(ceiling, AdaptivePacer.MIN_RATE) <= pacer.rate <= ceiling
    if granted:
        assert len(granted) <= ceiling * (granted[-1] - granted[0] + 0.005) + 1 + 1e-6


@given(st.floats(0.5, AdaptivePacer.START_RATE), st.integers(1, 50))
def test_who_waits_as_told_gets_the_full_rate(rate, count):
    """Faster ones begin gently."""
    pacer, now = AdaptivePacer(rate), 0.0
    for _ in range(count):
        while (wait := pacer.reserve(now)) > 0.0:
            now += wait
    assert now == pytest.approx((count - 1) / rate, abs=0.006)


def test_an_idle_hour_is_not_saved_up():
    pacer = AdaptivePacer(10)
    assert grants(pacer, [0.0, 3600.0, 3600.0, 3600.001]) == [0.0, 3600.0]


def test_the_rate_does_not_fall_below_its_floor():
    pacer = AdaptivePacer(10)
    for second in range(1, 40):
        pacer.on_refused(second, second - 0.5, None)
    assert pacer.rate == pytest.approx(AdaptivePacer.MIN_RATE, rel=0.02)


def test_a_refusal_never_makes_faster():
    pacer = AdaptivePacer(0.04)
    pacer.on_refused(1.0, 0.5, None)
    assert pacer.rate <= 0.04


@pytest.mark.parametrize(("retry_after", "pause"), [(7.0, 7.0), (300.0, 300.0)])
def test_a_refusal_pauses_as_long_as_the_server_wants(retry_after, pause):
    pacer = AdaptivePacer(10)
    pacer.on_refused(100.0, 99.0, retry_after)
    assert pacer.paused_until == pytest.approx(100.0 + pause)
    assert pacer.reserve(100.0) == pytest.approx(pause)
    assert pacer.reserve(100.0 + pause + 1e-9) == 0.0


def test_a_shorter_wish_does_not_shorten_a_pause():
    pacer = AdaptivePacer(10)
    pacer.on_refused(100.0, 99.0, 60.0)
    pacer.on_refused(101.0, 99.0, 1.0)
    pacer.on_refused(102.0, 99.0, None)
    assert pacer.paused_until == 160.0


def test_an_unlimited_pacer_learns_nothing():
    pacer = UnlimitedPacer()
    pacer.on_refused(1.0, 0.5, 60.0)
    assert pacer.reserve(1.0) == 0.0
    assert pacer.rate == float("inf")


# The breaker


def opened(now=0.0):
    breaker = Breaker()
    for _ in range(Breaker.THRESHOLD):
        breaker.sent()
        breaker.failed(now)
    return breaker


def test_some_failures_do_not_open():
    breaker = Breaker()
    for _ in range(Breaker.THRESHOLD - 1):
        breaker.failed(0.0)
    assert not breaker.is_open
    breaker.succeeded()
    breaker.failed(0.0)
    assert not breaker.is_open
    assert breaker.wait(0.0) == 0.0


def test_open_it_lets_one_probe_through_per_pause():
    breaker = opened(5.0)
    assert breaker.is_open
    assert breaker.open_since == 5.0
    assert breaker.wait(5.0) == Breaker.FIRST_PAUSE_SECONDS
    assert breaker.wait(6.0) == 0.0
    breaker.sent()
    assert breaker.wait(6.0) > 0.0


def test_the_pause_doubles_up_to_its_bound_and_the_outage_keeps_its_begin():
    breaker, now, pauses = opened(), 0.0, []
    for _ in range(8):
        pauses.append(breaker.wait(now))
        now += pauses[-1]
        breaker.sent()
        breaker.failed(now)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert breaker.open_since == 0.0


def test_late_failures_of_earlier_requests_do_not_lengthen_the_pause():
    breaker = opened()
    for _ in range(50):
        breaker.failed(0.5)
    assert breaker.wait(0.5) == 0.5


def test_a_success_closes():
    breaker = opened()
    breaker.sent()
    breaker.succeeded()
    assert (breaker.is_open, breaker.open_since, breaker.wait(0.0)) == (False, None, 0.0)


def test_an_abandoned_probe_makes_room_for_another():
    breaker = opened()
    breaker.sent()
    breaker.abandoned()
    assert breaker.wait(1.0) == 0.0


# The gate


class Bench:
    """A gate in virtual time and requests that note when they were let out."""

    def __init__(self, pacer):
        self.loop = asyncio.get_running_loop()
        self.gate = Gate(pacer, self.loop.time)
        self.started = []
        self.turned_away = []
        self.running = 0
        self.most = 0

    async def request(self, name, *, lasting=0.0, essential=False, end="accepted"):
        try:
            sent_at = await self.gate.acquire(essential=essential)
        except GateClosedError:
            self.turned_away.append(name)
            return
        self.started.append((name, self.loop.time()))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(lasting)
        except asyncio.CancelledError:
            end = "abandoned"
            raise
        finally:
            self.running -= 1
            self.finish(end, sent_at)

    def finish(self, end, sent_at):
        if end == "accepted":
            self.gate.accepted(sent_at)
        elif end == "failed":
            self.gate.failed(sent_at)
        elif end == "overloaded":
            self.gate.overloaded(sent_at, None)
        elif end == "abandoned":
            self.gate.abandoned(sent_at)
        else:
            self.gate.refused(sent_at, end)

    def start(self, *names, **options):
        return [self.loop.create_task(self.request(name, **options)) for name in names]

    @property
    def names(self):
        return [name for name, _ in self.started]

    @property
    def times(self):
        return [moment for _, moment in self.started]

    def is_idle(self):
        return self.gate.in_flight == 0 and self.gate.granted == len(self.started)


def test_first_come_first_served_and_evenly_spaced():
    async def main():
        bench = Bench(AdaptivePacer(10))
        await asyncio.gather(*bench.start(*range(30), lasting=5.0))
        assert bench.names == list(range(30))
        assert bench.times == pytest.approx([n / 10 for n in range(30)], abs=0.006)
        assert bench.is_idle()

    run(main())


def test_nobody_overtakes_those_who_wait():
    async def main():
        bench = Bench(AdaptivePacer(1))
        waiting = bench.start("a", "b", "c")
        await asyncio.sleep(1.0)
        late = bench.start("d")
        await asyncio.gather(*waiting, *late)
        assert bench.names == ["a", "b", "c", "d"]

    run(main())


def test_no_stampede_after_a_pause():
    async def main():
        bench = Bench(AdaptivePacer(10))
        await asyncio.gather(*bench.start("refused", end=60.0))
        await asyncio.gather(*bench.start(*range(40)))
        after = bench.times[1:]
        assert after[0] >= 60.0
        assert min(b - a for a, b in pairwise(after)) >= 0.09
        assert bench.names[1:] == list(range(40))

    run(main())


def test_those_who_wait_already_obey_a_new_pause():
    async def main():
        bench = Bench(AdaptivePacer(10))
        await asyncio.gather(*bench.start("refused", lasting=0.05, end=30.0), *bench.start("a", "b"))
        assert min(bench.times[1:]) >= 30.05

    run(main())


@pytest.mark.parametrize("limit", [1, 3])
def test_the_requests_in_flight_are_bounded(limit):
    async def main():
        bench = Bench(UnlimitedPacer(limit))
        await asyncio.gather(*bench.start(*range(12), lasting=1.0))
        assert bench.most == limit
        assert bench.names == list(range(12))
        assert bench.loop.time() == pytest.approx(12 / limit)
        assert bench.is_idle()

    run(main())


def test_a_cancelled_waiter_gives_its_turn_to_the_next():
    async def main():
        bench = Bench(UnlimitedPacer(1))
        first, head, middle, last = bench.start("first", "head", "middle", "last", lasting=1.0)
        await asyncio.sleep(0.5)
        head.cancel()
        middle.cancel()
        await asyncio.gather(first, last)
        assert bench.names == ["first", "last"]
        assert bench.times[1] == 1.0
        assert bench.is_idle()

    run(main())


def test_who_is_cancelled_at_the_moment_of_the_grant_gives_the_slot_back():
    async def main():
        bench = Bench(UnlimitedPacer(1))
        sent_at = await bench.gate.acquire()
        doomed, next_one = bench.start("doomed", "next")
        await asyncio.sleep(0)
        bench.gate.accepted(sent_at)
        assert bench.gate.in_flight == 1
        doomed.cancel()
        await asyncio.gather(doomed, next_one, return_exceptions=True)
        assert bench.names == ["next"]
        assert bench.gate.in_flight == 0

    run(main())


def test_close_turns_those_away_who_wait_or_come():
    async def main():
        bench = Bench(AdaptivePacer(1))
        tasks = bench.start("sent", "a", "b", lasting=0.2)
        await asyncio.sleep(0.1)
        bench.gate.close()
        await asyncio.gather(*tasks, *bench.start("late"))
        assert bench.names == ["sent"]
        assert sorted(bench.turned_away) == ["a", "b", "late"]
        assert bench.loop.time() < 1.0
        assert bench.is_idle()

    run(main())


def test_close_lets_essential_requests_pass_in_their_order_and_pace():
    async def main():
        bench = Bench(AdaptivePacer(1))
        tasks = [*bench.start("sent", "a"), *bench.start("check", essential=True), *bench.start("b")]
        await asyncio.sleep(0.1)
        bench.gate.close()
        await asyncio.gather(*tasks, *bench.start("check too", essential=True))
        assert bench.names == ["sent", "check", "check too"]
        assert bench.times == pytest.approx([0.0, 1.0, 2.0], abs=0.006)

    run(main())


def test_close_twice_and_with_cancelled_waiters():
    async def main():
        bench = Bench(UnlimitedPacer(1))
        first, doomed, other = bench.start("first", "doomed", "other", lasting=1.0)
        await asyncio.sleep(0.5)
        doomed.cancel()
        bench.gate.close()
        bench.gate.close()
        await asyncio.gather(first, doomed, other, return_exceptions=True)
        assert bench.turned_away == ["other"]
        assert bench.is_idle()

    run(main())


def test_while_the_server_is_down_only_probes_go_out():
    async def main():
        bench = Bench(AdaptivePacer(100))
        await asyncio.gather(*bench.start(*range(10), end="failed"))
        opened_at = bench.loop.time()
        await asyncio.gather(*bench.start(*range(10, 15), lasting=0.1, end="failed"))
        probes = [moment - opened_at for moment in bench.times[10:]]
        assert probes == pytest.approx([1.0, 3.1, 7.2, 15.3, 31.4])

    run(main())


def test_work_goes_on_when_a_probe_succeeds():
    async def main():
        bench = Bench(AdaptivePacer(100))
        await asyncio.gather(*bench.start(*range(10), end="failed"))
        await asyncio.gather(*bench.start(*range(10, 40)))
        assert bench.names == list(range(40))
        assert bench.is_idle()

    run(main())


def test_work_goes_on_at_once_when_a_probe_succeeds():
    async def main():
        bench = Bench(AdaptivePacer(100))
        await asyncio.gather(*bench.start(*range(10), end="failed"))
        for name in range(10, 16):
            await asyncio.gather(*bench.start(name, end="failed"))
        probe, *waiting = bench.start("probe", *range(20), lasting=0.1)
        await probe
        recovered = bench.loop.time()
        await asyncio.gather(*waiting)
        assert bench.loop.time() - recovered < 5.0

    run(main())


def test_a_cancelled_probe_does_not_block_the_rest():
    async def main():
        bench = Bench(AdaptivePacer(100))
        await asyncio.gather(*bench.start(*range(10), end="failed"))
        probe, other = bench.start("probe", "other", lasting=50.0)
        await asyncio.sleep(2.0)
        probe.cancel()
        await asyncio.gather(probe, other, return_exceptions=True)
        assert bench.names[10:] == ["probe", "other"]
        assert bench.is_idle()

    run(main())


def test_the_moment_of_the_last_accepted_request_is_known():
    async def main():
        bench = Bench(UnlimitedPacer())
        assert bench.gate.accepted_at is None
        await asyncio.gather(*bench.start("a", lasting=3.0))
        await asyncio.gather(*bench.start("b", lasting=3.0, end=0.0))
        assert bench.gate.accepted_at == 3.0
        assert bench.gate.now() == 6.0
        assert bench.gate.refusals == 1

    run(main())


ENDS = st.sampled_from(["accepted", "failed", "overloaded", "abandoned", 0.0, 2.5, None])
REQUESTS = st.tuples(st.floats(0, 3), st.floats(0, 2), ENDS, st.booleans(), st.none() | st.floats(0, 6))


@given(
    st.lists(REQUESTS, max_size=25),
    st.sampled_from([0.5, 10.0, 200.0]),
    st.integers(1, 4),
    st.none() | st.floats(0, 8),
)
def test_every_grant_is_released_once_and_nobody_waits_for_ever(requests, rate, limit, closing):
    async def one(bench, number, start, lasting, end, essential):
        await asyncio.sleep(start)
        await bench.request(number, lasting=lasting, end=end, essential=essential)

    async def main():
        bench = Bench(AdaptivePacer(rate, limit))
        tasks = []
        for number, (start, lasting, end, essential, cancel) in enumerate(requests):
            tasks.append(bench.loop.create_task(one(bench, number, start, lasting, end, essential)))
            if cancel is not None:
                bench.loop.call_later(cancel, tasks[-1].cancel)
        if closing is not None:
            bench.loop.call_later(closing, bench.gate.close)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() or task.exception() is None for task in tasks)
        assert bench.most <= limit
        assert bench.gate.in_flight == 0
        assert not bench.gate._waiters
        assert not bench.gate._essential
        if closing is None:
            assert bench.turned_away == []

    run(main())


# The helper itself


def test_virtual_time_does_not_wait_and_knows_a_deadlock():
    async def main():
        await asyncio.sleep(10**6)
        return asyncio.get_running_loop().time()

    assert run(main()) == 10**6

    async def stuck():
        await asyncio.get_running_loop().create_future()

    with pytest.raises(DeadlockError):
        run(stuck())
