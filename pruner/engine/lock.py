"""One run at a time per (endpoint, account, registry): a lock of the operating system.

It dies with its process. On shared storage it holds as far as the file system's advisory locks do.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from pruner.engine.runs import RunDirectory
from pruner.errors import RefusedError
from pruner.files import private_folder


class _Holder(msgspec.Struct):
    pid: int
    run: str
    host: str


@contextlib.contextmanager
def registry_locks(state: Path, scopes: Sequence[tuple[str, str, str]], run_id: str) -> Iterator[None]:
    """Hold the locks of all ``scopes`` (endpoint, access key, registry); RefusedError names a holder."""
    folder = private_folder(private_folder(state) / "locks")
    with contextlib.ExitStack() as stack:
        for endpoint, account, registry in sorted(scopes):
            # The access key is no secret, but it does not belong into a file name either.
            digest = hashlib.sha256(f"{endpoint}\n{account}\n{registry}".encode()).hexdigest()[:16]
            stack.enter_context(_locked(folder / f"{registry}-{digest}.lock", registry, run_id))
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
        raise RefusedError(
            f"registry '{registry}' is being worked on by {_holder(note)}; nothing was deleted"
        ) from None
    try:
        note.write_bytes(msgspec.json.encode(_Holder(os.getpid(), run_id, os.uname().nodename)))
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def _holder(note: Path) -> str:
    try:
        holder = msgspec.json.decode(note.read_bytes(), type=_Holder)
    except (OSError, msgspec.MsgspecError):
        return "another run"
    return f"run {holder.run} (process {holder.pid} on {holder.host})"
