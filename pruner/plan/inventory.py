"""What a registry holds, image by image, in a stable order and never more than a few images at once."""

import difflib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import anyio

from pruner import names
from pruner.errors import UnreachableError
from pruner.model import Tag
from pruner.policy.retention import RegistryPolicies
from pruner.registry.base import TagReader
from pruner.tasks import task_group

LISTED_AT_ONCE: Final = 8
"""Images that are listed at the same time; each may have a page of requests open."""


class ImageListing(NamedTuple):
    """All tags of one image; ``tags`` is None when the registry has no such image."""

    registry: str
    image: str
    tags: Sequence[Tag] | None


Take = Callable[[ImageListing], None]
"""Receives one image after the other."""


class UnknownRegistryError(UnreachableError):
    """A registry that the account does not have: a typo must not look like a thousand missing tags."""


async def check_registries(readers: Mapping[str, TagReader]) -> None:
    """Raise UnknownRegistryError unless each registry exists for the reader it goes with."""
    known: dict[int, list[str]] = {}
    for registry, reader in readers.items():
        if id(reader) not in known:
            known[id(reader)] = await reader.registries()
        existing = known[id(reader)]
        if registry not in existing:
            close = difflib.get_close_matches(registry, existing, 1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            listed = ", ".join(names.printable(name) for name in existing[:10]) or "none"
            raise UnknownRegistryError(
                f"registry '{registry}' does not exist at this endpoint (there: {listed}){hint}"
            )


async def list_images(
    readers: Mapping[str, TagReader], policies: Mapping[str, RegistryPolicies], take: Take
) -> None:
    """Give ``take`` every image that a policy selects, sorted by registry and image.

    Images that only explicit targets name and that do not exist come with ``tags`` None. Any listing
    that fails raises: an incomplete inventory decides nothing.
    """
    for registry in sorted(policies):
        of_registry, reader = policies[registry], readers[registry]
        existing = set(await reader.images(registry))
        wanted = {image for image in existing if of_registry.selects(image)}
        wanted.update(of_registry.explicit_images)
        await _list_in_order(reader, registry, sorted(wanted), existing, take)


async def list_everything(readers: Mapping[str, TagReader], take: Take) -> None:
    """Give ``take`` every image of each registry, sorted by registry and image."""
    for registry, reader in sorted(readers.items()):
        images = await reader.images(registry)
        await _list_in_order(reader, registry, images, set(images), take)


async def _list_in_order(
    reader: TagReader, registry: str, images: Sequence[str], existing: set[str], take: Take
) -> None:
    """List several images at once, hand them over in order, and hold only a few that wait their turn."""
    waiting = deque(enumerate(images))
    listed: dict[int, ImageListing] = {}
    taken = 0
    progress = anyio.Event()

    async def work() -> None:
        nonlocal taken, progress
        while waiting:
            if waiting[0][0] >= taken + 2 * LISTED_AT_ONCE:
                await progress.wait()
                continue
            index, image = waiting.popleft()
            tags = await reader.tags(registry, image) if image in existing else None
            listed[index] = ImageListing(registry, image, tags)
            while taken in listed:
                take(listed.pop(taken))
                taken += 1
            progress.set()
            progress = anyio.Event()

    async with task_group() as group:
        for _ in range(min(LISTED_AT_ONCE, len(images))):
            group.start_soon(work)
