"""What manifests say of an image: its size, its time, what it consists of and what it is attached to.

Every manifest is read by its digest, once: what was read before is known (``known``).
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from pruner.errors import MalformedReplyError, ResponseError
from pruner.registry.base import Attempts
from pruner.registry.exchange import Answer
from pruner.registry.oci import manifests, protocol
from pruner.registry.oci.errors import says_missing
from pruner.registry.oci.known import Known, KnownManifests
from pruner.registry.oci.lists import following
from pruner.registry.oci.manifest_client import Content, ManifestClient
from pruner.registry.oci.manifests import Manifest
from pruner.registry.oci.transport import OciTransport
from pruner.registry.times import epoch_ms

MAX_CONFIG_BYTES: Final = 4 * 1024 * 1024
"""A configuration that is larger is not read: its time is unknown."""
_DEEPEST: Final = 4
"""Indexes within indexes; the specification knows no use for more than two."""


class Facts(NamedTuple):
    """``size`` in bytes, ``created`` in epoch milliseconds; None if unknown, or not asked for.

    ``children`` are the digests of all manifests that an index consists of, also of those within others.
    """

    size: int | None
    created: int | None
    children: tuple[str, ...] = ()
    subject: str | None = None


class FactsReader:
    """Reads the manifests of one registry, each request through ``attempts``. ``clock``: epoch seconds."""

    def __init__(
        self,
        transport: OciTransport,
        attempts: Attempts,
        known: KnownManifests,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._transport = transport
        self._attempts = attempts
        self._known = known
        self._manifests = ManifestClient(transport, attempts)
        self._clock = clock
        self._reading: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._has_referrers = True

    async def of(self, image: str, digest: str, content: Content | None = None, *, with_times: bool) -> Facts:
        """The facts of a manifest, whose bytes may be at hand as ``content``.

        Without ``with_times`` neither sizes of indexes nor times are read. Raises MalformedReplyError for
        what is no manifest or has another digest, ResponseError if it is not there.
        """
        known = await self._manifest(image, digest, content, with_times=with_times)
        if not known.manifest.is_index:
            created = self._time(known) if with_times else None
            return Facts(_size(known.manifest), created, (), known.manifest.subject)
        parts = await self._parts(image, known.manifest, _DEEPEST, with_times=with_times)
        read = [part for part in parts.values() if part is not None]
        times = [moment for part in read if with_times and (moment := self._time(part))]
        sizes = [None if part is None else _size(part.manifest) for part in parts.values()]
        size = sum(size or 0 for size in sizes) if with_times and None not in sizes else None
        return Facts(size, max(times, default=None), tuple(parts), known.manifest.subject)

    async def referrers(self, image: str, digest: str) -> list[str]:
        """The manifests that say that they belong to ``digest``; none where the registry does not tell."""
        if not self._has_referrers:
            return []
        found: list[str] = []
        target: str | None = self._transport.location.path(image, f"referrers/{digest}")
        seen: set[str] = set()
        while target is not None and target not in seen:
            seen.add(target)
            answer = await self._referrers_page(image, target)
            if answer is None:
                break
            index = manifests.read_manifest(answer.body, protocol.OCI_INDEX)
            found += [child.digest for child in index.children]
            target = following(answer, self._transport.location.origin, target)
        return found

    async def _referrers_page(self, image: str, target: str) -> Answer | None:
        """One page; None where there is none, or no such thing at all."""
        headers = {"Accept": protocol.OCI_INDEX}
        scope = self._scope(image)
        try:
            return await self._attempts.run(partial(self._transport.send, "GET", target, scope, headers))
        except ResponseError as error:
            if error.status != 404:
                raise
            # Only a 404 that is not of this manifest says that the registry has no referrers API.
            self._has_referrers = self._has_referrers and says_missing(error)
            return None

    def blobs_of(self, digest: str) -> list[tuple[str, int]] | None:
        """Digests and sizes of all that a manifest which was read consists of, itself included."""
        found: dict[str, int] = {}
        waiting = [digest]
        while waiting:
            part = waiting.pop()
            known = self._known.get(part)
            if known is None:
                return None
            found[part] = known.manifest.size
            found.update((blob.digest, blob.size) for blob in known.manifest.blobs)
            waiting += [child.digest for child in known.manifest.children if child.digest not in found]
        return list(found.items())

    @property
    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _time(self, known: Known) -> int | None:
        return epoch_ms(known.created or None, self._now)

    def _scope(self, image: str) -> str:
        return self._transport.location.scope(image)

    async def _parts(
        self, image: str, index: Manifest, depth: int, *, with_times: bool
    ) -> dict[str, Known | None]:
        """All manifests of an index by digest; None where one is missing.

        What a descriptor says of a child's type is not relied on: what it consists of may have to stay.
        """
        if depth == 0:
            raise MalformedReplyError(f"indexes within indexes, more than {_DEEPEST} deep")
        found: dict[str, Known | None] = {}
        for child in index.children:
            found[child.digest] = None
            try:
                known = await self._manifest(image, child.digest, None, with_times=with_times)
            except ResponseError as error:
                # An index may name platforms that were never pushed here.
                if says_missing(error):
                    continue
                raise
            found[child.digest] = known
            if known.manifest.is_index:
                found |= await self._parts(image, known.manifest, depth - 1, with_times=with_times)
        return found

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


def _size(manifest: Manifest) -> int:
    return sum(blob.size for blob in manifest.blobs)
