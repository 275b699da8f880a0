"""Plan files: written in one stream, read in one stream, verified before anything is believed.

JSON Lines: header, then for each image a record and its deletions, then a footer with counts and a
SHA-256 over all lines before it. Each line also carries a check that binds it to the header, so that removed
lines can be told from added or altered ones.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import IO, Final, TypeVar

import msgspec

from pruner import names
from pruner.errors import InputError
from pruner.files import open_regular
from pruner.plan.records import (
    FORMAT,
    VERSION,
    Entry,
    Footer,
    Freed,
    FreedTotal,
    Header,
    ImageRecord,
    KeptTarget,
    Record,
)

_MAX_LINE_BYTES: Final = 1024 * 1024
_encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


_Checked = ImageRecord | Entry | KeptTarget | Freed | FreedTotal | Footer
T = TypeVar("T", tuple[str, str], tuple[str, str, str])


class PlanError(InputError):
    """A plan file that is not whole, not ours or not unchanged."""


class PlanWriter:
    """Writes a plan to an open binary file."""

    def __init__(self, file: IO[bytes], header: Header) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._salt = _line(header)
        self.entries = 0
        self.images = 0
        self.images_listed = 0
        self.tags_listed = 0
        self.bytes = 0
        self.kept_targets = 0
        self._write(self._salt)

    def _write(self, line: bytes) -> None:
        self._digest.update(line)
        self._file.write(line)

    def listed(self, tags: int) -> None:
        """Count one listed image with so many tags."""
        self.images_listed += 1
        self.tags_listed += tags

    def _write_checked(self, record: _Checked) -> None:
        self._write(_line(_signed(self._salt, record)))

    def image(self, record: ImageRecord) -> None:
        """Begin the deletions of an image."""
        self.images += 1
        self.bytes += record.bytes
        self._write_checked(record)

    def entry(self, entry: Entry) -> None:
        """Add a deletion; ``seq`` and ``check`` are filled in here."""
        self.entries += 1
        self._write_checked(msgspec.structs.replace(entry, seq=self.entries))

    def kept(self, record: KeptTarget) -> None:
        """Add an explicit target that stays."""
        self.kept_targets += 1
        self._write_checked(record)

    def freed(self, images: Iterable[Freed], total: FreedTotal) -> None:
        """Add how many bytes nothing refers to any more afterwards."""
        for record in images:
            self._write_checked(record)
        self._write_checked(total)

    def finish(self) -> Footer:
        """Write the footer."""
        footer = Footer(
            self.entries,
            self.images,
            self.images_listed,
            self.tags_listed,
            self.bytes,
            self.kept_targets,
            self._digest.hexdigest(),
        )
        signed = _signed(self._salt, footer)
        assert isinstance(signed, Footer)
        self._file.write(_line(signed))
        self._file.flush()
        return signed


def _line(record: Record) -> bytes:
    return _encode(record) + b"\n"


def _signed(salt: bytes, record: _Checked) -> _Checked:
    plain: _Checked = msgspec.structs.replace(record, check="")
    check = hashlib.sha256(salt + _encode(plain)).hexdigest()[:16]
    return msgspec.structs.replace(plain, check=check)


@dataclass(frozen=True, slots=True)
class Edits:
    """What a person did to a plan: the ranges of sequence numbers of the deletions that are gone.

    ``altered`` says that the file is not as it was written, whatever was removed.
    """

    removed: tuple[range, ...] = ()
    altered: bool = False

    @property
    def count(self) -> int:
        """How many deletions are gone."""
        return sum(map(len, self.removed))


class Plan:
    """A verified plan file. Streams; never holds the entries."""

    def __init__(
        self,
        path: Path,
        header: Header,
        footer: Footer,
        edits: Edits,
        starts: Mapping[str, int],
        sha256: str,
    ) -> None:
        self.path = path
        self.sha256 = sha256
        """Over all lines but the footer, as they are now."""
        self.starts = starts
        """Where in the file, in bytes, the images of each registry begin."""
        self.header = header
        self.footer = footer
        self.edits = edits
        self.largest = 0
        """The most deletions of one image, before any editing."""
        self.freed: FreedTotal | None = None
        """How many bytes nothing refers to any more afterwards, if that was counted."""
        self.freed_images: dict[tuple[str, str], int] = {}
        """The same by registry and image; those that free nothing are not here."""

    @property
    def entries_left(self) -> int:
        """How many deletions the file holds, after any editing."""
        return self.footer.entries - self.edits.count

    def records(self, start: int = 0) -> Iterator[Record]:
        """All records between header and footer, in order, or those from byte ``start`` on."""
        with open_regular(self.path) as file:
            if start:
                file.seek(start)
            else:
                next(file)
            for line in file:
                record = _decoder.decode(line)
                if isinstance(record, Footer):
                    return
                yield record

    def images_of(self, registries: Iterable[str]) -> Iterator[tuple[ImageRecord, list[Entry]]]:
        """Each image of some registries with its deletions."""
        for registry in registries:
            for record, entries in self.images(self.starts[registry]):
                if record.registry != registry:
                    break
                yield record, entries

    def images(self, start: int = 0) -> Iterator[tuple[ImageRecord, list[Entry]]]:
        """Each image with its deletions, or those from byte ``start`` on."""
        for record, streamed in self.streamed_images(start):
            # For each image anew: explicit targets have a source of their own each.
            shared: dict[str, str] = {}
            entries = []
            for entry in streamed:
                _share(entry, record, shared)
                entries.append(entry)
            del shared
            yield record, entries

    def streamed_images(self, start: int = 0) -> Iterator[tuple[ImageRecord, Iterator[Entry]]]:
        """As ``images``, with one deletion at a time in memory: each must be taken before the next image."""
        number = 0

        def image_number(record: Record) -> int:
            nonlocal number
            number += isinstance(record, ImageRecord)
            return number

        for _, group in groupby(self.records(start), image_number):
            records = iter(group)
            record = next(records)
            entries = (entry for entry in records if isinstance(entry, Entry))
            if isinstance(record, ImageRecord) and (first := next(entries, None)) is not None:
                yield record, chain((first,), entries)

    def edited_images(self) -> Iterator[tuple[ImageRecord, int]]:
        """The images that deletions were removed from, and how many are left of each."""
        for record, left in self._counts():
            if left < record.entries:
                yield record, left

    def _counts(self) -> Iterator[tuple[ImageRecord, int]]:
        current: ImageRecord | None = None
        left = 0
        for record in self.records():
            if isinstance(record, ImageRecord):
                if current is not None:
                    yield current, left
                current, left = record, 0
            left += isinstance(record, Entry)
        if current is not None:
            yield current, left

    def kept_targets(self) -> Iterator[KeptTarget]:
        """The explicit targets that stay all the same."""
        return (record for record in self.records() if isinstance(record, KeptTarget))


def _share(entry: Entry, image: ImageRecord, shared: dict[str, str]) -> None:
    """Let equal strings of an image's entries be one: of a million entries they would fill a third."""
    share = msgspec.structs.force_setattr
    share(entry, "registry", image.registry)
    share(entry, "image", image.image)
    share(entry, "policy", shared.setdefault(entry.policy, entry.policy))
    share(entry, "source", shared.setdefault(entry.source, entry.source))
    share(entry, "reason", shared.setdefault(entry.reason, entry.reason))


