"""Tags that are computed from their position, so that a million of them need hardly any memory.

Only what changed is stored: one byte per tag of an image once something of it is deleted, and the moved
and added tags themselves.
"""

import re
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final

from pruner.emulator.store import OCI_MANIFEST, Image, ListedTags, Platform, Registry, Store, Tag

DAY_MS: Final = 86_400_000
OLDEST_DAYS: Final = 400
_BLOCK: Final = 1024
_SPECIFICATION: Final = re.compile(r"generate:(\d+)x(\d+)x(\d+)(?:,seed=(\d+))?")

# Multiplying by an odd number modulo a power of two can be undone: a name leads back to its position.
_FACTOR: Final = 0x9E3779B1
_SHORT_BITS: Final = 28
_SHORT_MASK: Final = (1 << _SHORT_BITS) - 1
_SHORT_INVERSE: Final = pow(_FACTOR, -1, 1 << _SHORT_BITS)
_LONG_FACTOR: Final = 0x9E3779B97F4A7C15
_LONG_MASK: Final = (1 << 64) - 1
_LONG_INVERSE: Final = pow(_LONG_FACTOR, -1, 1 << 64)

_SIGNATURE: Final = re.compile(r"sha256-([0-9a-f]{16})[0-9a-f]{48}\.sig")
_SHORT_HEX: Final = re.compile(r"(?:sha|\d{8})-([0-9a-f]{7})")
_NUMBERED: Final = re.compile(r"(?:pr-|release-\d{4}\.\d{2}\.)(\d+)")
_VERSION: Final = re.compile(r"v(\d+)\.(\d+)\.(\d+)")


def generated_store(specification: str, now_ms: int) -> Store:
    """Return the store of ``generate:REGISTRIESxIMAGESxTAGS[,seed=N]``: so many images in each registry, so
    many tags in each image, their ages spread over 400 days before ``now_ms``.
    """
    match = _SPECIFICATION.fullmatch(specification)
    if match is None:
        raise ValueError(f"seed must be generate:REGISTRIESxIMAGESxTAGS[,seed=N], not {specification!r}")
    registries, images, tags = (int(match[number]) for number in (1, 2, 3))
    if tags > _SHORT_MASK:
        raise ValueError(f"an image cannot have more than {_SHORT_MASK} generated tags")
    seed = int(match[4] or 0)
    return Store(
        Registry(
            f"gen-{registry}",
            [
                Image(
                    f"team-{image % 10}/app-{image}",
                    GeneratedTags(tags, f"{seed}/{registry}/{image}", now_ms),
                )
                for image in range(1, images + 1)
            ],
            now_ms - 2 * OLDEST_DAYS * DAY_MS,
        )
        for registry in range(1, registries + 1)
    )


