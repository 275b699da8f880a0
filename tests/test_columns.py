"""Aligned columns: nothing is lost, no line is wider than the terminal or ends in blanks."""

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from pruner.report.columns import GAP, NARROWEST, Column, column_lines, print_lines

_COLUMNS = (
    Column("tag", share=4),
    Column("age", right=True),
    Column("size", "green", right=True),
    Column("why", "dim", share=6),
)
_FIXED = st.text("0123456789 dMB", max_size=8).map(str.strip)
_FOLDED = st.text("ab-_.()日本", max_size=60)
_ROWS = st.lists(st.tuples(_FOLDED, _FIXED, _FIXED, _FOLDED), min_size=1, max_size=12)


def printed(rows, width: int, **console) -> list[str]:
    out = io.StringIO()
    target = Console(file=out, width=width, highlight=False, **console)
    print_lines(target, column_lines(target, rows, _COLUMNS, indent="  "))
    return out.getvalue().splitlines()


@given(_ROWS, st.integers(56, 200))
def test_every_cell_is_there_within_the_width(rows, width):
    lines = printed(rows, width)
    assert all(cell_len(line) <= width and line == line.rstrip() for line in lines)
    shown = sorted("".join(lines[1:]).replace(" ", ""))
    assert shown == sorted("".join("".join(row) for row in rows).replace(" ", ""))


def test_columns_are_aligned_and_folded():
    rows = [
        ("build-1", "2 days", "1.0 MB", "older"),
        ("b", "10 days", "20.0 MB", "tags * and much more to say"),
    ]
    assert printed(rows, 55) == [
        "  tag          age     size  why",
        "  build-1   2 days   1.0 MB  older",
        "  b        10 days  20.0 MB  tags * and much more to",
        "                             say",
    ]


def test_a_narrow_terminal_folds_to_a_width_that_can_be_read():
    lines = printed([("t" * 30, "2 days", "1 MB", "r" * 30)], 20)
    assert lines[1].split() == ["t" * NARROWEST, "2", "days", "1", "MB", "r" * NARROWEST]


def test_styles_do_not_change_the_alignment():
    rows = [("tag", "1 day", "1 B", "why"), ("longer", "11 days", "11 B", "why")]
    styled = printed(rows, 80, force_terminal=True, color_system="standard")
    assert [
        line.replace("\x1b[32m", "").replace("\x1b[2m", "").replace("\x1b[0m", "") for line in styled[1:]
    ] == (printed(rows, 80)[1:])
    assert f"{GAP}\x1b[2mwhy\x1b[0m" in styled[2]


def test_markup_in_a_cell_is_text():
    assert printed([("[bold]", "1", "2", "[/]")], 80)[1].split() == ["[bold]", "1", "2", "[/]"]
