"""What a registry holds, image by image, in a stable order and never more than a few images at once."""

import difflib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple

import anyio

from pruner import names
from pruner.errors import UnreachableError
from pruner.model import Tag
from pruner.policy.image_policies import RegistryPolicies
from pruner.policy.needs import want_of
from pruner.registry.base import TagReader, Want, want_everything
from pruner.tasks import task_group

LISTED_AT_ONCE: Final = 16
"""Images of a reader that are listed at the same time, unless the caller says otherwise."""
TAGS_WAITING: Final = 10_000
"""Tags of images that are listed but not yet handed over, at which no further one is begun."""


class ImageListing(NamedTuple):
    """All tags of one image; ``tags`` is None when the registry has no such image."""

    registry: str
    image: str
    tags: Sequence[Tag] | None


Take = Callable[[ImageListing], Awaitable[None] | None]
"""Receives one image after the other."""


class UnknownRegistryError(UnreachableError):
    """A registry that the account does not have: a typo must not look like a thousand missing tags."""


class Places(NamedTuple):
    """Where the images of our registries, and of the account's others, are pulled from."""

    ours: dict[str, tuple[str, ...]]
    others: frozenset[str]


async def check_registries(readers: Mapping[str, TagReader]) -> Places:
    """Raise UnknownRegistryError unless each registry exists for the reader it goes with."""
    known: dict[int, dict[str, tuple[str, ...]]] = {}
    for registry, reader in readers.items():
        if id(reader) not in known:
            known[id(reader)] = await reader.registries()
        existing = known[id(reader)]
        if registry not in existing:
            close = difflib.get_close_matches(registry, existing, 1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            listed = ", ".join(names.printable(name) for name in list(existing)[:10]) or "none"
            raise UnknownRegistryError(
                f"registry '{registry}' does not exist at this endpoint (there: {listed}){hint}"
            )
    ours = {registry: known[id(reader)][registry] for registry, reader in readers.items()}
    every = {place for found in known.values() for places in found.values() for place in places}
    return Places(ours, frozenset(every.difference(*ours.values())))


async def list_images(
    readers: Mapping[str, TagReader],
    policies: Mapping[str, RegistryPolicies],
    take: Take,
    at_once: Callable[[str], int] = lambda registry: LISTED_AT_ONCE,
    *,
    all_facts: bool = False,
) -> None:
    """Give ``take`` every image that a policy selects, sorted by registry and image.

    Images that only explicit targets name and that do not exist come with ``tags`` None. Any listing
    that fails raises: an incomplete inventory decides nothing. ``at_once`` says how many images of a registry
    are listed at the same time; all readers are used side by side. Facts that no policy asks for come only
    with ``all_facts``.
    """
    existing = await _images_of({registry: readers[registry] for registry in policies})

    def want_in(registry: str, image: str) -> Want:
        if all_facts:
            return want_everything
        # Only when it is asked for: most registries tell everything anyway.
        return lambda found: want_of(policies[registry].of(image))(found)

    jobs = []
    for registry in sorted(policies):
        of_registry = policies[registry]
        wanted = {image for image in existing[registry] if of_registry.selects(image)}
        wanted.update(of_registry.explicit_images)
        jobs += [
            _Job(registry, image, image in existing[registry], want_in(registry, image))
            for image in sorted(wanted)
        ]
    await _list_in_order(readers, jobs, take, at_once)


async def list_everything(
    readers: Mapping[str, TagReader],
    take: Take,
    at_once: Callable[[str], int] = lambda registry: LISTED_AT_ONCE,
) -> None:
    """Give ``take`` every image of each registry, sorted by registry and image."""
    existing = await _images_of(readers)
    jobs = [
        _Job(registry, image, True) for registry in sorted(readers) for image in sorted(existing[registry])
    ]
    await _list_in_order(readers, jobs, take, at_once)


class _Job(NamedTuple):
    """An image to list."""

    registry: str
    image: str
    exists: bool
    want: Want = want_everything


async def _images_of(readers: Mapping[str, TagReader]) -> dict[str, set[str]]:
    """The names of the images of each registry."""
    found: dict[str, set[str]] = {}

    async def ask(registry: str, reader: TagReader) -> None:
        found[registry] = set(await reader.images(registry))

    async with task_group() as group:
        for registry, reader in sorted(readers.items()):
            group.start_soon(ask, registry, reader)
    return found


async def _list_in_order(
    readers: Mapping[str, TagReader], jobs: Sequence[_Job], take: Take, at_once: Callable[[str], int]
) -> None:
    """List images side by side, and hand them over in the order of ``jobs``."""
    order = _InOrder(take)
    lanes: dict[int, deque[tuple[int, _Job]]] = {}
    for index, job in enumerate(jobs):
        lanes.setdefault(id(readers[job.registry]), deque()).append((index, job))

    async def work(lane: deque[tuple[int, _Job]]) -> None:
        while lane:
            if await order.has_to_wait(lane[0][0]):
                continue
            index, job = lane.popleft()
            # Nothing of a listing may stay in a local variable: it would be held while the next is read.
            await order.put(index, await _listed(readers[job.registry], job))

    async with task_group() as group:
        for lane in lanes.values():
            for _ in range(min(at_once(lane[0][1].registry), len(lane))):
                group.start_soon(work, lane)


async def _listed(reader: TagReader, job: _Job) -> ImageListing:
    tags = await reader.tags(job.registry, job.image, job.want) if job.exists else None
    return ImageListing(job.registry, job.image, tags)


class _InOrder:
    """Holds listings until it is their turn, but not much more than TAGS_WAITING of them."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._listed: dict[int, ImageListing] = {}
        self._next = 0
        self._tags = 0
        self._moved = anyio.Event()
        self._taking = anyio.Lock()

    async def has_to_wait(self, index: int) -> bool:
        """False if ``index`` may be listed now; otherwise True, after something has changed."""
        if index == self._next or self._tags < TAGS_WAITING:
            return False
        await self._moved.wait()
        return True

    async def put(self, index: int, listing: ImageListing) -> None:
        """A listing; it and those that waited for it are handed over if it is their turn."""
        self._listed[index] = listing
        self._tags += len(listing.tags or ())
        del listing
        async with self._taking:
            while (ready := self._listed.pop(self._next, None)) is not None:
                self._tags -= len(ready.tags or ())
                taken = self._take(ready)
                if taken is not None:
                    await taken
                self._next += 1
                self._moved.set()
                self._moved = anyio.Event()
