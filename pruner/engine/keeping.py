"""Before a tag is deleted, its manifest and all that it consists of are kept, so that it can be put back."""

import asyncio
from collections import defaultdict
from collections.abc import Container, Mapping
from typing import Final

from pruner.engine.manifest_store import ManifestStore
from pruner.errors import PrunerError
from pruner.model import Target
from pruner.plan.records import Entry
from pruner.registry.base import KeptManifest, ManifestDoor

MOST_MANIFESTS: Final = 10_000
"""Of one index, with those of indexes within it."""


class KeepError(PrunerError):
    """A manifest cannot be kept, so its tag is not deleted."""


class Keeper:
    """Reads manifests through the registries' ``doors`` and puts them into ``store``.

    Of the registries of ``by_name`` a list does not tell the digest of a tag's manifest, so that it is read
    by the tag's name.
    """

    def __init__(
        self, doors: Mapping[str, ManifestDoor], store: ManifestStore, by_name: Container[str] = ()
    ) -> None:
        self._doors = doors
        self._store = store
        self._by_name = by_name
        self._keeping: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def keeps(self, registry: str) -> bool:
        """Whether what is deleted from ``registry`` is kept."""
        return registry in self._doors

    async def keep(self, entry: Entry) -> None:
        """Return when the manifest of an entry is on the disk, and by which digest undo finds it.

        Raises KeepError if it cannot be kept, JournalWriteError if the disk does not take it, and what
        reading raises.
        """
        if entry.digest is None:
            raise KeepError("its digest is not known")
        if entry.registry in self._by_name:
            digest = await self._by_its_name(entry, entry.digest)
            await self.keep_manifest(entry.target, digest)
            await self._store.note(entry.target, digest)
        else:
            await self.keep_manifest(entry.target, entry.digest)

    async def _by_its_name(self, entry: Entry, listed: str) -> str:
        """The digest of the manifest that a tag points to, which has to be what was planned."""
        digest = await self._doors[entry.registry].digest_of(entry.target)
        if digest is None:
            raise KeepError("its manifest is not there")
        if entry.manifest not in (None, digest):
            raise KeepError(f"it points to {digest}, which is not what was planned")
        if digest != listed:
            manifest = await self._doors[entry.registry].read(entry.image, digest)
            if manifest is None or listed not in manifest.children:
                raise KeepError(f"it points to {digest}, of which {listed} is no part")
        return digest

    async def keep_manifest(self, target: Target, digest: str) -> None:
        """Return when the manifest of ``digest``, which ``target`` points to, is on the disk."""
        try:
            async with self._keeping[digest]:
                if missing := await self._missing(target, digest):
                    await self._store.add(missing)
        finally:
            self._keeping.pop(digest, None)

    async def _missing(self, target: Target, digest: str) -> list[KeptManifest]:
        """A manifest and those that it consists of, as far as they are not kept, the parts before the whole.

        Another image may have been without some of the parts, so all of them are looked at.
        """
        door = self._doors[target.registry]
        seen: set[str] = set()
        found: list[KeptManifest] = []
        waiting = [digest]
        while waiting:
            part = waiting.pop()
            if part in seen:
                continue
            seen.add(part)
            if len(seen) > MOST_MANIFESTS:
                raise KeepError(f"it consists of more than {MOST_MANIFESTS:,} manifests")
            manifest = self._store.get(part)
            if manifest is None:
                manifest = await door.read(target.image, part)
                if manifest is not None:
                    found.append(manifest)
                elif part == digest:
                    raise KeepError("its manifest is not there")
                else:
                    # An index may name platforms that were never pushed here.
                    continue
            waiting += manifest.children
        return found[::-1]
