"""Doing things side by side: task groups that raise the first failure itself, and threads for long work."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, ParamSpec, TypeVar

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

T = TypeVar("T")
P = ParamSpec("P")
LONG: Final = 5_000
"""So many tags take about a tenth of a second, for which the event loop may stand still."""


async def in_thread_if_long(size: int, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``function``, whose time grows with ``size``, in a thread if it may take long.

    The event loop goes on meanwhile: signals, deadlines and answers are heard. ``function`` must be pure:
    whoever is cancelled does not wait for it.
    """
    if size <= LONG:
        return function(*args, **kwargs)
    return await anyio.to_thread.run_sync(lambda: function(*args, **kwargs), abandon_on_cancel=True)


@asynccontextmanager
async def task_group() -> AsyncIterator[TaskGroup]:
    """An anyio task group that raises the first failure of its tasks as it is."""
    try:
        async with anyio.create_task_group() as group:
            yield group
    except BaseExceptionGroup as errors:
        raise _first(errors) from None


async def for_each(items: Sequence[T], function: Callable[[T], Awaitable[None]], at_once: int) -> None:
    """Call ``function`` with each item, for ``at_once`` of them at the same time."""
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            await function(item)

    async with task_group() as group:
        for _ in range(min(at_once, len(items))):
            group.start_soon(work)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
