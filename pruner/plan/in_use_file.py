"""Files that say which images are in use: written whole, verified whole.

JSON Lines: a header with the sources that were read, a line for each use, a footer with their number and a
SHA-256 over all lines before it. Format version 1.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Annotated, Final, Literal

import msgspec

from pruner import __version__, names
from pruner.errors import InputError
from pruner.files import open_regular

FORMAT: Final = "ncr-pruner.in-use"
VERSION: Final = 1
_MAX_LINE_BYTES: Final = 1024 * 1024
_Time = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
_Text = Annotated[str, msgspec.Meta(pattern=r"\S")]
"""A text that is not blank: what names nothing could not be told from what is not in use."""
_Digest = Annotated[str, msgspec.Meta(pattern=r"\A(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})\Z")]


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """A cluster, or a file of references. ``read_at`` in epoch milliseconds.

    ``missing`` says what could not be read of it: then it proves nothing.
    """

    name: _Text
    kind: Literal["kubernetes", "file"]
    read_at: _Time
    missing: tuple[str, ...] = ()


class Use(msgspec.Struct, frozen=True, tag="use", tag_field="type", omit_defaults=True):
    """``workload`` of ``source`` uses the image that ``reference`` names; it runs as ``digest``, if known.

    ``runs_unknown`` says that it runs, and nobody knows as which digest.
    """

    source: str
    workload: str
    reference: _Text
    digest: _Digest | None = None
    runs_unknown: bool = False


class InUseHeader(msgspec.Struct, frozen=True, tag="header", tag_field="type"):
    """The first line."""

    format: str
    version: int
    tool: str
    sources: tuple[Source, ...]


class _Footer(msgspec.Struct, frozen=True, tag="footer", tag_field="type"):
    uses: int
    sha256: str


_Line = InUseHeader | Use | _Footer
_decoder: msgspec.json.Decoder[_Line] = msgspec.json.Decoder(_Line)
_encode = msgspec.json.Encoder().encode


def write_in_use(file: IO[bytes], sources: Sequence[Source], uses: Iterable[Use]) -> int:
    """Write what is in use to an open binary file; how many uses there were, each written once."""
    digest = hashlib.sha256()
    written: set[Use] = set()

    def write(line: InUseHeader | Use) -> None:
        data = _encode(line) + b"\n"
        digest.update(data)
        file.write(data)

    write(InUseHeader(FORMAT, VERSION, __version__, tuple(sources)))
    for use in uses:
        if use not in written:
            written.add(use)
            write(use)
    file.write(_encode(_Footer(len(written), digest.hexdigest())) + b"\n")
    return len(written)


class InUseFile:
    """A verified file of what is in use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.uses: list[Use] = []
        try:
            with open_regular(path) as file:
                self.header = self._read(file)
        except OSError as error:
            shown = names.shown_path(path)
            raise InputError(f"{shown}: cannot be read: {error.strerror or error}") from None

    def _read(self, file: IO[bytes]) -> InUseHeader:
        digest = hashlib.sha256()
        header: InUseHeader | None = None
        sources: set[str] = set()
        for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE_BYTES), b""), 1):
            record = self._decode(line, number)
            if header is None:
                header = self._checked(record)
                sources = {source.name for source in header.sources}
            elif isinstance(record, Use):
                if record.source not in sources:
                    name = names.printable(record.source)
                    raise InputError(f"{self.path}:{number}: the header has no source '{name}'")
                self.uses.append(record)
            elif isinstance(record, _Footer):
                if record.sha256 != digest.hexdigest() or record.uses != len(self.uses) or file.read(1):
                    raise InputError(f"{self.path}: was changed after it was written; write it again")
                return header
            else:
                raise InputError(f"{self.path}:{number}: a second header; write the file again")
            digest.update(line)
        raise InputError(f"{self.path}: breaks off; write it again with pruner in-use")

    def _decode(self, line: bytes, number: int) -> _Line:
        try:
            return _decoder.decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            problem = names.printable(str(error))
            raise InputError(f"{self.path}:{number}: not a line of an in-use file: {problem}") from None

    def _checked(self, record: _Line) -> InUseHeader:
        if not isinstance(record, InUseHeader) or record.format != FORMAT:
            raise InputError(f"{self.path}: does not say what is in use; write it with pruner in-use")
        if record.version != VERSION:
            raise InputError(f"{self.path}: version {record.version}; this program knows version {VERSION}")
        if not record.sources:
            raise InputError(f"{self.path}: names no source, so it does not say what is in use anywhere")
        counts = Counter(source.name for source in record.sources)
        if twice := [name for name, count in counts.items() if count > 1]:
            raise InputError(f"{self.path}: the source '{names.printable(twice[0])}' is duplicated")
        return record


def read_in_use(paths: Iterable[Path]) -> Iterator[InUseFile]:
    """The files of ``paths``, verified; InputError also for a source that is in two of them."""
    seen: dict[str, Path] = {}
    for path in paths:
        file = InUseFile(path)
        for source in file.header.sources:
            if source.name in seen:
                name = names.printable(source.name)
                raise InputError(
                    f"{path}: the source '{name}' is in {seen[source.name]} too; give one of them"
                )
            seen[source.name] = path
        yield file