class GeneratedTags:
    """The tags of one image, newest first; position 0 is ``latest``, the same image as position 1."""

    __slots__ = (
        "_added",
        "_block_gone",
        "_gone",
        "_gone_count",
        "_key",
        "_moved",
        "_now_ms",
        "_salt",
        "_size",
    )

    def __init__(self, size: int, key: str, now_ms: int) -> None:
        """Make ``size`` tags; ``key`` decides everything that looks like chance."""
        self._size = size
        self._key = key.encode()
        self._salt = int.from_bytes(blake2b(self._key, digest_size=8).digest())
        self._now_ms = now_ms
        self._gone = bytearray()
        self._block_gone: list[int] = []
        self._gone_count = 0
        self._moved: dict[int, tuple[str, int]] = {}
        self._added = ListedTags(())

    def __len__(self) -> int:
        """Return how many tags there are."""
        return self._size - self._gone_count + len(self._added)

    def get(self, name: str) -> Tag | None:
        """Return a tag, or None."""
        position = self._position(name)
        return self._added.get(name) if position is None else self._tag(position)

    def page(self, start: int, stop: int) -> list[Tag]:
        """Return the tags from one position to another."""
        tags = self._added.page(start, stop)
        first = max(start - len(self._added), 0)
        wanted = min(stop, len(self)) - max(start, len(self._added))
        if wanted <= 0:
            return tags
        position = self._skip(first)
        while wanted > 0:
            if not self._is_gone(position):
                tags.append(self._tag(position))
                wanted -= 1
            position += 1
        return tags

    def remove(self, name: str) -> Tag | None:
        """Take a tag away and return it, or None."""
        position = self._position(name)
        if position is None:
            return self._added.remove(name)
        tag = self._tag(position)
        if not self._gone:
            self._gone = bytearray(self._size)
            self._block_gone = [0] * (self._size // _BLOCK + 1)
        self._gone[position] = 1
        self._block_gone[position // _BLOCK] += 1
        self._gone_count += 1
        return tag

    def add_first(self, tag: Tag) -> None:
        """Add a tag at the front, in place of one of the same name."""
        self.remove(tag.name)
        self._added.add_first(tag)

    def move(self, name: str, digest: str, last_updated: int) -> bool:
        """Let a tag point to another digest."""
        position = self._position(name)
        if position is None:
            return self._added.move(name, digest, last_updated)
        self._moved[position] = (digest, last_updated)
        return True

    def siblings(self, tag: Tag) -> list[str]:
        """Return the names of the other tags of the same digest."""
        position = self._original_position(tag.name)
        near = [] if position is None else [position - 1, position + 1]
        candidates = {other for other in near if 0 <= other < self._size} | self._moved.keys()
        same = [self._tag(other) for other in candidates if not self._is_gone(other)]
        names = [other.name for other in same if other.digest == tag.digest and other.name != tag.name]
        return names + self._added.siblings(tag)

    def _is_gone(self, position: int) -> bool:
        return bool(self._gone) and bool(self._gone[position])

    def _skip(self, count: int) -> int:
        """Return the position that comes after ``count`` present tags, walking over whole blocks."""
        if not self._gone:
            return count
        block = 0
        while block < len(self._block_gone) and count >= (present := _BLOCK - self._block_gone[block]):
            count -= present
            block += 1
        position = block * _BLOCK
        while count > 0:
            count -= not self._gone[position]
            position += 1
        return position

    def _position(self, name: str) -> int | None:
        """Return the position of a present tag."""
        position = self._original_position(name)
        return None if position is None or self._is_gone(position) else position

    def _original_position(self, name: str) -> int | None:
        """Return the position that a name was made from, present or not."""
        if name == "latest":
            return 0 if self._size else None
        ordinal = self._ordinal(name)
        if ordinal is None:
            return None
        position = self._size - ordinal
        return position if 0 < position < self._size and self._name(position) == name else None

    def _ordinal(self, name: str) -> int | None:
        """Return the ordinal that a name claims, 1 for the oldest tag of the image."""
        if match := _NUMBERED.fullmatch(name):
            return int(match[1])
        if match := _VERSION.fullmatch(name):
            return (int(match[1]) - 1) * 2500 + int(match[2]) * 50 + int(match[3])
        if match := _SHORT_HEX.fullmatch(name):
            return ((int(match[1], 16) - self._salt) * _SHORT_INVERSE) & _SHORT_MASK
        if match := _SIGNATURE.fullmatch(name):
            signed = ((int(match[1], 16) - self._salt) * _LONG_INVERSE) & _LONG_MASK
            return signed + 1
        return None

    def _name(self, position: int) -> str:
        if position == 0:
            return "latest"
        ordinal = self._size - position
        if self._is_signature(position):
            return f"sha256-{self._digest(position + 1)[7:]}.sig"
        kind = position % 9
        if kind < 3:
            return f"pr-{ordinal}"
        short = f"{(ordinal * _FACTOR + self._salt) & _SHORT_MASK:07x}"
        if kind < 6:
            return f"sha-{short}"
        if kind == 6:
            return f"v{ordinal // 2500 + 1}.{ordinal % 2500 // 50}.{ordinal % 50}"
        moment = datetime.fromtimestamp(self._time(position) / 1000, UTC)
        return f"release-{moment:%Y.%m}.{ordinal}" if kind == 7 else f"{moment:%Y%m%d}-{short}"

    def _is_signature(self, position: int) -> bool:
        """Tell whether a tag is the cosign signature of the tag after it, which is a little older."""
        return position % 50 == 20 and position + 1 < self._size

    def _own_position(self, position: int) -> int:
        """Return the position whose digest a tag has: mostly its own, sometimes its neighbour's."""
        if position == 0 and self._size > 1:
            return 1
        shares = position % 11 == 3 and not self._is_signature(position - 1)
        return position - 1 if shares and not self._is_signature(position) else position

    def _digest(self, position: int) -> str:
        own = self._own_position(position)
        head = ((self._size - own) * _LONG_FACTOR + self._salt) & _LONG_MASK
        tail = blake2b(b"%b:%d" % (self._key, own), digest_size=24).hexdigest()
        return f"sha256:{head:016x}{tail}"

    def _time(self, position: int) -> int:
        """Return when a tag was pushed: evenly spread, the newest first, in milliseconds."""
        step = OLDEST_DAYS * DAY_MS // self._size
        jitter = (position * _FACTOR + self._salt) & _SHORT_MASK
        return self._now_ms - position * step - jitter * step // (_SHORT_MASK + 1)

    def _tag(self, position: int) -> Tag:
        moved = self._moved.get(position)
        chance = (self._own_position(position) * _FACTOR ^ self._salt) & _SHORT_MASK
        size = 1_500 if self._is_signature(position) else 20_000_000 + chance
        digest, time = moved or (self._digest(position), self._time(position))
        pulled = min(time + chance % (30 * DAY_MS), self._now_ms) if chance % 3 else None
        platforms = (
            (_platform("amd64", digest, size), _platform("arm64", digest, size)) if chance % 7 == 0 else ()
        )
        return Tag(self._name(position), digest, size, time, pulled, platforms)


def _platform(architecture: str, digest: str, size: int) -> Platform:
    hexadecimal = blake2b(f"{digest}/{architecture}".encode(), digest_size=32).hexdigest()
    return Platform(architecture, "linux", f"sha256:{hexadecimal}", size // 2, OCI_MANIFEST)
