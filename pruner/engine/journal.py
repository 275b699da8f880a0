"""The journal of a run: append-only JSON Lines that say what was begun and how it ended.

Each DELETE is claimed (``{"claim": seq}``) before it is sent, so that after a crash it is known which
tags may have been deleted without an answer. A torn last line is dropped; damage elsewhere is an error.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Annotated, Any, Final, NamedTuple

import msgspec

from pruner import names
from pruner.errors import ExitCode, InputError, PrunerError
from pruner.files import check_regular, open_private, open_regular
from pruner.model import Outcome, Status

VERSION: Final = 1
_MAX_LINE_BYTES: Final = 1024 * 1024
_encode = msgspec.json.Encoder().encode


class JournalWriteError(PrunerError):
    """The journal cannot be written (disk full, say): nothing more may be deleted."""

    exit_code = ExitCode.PARTIAL


class JournalDamagedError(InputError):
    """A line in the middle of a journal cannot be read."""


_Seq = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]


class Start(msgspec.Struct, frozen=True, tag="start", tag_field="type", omit_defaults=True):
    """A session of the run begins: the first, or a resumed one. ``at`` in epoch milliseconds.

    ``run`` and ``plan`` (the SHA-256 over its lines) say whose journal this is. Both are empty in journals of
    earlier versions of the program.
    """

    version: int
    at: int
    pid: int
    tool: str
    run: str = ""
    plan: str = ""


class Owner(NamedTuple):
    """Whose journal is expected: the run, and the SHA-256 of its plan."""

    run: str
    plan: str

    def check(self, start: Start) -> None:
        """JournalDamagedError for a session of another run, or of another plan."""
        if start.run and (start.run, start.plan) != self:
            raise JournalDamagedError(
                f"the journal of run {self.run} is of another run ({names.printable(start.run, 60)}) or of "
                f"another plan, so what was done cannot be told; make a new plan and run that"
            )


class Claim(msgspec.Struct, frozen=True, tag="claim", tag_field="type", gc=False):
    """The DELETE of plan entry ``seq`` is about to be sent."""

    seq: _Seq


class Done(msgspec.Struct, frozen=True, tag="done", tag_field="type", omit_defaults=True, gc=False):
    """How plan entry ``seq`` ended.

    ``unknown`` and ``not_attempted`` are not final: a resumed run takes the entry up again. The latter also
    stands for a DELETE that was refused, so that its claim does not hold any more; another may follow. A
    shard that is started again also takes up what ``failed``; what its journal says last holds.
    """

    seq: _Seq
    outcome: Outcome


class RegistryStop(msgspec.Struct, frozen=True, tag="registry_stop", tag_field="type", omit_defaults=True):
    """Nothing more is deleted in this registry, and why; ``permission`` if the key lacks it."""

    registry: str
    reason: str
    permission: bool = False


class Tick(msgspec.Struct, frozen=True, tag="tick", tag_field="type", gc=False):
    """How the run goes, once a second. Counts since the session began; ``rate`` is what the pacer grants.

    ``at`` in epoch milliseconds; ``rate`` in requests per second, 0 without a limit.
    """

    at: int
    done: int
    requests: int
    throttled: int
    in_flight: int
    rate: float


class End(msgspec.Struct, frozen=True, tag="end", tag_field="type", omit_defaults=True):
    """A session ended on its own terms. ``stop`` is None when all was done; ``stats`` are its totals."""

    at: int
    stop: str | None = None
    message: str | None = None
    stats: dict[str, Any] = {}


NOT_FINAL: Final = frozenset({Status.UNKNOWN, Status.NOT_ATTEMPTED})

Line = Start | Claim | Done | RegistryStop | Tick | End
_decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


class Journal:
    """Appends to a journal; every line is with the operating system before ``write`` returns.

    With ``durable`` lines are also forced to the disk, at most every 250 ms and at the end.
    """

    SYNC_SECONDS: Final = 0.25

    def __init__(
        self, path: Path, *, durable: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = path
        self._durable = durable
        self._clock = clock
        self._synced_at = float("-inf")
        try:
            _drop_torn_line(path)
            self._file: IO[bytes] = open_private(path, append=True)
        except OSError as error:
            raise JournalWriteError(f"{path} cannot be written: {error.strerror or error}") from None
        self._descriptor = self._file.fileno()

    def write(self, *lines: msgspec.Struct) -> None:
        """Append ``lines``; JournalWriteError when the system does not take them whole."""
        data = b"".join([_encode(line) + b"\n" for line in lines])
        try:
            written = os.write(self._descriptor, data)
            if written != len(data):
                os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
                raise JournalWriteError(f"{self.path} cannot be written: no space left")
            if self._durable and self._clock() - self._synced_at >= self.SYNC_SECONDS:
                self.sync()
        except OSError as error:
            raise JournalWriteError(f"{self.path} cannot be written: {error.strerror or error}") from None

    def sync(self) -> None:
        """Force what was written to the disk; JournalWriteError when that fails."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise JournalWriteError(f"{self.path} cannot be written: {error.strerror or error}") from None
        self._synced_at = self._clock()

    def close(self) -> None:
        """Sync and close."""
        try:
            if self._durable:
                self.sync()
        finally:
            self._file.close()


