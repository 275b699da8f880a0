"""The registries, images and tags that an emulator serves."""

from collections.abc import Iterable
from typing import Protocol

import msgspec

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class Platform(msgspec.Struct, frozen=True):
    """One platform of an image; the size is in bytes."""

    architecture: str
    os: str
    digest: str
    size: int
    media_type: str = OCI_MANIFEST


class Tag(msgspec.Struct, frozen=True):
    """One tag. Times are milliseconds since the epoch, 0 where unknown; the size is in bytes."""

    name: str
    digest: str
    size: int
    last_updated: int
    latest_pulled: int | None = None
    platforms: tuple[Platform, ...] = ()


class Tags(Protocol):
    """The tags of one image, in listing order."""

    def __len__(self) -> int:
        """Return how many tags there are."""

    def get(self, name: str) -> Tag | None:
        """Return a tag, or None."""

    def page(self, start: int, stop: int) -> list[Tag]:
        """Return the tags from one position to another, as a slice does."""

    def remove(self, name: str) -> Tag | None:
        """Take a tag away and return it, or None."""

    def add_first(self, tag: Tag) -> None:
        """Add a tag at the front, in place of one of the same name."""

    def move(self, name: str, digest: str, last_updated: int) -> bool:
        """Let a tag point to another digest, as a push does; False if there is no such tag."""

    def siblings(self, tag: Tag) -> list[str]:
        """Return the names of the tags, other than this one, that have its digest."""


class ListedTags:
    """Tags held one by one."""

    def __init__(self, tags: Iterable[Tag]) -> None:
        """Take over the tags; of two with one name the last stays."""
        self._tags = {tag.name: tag for tag in tags}
        self._order: list[Tag] | None = None

    def __len__(self) -> int:
        """Return how many tags there are."""
        return len(self._tags)

    def get(self, name: str) -> Tag | None:
        """Return a tag, or None."""
        return self._tags.get(name)

    def page(self, start: int, stop: int) -> list[Tag]:
        """Return the tags from one position to another."""
        if self._order is None:
            self._order = list(self._tags.values())
        return self._order[start:stop]

    def remove(self, name: str) -> Tag | None:
        """Take a tag away and return it, or None."""
        self._order = None
        return self._tags.pop(name, None)

    def add_first(self, tag: Tag) -> None:
        """Add a tag at the front."""
        self._order = None
        self._tags.pop(tag.name, None)
        self._tags = {tag.name: tag, **self._tags}

    def move(self, name: str, digest: str, last_updated: int) -> bool:
        """Let a tag point to another digest."""
        tag = self._tags.get(name)
        if tag is None:
            return False
        self._order = None
        self._tags[name] = msgspec.structs.replace(
            tag, digest=digest, last_updated=last_updated, platforms=()
        )
        return True

    def siblings(self, tag: Tag) -> list[str]:
        """Return the names of the other tags of the same digest."""
        return [
            other.name
            for other in self._tags.values()
            if other.digest == tag.digest and other.name != tag.name
        ]


class Image:
    """One image of a registry."""

    __slots__ = ("description", "name", "tags")

    def __init__(self, name: str, tags: Tags, description: str = "") -> None:
        """Name an image, for example ``ci/web``, and give it its tags."""
        self.name = name
        self.tags = tags
        self.description = description


class Registry:
    """One registry; ``created`` is in milliseconds since the epoch."""

    __slots__ = ("created", "images", "name")

    def __init__(self, name: str, images: Iterable[Image], created: int) -> None:
        """Name a registry and give it its images."""
        self.name = name
        self.images = {image.name: image for image in images}
        self.created = created


class Store:
    """All registries of one account."""

    def __init__(self, registries: Iterable[Registry] = ()) -> None:
        """Take over the registries."""
        self.registries = {registry.name: registry for registry in registries}

    def image(self, registry: str, image: str) -> Image | None:
        """Return an image, or None."""
        found = self.registries.get(registry)
        return found.images.get(image) if found else None

    def tag_names(self, registry: str, image: str) -> list[str]:
        """Return the names of the tags of an image in listing order; no such image has none."""
        found = self.image(registry, image)
        return [tag.name for tag in found.tags.page(0, len(found.tags))] if found else []

    def count_tags(self) -> int:
        """Return how many tags there are altogether."""
        return sum(len(image.tags) for held in self.registries.values() for image in held.images.values())
