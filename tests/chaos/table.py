"""The fault table of ``docs/reliability.md``: written from what the suite's tests saw, and checked."""

import ast
import re
from collections import Counter, defaultdict
from pathlib import Path

from chaos.rows import ELSEWHERE, NOT_COVERED, ROWS

HERE = Path(__file__).parent
TESTS = HERE.parent
_MARKERS = "<!-- {0}: start -->\n", "<!-- {0}: end -->\n"


def _functions(path):
    tree = ast.parse(path.read_text())
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def marked_tests():
    """Name -> (rows, whether slow) of every test of this folder that covers rows."""
    found = {}
    for path in sorted(HERE.glob("test_*.py")):
        for function in _functions(path):
            marks = [ast.unparse(item) for item in function.decorator_list]
            rows = [mark for mark in marks if mark.startswith("pytest.mark.rows(")]
            if rows:
                numbers = tuple(int(number) for number in re.findall(r"\d+", rows[0]))
                found[function.name] = (numbers, "pytest.mark.slow" in marks)
    return found


def missing_tests():
    """Tests named in ELSEWHERE that do not exist."""
    names = [name for tests in ELSEWHERE.values() for name in tests]
    known = {
        f"{path.name}::{function.name}" for path in TESTS.glob("test_*.py") for function in _functions(path)
    }
    return [name for name in names if name not in known]


class Collector:
    """Notes which tests passed and what they saw, and rewrites the tables at the end."""

    def __init__(self, path):
        self.path = path
        self.passed = Counter()
        self.failed = set()
        self.known = set()
        self.seen = defaultdict(list)

    def pytest_runtest_logreport(self, report):
        name = report.nodeid.rpartition("::")[2].partition("[")[0]
        if report.failed:
            self.failed.add(name)
        elif hasattr(report, "wasxfail") and report.skipped:
            self.known.add(name)
        elif report.when == "call" and report.passed:
            self.passed[name] += 1
            self.seen[name] += [text for key, text in report.user_properties if key == "saw"]

    def pytest_sessionfinish(self):
        text = self.path.read_text()
        tests = marked_tests()
        for section, slow in (("faults", False), ("long", True)):
            names = [name for name, (_, is_slow) in tests.items() if is_slow is slow]
            if any(self.passed[name] or name in self.failed for name in names):
                text = _replaced(text, section, self._table(names, tests, also=not slow))
        self.path.write_text(text)

    def _table(self, names, tests, *, also):
        lines = ["| # | fault | what must be true | seen | tests |", "| --- | --- | --- | --- | --- |"]
        for number, (fault, expected) in ROWS.items():
            own = [name for name in names if number in tests[name][0]]
            others = ELSEWHERE.get(number, []) if also else []
            if own or others:
                cells = (str(number), fault, expected, self._seen(own, number), self._tests(own, others))
            elif also and number in NOT_COVERED:
                cells = (str(number), fault, expected, NOT_COVERED[number], "none")
            else:
                continue
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"

    def _seen(self, names, number):
        parts = []
        for name in names:
            parts += summed(sorted(text for text, rows in self.seen[name] if not rows or number in rows))
        return "; ".join(parts)

    def _tests(self, own, others):
        parts = [f"`{name}` ({self._result(name)})" for name in own]
        return "; ".join([*parts, *(f"`{name}`" for name in others)])

    def _result(self, name):
        if name in self.failed or name in self.known:
            return "FAILED" if name in self.failed else "known bug"
        return f"{self.passed[name]} passed" if self.passed[name] else "skipped"


def summed(texts):
    """Equal sentences once; the leading numbers of sentences that are otherwise equal are added up."""
    totals = {}
    for text in texts:
        number, _, rest = text.partition(" ")
        key = rest if number.isdecimal() else text
        totals[key] = totals.get(key, 0) + (int(number) if number.isdecimal() else 0)
    return [f"{total:,} {text}" if total else text for text, total in totals.items()]


def _replaced(text, section, table):
    start, end = (marker.format(section) for marker in _MARKERS)
    before, _, rest = text.partition(start)
    return before + start + table + end + rest.partition(end)[2]


def committed(path, section):
    """Row number -> names of tests in a table of the page."""
    start, end = (marker.format(section) for marker in _MARKERS)
    table = path.read_text().partition(start)[2].partition(end)[0]
    found = {}
    for line in table.splitlines()[2:]:
        cells = line.strip("|").split(" | ")
        found[int(cells[0])] = set(re.findall(r"`([^`]+)`", cells[-1]))
    return found


def expected(section):
    """What ``committed`` should be."""
    found = defaultdict(set)
    for name, (numbers, slow) in marked_tests().items():
        if slow is (section == "long"):
            for number in numbers:
                found[number].add(name)
    if section == "faults":
        for number, names in ELSEWHERE.items():
            found[number].update(names)
        for number in NOT_COVERED:
            found.setdefault(number, set())
    return dict(found)
