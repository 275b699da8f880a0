"""Writing files: private, atomic, never through a symbolic link."""

import contextlib
import errno
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from pruner.errors import InputError

STDIN: Final = "-"


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
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _check_replaceable(path: Path) -> None:
    """Raise InputError for what is no file, nor can become one: a device or a pipe is not to be replaced."""
    if path.name in ("", "-"):
        raise InputError(f"'{path}' cannot be written: name a file")
    try:
        is_file = path.is_file() or not path.exists()
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None
    if not is_file:
        raise InputError(f"{path} cannot be written: it is there, and is not a file")


def read_text(source: str, most_bytes: int) -> str:
    """The text of a file, or of standard input (``-``); InputError if it is too large, or none."""
    name = "<stdin>" if source == STDIN else source
    try:
        if source == STDIN:
            data = sys.stdin.buffer.read(most_bytes + 1)
        else:
            with Path(source).open("rb") as file:
                data = file.read(most_bytes + 1)
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
        raise InputError(f"{path} cannot be written to: {error.strerror or error}") from None
    return path
