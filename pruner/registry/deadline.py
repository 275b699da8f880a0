"""A time limit for each of many requests, with one timer for all of them."""

import asyncio
from types import TracebackType


class Deadlines:
    """Makes limits of ``seconds`` each.

    All limits are equally long, so the one that was begun first ends first, and one timer that follows it
    is enough. ``asyncio.timeout`` sets and cancels a timer for each request, which takes about as long as
    signing it six times.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.open: dict[Deadline, None] = {}
        """The limits that are running, the one that ends first in front."""
        self._timer: asyncio.TimerHandle | None = None

    def limit(self) -> "Deadline":
        """A context in which the current task gets a TimeoutError when it takes longer."""
        return Deadline(self)

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Come again when the limit that ends first does."""
        if self._timer is None and self.open:
            self._timer = loop.call_at(next(iter(self.open)).ends_at, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Interrupt what has taken too long."""
        self._timer = None
        now = loop.time()
        while self.open and (first := next(iter(self.open))).ends_at <= now:
            del self.open[first]
            first.expire()
        self.watch(loop)


class Deadline:
    """One limit; a context manager for the task that enters it."""

    __slots__ = ("_cancelling", "_expired", "_owner", "_task", "ends_at")

    def __init__(self, owner: Deadlines) -> None:
        self._owner = owner
        self._expired = False

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self.ends_at = loop.time() + self._owner.seconds
        self._owner.open[self] = None
        if len(self._owner.open) == 1:
            self._owner.watch(loop)

    def expire(self) -> None:
        """The time is over: interrupt the task."""
        self._expired = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owner.open.pop(self, None)
        # As asyncio.timeout does: only a cancellation that nobody else asked for as well is a timeout.
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
