"""Files: read only if they are regular, and written private, atomic, never through a symbolic link."""

import contextlib
import errno
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from pruner import names
from pruner.errors import InputError

STDIN: Final = "-"
_KINDS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


@contextlib.contextmanager
def atomic_file(path: Path, mode: int = 0o600) -> Iterator[IO[bytes]]:
    """A binary file that becomes ``path`` when the block ends well, and leaves no trace otherwise.

    Readable by its owner only, unless ``mode`` says otherwise. Raises InputError when it cannot be written.
    """
    _check_replaceable(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open_private(temporary) as file:
            yield file
            file.flush()
            if mode != 0o600:
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{names.shown_path(path)} cannot be written: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _check_replaceable(path: Path) -> None:
    """Raise InputError for what is no file, nor can become one: a device or a pipe is not to be replaced."""
    name = names.shown_path(path)
    if path.name in ("", "-"):
        raise InputError(f"'{name}' cannot be written: name a file")
    try:
        is_file = path.is_file() or not path.exists()
    except OSError as error:
        raise InputError(f"{name} cannot be written: {error.strerror or error}") from None
    if not is_file:
        raise InputError(f"{name} cannot be written: it is there, and is not a file")


def open_regular(path: Path, *, or_stdin: bool = False) -> IO[bytes]:
    """Open a file for reading; OSError says what it is if it is not a regular file.

    Never waits, as a pipe that nothing writes to would. ``or_stdin``: the error suggests ``-``.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except ValueError as error:
        # A NUL byte, which no name of a file has.
        raise OSError(errno.EINVAL, str(error)) from None
    try:
        kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
        if kind != stat.S_IFREG:
            raise OSError(errno.EINVAL, _not_a_file(kind, or_stdin))
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def check_regular(path: Path) -> None:
    """OSError for what is not a regular file that can be read, before a library opens it and waits."""
    open_regular(path).close()


def append_text(path: Path, text: str) -> None:
    """Append to a regular file, which is made if it is not there; OSError for anything else."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o666), "wb") as file:
        kind = stat.S_IFMT(os.fstat(file.fileno()).st_mode)
        if kind != stat.S_IFREG:
            raise OSError(errno.EINVAL, _not_a_file(kind, or_stdin=False))
        file.write(text.encode())


def _not_a_file(kind: int, or_stdin: bool) -> str:
    what = f"it is {_KINDS.get(kind, 'something else')}, not a file"
    if kind == stat.S_IFDIR:
        return f"{what}; name a file"
    return f"{what}; " + ("write - to read standard input" if or_stdin else "save its content to a file")


def read_bytes(source: str, most_bytes: int) -> bytes:
    """At most ``most_bytes`` + 1 bytes of a file, or of standard input (``-``); OSError if unreadable."""
    if source == STDIN:
        return sys.stdin.buffer.read(most_bytes + 1)
    with open_regular(Path(source), or_stdin=True) as file:
        return file.read(most_bytes + 1)


def read_text(source: str, most_bytes: int) -> str:
    """The text of a file, or of standard input (``-``); InputError if it is too large, or none."""
    name = "<stdin>" if source == STDIN else names.shown_path(source)
    try:
        data = read_bytes(source, most_bytes)
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror or error}") from None
    if len(data) > most_bytes:
        raise InputError(f"{name}: larger than {most_bytes // 1024**2} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{name}: not UTF-8 text") from None


def open_private(path: Path, *, append: bool = False) -> IO[bytes]:
    """A new file (or an existing one to append to), readable by its owner only; OSError otherwise."""
    mode = os.O_APPEND if append else os.O_EXCL
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | mode
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def private_folder(path: Path) -> Path:
    """Make ``path`` (owner only) if it is not there; InputError when it cannot be used for writing."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.is_symlink():
            raise OSError(errno.ELOOP, "it is a symbolic link; name the folder itself")
        probe = path / f".{secrets.token_hex(4)}.probe"
        with open_private(probe):
            probe.unlink()
    except OSError as error:
        name = names.shown_path(path)
        raise InputError(f"{name} cannot be written to: {error.strerror or error}") from None
    return path
