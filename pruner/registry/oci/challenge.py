"""The ``WWW-Authenticate`` header: which way of authentication a registry asks for. Pure.

Sources: RFC 9110, section 11.6.1, and distribution's "Token Authentication Specification".
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_WORD: Final = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_PART: Final = re.compile(
    rf"""
    [\s,]*({_WORD})                                 # a scheme, or the name of a parameter
    (?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))     # and its value, which only a parameter has
    |\s+[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|$))          # or the one value of a scheme like Negotiate
    |\s+(?={_WORD}\s*=)|\s*)""",
    re.VERBOSE,
)
MOST_CHARACTERS: Final = 8192


class Challenge(NamedTuple):
    """One way: ``scheme`` in lower case, and its parameters."""

    scheme: str
    parameters: dict[str, str]


def challenges(header: str) -> list[Challenge]:
    """The ways that a header offers, in its order; what cannot be understood is left out."""
    found: list[Challenge] = []
    for name, value in _parts(header[:MOST_CHARACTERS]):
        if value is None:
            found.append(Challenge(name.lower(), {}))
        elif found:
            found[-1].parameters.setdefault(name.lower(), value)
    return found


def _parts(header: str) -> Iterator[tuple[str, str | None]]:
    """Names of schemes (without a value) and parameters (with one)."""
    place = 0
    while match := _PART.match(header, place):
        if match.end() == place:
            return
        place = match.end()
        quoted, plain = match[2], match[3]
        yield match[1], re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
