"""The rows of a table as JSON inside a page, written piece by piece."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import IO, Final, Literal

import msgspec

from pruner.report.html.page import harmless

MAX_ROWS: Final = 200_000
"""More would make the page too heavy to open; the rest stands in the files beside it."""

_PIECE: Final = 500
_READ_CHARACTERS: Final = 64 * 1024
_AS_ABOVE: Final = 0

Cell = str | float | None
Row = tuple[Cell, ...]
Kind = Literal["text", "name", "place", "number", "age", "size", "moment", "seconds", "status"]

_encode = msgspec.json.Encoder().encode
_ESCAPES: Final = tuple(
    (char.encode(), f"\\u{ord(char):04x}".encode()) for char in ("<", ">", "&", "\u2028", "\u2029")
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. ``choice`` gives it a menu of its values; ``width`` is in rem."""

    title: str
    kind: Kind
    width: int
    choice: str = ""


def row_pieces(rows: Iterable[Row], limit: int) -> Iterator[str]:
    """``rows`` as a JSON array that nothing in it can end the script with; at most ``limit`` rows.

    A text that is the same as in the row above is written as 0: images, rules and reasons repeat for
    thousands of rows.
    """
    yield "["
    separator = "\n"
    above: Row = ()
    rows = islice(rows, limit)
    while piece := list(islice(rows, _PIECE)):
        yield separator + _piece(piece, above)
        separator, above = ",\n", piece[-1]
    yield "\n]"


class RowSpool:
    """As ``row_pieces``, for rows that come before what stands above them in the page: kept in ``file``."""

    def __init__(self, file: IO[str], limit: int) -> None:
        self._file = file
        self._left = limit
        self._above: Row = ()
        self._rows: list[Row] = []
        self._separator = "[\n"

    def add(self, row: Row) -> None:
        """Take the next row."""
        if self._left <= 0:
            return
        self._left -= 1
        self._rows.append(row)
        if len(self._rows) == _PIECE:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        self._file.write(self._separator + _piece(self._rows, self._above))
        self._separator, self._above = ",\n", self._rows[-1]
        self._rows.clear()

    def pieces(self) -> Iterator[str]:
        """All of it, once the last row was added."""
        self._flush()
        self._file.write("\n]" if self._above else "[\n]")
        self._file.seek(0)
        return iter(partial(self._file.read, _READ_CHARACTERS), "")


def _piece(rows: Sequence[Row], above: Row) -> str:
    lines = []
    for row in rows:
        shown = [harmless(cell) if isinstance(cell, str) else cell for cell in row]
        for index, (cell, before) in enumerate(zip(row, above, strict=False)):
            if isinstance(cell, str) and cell == before:
                shown[index] = _AS_ABOVE
        above = row
        lines.append(_encode(shown))
    return _inert(b",\n".join(lines))


def _inert(json: bytes) -> str:
    """JSON that is the same when read, and no HTML parser finds anything in."""
    for char, escape in _ESCAPES:
        json = json.replace(char, escape)
    return json.decode()
