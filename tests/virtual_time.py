"""An event loop whose clock is virtual: sleeping takes no time, and every run goes the same way.

``run(main())`` runs a coroutine from virtual second 0. When all tasks wait, the clock jumps to the next
timer; when there is none either, DeadlockError is raised instead of waiting for ever.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class DeadlockError(Exception):
    """All tasks wait, and no timer will ever wake one."""


class _NeverWaits(selectors.DefaultSelector):
    def __init__(self, loop: "VirtualLoop") -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise DeadlockError
            self._loop.virtual_now += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop in virtual time; ``time()`` moves only while all tasks wait."""

    def __init__(self) -> None:
        self.virtual_now = 0.0
        super().__init__(_NeverWaits(self))

    def time(self) -> float:
        return self.virtual_now


def run(main: Coroutine[Any, Any, T]) -> T:
    """The result of ``main`` in a virtual loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
