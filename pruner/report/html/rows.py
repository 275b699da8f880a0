"""The rows of a table as JSON inside a page, written piece by piece."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal

import msgspec

from pruner.report.html.page import harmless

MAX_ROWS: Final = 200_000
"""More would make the page too heavy to open; the rest stands in the files beside it."""

_PIECE: Final = 500
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
    lines = _lines(islice(rows, limit))
    while piece := list(islice(lines, _PIECE)):
        yield separator + _inert(b",\n".join(piece))
        separator = ",\n"
    yield "\n]"


def _lines(rows: Iterable[Row]) -> Iterator[bytes]:
    above: Row = ()
    for row in rows:
        shown = [harmless(cell) if isinstance(cell, str) else cell for cell in row]
        for index, (cell, before) in enumerate(zip(row, above, strict=False)):
            if isinstance(cell, str) and cell == before:
                shown[index] = _AS_ABOVE
        above = row
        yield _encode(shown)


def _inert(json: bytes) -> str:
    """JSON that is the same when read, and no HTML parser finds anything in."""
    for char, escape in _ESCAPES:
        json = json.replace(char, escape)
    return json.decode()
