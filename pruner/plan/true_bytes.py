"""How many bytes nothing refers to any more when a plan is carried out: blobs, counted once.

Each layer, configuration and manifest counts if something that goes refers to it, and nothing that stays
does, in all images of its registry that were listed. A million tags of twenty layers are more than memory has
room for: what refers to a blob is written to one of many files, by its digest, and each is counted alone.
"""

import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final

from pruner.model import Action, Decision
from pruner.plan.records import Freed, FreedTotal

PARTS: Final = 128
_USE: Final = struct.Struct("<32sQIi")
"""The digest, the size in bytes, the number of the image, and that of the policy (below zero: it stays)."""
_STAYS: Final = -1

Blobs = Sequence[tuple[str, int]]
"""Digests (SHA-256) and sizes in bytes."""
BlobsOf = Callable[[str], Blobs | None]
"""What a manifest consists of, itself included, by its digest; None if that is not known."""


class TrueBytes:
    """Takes the decisions on image after image, sorted by registry; ``folder`` has room for the files."""

    def __init__(self, folder: Path, blobs_of: Mapping[str, BlobsOf]) -> None:
        self._folder = folder
        self._blobs_of = blobs_of
        self._images: list[tuple[str, str]] = []
        self._policies: list[str] = []
        self._policy_numbers: dict[str, int] = {}
        self._of_image: defaultdict[int, int] = defaultdict(int)
        self._of_policy: defaultdict[int, int] = defaultdict(int)
        self._registry: _Registry | None = None
        self._unread: dict[str, int] = {}

    def take(self, registry: str, image: str, decisions: Iterable[Decision]) -> None:
        """Count one image."""
        if self._registry is None or self._registry.name != registry:
            self._finish_registry()
            self._registry = _Registry(registry, self._folder)
        self._images.append((registry, image))
        for digest, going in _by_digest(decisions).items():
            blobs = None if digest is None else self._blobs_of[registry](digest)
            if blobs is None:
                self._unread[registry] = self._unread.get(registry, 0) + 1
                continue
            policy = _STAYS if going is None else self._number(going)
            self._registry.add(blobs, len(self._images) - 1, policy)

    def _number(self, policy: str) -> int:
        if policy not in self._policy_numbers:
            self._policy_numbers[policy] = len(self._policies)
            self._policies.append(policy)
        return self._policy_numbers[policy]

    def _finish_registry(self) -> None:
        registry, self._registry = self._registry, None
        if registry is not None:
            # What is not read may refer to anything: nothing can be said of this registry.
            registry.finish(None if registry.name in self._unread else self._count)

    def _count(self, image: int, policy: int, size: int) -> None:
        self._of_image[image] += size
        self._of_policy[policy] += size

    def finish(self) -> tuple[list[Freed], FreedTotal]:
        """What each image frees, and all together. What several free is counted for the first of them."""
        self._finish_registry()
        images = [Freed(*self._images[number], size) for number, size in sorted(self._of_image.items())]
        counted = {name for name, _ in self._images} - set(self._unread)
        total = sum(self._of_image.values()) if counted else None
        policies = {self._policies[number]: size for number, size in sorted(self._of_policy.items())}
        return images, FreedTotal(total, policies, dict(sorted(self._unread.items())))


def _by_digest(decisions: Iterable[Decision]) -> dict[str | None, str | None]:
    """Each digest, and the policy by which it goes; None if any of its tags stays."""
    found: dict[str | None, str | None] = {}
    for decision in decisions:
        digest = decision.tag.manifest or decision.tag.digest
        if decision.action is Action.KEEP:
            found[digest] = None
        else:
            found.setdefault(digest, decision.reasons[0].policy or "")
    return found


class _Registry:
    """The uses of one registry's blobs, in files."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._stack = ExitStack()
        self._paths = [folder / f"uses-{number:03}" for number in range(PARTS)]
        self._files: list[IO[bytes]] = [
            self._stack.enter_context(path.open("wb", buffering=16 * 1024)) for path in self._paths
        ]

    def add(self, blobs: Blobs, image: int, policy: int) -> None:
        """Note that an image's manifest refers to ``blobs``."""
        for digest, size in blobs:
            key = bytes.fromhex(digest[7:])
            self._files[key[0] % PARTS].write(_USE.pack(key, size, image, policy))

    def finish(self, count: Callable[[int, int, int], None] | None) -> None:
        """Tell ``count`` the image, the policy and the size of each blob that only what goes refers to."""
        self._stack.close()
        for path in self._paths:
            if count is not None:
                _count_part(path.read_bytes(), count)
            path.unlink()


def _count_part(data: bytes, count: Callable[[int, int, int], None]) -> None:
    done = {key for key, _, _, policy in _USE.iter_unpack(data) if policy == _STAYS}
    for key, size, image, policy in _USE.iter_unpack(data):
        if key not in done:
            done.add(key)
            count(image, policy, size)