def _drop_torn_line(path: Path) -> None:
    """Cut a last line that was not written whole, so that the next line does not continue it."""
    if not path.exists() and not path.is_symlink():
        return
    if not path.is_symlink():
        # A pipe would be waited for.
        check_regular(path)
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb+") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - _MAX_LINE_BYTES)
        file.seek(start)
        tail = file.read()
        if tail and not tail.endswith(b"\n"):
            file.truncate(start + tail.rfind(b"\n") + 1)


def read_journal(path: Path) -> Iterator[Line]:
    """The lines of a journal; a torn last line is dropped, JournalDamagedError for any other damage."""
    try:
        with open_regular(path) as file:
            for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE_BYTES), b""), 1):
                if not line.endswith(b"\n"):
                    if file.read(1):
                        raise JournalDamagedError(f"{path}:{number}: the line is too long for a journal")
                    return
                yield _read_line(path, number, line)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def _read_line(path: Path, number: int, line: bytes) -> Line:
    try:
        return _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, InputError) as error:
        problem = names.printable(str(error))
        raise JournalDamagedError(
            f"{path}:{number}: damaged, and what was done cannot be guessed: {problem}; "
            f"make a new plan and run that"
        ) from None


class SeqSet:
    """A set of plan sequence numbers as a bitmap: a million take 125 kB."""

    def __init__(self) -> None:
        self._bits = bytearray()
        self.count = 0

    def add(self, seq: int) -> bool:
        """Add ``seq``; False if it was there."""
        index, bit = seq >> 3, 1 << (seq & 7)
        if index >= len(self._bits):
            self._bits.extend(bytes(max(index + 1 - len(self._bits), len(self._bits))))
        if self._bits[index] & bit:
            return False
        self._bits[index] |= bit
        self.count += 1
        return True

    def discard(self, seq: int) -> None:
        """Take ``seq`` out, if it is there."""
        if seq in self:
            self._bits[seq >> 3] &= ~(1 << (seq & 7)) & 0xFF
            self.count -= 1

    def update(self, other: "SeqSet") -> None:
        """Add all of ``other``."""
        for index, byte in enumerate(other._bits):
            for bit in range(8) if byte else ():
                if byte & (1 << bit):
                    self.add(8 * index + bit)

    def __contains__(self, seq: object) -> bool:
        if not isinstance(seq, int):
            return False
        index = seq >> 3
        return index < len(self._bits) and bool(self._bits[index] & (1 << (seq & 7)))


class Progress:
    """What a journal says so far: which entries are done, which were claimed, what stopped.

    What failed is done, unless it is to be tried again.
    """

    def __init__(self) -> None:
        self.done = SeqSet()
        self._failed = SeqSet()
        self.claimed = SeqSet()
        """Entries whose DELETE was begun; with those that are done."""
        self.sessions = 0
        self.last: Line | None = None

    @classmethod
    def of(cls, path: Path, *, tries_failed_again: bool = False, owner: Owner | None = None) -> "Progress":
        """Read a journal, which has to be that of ``owner``; one that does not exist says nothing."""
        lines = read_journal(path) if path.exists() or path.is_symlink() else ()
        return cls.after(lines, tries_failed_again=tries_failed_again, owner=owner)

    @classmethod
    def after(
        cls, lines: Iterable[Line], *, tries_failed_again: bool = False, owner: Owner | None = None
    ) -> "Progress":
        """What the lines of a journal say."""
        progress = cls()
        for line in lines:
            if owner is not None and isinstance(line, Start):
                owner.check(line)
            progress._take(line)
        if not tries_failed_again:
            progress.done.update(progress._failed)
        return progress

    def _take(self, line: Line) -> None:
        if isinstance(line, Done):
            self._failed.discard(line.seq)
            if line.outcome.status in (Status.FAILED, Status.NOT_ATTEMPTED):
                # It was refused, or found to be there: what deletes it later is not this run.
                self.claimed.discard(line.seq)
            if line.outcome.status is Status.FAILED:
                self._failed.add(line.seq)
            elif line.outcome.status not in NOT_FINAL and not self.done.add(line.seq):
                raise JournalDamagedError(f"entry {line.seq} ends twice in the journal")
        elif isinstance(line, Claim):
            self._failed.discard(line.seq)
            self.claimed.add(line.seq)
        elif isinstance(line, Start):
            if line.version != VERSION:
                raise JournalDamagedError(
                    f"journal version {line.version}; this program knows version {VERSION}"
                )
            self.sessions += 1
        self.last = line
