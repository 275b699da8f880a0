"""Task groups whose failure is the first error itself, not a group around it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup

T = TypeVar("T")


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
