"""An OCI registry: a reader without a way to delete, and a deleter of single tags."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from pruner import names
from pruner.errors import CredentialsError, InputError, ListingError, MalformedReplyError, ResponseError
from pruner.model import Links, Tag, Target
from pruner.registry.base import Attempts, Want, Wanted, want_everything
from pruner.registry.oci import manifests
from pruner.registry.oci.errors import NotARegistryError, says_missing
from pruner.registry.oci.facts import Facts, FactsReader
from pruner.registry.oci.links import links_of, mark_orphans
from pruner.registry.oci.lists import read_list
from pruner.registry.oci.location import OciLocation
from pruner.registry.oci.manifest_client import Head, ManifestClient
from pruner.registry.oci.transport import OciTransport
from pruner.registry.scrubbing import scrubbed
from pruner.tasks import for_each, in_thread_if_long

TAGS_AT_ONCE: Final = 64
"""Tags of an image that are looked at at the same time; the gate decides how many requests that are."""
_READINGS: Final = 3
_SHOWN: Final = 5
CATALOG_SCOPE: Final = "registry:catalog:*"


class OciReader:
    """Lists one registry, each request through ``attempts``.

    ``registry_names`` are the names that policies give it, ``images`` those it has if it does not list them
    itself, ``asks_referrers`` whether manifests are deleted whose referrers may have no tag.
    """

    def __init__(
        self,
        transport: OciTransport,
        attempts: Attempts,
        facts: FactsReader,
        warn: Callable[[str], None],
        *,
        registry_names: Sequence[str] = (),
        images: Sequence[str] | None = None,
        asks_referrers: bool = False,
    ) -> None:
        self._transport = transport
        self._attempts = attempts
        self._facts = facts
        self._manifests = ManifestClient(transport, attempts)
        self._warn = warn
        self._registry_names = list(registry_names)
        self._images = images
        self._asks_referrers = asks_referrers

    @property
    def _location(self) -> OciLocation:
        return self._transport.location

    @property
    def always_reads_times(self) -> bool:
        """Times are those of a manifest's content, and are read only where they are wanted."""
        return False

    async def registries(self) -> dict[str, tuple[str, ...]]:
        """The names that policies give this registry, after a look whether there is one."""
        answer = await self._attempts.run(lambda: self._transport.send("GET", "/v2/", CATALOG_SCOPE))
        kind = answer.headers.get("Content-Type", "")
        if answer.status != 200 or "html" in kind.lower():
            raise NotARegistryError(
                f"{self._location.origin} is not a registry: it answers /v2/ with HTTP {answer.status}"
                f"{' and a page of HTML' if 'html' in kind.lower() else ''}"
            )
        return dict.fromkeys(self._registry_names, (self._location.place,))

    async def images(self, registry: str) -> list[str]:
        """The names of all images below the namespace, sorted."""
        with scrubbed(self._transport.secrets):
            return await self._read_images(registry)

    async def _read_images(self, registry: str) -> list[str]:
        if self._images is not None:
            return sorted(self._images)
        what = f"the images of {registry}"
        try:
            listed = await read_list(self._transport, self._attempts, "/v2/_catalog", CATALOG_SCOPE, what)
        except (ResponseError, CredentialsError) as error:
            hint = (
                f"where a registry does not list its images, name them under registries: {registry}: images"
            )
            kind = CredentialsError if isinstance(error, CredentialsError) else ListingError
            raise kind(f"{what} cannot be listed: {error}; {hint}") from None
        found = [image for name in listed if (image := self._location.image(name)) is not None]
        return _checked(found, names.check_image, what)

    async def tags(self, registry: str, image: str, want: Want = want_everything) -> list[Tag] | None:
        """All tags of an image, with the facts that are wanted; None when there is no such image."""
        with scrubbed(self._transport.secrets):
            return await self._read_tags(registry, image, want)

    async def _read_tags(self, registry: str, image: str, want: Want) -> list[Tag] | None:
        found = await self._names(registry, image)
        if found is None:
            return None
        wanted = want(found)
        if not wanted.identity:
            return await in_thread_if_long(
                len(found), lambda: [Tag(Target(registry, image, name)) for name in found]
            )
        tags = await self._looked_at(registry, image, found, wanted)
        if len(tags) < len(found):
            await self._look_for_missing(registry, image, tags, found, wanted)
        await self._complete(image, tags, wanted)
        return [tags[name] for name in found if name in tags]

    async def _names(self, registry: str, image: str) -> list[str] | None:
        """The names of all tags, sorted; None when there is no such image."""
        what = f"the tags of {registry}/{image}"
        path, scope = self._location.path(image, "tags/list"), self._location.scope(image)
        try:
            listed = await read_list(self._transport, self._attempts, path, scope, what)
        except ResponseError as error:
            if says_missing(error):
                return None
            raise
        return await in_thread_if_long(len(listed), _checked, listed, names.check_tag, what)

    async def tag(self, target: Target) -> Tag | None:
        """What the tag points to now; None if it is not there."""
        head = await self._manifests.head(target.image, target.tag)
        return None if head is None else Tag(target, head.digest)

    def blobs_of(self, digest: str) -> list[tuple[str, int]] | None:
        """All that a manifest which was read consists of; None if any part of it was not read."""
        return self._facts.blobs_of(digest)

    async def _looked_at(
        self, registry: str, image: str, found: Sequence[str], wanted: Wanted
    ) -> dict[str, Tag]:
        """The tags that have a manifest, by name."""
        tags: dict[str, Tag] = {}

        async def look(name: str) -> None:
            tag = await self._tag(Target(registry, image, name), wanted)
            if tag is not None:
                tags[name] = tag

        await for_each(found, look, TAGS_AT_ONCE)
        return tags

    async def _look_for_missing(
        self, registry: str, image: str, tags: dict[str, Tag], found: Sequence[str], wanted: Wanted
    ) -> None:
        """Listed tags without a manifest: deleted meanwhile, or dangling, which is said."""
        listed = set(await self._names(registry, image) or ())
        left = [name for name in found if name not in tags and name in listed]
        tags |= await self._looked_at(registry, image, left, wanted)
        dangling = [name for name in left if name not in tags]
        if dangling:
            shown = ", ".join(dangling[:_SHOWN]) + (" …" if len(dangling) > _SHOWN else "")
            self._warn(
                f"{registry}/{image}: {len(dangling):,} listed tags have no manifest (dangling), so there is "
                f"nothing to decide on or to delete: {shown}"
            )

    async def _complete(self, image: str, tags: dict[str, Tag], wanted: Wanted) -> None:
        """Note what only all tags together tell."""
        _date_by_subject(tags)
        if wanted.orphans:
            await mark_orphans(self._manifests, image, tags, self._warn)
        if self._asks_referrers:
            await self._find_referrers(image, tags, wanted)

    async def _tag(self, target: Target, wanted: Wanted) -> Tag | None:
        """One tag; None if it went after the list was made."""
        with_times = wanted.times is None or target.tag in wanted.times
        any_times = wanted.times is None or bool(wanted.times)
        for _ in range(_READINGS):
            head = await self._manifests.head(target.image, target.tag)
            if head is None:
                return None
            tag = await self._with_facts(target, head, with_times=with_times)
            if tag is not None and tag.subject is not None and any_times and not with_times:
                # What it belongs to may go by its time, and then this one would, by its own.
                tag = await self._with_facts(target, head, with_times=True)
            if tag is not None:
                return tag
        raise ListingError(f"{target}: its manifest is missing, though the tag is there")

    async def _with_facts(self, target: Target, head: Head, *, with_times: bool) -> Tag | None:
        """A tag with what its manifest says; None if the manifest has gone meanwhile."""
        try:
            facts = await self._facts.of(target.image, head.digest, head.content, with_times=with_times)
        except ResponseError as error:
            if says_missing(error):
                return None
            raise
        except manifests.UnknownManifestError as error:
            self._warn(f"{target}: {error}; it stays, as does every tag that may be the same image")
            return Tag(target)
        except MalformedReplyError as error:
            raise ListingError(f"{target}: {error}") from None
        return _tag(target, head.digest, facts)

    async def _find_referrers(self, image: str, tags: dict[str, Tag], wanted: Wanted) -> None:
        """Note what refers to a tag's manifest without having a tag itself."""
        tagged = {tag.digest for tag in tags.values()}
        for name, tag in list(tags.items()):
            if tag.digest is None or not wanted.needs_referrers(tag):
                continue
            try:
                found = await self._facts.referrers(image, tag.digest)
            except MalformedReplyError as error:
                raise ListingError(f"what belongs to {tag.target} cannot be listed: {error}") from None
            untagged = tuple(digest for digest in found if digest not in tagged)
            if untagged:
                links = msgspec.structs.replace(tag.links or Links(), untagged_referrers=untagged)
                tags[name] = msgspec.structs.replace(tag, links=links)


def _date_by_subject(tags: dict[str, Tag]) -> None:
    """Give what belongs to an image, and mostly has no time of its own, the image's."""
    times: dict[str | None, int] = {}
    for tag in tags.values():
        if tag.updated is not None:
            times[tag.digest] = max(tag.updated, times.get(tag.digest, 0))
    for name, tag in tags.items():
        if tag.subject is not None and tag.updated is None:
            tags[name] = msgspec.structs.replace(tag, updated=times.get(tag.subject))


def _tag(target: Target, digest: str, facts: Facts) -> Tag:
    links = links_of(target.tag, facts)
    return Tag(target, digest, facts.size, facts.created, facts.created, None, links)


def _checked(found: Iterable[str], check: Callable[[str], None], what: str) -> list[str]:
    """Names that can exist, sorted, each once."""
    known: set[str] = set()
    for name in found:
        try:
            check(name)
        except InputError as error:
            raise ListingError(f"{what}: a name that cannot be: {error}") from None
        if name in known:
            raise ListingError(f"{what}: '{name}' is listed twice, so others may be missing")
        known.add(name)
    return sorted(known)
