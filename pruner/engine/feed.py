"""From plan to workers: each image is checked against its list just before its tags are handed out."""

from collections import deque
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import anyio

from pruner.clock import running_clock
from pruner.engine.access import RegistryAccess
from pruner.engine.final_check import Before, Checked, compare, outcome_of
from pruner.engine.gate import GateClosedError
from pruner.engine.journal import JournalWriteError, Progress
from pruner.engine.relisting import list_again
from pruner.engine.state import RunState
from pruner.errors import ListingError, PrunerError, StopKind
from pruner.model import Outcome, Status, Tag
from pruner.plan.records import Entry, ImageRecord
from pruner.policy.in_use import InUse
from pruner.registry.base import Want, Wanted
from pruner.tasks import in_thread_if_long

IMAGES_AHEAD: Final = 4
"""So many images are listed ahead of the workers whatever their size, so that these do not wait for it,"""
MOST_IMAGES_AHEAD: Final = 64
DELETIONS_AHEAD_PER_WORKER: Final = 4
"""and more of them while all their deletions are no more than this, so that no check grows old before its
deletions begin."""
MOST_DELETIONS_AHEAD: Final = 10_000
"""Where even so many are not in four images, there are fewer images, for the sake of memory."""
CHECK_HOLDS_SECONDS: Final = 30.0
"""A DELETE is sent within this time after its tag was checked; otherwise the tag is checked again."""
LISTED_AGAIN_SECONDS: Final = 15.0
"""A larger image is listed again when its list is so old: that costs less than a look at each tag."""
_DRAIN_SECONDS: Final = 5.0
"""How long to wait for deletions in flight before an image is listed again: they would shift its pages."""
_TAGS_PER_REQUEST: Final = 100

Ended = Callable[[Entry, Outcome], None]


@dataclass(slots=True)
class Batch:
    """One image whose deletions are being handed out. ``checked_at`` in seconds of the running clock."""

    record: ImageRecord
    checked_at: float
    waiting: deque[Entry]
    """What was checked and not handed out yet."""
    open: int = 0
    """How many were handed out and have not ended."""
    planned: list[Entry] = field(default_factory=list)
    """All that was ready when it was checked."""
    seconds: float = 0.0
    """How long the list took by which it was checked."""
    kept: Mapping[int, str] = field(default_factory=dict)
    """Why some of what was planned has to stay since, by its number in the plan."""
    listing: anyio.Lock = field(default_factory=anyio.Lock)
    """Held while the image is listed beside its deletions."""
    by_tag: bool = False
    """Whether tags are looked at one by one from now on, instead of listing the image again."""
    accepted: list["Accepted"] = field(default_factory=list)
    """Deletions that the registry has accepted and nobody has seen carried out so far."""
    drained: anyio.Event = field(default_factory=anyio.Event)
    """Set when nothing is open any more."""

    def closed_one(self) -> None:
        """Something that was handed out has ended, or was accepted."""
        self.open -= 1
        if self.open == 0:
            self.drained.set()
            self.drained = anyio.Event()


@dataclass(slots=True)
class Accepted:
    """A DELETE that the registry has accepted; ``outcome`` is what is said once it is seen to be done."""

    entry: Entry
    outcome: Outcome


