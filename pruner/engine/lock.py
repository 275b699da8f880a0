"""One run at a time on what it deletes from: advisory locks of the operating system.

A lock dies with its process. Each is taken in two folders: one beside the runs, which may be on storage that
machines share (there it holds as far as the file system's locks do), and one of the machine and the user, so
that two state directories do not hide two runs from each other.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from pruner.engine.runs import RunDirectory
from pruner.errors import InputError, RefusedError
from pruner.files import private_folder, read_bytes

_TRIES_SECONDS: Final = 2.0
"""Another process that is just beginning or ending may hold a lock for a moment."""
# Not the folder that TMPDIR names: a scheduler and a login may name different ones.
_MACHINE: Final = "/tmp"  # noqa: S108 - the folder below it is made and checked as private


_NO_FOLDER: Final = frozenset({errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM})
_MOST_NOTE_BYTES: Final = 64 * 1024

Taker = Callable[[int], bool]
"""Tries to take the lock of an open file."""


class LockScope(NamedTuple):
    """What is deleted from: a server, and below it what the run works on.

    ``parts`` lead from the server down: a scope excludes each one that it is part of, or that is part of it.
    ``name`` is what the user calls it.
    """

    name: str
    parts: tuple[str, ...]


class _Holder(msgspec.Struct):
    pid: int
    run: str
    host: str


def machine_folder(root: Path = Path(_MACHINE)) -> Path | None:
    """The folder of this machine and user; None where /tmp is missing or read-only, or lets nobody in.

    InputError for one that others could write to, and where it cannot be made for another reason: without it
    another run may go unseen.
    """
    path = root / f"pruner-{os.getuid()}"
    try:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = path.lstat()
    except OSError as error:
        if error.errno not in _NO_FOLDER:
            raise InputError(f"{path} cannot be written: {error.strerror or error}") from None
        # A read-only or missing /tmp, as in a container: nothing there can be shared with another run.
        return None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise InputError(
            f"{path}, where locks are kept, does not belong to this user alone; remove it, or have its owner "
            f"remove it"
        )
    return path if os.access(path, os.W_OK) else None


@contextlib.contextmanager
def registry_locks(
    state: Path, scopes: Sequence[LockScope], run_id: str, *, shared_by: str | None = None
) -> Iterator[None]:
    """Hold the locks of all ``scopes``; RefusedError names a holder.

    ``shared_by`` is what the shards of one plan are called by: they hold the locks together.
    """
    machine = machine_folder()
    folders = [private_folder(private_folder(state) / "locks"), *([machine] if machine is not None else [])]
    # In one order for all, or two runs could take each other's second lock.
    wanted = sorted({(scope.parts, scope.name) for scope in scopes})
    with contextlib.ExitStack() as stack:
        for folder in folders:
            for parts, name in wanted:
                for depth in range(2, len(parts)):
                    stack.enter_context(_Lock(folder, parts[:depth], name).passed_through())
                lock = _Lock(folder, parts, name)
                stack.enter_context(lock.shared(shared_by) if shared_by else lock.alone(run_id))
        yield


@contextlib.contextmanager
def run_lock(run: RunDirectory) -> Iterator[bool]:
    """Hold a run's own lock while its files are used or removed; False if another process holds it."""
    descriptor = os.open(run.path / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        yield try_flock(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


def try_flock(descriptor: int, how: int) -> bool:
    """Take an advisory lock of the system, ``LOCK_EX`` or ``LOCK_SH``; False if others hold it."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _Lock:
    """The lock of one scope in one folder, with a note of who holds it.

    A scope is held by one run alone, or by the shards of one plan together; both leave a note. A run that
    works on a part of the scope passes through: it holds the lock with others and leaves no note.
    """

    def __init__(self, folder: Path, parts: tuple[str, ...], name: str) -> None:
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
        self._path = folder / f"{digest}.lock"
        self._note = folder / f"{digest}.holder"
        self._name = name

    @contextlib.contextmanager
    def alone(self, run_id: str) -> Iterator[None]:
        """Hold it alone."""
        with self._held(lambda descriptor: try_flock(descriptor, fcntl.LOCK_EX), seconds=0.0):
            self._write(run_id)
            try:
                yield
            finally:
                self._note.unlink(missing_ok=True)

    @contextlib.contextmanager
    def shared(self, group: str) -> Iterator[None]:
        """Hold it together with the other shards of the same plan."""

        def take(descriptor: int) -> bool:
            if try_flock(descriptor, fcntl.LOCK_EX):
                # Nobody else is here: say whose lock it is before others may come in.
                self._write(group)
            holder = self._read()
            return try_flock(descriptor, fcntl.LOCK_SH) and holder is not None and holder.run == group

        with self._held(take):
            yield

    @contextlib.contextmanager
    def passed_through(self) -> Iterator[None]:
        """Hold it with all others that work on parts of it."""

        def take(descriptor: int) -> bool:
            if try_flock(descriptor, fcntl.LOCK_EX):
                # What a killed process has left behind.
                self._note.unlink(missing_ok=True)
            return try_flock(descriptor, fcntl.LOCK_SH) and self._read() is None

        with self._held(take):
            yield

    @contextlib.contextmanager
    def _held(self, take: Taker, seconds: float = _TRIES_SECONDS) -> Iterator[None]:
        until = time.monotonic() + seconds
        while (descriptor := self._taken(take)) is None:
            if time.monotonic() > until:
                raise self._refusal()
            time.sleep(0.01)
        try:
            yield
        finally:
            os.close(descriptor)

    def _taken(self, take: Taker) -> int | None:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise InputError(f"{self._path} cannot be written: {error.strerror or error}") from None
        if take(descriptor) and self._is_at(descriptor):
            return descriptor
        os.close(descriptor)
        return None

    def _is_at(self, descriptor: int) -> bool:
        """Whether the locked file still has its name: something that tidies up may have removed it."""
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def _write(self, run_id: str) -> None:
        try:
            self._note.write_bytes(msgspec.json.encode(_Holder(os.getpid(), run_id, os.uname().nodename)))
        except OSError as error:
            raise InputError(f"{self._note} cannot be written: {error.strerror or error}") from None

    def _read(self) -> _Holder | None:
        try:
            return msgspec.json.decode(read_bytes(str(self._note), _MOST_NOTE_BYTES), type=_Holder)
        except (OSError, msgspec.MsgspecError):
            return None

    def _refusal(self) -> RefusedError:
        holder = self._read()
        who = "another run" if holder is None else f"run {holder.run} (process {holder.pid} on {holder.host})"
        return RefusedError(
            f"registry '{self._name}' is being worked on by {who}; nothing was deleted", "lock"
        )
