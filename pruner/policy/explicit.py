"""Targets named on the command line or in a file (lines, CSV or JSON Lines) -> policies of explicit targets.

Every bad line is reported at once, with its number, and then nothing is deleted.
"""

import csv
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Any, Final, TextIO

from pruner import names
from pruner.errors import InputError, PolicyError
from pruner.files import STDIN, open_regular
from pruner.model import Target
from pruner.policy.policy import Policy, PolicySet
from pruner.policy.spool import POLICY, TargetSpool

MAX_PROBLEMS: Final = 50
MAX_LINE: Final = 4096
TOO_LONG: Final = f"(a line of more than {MAX_LINE} characters)"
_FIELDS: Final = ("registry", "image", "tag")


def explicit_policies(
    references: Sequence[str], source: str | None, spool: TargetSpool, *, delete_shared: bool
) -> PolicySet:
    """One policy of explicit targets per registry; PolicyError lists every line that is wrong.

    The targets are put into ``spool``, which must live as long as the policies.
    """
    problems: list[str] = []
    for number, reference in enumerate(references, 1):
        _add(spool, problems, f"argument {number}", reference)
    if source is not None:
        _read_source(source, spool, problems)
    if problems:
        hidden = [f"… and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
        raise PolicyError([*problems[:MAX_PROBLEMS], *hidden])
    digest = hashlib.sha256()
    for target in spool:
        digest.update(f"{target}\n".encode())
    policies = tuple(
        Policy(POLICY, registry, "command line", spooled=spool, delete_shared=delete_shared)
        for registry in spool.registries()
    )
    if not policies:
        raise InputError(f"{names.shown_path(source)}: no target in it")
    return PolicySet(policies, {}, digest.hexdigest(), (names.shown_path(source),) if source else ())


def _add(spool: TargetSpool, problems: list[str], where: str, reference: str) -> None:
    try:
        spool.add(Target.parse(reference), where)
    except InputError as error:
        problems.append(f"{where}: {error}")


def _read_source(source: str, spool: TargetSpool, problems: list[str]) -> None:
    name = "<stdin>" if source == STDIN else names.shown_path(source)
    try:
        if source == STDIN:
            _read_lines(name, sys.stdin, spool, problems)
        else:
            with open_regular(Path(source), or_stdin=True) as file:
                text = TextIOWrapper(file, encoding="utf-8-sig", newline="")
                _read_lines(name, text, spool, problems)
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{name}: not UTF-8 text") from None


def _read_lines(name: str, file: TextIO, spool: TargetSpool, problems: list[str]) -> None:
    numbered = enumerate(_bounded(file), 1)
    lines = ((number, line) for number, line in numbered if line.strip() and not line.startswith("#"))
    first = next(lines, None)
    if first is None:
        return
    form = _form_of(first[1])
    for number, reference in form(chain([first], lines)):
        if isinstance(reference, InputError):
            problems.append(f"{name}:{number}: {reference}")
        else:
            _add(spool, problems, f"{name}:{number}", reference)


def _bounded(file: TextIO) -> Iterator[str]:
    """The lines of a file; a line that is too long becomes one that no form accepts."""
    start = "\ufeff"
    while line := file.readline(MAX_LINE + 1):
        if len(line) <= MAX_LINE or line.endswith("\n"):
            yield line.removeprefix(start).removesuffix("\n").removesuffix("\r")
        else:
            while line and not line.endswith("\n"):
                line = file.readline(MAX_LINE + 1)
            yield TOO_LONG
        start = ""


_Found = Iterator[tuple[int, "str | InputError"]]


def _form_of(first: str) -> Any:
    if first.lstrip().startswith("{"):
        return _read_json
    return _read_csv if "," in first else _read_plain


def _read_plain(lines: Iterator[tuple[int, str]]) -> _Found:
    for number, line in lines:
        yield number, line.strip()


def _read_json(lines: Iterator[tuple[int, str]]) -> _Found:
    for number, line in lines:
        try:
            item = json.loads(line, object_pairs_hook=_once)
        except (ValueError, RecursionError):
            yield number, InputError(f"not JSON: '{names.printable(line, 60)}'")
            continue
        yield number, _joined(item if isinstance(item, dict) else {})


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys stand once each; ValueError otherwise."""
    item = dict(pairs)
    if len(item) != len(pairs):
        raise ValueError("a key stands twice")
    return item


def _read_csv(lines: Iterator[tuple[int, str]]) -> _Found:
    number, first = next(lines)
    header = [cell.strip().lower() for cell in next(csv.reader([first]))]
    if not set(_FIELDS) <= set(header) or len(set(header)) != len(header):
        yield (
            number,
            InputError("a CSV file starts with a header: registry, image and tag, each once"),
        )
        return
    for number, line in lines:
        cells = next(csv.reader([line]), [])
        if len(cells) != len(header):
            yield number, InputError(f"{len(cells)} cells, but the header has {len(header)}")
            continue
        yield number, _joined(dict(zip(header, cells, strict=True)))


def _joined(item: dict[str, Any]) -> "str | InputError":
    values = [item.get(name) for name in _FIELDS]
    if not all(isinstance(value, str) and value for value in values):
        return InputError("registry, image and tag must all be there, as text")
    registry, image, tag = (str(value).strip() for value in values)
    if "/" in registry:
        return InputError(f"'{names.printable(registry)}' is not a registry name")
    for part in (registry, image, tag):
        if ":" in part or "@" in part:
            return InputError(
                f"'{names.printable(part)}' holds ':' or '@'; give registry, image and tag apart"
            )
    return f"{registry}/{image}:{tag}"