def decode_record(line: bytes) -> Record:
    """One line of a plan that was verified."""
    return _decoder.decode(line)


def open_plan(path: Path, *, allow_edited: bool = False) -> Plan:
    """Read and verify a plan file; PlanError says what is wrong with it and what to do.

    An edited plan is accepted with ``allow_edited`` if deletions were only removed.
    """
    try:
        with open_regular(path) as file:
            return _Verifier(path, file).verify(allow_edited)
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
        raise PlanError(f"{names.shown_path(path)}: {problem}") from None


class _Verifier:
    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self.name = names.shown_path(path)
        self.file = file
        self.number = 0
        self.digest = hashlib.sha256()
        self.salt = b""
        self.removed: list[range] = []
        self.starts: dict[str, int] = {}
        self.largest = 0
        self.place = 0
        self.last = 0
        self.image = ("", "")
        self.kept = ("", "", "")
        self.freed: FreedTotal | None = None
        self.freed_images: dict[tuple[str, str], int] = {}

    def verify(self, allow_edited: bool) -> Plan:
        first = self._next_line()
        header = self._header(first)
        self.digest.update(first)
        self.salt = first
        self.place = len(first)
        footer: Footer | None = None
        while line := self._next_line():
            if footer is not None:
                raise self._error("something stands after the footer; write the plan anew")
            record = self._record(line)
            self._take(record)
            if isinstance(record, Footer):
                footer = record
            else:
                self.digest.update(line)
            self.place += len(line)
        if footer is None:
            raise PlanError(f"{self.name}: the plan breaks off (no footer); write it anew")
        edits = self._edits(footer)
        if edits.altered and not allow_edited:
            what = f" ({edits_text(edits)})" if edits.removed else ""
            raise PlanError(
                f"{self.name}: the plan was changed after it was written{what}; write it anew, or say "
                f"--allow-edited if only deletions were removed"
            )
        plan = Plan(self.path, header, footer, edits, self.starts, self.digest.hexdigest())
        plan.largest = self.largest
        # What was removed from a plan by hand would have to be counted anew.
        if not edits.altered:
            plan.freed, plan.freed_images = self.freed, self.freed_images
        return plan

    def _next_line(self) -> bytes:
        self.number += 1
        line = self.file.readline(_MAX_LINE_BYTES + 1)
        if len(line) > _MAX_LINE_BYTES:
            raise self._error("the line is too long for a plan")
        if line and not line.endswith(b"\n"):
            raise self._error("the plan breaks off in the middle of a line; write it anew")
        return line

    def _error(self, problem: str) -> PlanError:
        return PlanError(f"{self.name}:{self.number}: {problem}")

    def _record(self, line: bytes) -> Record:
        try:
            return _decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._error(f"not a line of a plan: {names.printable(str(error))}") from None

    def _header(self, line: bytes) -> Header:
        header = self._record(line) if line else None
        if not isinstance(header, Header) or header.format != FORMAT:
            raise self._error("not a plan of pruner")
        if header.version != VERSION:
            raise self._error(f"plan version {header.version}; this program knows version {VERSION}")
        return header

    def _take(self, record: Record) -> None:
        """Check one line after the header: written by us, and in its place."""
        if isinstance(record, Header):
            raise self._error("a second header; write the plan anew")
        if _signed(self.salt, record) != record:
            raise self._error(f"{_named(record)} was added or altered; lines may only be removed")
        if isinstance(record, ImageRecord):
            self._image(record)
        elif isinstance(record, Entry):
            self._entry(record)
        elif isinstance(record, KeptTarget):
            here = (record.registry, record.image, record.tag)
            self.kept = self._in_order(self.kept, here)
        elif isinstance(record, Freed):
            self.freed_images[record.registry, record.image] = record.bytes
        elif isinstance(record, FreedTotal):
            self.freed = record

    def _image(self, record: ImageRecord) -> None:
        self.image = self._in_order(self.image, (record.registry, record.image))
        self.starts.setdefault(record.registry, self.place)
        self.largest = max(self.largest, record.entries)

    def _in_order(self, before: T, here: T) -> T:
        if here <= before:
            raise self._error("this line stands twice or in another place; lines may only be removed")
        return here

    def _entry(self, entry: Entry) -> None:
        if entry.seq <= self.last:
            raise self._error("this line stands twice or in another place; lines may only be removed")
        if (entry.registry, entry.image) != self.image:
            raise self._error("this deletion does not belong to the image above it")
        try:
            _ = entry.target
        except InputError as error:
            raise self._error(str(error)) from None
        self._note_removed(entry.seq)
        self.last = entry.seq

    def _note_removed(self, seq: int) -> None:
        """Note the numbers that are missing before ``seq``."""
        if seq > self.last + 1:
            self.removed.append(range(self.last + 1, seq))

    def _edits(self, footer: Footer) -> Edits:
        if self.last > footer.entries:
            raise PlanError(f"{self.name}: more deletions than the footer counts; write the plan anew")
        self._note_removed(footer.entries + 1)
        return Edits(tuple(self.removed), self.digest.hexdigest() != footer.sha256)


def _named(record: Record) -> str:
    if isinstance(record, Entry | KeptTarget):
        return f"'{names.printable(f'{record.registry}/{record.image}:{record.tag}')}'"
    if isinstance(record, Freed | FreedTotal):
        return "this count of bytes"
    return f"this {'image' if isinstance(record, ImageRecord) else 'footer'}"


def edits_text(edits: Edits) -> str:
    """What was removed, in words."""
    if not edits.removed:
        return "lines other than deletions were removed" if edits.altered else "nothing was removed"
    shown = ", ".join(
        str(item[0]) if len(item) == 1 else f"{item[0]} to {item[-1]}" for item in edits.removed[:10]
    )
    more = "" if len(edits.removed) <= 10 else ", …"
    return f"{edits.count:,} removed: number {shown}{more}"
