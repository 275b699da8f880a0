"""Policy files -> compiled policies, or every error of every file at once as ``file:line:column: …``."""

import difflib
import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pruner import names
from pruner.errors import InputError, PolicyError
from pruner.policy import document as doc
from pruner.policy.compile import compile_policies, compile_registries
from pruner.policy.policy import Policy, PolicySet, RegistrySettings
from pruner.policy.yaml_source import MAX_BYTES, YamlDocument, YamlError, read_yaml

SUFFIXES = (".yaml", ".yml")
STDIN = "-"

_Loc = tuple[int | str, ...]

_MODEL_AT: dict[str, type[BaseModel]] = {
    "policies": doc.PolicyDocument,
    "registries": doc.RegistryDocument,
    "delete": doc.RuleDocument,
    "keep": doc.RuleDocument,
    "any": doc.RuleDocument,
    "all": doc.RuleDocument,
    "not": doc.RuleDocument,
    "targets": doc.ImageTagsDocument,
    "limits": doc.LimitsDocument,
    "semver": doc.SemverDocument,
    "tags": doc.RegexDocument,
}
"""The model of the maps that stand below a key."""


def load_policies(paths: Sequence[str], stdin: BinaryIO | None = None) -> PolicySet:
    """Load files, the ``*.yaml`` and ``*.yml`` of folders, and ``-`` (standard input).

    Raises PolicyError with all problems of all files, InputError when there is nothing to load.
    """
    problems: list[str] = []
    files: list[tuple[str, bytes]] = []
    for name, read in _sources(paths, stdin):
        try:
            files.append((name, read()))
        except OSError as error:
            problems.append(f"{name}: cannot be read: {error.strerror or error}")
    if not files and not problems:
        raise InputError("no policy file given; write a file, a folder or - for standard input")
    loaded = _Loaded(problems)
    for name, content in files:
        loaded.add(name, content)
    if loaded.problems:
        raise PolicyError(loaded.problems)
    digest = hashlib.sha256()
    for _, content in files:
        digest.update(f"{len(content)}:".encode() + content)
    return PolicySet(
        tuple(loaded.policies), loaded.registries, digest.hexdigest(), tuple(name for name, _ in files)
    )


def _sources(paths: Sequence[str], stdin: BinaryIO | None) -> Iterator[tuple[str, Callable[[], bytes]]]:
    seen: set[Path] = set()
    for text in paths:
        if text == STDIN:
            stream = stdin or sys.stdin.buffer
            yield "<stdin>", lambda stream=stream: stream.read(MAX_BYTES + 1)  # type: ignore[misc]
            continue
        path = Path(text)
        members = _folder(path) if path.is_dir() else [path]
        for member in members:
            if member.resolve() not in seen:
                seen.add(member.resolve())
                yield str(member), lambda member=member: _read(member)  # type: ignore[misc]


def _folder(path: Path) -> list[Path]:
    members = sorted(
        member
        for member in path.iterdir()
        if member.suffix in SUFFIXES and member.is_file() and not _is_policy_test(member)
    )
    if not members:
        raise InputError(f"{path}: the folder has no *.yaml or *.yml file")
    return members


def _is_policy_test(path: Path) -> bool:
    """``NAME.test.yaml`` beside a policy holds tests of it, not a policy."""
    return path.name.endswith((".test.yaml", ".test.yml"))


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


class _Loaded:
    """What has been loaded so far, and all problems found."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        self.policies: list[Policy] = []
        self.registries: dict[str, RegistrySettings] = {}

    def add(self, name: str, content: bytes) -> None:
        """Load one file; its problems are collected."""
        try:
            source = read_yaml(content)
        except YamlError as error:
            at = error.position
            self.problems.append(f"{name}:{at.line}:{at.column}: {error.problem}")
            return
        try:
            document = doc.Document.model_validate(source.data)
        except ValidationError as error:
            found = {_problem(name, source, detail) for detail in error.errors(include_url=False)}
            self.problems += [text for _, text in sorted(found)]
            return
        self._take(name, source, document)

    def _take(self, name: str, source: YamlDocument, document: doc.Document) -> None:
        def locate(path: _Loc) -> str:
            return f"{name}:{(source.keys.get(path) or source.position(path)).line}"

        try:
            policies = compile_policies(document, locate)
        except ValueError as error:
            # Each pattern is fine by itself; only all patterns of a list together can be too large.
            self.problems.append(f"{name}:1:1: {error}")
            return
        for policy in policies:
            first = next((other for other in self.policies if other.name == policy.name), None)
            if first is not None:
                self.problems.append(
                    f"{policy.source}: a second policy named '{policy.name}'; the first stands at "
                    f"{first.source}; give each policy its own name"
                )
            self.policies.append(policy)
        for registry, settings in compile_registries(document, locate).items():
            known = self.registries.setdefault(registry, settings)
            if _facts(known) != _facts(settings):
                self.problems.append(
                    f"{settings.source}: registry '{registry}' is described differently at "
                    f"{known.source}; make both the same or remove one"
                )


def _facts(settings: RegistrySettings) -> tuple[object, ...]:
    return (
        settings.region,
        settings.endpoint,
        settings.profile,
        settings.concurrency,
        settings.requests_per_second,
    )


def _problem(name: str, source: YamlDocument, detail: ErrorDetails) -> tuple[tuple[int, int], str]:
    """Where (for sorting) and what, as one line."""
    path = _path_in(source.data, detail["loc"])
    position = source.position(path)
    if detail["type"] in ("extra_forbidden", "invalid_key"):
        position = source.keys.get(path, position)
    elif detail["type"] == "value_error" and path in source.keys:
        position = source.values.get(path, position)
    text = f"{name}:{position.line}:{position.column}: {_sentence(path, detail)}"
    return (position.line, position.column), text


def _path_in(data: Any, loc: _Loc) -> _Loc:
    """The part of pydantic's location that exists in the data: labels of unions do not."""
    path: list[int | str] = []
    for step in loc:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            continue
        path.append(step)
    return tuple(path)


