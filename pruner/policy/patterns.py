"""Glob and RE2 patterns: linear time, whole-name match.

A glob knows ``*`` (anything within one path component), ``**`` (anything, across ``/``), ``?`` (one
character within a component) and ``[abc]`` / ``[a-z]`` / ``[!a]`` sets. In a list, ``!`` excludes and the
last pattern that matches decides; a list of exclusions alone starts from everything.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import re2

Matcher = Callable[[str], bool]

MAX_PATTERN_LENGTH: Final = 500
_WILD: Final = frozenset("*?[")
_RE2_MEMORY_BYTES: Final = 8 << 20
_UNION_LENGTH: Final = 1000


def _set_end(glob: str, start: int) -> int:
    """The index of the ``]`` closing the set that opens at ``start``; ValueError without one."""
    first = start + 2 if glob[start + 1 : start + 2] in ("!", "^") else start + 1
    end = glob.find("]", first + 1)
    if end < 0:
        raise ValueError(f"'{glob}': the set at '[' has no closing ']'")
    return end


def _translate_set(body: str) -> str:
    negated = body[0] in "!^"
    inner = body[1:] if negated else body
    # RE2 knows the escapes of ASCII punctuation only.
    escaped = "".join("\\" + c if c.isascii() and not c.isalnum() and c != "-" else c for c in inner)
    if negated:
        return f"[^/{escaped}]"
    if _compile(f"[{escaped}]").fullmatch("/") is not None:
        raise ValueError(f"the set '[{body}]' holds '/', which a set never matches; write the '/' outside")
    return f"[{escaped}]"


def glob_to_regex(glob: str) -> str:
    """The RE2 expression of one glob (without ``!``). ValueError on a set that is not one."""
    parts: list[str] = []
    i = 0
    while i < len(glob):
        if glob.startswith("**", i):
            # '**/' also stands for no component at all, so that '**/web' matches 'web'.
            whole = glob.startswith("**/", i) and (i == 0 or glob[i - 1] == "/")
            parts.append("(?:.*/)?" if whole else ".*")
            i += 3 if whole else 2
            continue
        char = glob[i]
        if char == "[":
            end = _set_end(glob, i)
            parts.append(_translate_set(glob[i + 1 : end]))
            i = end
        else:
            parts.append({"*": "[^/]*", "?": "[^/]"}.get(char) or re2.escape(char))
        i += 1
    return "".join(parts)


def compile_regex(pattern: str) -> Matcher:
    """A whole-string matcher of an RE2 expression. ValueError says what RE2 does not like."""
    compiled = _compile(_bounded(pattern))
    return lambda name: compiled.fullmatch(name) is not None


def capture(pattern: str) -> Callable[[str], str | None]:
    """The first group of a whole-string match, or None without one. Needs exactly one group."""
    compiled = _compile(_bounded(pattern))
    if compiled.groups != 1:
        raise ValueError(f"'{pattern}' must have exactly one group in parentheses, not {compiled.groups}")

    def group(name: str) -> str | None:
        match = compiled.fullmatch(name)
        value = match and match.group(1)
        return value if isinstance(value, str) else None

    return group


def _bounded(pattern: str) -> str:
    """``pattern`` as the user wrote it; ValueError when it is empty or too long."""
    if not pattern.strip():
        raise ValueError("an empty pattern matches nothing; remove it")
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise ValueError(f"the pattern is longer than {MAX_PATTERN_LENGTH} characters")
    return pattern


def _compile(pattern: str) -> "re2._Regexp":
    try:
        return re2.compile(pattern, _options(_RE2_MEMORY_BYTES))
    except re2.error as error:
        detail = error.args[0]
        text = detail.decode(errors="replace") if isinstance(detail, bytes) else str(detail)
        raise ValueError(f"'{pattern}' is not a regular expression that RE2 knows: {text}") from None


def _options(memory: int) -> "re2.Options":
    options = re2.Options()
    options.max_mem = memory
    options.log_errors = False
    return options


def check_glob(glob: str) -> None:
    """ValueError unless ``glob`` (with or without a leading ``!``) can be used as a pattern."""
    body = _bounded(glob.removeprefix("!"))
    if body.startswith("!"):
        raise ValueError(f"'{glob}' starts with two '!'; one '!' excludes")
    # Plain ASCII, and a prefix of it, always compile.
    if not body.isascii() or (set(body) & _WILD and not _is_prefix(body)):
        _compile(glob_to_regex(body))


def compile_globs(globs: Sequence[str]) -> Matcher:
    """A matcher of a list of globs, the last match deciding. ValueError on a pattern that is not one."""
    for glob in globs:
        check_glob(glob)
    if not any(glob.startswith("!") for glob in globs):
        return _any_of(globs)
    rules = [(not glob.startswith("!"), _any_of([glob.removeprefix("!")])) for glob in globs]
    default = not any(include for include, _ in rules)

    def matches(name: str) -> bool:
        for include, matcher in reversed(rules):
            if matcher(name):
                return include
        return default

    return matches


def _is_prefix(glob: str) -> bool:
    """Whether a glob is plain text and one ``*`` at its end."""
    body = glob[:-1]
    return glob.endswith("*") and "/" not in body and not set(body) & _WILD


def _any_of(globs: Sequence[str]) -> Matcher:
    literal = frozenset(glob for glob in globs if not set(glob) & _WILD)
    wild = [glob_to_regex(glob) for glob in globs if glob not in literal]
    if not wild:
        return literal.__contains__
    prefixes = tuple(glob[:-1] for glob in globs if glob not in literal and _is_prefix(glob))
    if len(prefixes) == len(wild):
        # Most globs of tags are like 'pr-*', and this is many times faster than an expression.
        return lambda name: name in literal or (name.startswith(prefixes) and "/" not in name)
    compiled = _compile_union(wild)
    return lambda name: name in literal or compiled(name)


def match_any(globs: Iterable[str], regexes: Iterable[str]) -> Matcher:
    """A matcher of what any of very many patterns matches: globs without ``!``, and RE2 expressions."""
    literal, prefixes, expressions = set(), set(), list(regexes)
    for glob in globs:
        if not set(glob) & _WILD:
            literal.add(glob)
        elif _is_prefix(glob):
            prefixes.add(glob[:-1])
        else:
            expressions.append(glob_to_regex(glob))
    unions = [
        union
        for start in range(0, len(expressions), _UNION_LENGTH)
        for union in _compile_unions(expressions[start : start + _UNION_LENGTH])
    ]

    def matches(name: str) -> bool:
        if name in literal or any(union(name) for union in unions):
            return True
        return "/" not in name and any(name[:end] in prefixes for end in range(len(name) + 1))

    return matches


def _compile_unions(expressions: Sequence[str]) -> list[Matcher]:
    """One union of expressions that each compile by themselves, or several where it would be too large."""
    try:
        return [_compile_union(expressions)]
    except ValueError:
        if len(expressions) == 1:
            raise
        half = len(expressions) // 2
        return [*_compile_unions(expressions[:half]), *_compile_unions(expressions[half:])]


def _compile_union(expressions: Sequence[str]) -> Matcher:
    union = "|".join(f"(?:{expression})" for expression in expressions)
    try:
        compiled = re2.compile(union, _options(_RE2_MEMORY_BYTES * 8))
    except re2.error:
        # Each of them compiles by itself, so it is their sum that is too much.
        raise ValueError(f"{len(expressions)} patterns in one list are too many; use fewer") from None
    return lambda name: compiled.fullmatch(name) is not None
