"""One run at a time per (endpoint, account, registry): a lock of the operating system.

It dies with its process. On shared storage it holds as far as the file system's advisory locks do.
"""

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from pruner.engine.runs import RunDirectory
from pruner.errors import RefusedError
from pruner.files import private_folder

_SHARED_SECONDS: Final = 2.0


class _Holder(msgspec.Struct):
    pid: int
    run: str
    host: str


@contextlib.contextmanager
def registry_locks(
    state: Path, scopes: Sequence[tuple[str, str, str]], run_id: str, *, shared_by: str | None = None
) -> Iterator[None]:
    """Hold the locks of all ``scopes`` (endpoint, access key, registry); RefusedError names a holder.

    ``shared_by`` is what the shards of one plan are called by: they hold the locks together.
    """
    folder = private_folder(private_folder(state) / "locks")
    with contextlib.ExitStack() as stack:
        for endpoint, account, registry in sorted(scopes):
            # The access key is no secret, but it does not belong into a file name either.
            digest = hashlib.sha256(f"{endpoint}\n{account}\n{registry}".encode()).hexdigest()[:16]
            path = folder / f"{registry}-{digest}.lock"
            if shared_by is None:
                stack.enter_context(_locked(path, registry, run_id))
            else:
                stack.enter_context(_shared(path, registry, shared_by))
        yield


@contextlib.contextmanager
def run_lock(run: RunDirectory) -> Iterator[bool]:
    """Hold a run's own lock while its files are used or removed; False if somebody else holds it."""
    from filelock import FileLock, Timeout

    lock = FileLock(run.path / "lock", timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextlib.contextmanager
def _locked(path: Path, registry: str, run_id: str) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=0, mode=0o600)
    note = path.with_suffix(".holder")
    try:
        lock.acquire()
    except Timeout:
        raise _worked_on(registry, note) from None
    try:
        note.write_bytes(msgspec.json.encode(_Holder(os.getpid(), run_id, os.uname().nodename)))
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def _shared(path: Path, registry: str, group: str) -> Iterator[None]:
    """As ``_locked``, but together with other shards of the same plan."""
    note = path.with_suffix(".holder")
    until = time.monotonic() + _SHARED_SECONDS
    # Another shard that has just come may hold it for a moment; who has ended may have removed the file.
    while (descriptor := _take_part(path, note, group)) is None:
        if time.monotonic() > until:
            raise _worked_on(registry, note)
        time.sleep(0.01)
    try:
        yield
    finally:
        os.close(descriptor)


def _take_part(path: Path, note: Path, group: str) -> int | None:
    """The locked descriptor; None if it cannot be had now."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    if try_flock(descriptor, fcntl.LOCK_EX):
        # Nobody else is here: say whose lock it is before others may come in.
        note.write_bytes(msgspec.json.encode(_Holder(os.getpid(), group, os.uname().nodename)))
    if try_flock(descriptor, fcntl.LOCK_SH) and _group_of(note) == group and _is_at(descriptor, path):
        return descriptor
    os.close(descriptor)
    return None


def try_flock(descriptor: int, how: int) -> bool:
    """Take an advisory lock of the system, ``LOCK_EX`` or ``LOCK_SH``; False if others hold it."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the locked file is the one of that name: who ends may have removed it in between."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


def _worked_on(registry: str, note: Path) -> RefusedError:
    return RefusedError(
        f"registry '{registry}' is being worked on by {_holder(note)}; nothing was deleted", "lock"
    )


def _read(note: Path) -> _Holder | None:
    try:
        return msgspec.json.decode(note.read_bytes(), type=_Holder)
    except (OSError, msgspec.MsgspecError):
        return None


def _group_of(note: Path) -> str | None:
    holder = _read(note)
    return None if holder is None else holder.run


def _holder(note: Path) -> str:
    holder = _read(note)
    if holder is None:
        return "another run"
    return f"run {holder.run} (process {holder.pid} on {holder.host})"
