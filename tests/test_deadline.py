"""A time limit for each of many requests: in virtual time, like asyncio.timeout, and with one timer."""

import asyncio
import random

import pytest
from virtual_time import run

from pruner.registry.deadline import Deadlines


async def limited(deadlines, seconds):
    """Work that takes so long; when it ended and whether in time."""
    loop = asyncio.get_running_loop()
    try:
        with deadlines.limit():
            await asyncio.sleep(seconds)
    except TimeoutError:
        return loop.time(), False
    return loop.time(), True


def test_what_is_done_in_time_is_not_disturbed():
    async def main():
        deadlines = Deadlines(30)
        assert await limited(deadlines, 29) == (29, True)
        await asyncio.sleep(100)
        assert asyncio.current_task().cancelling() == 0

    run(main())


def test_what_takes_too_long_is_a_timeout():
    async def main():
        deadlines = Deadlines(30)
        assert await limited(deadlines, 31) == (30, False)
        assert asyncio.current_task().cancelling() == 0
        assert await limited(deadlines, 5) == (35, True)
        assert await limited(deadlines, 500) == (65, False)

    run(main())


def test_each_of_many_has_a_limit_of_its_own():
    dice = random.Random(1)
    plan = [(dice.uniform(0, 100), dice.uniform(0, 60)) for _ in range(300)]

    async def one(deadlines, begins, takes):
        await asyncio.sleep(begins)
        ended, in_time = await limited(deadlines, takes)
        assert in_time is (takes < 30)
        assert ended == pytest.approx(begins + min(takes, 30))

    async def main():
        deadlines = Deadlines(30)
        await asyncio.gather(*(one(deadlines, *times) for times in plan))
        assert not deadlines.open

    run(main())


def test_one_timer_follows_the_oldest():
    async def main():
        loop, deadlines, timers = asyncio.get_running_loop(), Deadlines(30), []
        call_at = loop.call_at
        loop.call_at = lambda when, *rest, **more: (timers.append(when), call_at(when, *rest, **more))[1]
        for _ in range(1000):
            with deadlines.limit():
                await asyncio.sleep(0)
        assert timers == [30]

    run(main())


def test_a_cancellation_from_outside_stays_one():
    async def main():
        deadlines = Deadlines(30)
        task = asyncio.create_task(limited(deadlines, 100))
        await asyncio.sleep(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not deadlines.open

    run(main())


def test_a_cancellation_at_the_same_moment_is_not_hidden_by_the_timeout():
    async def main():
        deadlines = Deadlines(30)
        task = asyncio.create_task(limited(deadlines, 100))
        asyncio.get_running_loop().call_at(30, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_a_limit_around_a_limit():
    async def main():
        inner, outer = Deadlines(10), Deadlines(4)
        with pytest.raises(TimeoutError), outer.limit():
            await limited(inner, 100)
        assert asyncio.get_running_loop().time() == 4
        with outer.limit():
            assert await limited(Deadlines(3), 100) == (7, False)
        assert asyncio.current_task().cancelling() == 0

    run(main())


def test_errors_pass_through():
    async def main():
        deadlines = Deadlines(30)
        with pytest.raises(KeyError), deadlines.limit():
            raise KeyError
        assert not deadlines.open

    run(main())