def want_of_check(entries: Sequence[Entry]) -> Want:
    """What a list has to tell so that ``entries`` can be compared with it."""
    names = {entry.tag for entry in entries}
    return lambda found: Wanted(times=(), referrers=names)


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
        clock: Callable[[], float] = running_clock,
        *,
        largest_image: int = 0,
    ) -> None:
        self._images = images
        self._access = access
        self._state = state
        self._progress = progress
        self._ended = ended
        self._stop_registry = stop_registry
        self._in_use = in_use or {}
        self._clock = clock
        self._ready: deque[Batch] = deque()
        """Images with deletions to hand out, in the order of the plan."""
        self._send, self._receive = anyio.create_memory_object_stream[Batch]()
        self._fetching = anyio.Lock()
        self.preparers = max(IMAGES_AHEAD, min(workers, MOST_IMAGES_AHEAD))
        """How often ``prepare`` is to be run at the same time."""
        self._preparing = self.preparers
        self._ahead = _Ahead(DELETIONS_AHEAD_PER_WORKER * workers, largest_image)

    async def next(self) -> tuple[Entry, Batch] | None:
        """The next deletion with its image, or None when there is none left or the run is stopping."""
        while self._state.stop_kind is None:
            if self._ready and not self._is_old(batch := self._ready[0]):
                entry = batch.waiting.popleft()
                if not batch.waiting:
                    self._ready.popleft()
                batch.open += 1
                return entry, batch
            # One worker at a time: if each fetched an image, they would be listed long before their turn.
            async with self._fetching:
                if not self._ready:
                    try:
                        self._ready.append(await self._receive.receive())
                    except (anyio.EndOfStream, anyio.ClosedResourceError):
                        return None
                elif self._is_old(self._ready[0]):
                    try:
                        await self._check_again(self._ready.popleft())
                    except GateClosedError:
                        # The run stops: what was waiting is not attempted.
                        return None
        return None

    def _is_old(self, batch: Batch) -> bool:
        """Whether an image is to be listed again: it takes fewer requests than looking at each tag."""
        if batch.by_tag or len(batch.waiting) <= -(-batch.record.tags // _TAGS_PER_REQUEST):
            return False
        return self._clock() - batch.checked_at > LISTED_AGAIN_SECONDS

    async def _check_again(self, batch: Batch) -> None:
        """List an image again, and compare what is waiting of it."""
        with anyio.move_on_after(_DRAIN_SECONDS):
            while batch.open:
                await batch.drained.wait()
        if batch.open:
            batch.by_tag = True
        else:
            began = self._clock()
            batch.planned = await self._checked(batch.record, list(batch.waiting))
            batch.waiting = deque(batch.planned)
            batch.checked_at, batch.seconds = began, self._clock() - began
            # Where the list itself takes too long, it is old when it has arrived.
            batch.by_tag = self._clock() - began > LISTED_AGAIN_SECONDS
        if batch.waiting:
            self._ready.appendleft(batch)

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
            if batch := await self._prepare_image(*found):
                await self._send.send(batch)
        finally:
            self._ahead.leave(len(found[1]))
        return True

    def abandon(self) -> None:
        """Wake those who wait, because the run is stopping."""
        self._receive.close()

    async def _prepare_image(self, record: ImageRecord, entries: list[Entry]) -> Batch | None:
        left = [entry for entry in entries if entry.seq not in self._progress.done]
        if not left or not self._state.may_work_on(record.registry):
            return None
        claimed = self._progress.claimed
        taken = {e.digest for e in entries if e.seq in claimed} if record.takes_siblings else ()
        began = self._clock()
        ready = await self._checked(record, left, taken)
        if not ready:
            return None
        return Batch(record, began, deque(ready), planned=ready, seconds=self._clock() - began)

    async def _checked(
        self, record: ImageRecord, left: list[Entry], taken: Container[str | None] = ()
    ) -> list[Entry]:
        """The entries that are as planned; the others end here. ``taken`` are digests that may be deleted."""
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
        checked = await in_thread_if_long(len(tags or ()), self._compare, record, left, tags, taken)
        for entry, outcome in checked.ended:
            self._ended(entry, outcome)
        return checked.ready

    def _compare(
        self,
        record: ImageRecord,
        left: list[Entry],
        tags: list[Tag] | None,
        taken: Container[str | None],
    ) -> Checked:
        access = self._access[record.registry]
        may_have_deleted = access.deleter.may_have_deleted
        digests = {e.digest for e in left if e.digest in taken or may_have_deleted(e.image, e.digest)}
        return compare(
            record,
            left,
            tags,
            before=Before(self._progress.claimed, digests),
            in_use=self._in_use.get((record.registry, record.image)),
            times_were_read=access.reader.always_reads_times,
        )

    async def _list_again(self, record: ImageRecord, left: list[Entry]) -> list[Tag] | None:
        """All tags of an image. That it has none any more is believed only when nothing speaks against it."""
        reader = self._access[record.registry].reader
        return await list_again(reader, record, want_of_check(left), self._state.sleep)

    def _stop(self, registry: str, error: PrunerError) -> None:
        if error.stops is not None:
            self._state.stop(error.stops, str(error))
        else:
            self._stop_registry(registry, f"listing failed: {error}")


class _Ahead:
    """Which images are listed ahead of the workers: some, and more where they are small."""

    def __init__(self, small: int, largest: int = 0) -> None:
        self._small = small
        self._largest = largest
        self._images = 0
        self._deletions = 0
        self._turn = anyio.Lock()
        self._left = anyio.Event()

    async def enter(
        self, images: Iterator[tuple[ImageRecord, list[Entry]]]
    ) -> tuple[ImageRecord, list[Entry]] | None:
        """The next image once there is room for it; None after the last one."""
        async with self._turn:
            # How large the next one is, is known only when it was read.
            found = await in_thread_if_long(self._largest, lambda: next(images, None))
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
