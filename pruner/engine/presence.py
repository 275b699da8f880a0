"""Who else works on the same plan, so that they share what the account may send.

Each has a file, locked as long as its process lives, that says among how many it shares. Whoever comes waits
until all others have made room: together they never send more than was allowed.
"""

import fcntl
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from pruner.engine.lock import try_flock
from pruner.errors import InputError, ShardBusyError
from pruner.files import private_folder
from pruner.plan.shards import Shard

NOTHING_LEFT: Final = 999_999
"""What one tells who sends nothing any more."""
_ENTER_SECONDS: Final = 5.0


class Others(NamedTuple):
    """How many are there, oneself included, and among how many at least each of the others shares."""

    present: int
    sharing: int


async def agree(
    parts: float,
    look: Callable[[], Awaitable[Others]],
    share: Callable[[int], Awaitable[None]],
    limit: Callable[[int], Awaitable[None]],
) -> float:
    """Among how many one shares from now on; infinite, before and after, as long as one may send nothing.

    ``limit`` bounds oneself, and returns when one keeps to that; ``share`` tells the others, of whom any may
    come or go at every moment. What is told is never more than what one keeps to: who is slowed down is so
    before it is told, and who may go faster tells it and looks once more. Either that look sees who came
    since, or who came sees what was told and waits (as in Dekker's algorithm for two).
    """
    there = await look()
    if there.present < parts:
        await share(there.present)
        again = await look()
        if again.present <= there.present <= again.sharing:
            await limit(there.present)
            return there.present
        if parts < float("inf"):
            await share(int(parts))
    elif there.present > parts:
        await limit(there.present)
        await share(there.present)
        return there.present
    return parts


class Presence:
    """Oneself among those who work on a plan, in a folder that all of them share."""

    def __init__(self, folder: Path, shard: Shard) -> None:
        self._path = folder / str(shard.number)
        # By name: a listing of a shared folder may be old.
        self._others = [folder / str(n) for n in range(1, shard.of + 1) if n != shard.number]
        self._descriptor = -1

    def look(self) -> Others:
        """Who is there now."""
        found = [self._sharing(path) for path in self._others]
        sharing = [number for number in found if number is not None]
        return Others(1 + len(sharing), min(sharing, default=1 + len(sharing)))

    def share(self, among: int) -> None:
        """Tell others among how many one shares by now."""
        os.pwrite(self._descriptor, b"%6d" % among, 0)
        os.fsync(self._descriptor)

    @contextmanager
    def entered(self) -> Iterator["Presence"]:
        """Be there, until the block or the process ends.

        ShardBusyError if somebody of the same name is there, InputError where files cannot be locked.
        """
        self._descriptor = _locked(self._path)
        try:
            yield self
        finally:
            os.close(self._descriptor)

    def _sharing(self, path: Path) -> int | None:
        """Among how many somebody else shares, 0 if that was not said yet; None if nobody is there."""
        # Made where it is not there: on NFS one that was missed once would stay unseen for half a minute.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            if try_flock(descriptor, fcntl.LOCK_SH):
                return None
            said = os.pread(descriptor, 6, 0).strip()
            return int(said) if said.isdigit() else 0
        finally:
            os.close(descriptor)


def presence(state: Path, group: str, shard: Shard) -> Presence:
    """Who works on the plan that ``group`` stands for; oneself on ``shard``."""
    return Presence(private_folder(private_folder(private_folder(state) / "shards") / group), shard)


def _locked(path: Path) -> int:
    descriptor = -1
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        if not _lock(descriptor):
            os.close(descriptor)
            raise ShardBusyError(
                f"shard {path.name} of {path.parent.name} is being worked on already; nothing was deleted",
                "lock",
            )
        # What an earlier process said here does not hold any more.
        os.ftruncate(descriptor, 0)
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        raise InputError(f"{path} cannot be locked: {error.strerror or error}") from None
    return descriptor


def _lock(descriptor: int) -> bool:
    """Take the lock; whoever looks at it holds it for a moment."""
    until = time.monotonic() + _ENTER_SECONDS
    while not (has_it := try_flock(descriptor, fcntl.LOCK_EX)) and time.monotonic() < until:
        time.sleep(0.005)
    return has_it
