"""Rows of cells as aligned columns on a terminal: folded to its width, without blanks at the ends of lines.

Cells are shown escaped, whatever they hold, and a line never begins as a command of a CI system does.

Rich's ``Table`` measures and renders each cell on its own, which takes most of a second for 1,000 rows.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Final

from pruner.names import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

GAP: Final = "  "
NARROWEST: Final = 12
"""Columns: no cell is folded to less, however narrow the terminal."""
_LINES_AT_ONCE: Final = 200

Row = Sequence[str]


@dataclass(frozen=True, slots=True)
class Column:
    """How the cells of a column are shown."""

    heading: str = ""
    style: str = ""
    right: bool = False
    share: int = 0
    """Of the width that the other columns leave, if not everything fits; without a share nothing folds."""


def column_lines(
    console: "Console", rows: Sequence[Row], columns: Sequence[Column], *, indent: str = ""
) -> "Iterator[Text]":
    """``rows`` below the columns' headings, if these have any, for ``print_lines``."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    headings = [[column.heading for column in columns]] if any(c.heading for c in columns) else []
    widths = _widths([*headings, *rows], columns, console.width - len(indent) - len(GAP) * (len(columns) - 1))
    for heading in headings:
        bold = [Column(style="bold", right=column.right) for column in columns]
        yield from _lines(heading, bold, widths, indent, console)
    for row in rows:
        yield from _lines(row, columns, widths, indent, console)


def print_lines(console: "Console", lines: "Iterable[Text]") -> None:
    """Print many lines at once: a call of ``Console.print`` costs as much as ten lines."""
    from rich.text import Text

    lines = iter(lines)
    while some := list(islice(lines, _LINES_AT_ONCE)):
        console.print(Text("\n").join(some), soft_wrap=True)


def _widths(rows: Sequence[Row], columns: Sequence[Column], room: int) -> list[int]:
    """What each column needs, or its share of what there is."""
    from rich.cells import cell_len

    needed = [max((cell_len(row[n]) for row in rows), default=0) for n in range(len(columns))]
    for_sharing = room - sum(width for width, column in zip(needed, columns, strict=True) if not column.share)
    widths = list(needed)
    sharing = [n for n, column in enumerate(columns) if column.share]
    while sharing:
        total = sum(columns[n].share for n in sharing)
        parts = {n: for_sharing * columns[n].share // total for n in sharing}
        content = [n for n in sharing if needed[n] <= parts[n]]
        if not content:
            for n in sharing:
                widths[n] = min(needed[n], max(NARROWEST, parts[n]))
            break
        for_sharing -= sum(needed[n] for n in content)
        sharing = [n for n in sharing if n not in content]
    return widths


def _lines(
    row: Row, columns: Sequence[Column], widths: Sequence[int], indent: str, console: "Console"
) -> "Iterator[Text]":
    """One line, or more where cells are folded."""
    from rich.cells import cell_len
    from rich.text import Text

    cells = [_folded(cell, width, console) for cell, width in zip(row, widths, strict=True)]
    for pieces in zip_longest(*cells, fillvalue=""):
        line, plain = Text(end=""), indent
        for piece, column, width in zip(pieces, columns, widths, strict=True):
            padding = " " * (width - cell_len(piece))
            plain += padding if column.right else ""
            if piece and column.style:
                line.append(plain).append(piece, column.style)
                plain = ""
            else:
                plain += piece
            plain += GAP if column.right else padding + GAP
        yield line.append(plain.rstrip())


def _folded(cell: str, width: int, console: "Console") -> list[str]:
    from rich.cells import cell_len
    from rich.text import Text

    if cell_len(cell) <= width:
        return [cell]
    return [line.plain.rstrip() for line in Text(cell).wrap(console, width, overflow="fold")]
