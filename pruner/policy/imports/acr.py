"""Command lines of ``acr purge`` (Azure Container Registry).

Source: "Automatically purge images" of its documentation, and the help of ``acr purge``. For each repository
that a filter names: the tags whose name matches and that were last updated longer ago than ``--ago``, without
the ``--keep`` newest of these. Expressions for tags match anywhere in a name.
"""

import argparse
import re
import shlex
from typing import Final, NoReturn

from pruner import names
from pruner.errors import InputError
from pruner.policy import patterns
from pruner.policy.imports.draft import Conditions, Draft, DraftPolicy, DraftRule, both

_LONGEST: Final = 100_000
"""The standard library's reader of command lines takes a time that grows with the square of a word."""
_MOST_WORDS: Final = 1000
"""argparse copies all earlier filters for each further one."""
_AGO: Final = re.compile(r"(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?")
_LITERAL: Final = re.compile(r"(?:[a-z0-9/_-]|\\\.|\.\*)+")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"not a command line of acr purge: {names.printable(message)}")


def read(draft: Draft, text: str) -> None:
    """Fill ``draft`` with a command line."""
    if len(text) > _LONGEST:
        raise InputError(f"{draft.file}: longer than {_LONGEST:,} characters; import it in parts")
    try:
        words = shlex.split(text, comments=True)
    except ValueError as error:
        raise InputError(f"{draft.file}: not a command line: {error}") from None
    if len(words) > _MOST_WORDS:
        raise InputError(f"{draft.file}: more than {_MOST_WORDS:,} words; import it in parts")
    while words and words[0] in ("acr", "purge", "mcr.microsoft.com/acr/acr-cli:0.14"):
        words.pop(0)
    arguments = _parsed(words)
    if draft.images:
        raise InputError("a command line of acr purge names its repositories itself; leave out --images")
    if arguments.untagged_only or arguments.untagged:
        draft.cannot_delete("--untagged", "it is for manifests without a tag")
    ago = _duration(arguments.ago)
    if ago is None:
        draft.problem("--ago", f"'{arguments.ago}' is not days, hours and minutes, as in 2d3h6m")
        return
    for number, text_of_filter in enumerate(arguments.filter, 1):
        _read_filter(draft, text_of_filter, number, ago, arguments.keep)


def _parsed(words: list[str]) -> argparse.Namespace:
    parser = _Parser(prog="acr purge", add_help=False, allow_abbrev=False)
    parser.add_argument("--filter", "-f", action="append", required=True)
    parser.add_argument("--ago", required=True)
    parser.add_argument("--keep", type=int, default=0)
    for flag in ("--untagged", "--untagged-only", "--dry-run", "--include-locked"):
        parser.add_argument(flag, action="store_true")
    for option in ("--registry", "-r", "--concurrency", "--repository-page-size", "--filter-timeout-seconds"):
        parser.add_argument(option)
    return parser.parse_args(words)


def _read_filter(draft: Draft, text: str, number: int, ago: str, keep: int) -> None:
    where = f"--filter '{text}'"
    repository, colon, tags = text.partition(":")
    if not colon or _LITERAL.fullmatch(repository) is None:
        draft.cannot_delete(where, "only repositories by their name, with '.*' for anything, can be said")
        return
    regex = f".*(?:{tags}).*"
    try:
        patterns.compile_regex(regex)
    except ValueError as error:
        draft.cannot_delete(where, str(error))
        return
    image = repository.replace(".*", "**").replace("\\.", ".")
    policy = DraftPolicy(f"acr-purge-{number}", f"acr purge {where} --ago {ago}", [image])
    selected: Conditions = {"tags": {"regex": regex}}
    old: Conditions = {} if ago == "0m" else {"older_than": ago}
    kept: Conditions = {"not": {**selected, **old, "newest": keep}} if keep > 0 else {}
    policy.delete.append(DraftRule(f"{where} --keep {keep}", {**both({**selected, **old}), **kept}))
    draft.policies.append(policy)


def _duration(text: str) -> str | None:
    """``--ago`` in the largest unit that is exact."""
    match = _AGO.fullmatch(text)
    if match is None or not text:
        return None
    minutes = (int(match[1] or 0) * 24 + int(match[2] or 0)) * 60 + int(match[3] or 0)
    for unit, size in (("d", 1440), ("h", 60)):
        if minutes and minutes % size == 0:
            return f"{minutes // size}{unit}"
    return f"{minutes}m"
