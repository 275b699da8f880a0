"""A bound on what is held in memory at the same time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio


class Room:
    """Lets in as much as fits, first come first served; something larger than all of it comes in alone."""

    def __init__(self, size: int) -> None:
        self.held = 0
        self._size = size
        self._turn = anyio.Lock()
        self._left = anyio.Event()

    async def enter(self, amount: int) -> None:
        """Wait until ``amount`` more fits."""
        async with self._turn:
            while self.held and self.held + amount > self._size:
                await self._left.wait()
            self.held += amount

    def leave(self, amount: int) -> None:
        """Give back what ``enter`` took."""
        self.held -= amount
        self._left.set()
        self._left = anyio.Event()

    @asynccontextmanager
    async def hold(self, amount: int) -> AsyncIterator[None]:
        """Be in with ``amount`` for a while."""
        await self.enter(amount)
        try:
            yield
        finally:
            self.leave(amount)
