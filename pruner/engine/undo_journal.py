"""What was put back: append-only JSON Lines beside the run's own journal, one session after the other.

Format version 1. Putting back can be begun anew at any time: what is there already is left alone.
"""

import os
import time
from pathlib import Path
from typing import Final

import msgspec

from pruner import __version__
from pruner.engine.journal import Claim, Done, Journal, SeqSet, read_journal
from pruner.engine.undo import UndoOutcome
from pruner.model import Status

VERSION: Final = 1


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
    """Appends to the journal; JournalWriteError when the system does not take a line."""

    def __init__(self, path: Path, only: tuple[str, ...], *, force: bool) -> None:
        self._journal = Journal(path)
        now = int(time.time() * 1000)
        self._journal.write(UndoStart(VERSION, now, os.getpid(), __version__, only, force))

    def done(self, outcome: UndoOutcome) -> None:
        """Note how one tag ended; it is with the operating system before this returns."""
        self._journal.write(UndoDone(outcome))

    def close(self) -> None:
        """Close the file."""
        self._journal.close()


def may_be_gone(journal: Path) -> SeqSet:
    """The entries of a run that it deleted, or may have deleted.

    Those are the ones whose DELETE was begun and not refused, if they did not end as something else: a tag
    that was ``gone`` after an answer without a clear meaning may have been deleted by this run.
    """
    found = SeqSet()
    for line in read_journal(journal):
        if isinstance(line, Claim):
            found.add(line.seq)
        elif isinstance(line, Done):
            if line.outcome.status in (Status.DELETED, Status.UNKNOWN):
                found.add(line.seq)
            elif line.outcome.status is not Status.GONE:
                found.discard(line.seq)
    return found
