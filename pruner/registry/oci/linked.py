"""A reader of another API, whose tags get the links that the registry's manifests tell."""

from collections.abc import Callable

import msgspec

from pruner.errors import ListingError, MalformedReplyError, ResponseError
from pruner.model import Tag, Target
from pruner.registry.base import TagReader, Want, want_everything
from pruner.registry.oci.client import TAGS_AT_ONCE
from pruner.registry.oci.facts import FactsReader
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

    async def registries(self) -> dict[str, tuple[str, ...]]:
        """As the other API has them."""
        return await self._reader.registries()

    async def images(self, registry: str) -> list[str]:
        """As the other API has them."""
        return await self._reader.images(registry)

    async def has_tag(self, target: Target) -> bool:
        """As the other API says."""
        return await self._reader.has_tag(target)

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
        if tag.digest is None:
            return tag
        try:
            facts = await self._facts.of(tag.target.image, tag.digest, with_times=False)
        except UnknownManifestError as error:
            self._warn(f"{tag.target}: {error}; what it consists of is not known, and it stays")
            return msgspec.structs.replace(tag, digest=None)
        except (ResponseError, MalformedReplyError) as error:
            raise ListingError(f"{tag.target}: its manifest cannot be read: {error}") from None
        return msgspec.structs.replace(tag, links=links_of(tag.name, facts))
