"""Putting deleted tags back: the same bytes under the same names, if all that they refer to is still there.

It can work until the registry collects what has lost its tag.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from enum import StrEnum
from typing import Final
from weakref import WeakValueDictionary

import anyio
import msgspec

from pruner.engine.keeping import Keeper, KeepError
from pruner.engine.manifest_store import ManifestStore
from pruner.errors import InputError, RequestError, TryAgainError, UnreachableError
from pruner.model import Target
from pruner.registry.base import KeptManifest, ManifestDoor

MOST_SUBJECTS: Final = 10
"""A signature of a signature, and so on."""
MOST_UNREACHABLE: Final = 5
"""In a row: then the server is down, and not a single tag in trouble."""
PUTS: Final = 10
"""How often one tag is put before that is given up."""


class Restored(StrEnum):
    """How one tag ended."""

    RESTORED = "restored"
    THERE = "there already"
    BLOBS_GONE = "blobs gone"
    CONFLICT = "conflict"
    FAILED = "failed"
    NOT_ATTEMPTED = "not_attempted"


class UndoOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one tag ended, and why if that is not plain. ``before`` is what it pointed to, if anything."""

    target: Target
    digest: str
    status: Restored
    error: str | None = None
    before: str | None = None


class Undoer:
    """Puts tags back through the registries' ``doors``, out of ``store``.

    ``force`` also takes names that point elsewhere now; with ``dry_run`` nothing is sent that changes
    anything, and ``restored`` means that it would be.
    """

    def __init__(
        self,
        doors: Mapping[str, ManifestDoor],
        store: ManifestStore,
        *,
        force: bool = False,
        dry_run: bool = False,
    ) -> None:
        self._doors = doors
        self._store = store
        self._force = force
        self._dry_run = dry_run
        self._unreachable = 0
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def _alone_with(self, manifest: KeptManifest) -> AsyncIterator[None]:
        """While a manifest is put, nobody else puts it, or its parts, which may have tags of their own.

        distribution 2.8 writes links in place: whoever reads one meanwhile takes the manifest for broken.
        """
        async with AsyncExitStack() as stack:
            # In one order for all, or two could wait for each other.
            for digest in sorted({manifest.digest, *manifest.children}):
                await stack.enter_async_context(self._locks.setdefault(digest, anyio.Lock()))
            yield

    def depth_of(self, digest: str) -> int:
        """After how many others a kept manifest has to be put back: what it belongs to, and so on."""
        depth = 0
        while depth < MOST_SUBJECTS and (subject := self._subject_of(digest)) is not None:
            depth, digest = depth + 1, subject
        return depth

    def _subject_of(self, digest: str) -> str | None:
        try:
            kept = self._store.get(digest)
        except InputError:
            return None
        return None if kept is None else kept.subject

    async def restore(self, target: Target, digest: str) -> UndoOutcome:
        """Put one tag back.

        Raises what ends the whole command: credentials, quota, a server that does not answer any more.
        """
        try:
            outcome = await self._restore(target, digest)
        except (RequestError, InputError, KeepError) as error:
            outcome = UndoOutcome(target, digest, Restored.FAILED, str(error))
        except UnreachableError as error:
            self._unreachable += 1
            if self._unreachable > MOST_UNREACHABLE:
                raise
            return UndoOutcome(target, digest, Restored.FAILED, str(error))
        self._unreachable = 0
        return outcome

    async def _restore(self, target: Target, digest: str) -> UndoOutcome:
        door = self._doors.get(target.registry)
        if door is None:
            why = "no manifests were kept of its registry"
            return UndoOutcome(target, digest, Restored.FAILED, why)
        now = await door.digest_of(target)
        if now == digest:
            return UndoOutcome(target, digest, Restored.THERE)
        if now is not None and not self._force:
            why = f"it points to {now} now; --force takes it back from there"
            return UndoOutcome(target, digest, Restored.CONFLICT, why, now)
        parts = self._parts(digest)
        if not parts:
            return UndoOutcome(target, digest, Restored.FAILED, "its manifest was not kept", now)
        if (gone := await self._missing_blob(door, target.image, parts)) is not None:
            why = f"the registry has collected {gone}"
            return UndoOutcome(target, digest, Restored.BLOBS_GONE, why, now)
        if now is not None and not self._dry_run:
            # What --force takes the name from is kept as well.
            await Keeper(self._doors, self._store).keep_manifest(target, now)
        if not self._dry_run:
            await self._put_parts(door, target, parts[:-1])
            return await self._put(door, target, parts[-1], now)
        return UndoOutcome(target, digest, Restored.RESTORED, before=now)

    def _parts(self, digest: str) -> list[KeptManifest]:
        """A kept manifest and those that it consists of, each after its own parts."""
        found: dict[str, KeptManifest] = {}

        def take(part: str) -> None:
            kept = None if part in found else self._store.get(part)
            if kept is not None:
                for child in kept.children:
                    take(child)
                found[part] = kept

        take(digest)
        return list(found.values())

    async def _missing_blob(self, door: ManifestDoor, image: str, parts: list[KeptManifest]) -> str | None:
        for blob in dict.fromkeys(blob for part in parts for blob in part.blobs):
            if not await door.has_blob(image, blob):
                return blob
        return None

    async def _put_parts(self, door: ManifestDoor, target: Target, parts: list[KeptManifest]) -> None:
        """Put back what an index consists of, where it is not there."""
        for part in parts:
            async with self._alone_with(part):
                if not await door.has(target.image, part.digest):
                    await door.put(target.image, part.digest, part)

    async def _put(
        self, door: ManifestDoor, target: Target, whole: KeptManifest, before: str | None
    ) -> UndoOutcome:
        """Put the tag back, unless it has been pushed since it was looked at."""
        async with self._alone_with(whole):
            for attempt in range(1, PUTS + 1):
                # The name is looked at again right before each: what came before took its time.
                now = await door.digest_of(target)
                if now == whole.digest and attempt > 1:
                    break
                if now != before:
                    why = f"it was pushed meanwhile, and points to {now or 'nothing'} now"
                    return UndoOutcome(target, whole.digest, Restored.CONFLICT, why, now)
                try:
                    await door.put(target.image, target.tag, whole, once=True)
                    break
                except TryAgainError as error:
                    if attempt == PUTS:
                        return UndoOutcome(target, whole.digest, Restored.FAILED, str(error), before)
        now = await door.digest_of(target)
        if now != whole.digest:
            why = f"it points to {now or 'nothing'} after it was put back"
            return UndoOutcome(target, whole.digest, Restored.FAILED, why, before)
        return UndoOutcome(target, whole.digest, Restored.RESTORED, before=before)
