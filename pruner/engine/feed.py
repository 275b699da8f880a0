"""From plan to workers: each image is listed again just before its tags are handed out."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import anyio

from pruner.engine.access import RegistryAccess
from pruner.engine.gate import GateClosedError
from pruner.engine.journal import JournalWriteError, Progress
from pruner.engine.recheck import compare, outcome_of
from pruner.engine.state import RunState
from pruner.errors import (
    CredentialsError,
    ListingError,
    PrunerError,
    QuotaError,
    UnreachableError,
)
from pruner.model import Outcome, Status, StopKind, Tag
from pruner.plan.records import Entry, ImageRecord
from pruner.policy.in_use import InUse
from pruner.registry.base import Wanted

IMAGES_AHEAD: Final = 4
"""So many images are listed ahead of the workers whatever their size, so that these do not wait for it,"""
MOST_IMAGES_AHEAD: Final = 64
DELETIONS_AHEAD_PER_WORKER: Final = 4
"""and more of them while all their deletions are no more than this: what is looked at again long before its
turn is not looked at again."""
MOST_DELETIONS_AHEAD: Final = 10_000
"""Where even so many are not in four images, there are fewer images, for the sake of memory."""

Ended = Callable[[Entry, Outcome], None]


class Feed:
    """Hands out the plan's deletions that still hold. Memory: the tags of a few images."""

    def __init__(
        self,
        images: Iterator[tuple[ImageRecord, list[Entry]]],
        access: Mapping[str, RegistryAccess],
        state: RunState,
        progress: Progress,
        ended: Ended,
        stop_registry: Callable[[str, str], None],
        workers: int,
        in_use: InUse | None = None,
    ) -> None:
        self._images = images
        self._access = access
        self._state = state
        self._progress = progress
        self._ended = ended
        self._stop_registry = stop_registry
        self._in_use = in_use or {}
        self._ready: deque[Entry] = deque()
        self._send, self._receive = anyio.create_memory_object_stream[list[Entry]]()
        self._fetching = anyio.Lock()
        self.preparers = max(IMAGES_AHEAD, min(workers, MOST_IMAGES_AHEAD))
        """How often ``prepare`` is to be run at the same time."""
        self._preparing = self.preparers
        self._ahead = _Ahead(DELETIONS_AHEAD_PER_WORKER * workers)

    async def next(self) -> Entry | None:
        """The next deletion, or None when there is none left or the run is stopping."""
        while self._state.stop_kind is None:
            if self._ready:
                return self._ready.popleft()
            # One worker at a time: if each fetched an image, they would be listed long before their turn.
            async with self._fetching:
                if self._ready:
                    continue
                try:
                    self._ready.extend(await self._receive.receive())
                except (anyio.EndOfStream, anyio.ClosedResourceError):
                    return None
        return None

    async def prepare(self) -> None:
        """List images ahead of the workers until the plan ends."""
        try:
            while await self._prepare_next():
                pass
        except (GateClosedError, anyio.BrokenResourceError):
            return
        except JournalWriteError as error:
            self._state.stop(StopKind.DISK, str(error))
        finally:
            self._preparing -= 1
            if self._preparing == 0:
                self._send.close()

    async def _prepare_next(self) -> bool:
        """One image; False if there is none. What it holds is let go before the next one is waited for."""
        found = await self._ahead.enter(self._images)
        if found is None:
            return False
        try:
            if self._state.stop_kind is not None:
                return False
            if ready := await self._prepare_image(*found):
                await self._send.send(ready)
        finally:
            self._ahead.leave(len(found[1]))
        return True

    def abandon(self) -> None:
        """Wake those who wait, because the run is stopping."""
        self._receive.close()

    async def _prepare_image(self, record: ImageRecord, entries: list[Entry]) -> list[Entry]:
        left = [entry for entry in entries if entry.seq not in self._progress.done]
        if not left or not self._state.may_work_on(record.registry):
            return []
        try:
            tags = await self._list_again(record, left)
        except ListingError as error:
            for entry in left:
                # What an earlier session has sent may have happened.
                status = Status.UNKNOWN if entry.seq in self._progress.claimed else Status.FAILED
                self._ended(entry, outcome_of(entry, status, str(error), "listing"))
            return []
        except PrunerError as error:
            self._stop(record.registry, error)
            return []
        claimed = self._progress.claimed
        taken = {e.digest for e in entries if e.seq in claimed} if record.takes_siblings else ()
        used = self._in_use.get((record.registry, record.image))
        checked = compare(record, left, tags, claimed, taken, used)
        for entry, outcome in checked.ended:
            self._ended(entry, outcome)
        return checked.ready

    async def _list_again(self, record: ImageRecord, left: list[Entry]) -> list[Tag] | None:
        reader = self._access[record.registry].reader

        def want(names: Sequence[str]) -> Wanted:
            return Wanted(times=(), referrers={entry.tag for entry in left})

        return await reader.tags(record.registry, record.image, want)

    def _stop(self, registry: str, error: PrunerError) -> None:
        if isinstance(error, CredentialsError):
            self._state.stop(StopKind.CREDENTIALS, str(error))
        elif isinstance(error, UnreachableError):
            self._state.stop(StopKind.UNREACHABLE, str(error))
        elif isinstance(error, QuotaError):
            self._state.stop(StopKind.QUOTA, str(error))
        else:
            self._stop_registry(registry, f"listing failed: {error}")


class _Ahead:
    """Which images are looked at ahead of the workers: some, and more where they are small."""

    def __init__(self, small: int) -> None:
        self._small = small
        self._images = 0
        self._deletions = 0
        self._turn = anyio.Lock()
        self._left = anyio.Event()

    async def enter(
        self, images: Iterator[tuple[ImageRecord, list[Entry]]]
    ) -> tuple[ImageRecord, list[Entry]] | None:
        """The next image once there is room for it; None after the last one."""
        async with self._turn:
            found = next(images, None)
            if found is None:
                return None
            while not self._has_room(len(found[1])):
                await self._left.wait()
            self._images += 1
            self._deletions += len(found[1])
            return found

    def _has_room(self, deletions: int) -> bool:
        after = self._deletions + deletions
        if self._images < IMAGES_AHEAD and after <= MOST_DELETIONS_AHEAD:
            return True
        return self._images == 0 or after <= self._small

    def leave(self, deletions: int) -> None:
        """An image's deletions are with the workers, or have ended."""
        self._images -= 1
        self._deletions -= deletions
        self._left.set()
        self._left = anyio.Event()
