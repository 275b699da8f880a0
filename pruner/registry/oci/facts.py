"""What manifests say of an image: its size, its time, what it consists of and what it is attached to.

Every manifest is read by its digest, once: what was read before is known (``known``).
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from typing import Final, NamedTuple

from pruner.errors import MalformedReplyError, ResponseError
from pruner.registry.base import Attempts
from pruner.registry.clock import check_fresh
from pruner.registry.exchange import Answer
from pruner.registry.oci import manifests, protocol
from pruner.registry.oci.errors import says_missing
from pruner.registry.oci.known import Known, KnownManifests
from pruner.registry.oci.lists import following
from pruner.registry.oci.manifest_client import Content, ManifestClient
from pruner.registry.oci.manifests import Manifest
from pruner.registry.oci.transport import OciTransport
from pruner.registry.scrubbing import scrubbed
from pruner.registry.times import epoch_ms

MAX_CONFIG_BYTES: Final = 4 * 1024 * 1024
"""A configuration that is larger is not read: its time is unknown."""
_DEEPEST: Final = 4
"""Indexes within indexes; the specification knows no use for more than two."""
MOST_PARTS: Final = 10_000
"""Manifests of an index, with those of the indexes within it."""
MOST_REFERRERS: Final = 100_000
"""Dependents of one manifest."""


class Facts(NamedTuple):
    """``size`` in bytes, ``created`` in epoch milliseconds; None if unknown, or not asked for.

    ``children`` are the digests of all manifests that an index consists of, also of those within others.
    """

    size: int | None
    created: int | None
    children: tuple[str, ...] = ()
    subject: str | None = None


class FactsReader:
    """Reads the manifests of one registry, each request through ``attempts``."""

    def __init__(
        self,
        transport: OciTransport,
        attempts: Attempts,
        known: KnownManifests,
    ) -> None:
        self._transport = transport
        self._attempts = attempts
        self._known = known
        self._manifests = ManifestClient(transport, attempts)
        self._reading: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._has_referrers: bool | None = None
        """Whether the registry has the referrers API; None as long as that is not known."""

    async def of(self, image: str, digest: str, content: Content | None = None, *, with_times: bool) -> Facts:
        """The facts of a manifest, whose bytes may be at hand as ``content``.

        Without ``with_times`` neither sizes of indexes nor times are read. Raises MalformedReplyError for
        what is no manifest or has another digest, ResponseError if it is not there.
        """
        known = await self._manifest(image, digest, content, with_times=with_times)
        if not known.manifest.is_index:
            created = _time(known) if with_times else None
            return Facts(_size(known.manifest), created, (), known.manifest.subject)
        parts: dict[str, Known | None] = {}
        await self._add_parts(image, known.manifest, parts, _DEEPEST, with_times=with_times)
        sizes = [None if part is None else _size(part.manifest) for part in parts.values()]
        size = sum(size or 0 for size in sizes) if with_times and None not in sizes else None
        created = _youngest(known.manifest, parts, {}) if with_times else None
        return Facts(size, created, tuple(parts), known.manifest.subject)

    async def referrers(self, image: str, digest: str) -> list[str]:
        """The manifests that say that they belong to ``digest``; none where the registry does not tell.

        Raises MalformedReplyError where that cannot be found out.
        """
        if self._has_referrers is False:
            return []
        found: list[str] = []
        target: str | None = self._transport.location.path(image, f"referrers/{digest}")
        seen: set[str] = set()
        while target is not None:
            if target in seen or len(found) > MOST_REFERRERS:
                raise MalformedReplyError("the pages of the list do not end")
            seen.add(target)
            answer = await self._referrers_page(image, target)
            if answer is None:
                return []
            if answer.status != 200:
                raise MalformedReplyError(f"HTTP {answer.status} instead of 200")
            check_fresh(answer.headers)
            with scrubbed(self._transport.secrets):
                index = manifests.read_manifest(answer.body, answer.headers.get("Content-Type", ""))
            if not index.is_index:
                raise MalformedReplyError("the answer is no list of manifests")
            self._has_referrers = True
            found += [child.digest for child in index.children]
            target = following(answer, self._transport.location.origin, target)
        return found

    async def _referrers_page(self, image: str, target: str, *, is_second: bool = False) -> Answer | None:
        """One page; None where the registry has no such API.

        That is decided once, by an answer of the registry itself: a 404 of the specification's form, or
        with the header by which registries can be told, that does not speak of the image or the manifest,
        which were there a moment ago. After a first list no such answer is believed any more.
        """
        headers = {"Accept": protocol.OCI_INDEX}
        ask = partial(self._transport.send, "GET", target, self._scope(image), headers)
        try:
            return await self._attempts.run(ask)
        except ResponseError as error:
            if error.status != 404:
                raise
            if says_missing(error) and not is_second:
                # A single answer may be a passing fault.
                return await self._referrers_page(image, target, is_second=True)
            if self._has_referrers or says_missing(error) or not error.from_registry:
                raise MalformedReplyError(
                    f"{error}; it cannot be known whether the registry has the referrers API. If it deletes "
                    f"tags by name, write 'delete_by: tag', and it is not asked"
                ) from None
            self._has_referrers = False
            return None

    def blobs_of(self, digest: str) -> list[tuple[str, int]] | None:
        """Digests and sizes of all that a manifest which was read consists of, itself included."""
        found: dict[str, int] = {}
        waiting = {digest: None}
        while waiting:
            part, _ = waiting.popitem()
            known = self._known.get(part)
            if known is None:
                return None
            found[part] = known.manifest.size
            found.update((blob.digest, blob.size) for blob in known.manifest.blobs)
            for child in known.manifest.children:
                if child.digest not in found and child.digest not in waiting:
                    waiting[child.digest] = None
        return list(found.items())

    def _scope(self, image: str) -> str:
        return self._transport.location.scope(image)

    async def _add_parts(
        self,
        image: str,
        index: Manifest,
        found: dict[str, Known | None],
        depth: int,
        *,
        with_times: bool,
    ) -> None:
        """Add all manifests of an index to ``found``, each read once; None where one is missing.

        What a descriptor says of a child's type is not relied on: what it consists of may have to stay.
        """
        if depth == 0:
            raise MalformedReplyError(f"indexes within indexes, more than {_DEEPEST} deep")
        for child in index.children:
            if child.digest in found:
                continue
            if len(found) >= MOST_PARTS:
                raise MalformedReplyError(f"an index of more than {MOST_PARTS:,} manifests, with those below")
            found[child.digest] = known = await self._part(image, child.digest, with_times=with_times)
            if known is not None and known.manifest.is_index:
                await self._add_parts(image, known.manifest, found, depth - 1, with_times=with_times)

    async def _part(self, image: str, digest: str, *, with_times: bool) -> Known | None:
        """A manifest of an index, which may name platforms that were never pushed here."""
        try:
            return await self._manifest(image, digest, None, with_times=with_times)
        except ResponseError as error:
            if says_missing(error):
                return None
            raise

    async def _manifest(self, image: str, digest: str, content: Content | None, *, with_times: bool) -> Known:
        """One manifest, and when it was made if that is asked for."""
        try:
            async with self._reading[digest]:
                return await self._read(image, digest, content, with_times=with_times)
        finally:
            self._reading.pop(digest, None)

    async def _read(self, image: str, digest: str, content: Content | None, *, with_times: bool) -> Known:
        known = self._known.get(digest)
        if known is None:
            if content is None:
                content = await self._manifests.content(image, digest)
            with scrubbed(self._transport.secrets):
                known = Known(manifests.read_manifest(content.data, content.media_type))
            self._known.put(digest, known)
        if with_times and known.created is None and not known.manifest.is_index:
            known = Known(known.manifest, await self._created(image, known.manifest))
            self._known.put(digest, known)
        return known

    async def _created(self, image: str, manifest: Manifest) -> str:
        """What the configuration says, or "" if it says nothing."""
        config = manifest.config
        if config is None or config.size > MAX_CONFIG_BYTES:
            return ""
        path = self._transport.location.path(image, f"blobs/{config.digest}")
        try:
            data = await self._attempts.run(lambda: self._transport.blob(path, self._scope(image)))
        except ResponseError as error:
            if error.status == 404:
                return ""
            raise
        if manifests.digest_of(data) != config.digest:
            raise MalformedReplyError(f"the bytes of {config.digest} are others than its digest says")
        return manifests.created_of(data) or ""


def _time(known: Known) -> int | None:
    return epoch_ms(known.created or None)


def _size(manifest: Manifest) -> int:
    return sum(blob.size for blob in manifest.blobs)


def _youngest(index: Manifest, parts: Mapping[str, Known | None], times: dict[str, int | None]) -> int | None:
    """The time of an index: that of its youngest platform; None if that of any platform is unknown.

    ``times`` holds those of the parts that were looked at, each of which is looked at once.
    """
    platforms = {child.digest for child in index.children if child.attests is None}
    found = []
    for child in index.children:
        if child.digest not in times:
            part = parts[child.digest]
            if part is None:
                times[child.digest] = None
            else:
                nested = part.manifest.is_index
                times[child.digest] = _youngest(part.manifest, parts, times) if nested else _time(part)
        moment = times[child.digest]
        if moment is not None:
            found.append(moment)
        elif child.attests not in platforms:
            return None
    return max(found, default=None)
