"""Registries that take no deletions for a while: the whole registry waits, and one request tries again.

NCR answers so (409 ResourceNotReady) while a registry is read-only, as does a gateway (424) whose back end is
not there. Pure but for the waiting, which is passed in; seconds of the clock.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

FIRST_WAIT_SECONDS: Final = 2.0
LONGEST_WAIT_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 1.0
"""So often those who wait see whether they still have to."""


@dataclass(slots=True)
class _Pause:
    since: float
    """When the registry refused first."""
    wait: float
    """How long to wait before the next attempt."""
    until: float
    trying: bool = False
    """Whether somebody was let out to see if the registry is ready."""


class Readiness:
    """Which registries take deletions, as far as their answers say."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.pauses: dict[str, _Pause] = {}
        """Of the registries that are not ready; empty as long as all of them are."""

    def refused(self, registry: str) -> float:
        """The registry is not ready; for how many seconds it has not been so far."""
        now = self._clock()
        pause = self.pauses.get(registry)
        if pause is None:
            pause = _Pause(now, FIRST_WAIT_SECONDS, now + FIRST_WAIT_SECONDS)
            self.pauses[registry] = pause
        elif pause.trying:
            # Of others that were in flight none makes the wait longer.
            pause.trying = False
            pause.wait = min(pause.wait * 2, LONGEST_WAIT_SECONDS)
            pause.until = now + pause.wait
        return now - pause.since

    def ready(self, registry: str) -> None:
        """The registry has carried out a deletion."""
        self.pauses.pop(registry, None)

    async def wait(self, registry: str, sleep: Callable[[float], Awaitable[bool]]) -> None:
        """Return when a request may try whether the registry is ready; ``sleep`` is true when all is over."""
        while (pause := self.pauses.get(registry)) is not None:
            left = pause.until - self._clock()
            if left <= 0:
                # This one tries; the others go on waiting for what it finds.
                pause.until = self._clock() + pause.wait
                pause.trying = True
                return
            if await sleep(min(left, _POLL_SECONDS)):
                return
