"""A reader of another API, whose tags get the links that the registry's manifests tell."""

from collections.abc import Callable

import msgspec

from pruner.errors import ListingError, MalformedReplyError, ResponseError
from pruner.model import Tag, Target
from pruner.registry.base import TagReader, Want, want_everything
from pruner.registry.oci.client import TAGS_AT_ONCE
from pruner.registry.oci.facts import Facts, FactsReader
from pruner.registry.oci.links import links_of, mark_orphans
from pruner.registry.oci.manifest_client import ManifestClient
from pruner.registry.oci.manifests import UnknownManifestError
from pruner.tasks import for_each


class LinkedReader:
    """Lists with ``reader``, and reads manifests with ``facts`` and ``manifests``, of one registry."""

    def __init__(
        self,
        reader: TagReader,
        facts: FactsReader,
        manifests: ManifestClient,
        warn: Callable[[str], None],
    ) -> None:
        self._reader = reader
        self._facts = facts
        self._manifests = manifests
        self._warn = warn

    @property
    def always_reads_times(self) -> bool:
        """As the other API does."""
        return self._reader.always_reads_times

    async def registries(self) -> dict[str, tuple[str, ...]]:
        """As the other API has them."""
        return await self._reader.registries()

    async def images(self, registry: str) -> list[str]:
        """As the other API has them."""
        return await self._reader.images(registry)

    async def tag(self, target: Target) -> Tag | None:
        """As the other API says, and what the name points to."""
        tag = await self._reader.tag(target)
        return None if tag is None else await self._linked(tag)

    def blobs_of(self, digest: str) -> list[tuple[str, int]] | None:
        """All that a manifest which was read consists of; None if any part of it was not read."""
        return self._facts.blobs_of(digest)

    async def tags(self, registry: str, image: str, want: Want = want_everything) -> list[Tag] | None:
        """The tags of the other API, with links if anybody asks for what they point to."""
        listed = await self._reader.tags(registry, image, want)
        if listed is None:
            return None
        wanted = want(sorted(tag.name for tag in listed))
        if not wanted.identity:
            return listed
        tags = {tag.name: tag for tag in listed}

        async def link(tag: Tag) -> None:
            tags[tag.name] = await self._linked(tag)

        await for_each(listed, link, TAGS_AT_ONCE)
        if wanted.orphans:
            await mark_orphans(self._manifests, image, tags, self._warn)
        return [tags[tag.name] for tag in listed]

    async def _linked(self, tag: Tag) -> Tag:
        """A tag with what its manifest says, which is read by the tag's name.

        The list may name the digest of one platform only. If it names neither the manifest nor a part of
        it, the tag was pushed between both readings, and what it is now is not known.
        """
        if tag.digest is None:
            return tag
        try:
            found = await self._read(tag)
        except UnknownManifestError as error:
            self._warn(f"{tag.target}: {error}; what it consists of is not known, and it is kept")
            return msgspec.structs.replace(tag, digest=None)
        except (ResponseError, MalformedReplyError) as error:
            raise ListingError(f"{tag.target}: its manifest cannot be read: {error}") from None
        if found is None:
            raise ListingError(f"{tag.target}: it is listed, and yet has no manifest")
        manifest, facts = found
        if tag.digest != manifest and tag.digest not in facts.children:
            self._warn(f"{tag.target}: its manifest is not what the list names; it is kept")
            return msgspec.structs.replace(tag, digest=None)
        return msgspec.structs.replace(tag, manifest=manifest, links=links_of(tag.name, facts))

    async def _read(self, tag: Tag) -> tuple[str, Facts] | None:
        head = await self._manifests.head(tag.target.image, tag.name)
        if head is None:
            return None
        facts = await self._facts.of(tag.target.image, head.digest, head.content, with_times=False)
        return head.digest, facts
