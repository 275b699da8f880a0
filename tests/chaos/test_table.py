"""The committed fault table lists exactly the tests that there are, and every row has one."""

from pathlib import Path

import pytest

from chaos import table
from chaos.rows import ELSEWHERE, NOT_COVERED, ROWS

PAGE = Path(__file__).parent.parent.parent / "docs/reliability.md"


def test_every_row_is_covered_or_says_why_not():
    covered = {number for numbers, _ in table.marked_tests().values() for number in numbers}
    assert set(ROWS) == set(range(1, 53))
    assert covered | set(ELSEWHERE) | set(NOT_COVERED) == set(ROWS)
    assert not covered & set(NOT_COVERED)


def test_the_tests_of_other_files_exist():
    assert table.missing_tests() == []


@pytest.mark.parametrize("section", ["faults", "long"])
def test_the_committed_table_lists_the_tests_that_there_are(request, section):
    if request.config.getoption("--fault-table", None):
        pytest.skip("the table is being written")
    assert table.committed(PAGE, section) == table.expected(section), (
        "run: python -m pytest tests/chaos -m '' --fault-table docs/reliability.md"
    )


def test_no_row_of_the_committed_table_failed(request):
    if request.config.getoption("--fault-table", None):
        pytest.skip("the table is being written")
    assert "FAILED" not in PAGE.read_text()


def test_numbers_are_added_up():
    assert table.summed(["3 tags", "4 tags", "said so", "said so"]) == ["7 tags", "said so"]
