"""Errors of a document model -> ``file:line:column`` sentences that say what is allowed."""

import difflib
from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pruner import names
from pruner.policy import document as doc
from pruner.policy import test_document as tests
from pruner.policy.yaml_source import NOTHING, YamlDocument

MAX_PROBLEMS: Final = 1000
"""How many problems of a file are shown."""
_Loc = tuple[int | str, ...]

_POLICY_MODELS: dict[str, type[BaseModel]] = {
    "policies": doc.PolicyDocument,
    "registries": doc.RegistryDocument,
    "delete": doc.RuleDocument,
    "keep": doc.RuleDocument,
    "any": doc.RuleDocument,
    "all": doc.RuleDocument,
    "not": doc.RuleDocument,
    "targets": doc.ImageTagsDocument,
    "limits": doc.LimitsDocument,
    "in_use": doc.InUseDocument,
    "semver": doc.SemverDocument,
    "tags": doc.RegexDocument,
}
"""The model of the maps that stand below a key."""

_MODEL_AT: dict[tuple[type[BaseModel], str], type[BaseModel]] = {
    **{(doc.Document, key): model for key, model in _POLICY_MODELS.items()},
    (tests.TestsDocument, "tests"): tests.TestDocument,
    (tests.TestsDocument, "inventory"): tests.TagDocument,
    (tests.TestsDocument, "expect"): tests.ExpectDocument,
}


def problems_of(error: ValidationError, name: str, source: YamlDocument, root: type[BaseModel]) -> list[str]:
    """The problems of a document, in the order of the file. ``root`` is the model of the whole document."""
    details = error.errors(include_url=False)
    details.sort(key=lambda detail: _place(source, detail))
    shown = details[:MAX_PROBLEMS]
    found = {(_place(source, detail), _problem(name, source, detail, root)) for detail in shown}
    more = len(details) - len(shown)
    hidden = [f"{name}: … and {more:,} more problems"] if more else []
    return [*(text for _, text in sorted(found)), *hidden]


def _place(source: YamlDocument, detail: ErrorDetails) -> tuple[int, int]:
    """The line and the column of a problem."""
    path = _path_in(source.data, detail["loc"])
    position = source.position(path)
    if detail["loc"] and detail["loc"][-1] == "[key]":
        position = source.keys.get(path, position)
    if detail["type"] in ("extra_forbidden", "invalid_key"):
        position = source.keys.get(path, position)
    return position.line, position.column


def _problem(name: str, source: YamlDocument, detail: ErrorDetails, root: type[BaseModel]) -> str:
    """Where and what, as one line."""
    line, column = _place(source, detail)
    sentence = _sentence(_path_in(source.data, detail["loc"]), detail, root)
    return f"{name}:{line}:{column}: {names.printable(sentence, 1000)}"


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


def _sentence(path: _Loc, detail: ErrorDetails, root: type[BaseModel]) -> str:
    kind = detail["type"]
    context = detail.get("ctx") or {}
    key = path[-1] if path else ""
    if kind == "extra_forbidden":
        return _unknown_key(path, root)
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
        if detail["input"] is NOTHING:
            return f"no value; write {_EXPECTED[kind]}, or remove the key"
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
    return kinds.get(type(value), "no value")


def _input(detail: ErrorDetails) -> str:
    value = detail["input"]
    if value is NOTHING:
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


def _unknown_key(path: _Loc, root: type[BaseModel]) -> str:
    key = str(path[-1])
    models = (_MODEL_AT.get((root, step)) for step in reversed(path[:-1]) if isinstance(step, str))
    model = next((model for model in models if model is not None), root)
    allowed = [field.alias or name for name, field in model.model_fields.items()]
    hint = _suggestion(key, allowed)
    return f"unknown key '{names.printable(key, 60)}'; allowed: {', '.join(allowed)}{hint}"


def _suggestion(word: str, allowed: Sequence[str]) -> str:
    by_lower = {item.lower(): item for item in allowed}
    close = difflib.get_close_matches(word.lower().replace("-", "_"), by_lower, 1, 0.6)
    return f"; did you mean '{by_lower[close[0]]}'?" if close else ""
