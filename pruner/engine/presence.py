"""Who else works on the same plan: a lock for each, which dies with its process."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pruner.errors import InputError
from pruner.files import private_folder

POLL_SECONDS: Final = 0.5
"""How often is looked who is there."""
SETTLE_SECONDS: Final = 2 * POLL_SECONDS
"""After so long everybody else has seen who has come."""
_ENTER_SECONDS: Final = 5.0


class Presence:
    """Who is there, in a folder that all of them share."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name

    def count(self) -> int:
        """How many are there, oneself included."""
        return 1 + sum(1 for path in self._folder.iterdir() if path.name != self._name and _is_held(path))

    @contextmanager
    def entered(self) -> Iterator["Presence"]:
        """Be there, until the block or the process ends."""
        descriptor = _locked(self._folder / self._name)
        try:
            yield self
        finally:
            os.close(descriptor)


def presence(state: Path, group: str, name: str) -> Presence:
    """Who works on the plan that ``group`` stands for; oneself is called ``name``."""
    return Presence(private_folder(private_folder(private_folder(state) / "shards") / group), name)


def _locked(path: Path) -> int:
    descriptor = -1
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        _lock(descriptor)
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        raise InputError(f"{path} cannot be locked: {error.strerror or error}") from None
    return descriptor


def _lock(descriptor: int) -> None:
    """Take the lock; whoever looks at it holds it for a moment."""
    until = time.monotonic() + _ENTER_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(0.005)


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
