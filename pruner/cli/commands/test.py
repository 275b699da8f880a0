"""``pruner test``."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import click

from pruner.cli.talk import show
from pruner.errors import ExitCode, InputError, PolicyError
from pruner.files import atomic_file
from pruner.names import printable
from pruner.policy.folders import FileSearch
from pruner.policy.loader import is_policy_test, load_policies
from pruner.policy.testing import TestResult, run_tests
from pruner.report.text import counted


@click.command("test", help="Run tests of policies: NAME.test.yaml in the folders given, or the files named.")
@click.argument("paths", nargs=-1, required=True, metavar="POLICY... [TESTS.test.yaml]")
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="Also write JUnit XML.")
def command(paths: tuple[str, ...], junit: Path | None) -> int:
    """Decide small inventories and compare."""
    files = _test_files(paths)
    policies = load_policies([path for path in paths if not is_policy_test(path)])
    started = time.monotonic()
    results = [result for path in files for result in run_tests(path, policies)]
    for result in results:
        name = printable(result.name)
        show(f"{'FAIL' if result.problems else 'ok  '}  {name}  ({result.source})")
        for problem in result.problems:
            show(f"      {problem}")
    failed = sum(1 for result in results if result.problems)
    click.echo(f"{counted(len(results), 'test')}, {failed} failed")
    if junit is not None:
        _write_junit(junit, results, time.monotonic() - started)
    return ExitCode.SOME_FAILED if failed else ExitCode.DONE


def _test_files(paths: Sequence[str]) -> list[Path]:
    search = FileSearch(paths, is_policy_test)
    files = [file for path in paths for file in search.files(Path(path)) if is_policy_test(file.name)]
    # What two paths name is one file with one set of tests.
    found = {os.path.realpath(file): file for file in files}
    if search.problems:
        raise PolicyError(search.problems)
    if not found:
        raise InputError("no tests: name a file NAME.test.yaml, or a folder that holds one")
    return list(found.values())


def _write_junit(path: Path, results: Sequence[TestResult], seconds: float) -> None:
    failed = sum(1 for result in results if result.problems)
    suite = ElementTree.Element(
        "testsuite",
        name="pruner",
        tests=str(len(results)),
        failures=str(failed),
        errors="0",
        time=f"{seconds:.3f}",
    )
    for result in results:
        case = ElementTree.SubElement(suite, "testcase", classname=result.source, name=printable(result.name))
        if result.problems:
            failure = ElementTree.SubElement(case, "failure", message=result.problems[0])
            failure.text = "\n".join(result.problems)
    with atomic_file(path) as file:
        ElementTree.ElementTree(suite).write(file, encoding="utf-8", xml_declaration=True)
