"""A plan in shards, for several machines: each image is in exactly one, and all have about as much to do.

Images are hashed into buckets, and the buckets dealt out, the one with the most deletions first, each to the
shard that has the fewest (Graham, "Bounds on Multiprocessing Timing Anomalies", 1969). What is held in memory
does not grow with the plan.
"""

import hashlib
import heapq
import re
from array import array
from pathlib import Path
from typing import Final, NamedTuple

from pruner.errors import InputError
from pruner.files import atomic_file
from pruner.plan.file import Plan, decode_record
from pruner.plan.records import Entry, Footer, Freed, FreedTotal, Header, ImageRecord, KeptTarget, Record

BUCKETS: Final = 16_384
MOST_SHARDS: Final = 1_000
_RULE: Final = f"write which of how many, as in 3/16 (1/1 to {MOST_SHARDS}/{MOST_SHARDS})"
_TEXT: Final = re.compile(r"([0-9]{1,4})/([0-9]{1,4})")


class Shard(NamedTuple):
    """Number ``number`` (from 1) of ``of`` shards."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read ``3/16``; InputError if it is no shard."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise InputError(f"'{text[:40]}' is no shard; {_RULE}")
        shard = cls(int(match[1]), int(match[2]))
        shard.check()
        return shard

    def check(self) -> None:
        """Raise InputError if there is no such shard."""
        if not 1 <= self.number <= self.of <= MOST_SHARDS:
            raise InputError(f"'{self}' is no shard; {_RULE}")


class Sharding:
    """Which shard each image of a plan belongs to. The same plan is always dealt out in the same way."""

    def __init__(self, plan: Plan, of: int) -> None:
        weights = array("q", bytes(8 * BUCKETS))
        bucket = 0
        for record in plan.records():
            if isinstance(record, ImageRecord):
                bucket = _bucket(record.registry, record.image)
            elif isinstance(record, Entry):
                weights[bucket] += 1
        self._shards = array("h", bytes(2 * BUCKETS))
        loads = [(0, number) for number in range(1, of + 1)]
        for index in sorted(range(BUCKETS), key=lambda item: (-weights[item], item)):
            load, number = loads[0]
            heapq.heapreplace(loads, (load + weights[index], number))
            self._shards[index] = number

    def of(self, registry: str, image: str) -> int:
        """The number, from 1, of the shard of an image."""
        return self._shards[_bucket(registry, image)]


def _bucket(registry: str, image: str) -> int:
    digest = hashlib.blake2b(f"{registry}/{image}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % BUCKETS


def write_shard(plan: Plan, shard: Shard, path: Path) -> None:
    """Write what is left of ``plan`` when all deletions of other shards are taken out.

    It is a plan that deletions were removed from, and as such verified like any other.
    """
    sharding = Sharding(plan, shard.of)
    with plan.path.open("rb") as source, atomic_file(path) as target:
        for line in source:
            if _belongs(decode_record(line), sharding, shard.number):
                target.write(line)


def _belongs(record: Record, sharding: Sharding, number: int) -> bool:
    if isinstance(record, Header | Footer):
        return True
    if isinstance(record, Freed | FreedTotal):
        # What a part of the plan frees was not counted.
        return False
    return isinstance(record, ImageRecord | Entry | KeptTarget) and (
        sharding.of(record.registry, record.image) == number
    )
