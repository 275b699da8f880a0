"""What was put back: append-only JSON Lines beside the run's own journal, one session after the other.

Format version 1. Putting back can be begun anew at any time: what is there already is left alone.
"""

import os
import time
from pathlib import Path
from typing import Final

import msgspec

from pruner import __version__
from pruner.engine.journal import Claim, Done, JournalWriteError, SeqSet, drop_torn_line, read_journal
from pruner.engine.undo import UndoOutcome
from pruner.files import open_private
from pruner.model import Status

VERSION: Final = 1
_encode = msgspec.json.Encoder().encode


class UndoStart(msgspec.Struct, frozen=True, tag="start", tag_field="type"):
    """A session begins; ``at`` in epoch milliseconds, ``only`` the globs that were asked for."""

    version: int
    at: int
    pid: int
    tool: str
    only: tuple[str, ...]
    force: bool


class UndoDone(msgspec.Struct, frozen=True, tag="done", tag_field="type"):
    """How one tag ended."""

    outcome: UndoOutcome


class UndoJournal:
    """Appends to the journal; every line is with the operating system before ``done`` returns."""

    def __init__(self, path: Path, only: tuple[str, ...], *, force: bool) -> None:
        self._path = path
        try:
            drop_torn_line(path)
            self._file = open_private(path, append=True)
        except OSError as error:
            raise JournalWriteError(f"{path} cannot be written: {error.strerror or error}") from None
        self._write(UndoStart(VERSION, int(time.time() * 1000), os.getpid(), __version__, only, force))

    def done(self, outcome: UndoOutcome) -> None:
        """Note how one tag ended; JournalWriteError when the system does not take it."""
        self._write(UndoDone(outcome))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, line: UndoStart | UndoDone) -> None:
        try:
            self._file.write(_encode(line) + b"\n")
            self._file.flush()
        except OSError as error:
            raise JournalWriteError(f"{self._path} cannot be written: {error.strerror or error}") from None


def may_be_gone(journal: Path) -> SeqSet:
    """The entries of a run that it deleted, or may have: those without a clear end as well."""
    found = SeqSet()
    for line in read_journal(journal):
        if isinstance(line, Claim):
            found.add(line.seq)
        elif isinstance(line, Done):
            if line.outcome.status in (Status.DELETED, Status.UNKNOWN):
                found.add(line.seq)
            else:
                found.discard(line.seq)
    return found
