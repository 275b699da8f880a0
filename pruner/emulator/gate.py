"""A gate in front of a server: requests wait there until whoever put it up lets them through."""

import asyncio
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Gate(Generic[T]):
    """Holds requests before anything is done about them, for as long as its owner likes.

    ``enter`` belongs to the server's event loop; everything else may be called from any thread. With a gate a
    test knows what its program is doing: it cannot be done before the gate opens, however fast it is.
    """

    def __init__(self, matches: Callable[[T], bool] = lambda _: True, *, after: int = 0) -> None:
        """Hold the requests that ``matches`` is true of, but let the first ``after`` of them through."""
        self._matches = matches
        self._free = after
        self._is_open = False
        self._waiting: set[asyncio.Future[None]] = set()
        self._changed = threading.Condition()

    @property
    def held(self) -> int:
        """How many requests wait now; one whose client went away does not wait any more."""
        with self._changed:
            return len(self._waiting)

    def wait(self, count: int = 1, seconds: float = 60.0) -> None:
        """Return as soon as ``count`` requests wait at the same time; TimeoutError after ``seconds``."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._waiting) >= count, seconds):
                raise TimeoutError(f"{len(self._waiting)} requests are held, not {count}")

    def open(self) -> None:
        """Let through all that wait and all that come."""
        with self._changed:
            self._is_open = True
            for turn in self._waiting:
                turn.get_loop().call_soon_threadsafe(_end, turn)

    async def enter(self, request: T) -> None:
        """Wait until the request may go on, which may be at once."""
        with self._changed:
            if self._is_open or not self._matches(request):
                return
            if self._free > 0:
                self._free -= 1
                return
            turn = asyncio.get_running_loop().create_future()
            self._waiting.add(turn)
            self._changed.notify_all()
        try:
            await turn
        finally:
            with self._changed:
                self._waiting.discard(turn)


def _end(turn: "asyncio.Future[None]") -> None:
    # The client may have gone away, and its handler been cancelled, before the loop came to this.
    if not turn.done():
        turn.set_result(None)
