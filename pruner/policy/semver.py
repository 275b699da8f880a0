"""Semantic versions of tags: order, prereleases and ranges.

Follows SemVer 2.0.0 (semver.org) with two habits of image tags: a leading ``v`` and a missing patch
number (``1.4``) are accepted. Build metadata cannot stand in a tag ('+' is not allowed there).
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

# A number without leading zeros, or anything with a letter or hyphen in it (SemVer 2.0.0, item 9).
_IDENTIFIER: Final = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION: Final = re.compile(
    r"v?(0|[1-9][0-9]{0,17})\.(0|[1-9][0-9]{0,17})(?:\.(0|[1-9][0-9]{0,17}))?"
    rf"(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?"
)
_MAX_LENGTH: Final = 128
_COMPARATOR: Final = re.compile(r"(>=|<=|>|<|=)?\s*(\S+)")


class Version(NamedTuple):
    """A version; tuples compare in SemVer order. ``prerelease`` sorts before its release."""

    major: int
    minor: int
    patch: int
    final: bool
    prerelease: tuple[tuple[int, int, str], ...]


def parse_version(text: str) -> Version | None:
    """The version that a tag name is, or None."""
    match = _VERSION.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if match is None:
        return None
    major, minor, patch, pre = match.groups()
    identifiers = tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in (pre or "").split(".") if part
    )
    return Version(int(major), int(minor), int(patch or 0), not identifiers, identifiers)


def parse_range(text: str) -> Callable[[Version], bool]:
    """A range such as ``>=1.2 <2.0.0``: comparators that must all hold. ValueError on anything else."""
    tests: list[Callable[[Version], bool]] = []
    for operator, operand in _comparators(text):
        version = parse_version(operand)
        if version is None:
            raise ValueError(
                f"'{operand[:40]}' in the range '{text[:80]}' is not a version; write 1.2 or 1.2.3"
            )
        tests.append(_compare(operator, version))
    return lambda version: all(test(version) for test in tests)


def _comparators(text: str) -> list[tuple[str, str]]:
    spaced = re.sub(r"(>=|<=|>|<|=)\s+", r"\1", text.strip())
    words = spaced.split()
    if not words:
        raise ValueError("an empty range selects nothing; write comparators such as '>=1.2 <2'")
    found = []
    for word in words:
        match = _COMPARATOR.fullmatch(word)
        if match is None or match[1] is None:
            raise ValueError(f"'{word}' in the range '{text}' has no operator; write one of >= > < <= =")
        found.append((match[1], match[2] if "." in match[2] else f"{match[2]}.0"))
    return found


def _compare(operator: str, bound: Version) -> Callable[[Version], bool]:
    match operator:
        case ">=":
            return lambda version: version >= bound
        case ">":
            return lambda version: version > bound
        case "<=":
            return lambda version: version <= bound
        case "<":
            return lambda version: version < bound
        case _:
            return lambda version: version == bound