def _sentence(path: _Loc, detail: ErrorDetails) -> str:
    kind = detail["type"]
    context = detail.get("ctx") or {}
    key = path[-1] if path else ""
    if kind == "extra_forbidden":
        return _unknown_key(path)
    if kind == "missing":
        return f"'{detail['loc'][-1]}' is missing; add it"
    if kind == "value_error":
        return f"{_named(path)}{context.get('error', detail['msg'])}"
    if kind == "literal_error":
        return _not_one_of(path, detail["input"], str(context.get("expected", "")))
    if kind in ("too_short", "string_too_short"):
        whole = f"'{key}' is empty; write at least one, or remove the key"
        return whole if isinstance(key, str) else f"{_named(path)}an empty text; write one or remove it"
    if kind == "string_pattern_mismatch":
        return f"{_named(path)}{_input(detail)} is not valid here; allowed is {context.get('pattern')}"
    return f"{_named(path)}{_wrong_type(kind, detail)}"


def _named(path: _Loc) -> str:
    """The nearest key, for a sentence that starts with it."""
    key = next((step for step in reversed(path) if isinstance(step, str)), None)
    return "" if key is None else f"'{names.printable(key, 60)}': "


_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list, as in [a, b]",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
}


def _wrong_type(kind: str, detail: ErrorDetails) -> str:
    context = detail.get("ctx") or {}
    if kind in _EXPECTED:
        quotes = "; write it in quotes" if kind == "string_type" and _is_scalar(detail["input"]) else ""
        return f"{_input(detail)} is {_kind(detail['input'])}, but {_EXPECTED[kind]} belongs here{quotes}"
    for bound, words in (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than")):
        if bound in context:
            return f"{_input(detail)} is out of range; it must be {words} {context[bound]}"
    return f"{_input(detail)}: {detail['msg']}"


def _is_scalar(value: Any) -> bool:
    return isinstance(value, bool | int | float)


def _kind(value: Any) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "text"}
    kinds |= {list: "a list", dict: "a map"}
    return kinds.get(type(value), "empty")


def _input(detail: ErrorDetails) -> str:
    value = detail["input"]
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "this"
    return f"'{names.printable(str(value), 60)}'"


def _not_one_of(path: _Loc, value: Any, expected: str) -> str:
    allowed = [word.strip().strip("'") for word in expected.replace(" or ", ", ").split(",")]
    hint = _suggestion(str(value), allowed)
    key = _named(path)
    if path and path[-1] == "region":
        hint = hint or "; other regions have no NCR endpoint that is known: write 'endpoint' instead"
    return f"{key}'{names.printable(str(value), 60)}' is not known; allowed: {', '.join(allowed)}{hint}"


def _unknown_key(path: _Loc) -> str:
    key = str(path[-1])
    container = next((step for step in reversed(path[:-1]) if isinstance(step, str)), None)
    if len(path) >= 2 and path[0] == "registries" and len(path) == 3:
        container = "registries"
    model = _MODEL_AT.get(container or "", doc.Document)
    allowed = [field.alias or name for name, field in model.model_fields.items()]
    hint = _suggestion(key, allowed)
    return f"unknown key '{names.printable(key, 60)}'; allowed: {', '.join(allowed)}{hint}"


def _suggestion(word: str, allowed: Sequence[str]) -> str:
    by_lower = {item.lower(): item for item in allowed}
    close = difflib.get_close_matches(word.lower().replace("-", "_"), by_lower, 1, 0.6)
    return f"; did you mean '{by_lower[close[0]]}'?" if close else ""
