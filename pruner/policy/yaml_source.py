"""YAML text -> plain data with the position of every key and value. Bounded, and never surprising.

Reads the parser's event stream, so nesting is limited before it costs memory, and aliases, tags, merge
keys and duplicate keys are refused where they stand.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from yaml.nodes import ScalarNode
from yaml.resolver import Resolver

from pruner.names import printable

MAX_BYTES: Final = 5 * 1024 * 1024
MAX_DEPTH: Final = 40
MAX_VALUES: Final = 500_000
_TOO_DEEP: Final = f"nested more than {MAX_DEPTH} levels deep"

Path = tuple[str | int, ...]
_CORE_TAG: Final = "tag:yaml.org,2002:"
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)")
_FRACTION: Final = re.compile(r"[-+]?[0-9]*\.[0-9]*(?:[eE][-+]?[0-9]+)?")
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file; line and column start at 1."""

    line: int
    column: int


class _Nothing:
    """A key without a value. It is not None, so that no optional field takes it for an absent key."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING: Final = _Nothing()


class YamlError(Exception):
    """The text is not acceptable YAML; ``position`` says where."""

    def __init__(self, position: Position, problem: str) -> None:
        super().__init__(problem)
        self.position = position
        self.problem = problem


@dataclass(slots=True)
class YamlDocument:
    """The data of one document and where each part stands."""

    data: Any = None
    values: dict[Path, Position] = field(default_factory=dict)
    keys: dict[Path, Position] = field(default_factory=dict)

    def position(self, path: Path) -> Position:
        """Where the value at ``path`` stands, or the nearest thing around it."""
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, Position(1, 1))


@dataclass(slots=True)
class _Frame:
    path: Path
    container: dict[str, Any] | list[Any]
    key: str | None = None


def read_yaml(content: bytes) -> YamlDocument:
    """Parse ``content``; raises YamlError at the first thing that is not plain, bounded YAML."""
    if len(content) > MAX_BYTES:
        raise YamlError(Position(1, 1), f"the file is larger than {MAX_BYTES // 2**20} MiB; split it")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise YamlError(Position(1, 1), "the file is not UTF-8 text; save it as UTF-8") from None
    if "\0" in text:
        raise YamlError(Position(1, 1), "the file contains NUL bytes; it is not a policy file")
    return _Builder().build(text)


def _at(event: Event) -> Position:
    mark = event.start_mark
    return Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)


def _events(text: str) -> Iterator[Event]:
    try:
        yield from yaml.parse(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
        raise YamlError(where, _sentence(error.problem or error.context)) from None
    except yaml.reader.ReaderError as error:
        problem = f"not valid YAML: {error.reason} (U+{_code_point(error.character):04X})"
        raise YamlError(_position_of(text, error.character), problem) from None
    except yaml.YAMLError as error:
        raise YamlError(Position(1, 1), f"not valid YAML: {str(error).splitlines()[0]}") from None


def _sentence(problem: str | None) -> str:
    # libyaml has a limit of its own, and may read ahead to it before it hands out the first bracket.
    return _TOO_DEEP if problem and "nesting depth" in problem else f"not valid YAML: {problem}"


def _code_point(character: int | str | bytes) -> int:
    # The C parser reports a number, the Python one a character.
    return character if isinstance(character, int) else ord(character)


def _position_of(text: str, character: int | str | bytes) -> Position:
    """Where ``character`` stands first: the parser reports a byte offset or none."""
    before = text.partition(chr(_code_point(character)))[0]
    return Position(before.count("\n") + 1, len(before) - before.rfind("\n"))


class _Builder:
    def __init__(self) -> None:
        self.document = YamlDocument()
        self.stack: list[_Frame] = []
        self.documents = 0
        self.resolver = Resolver()

    def build(self, text: str) -> YamlDocument:
        for event in _events(text):
            self._take(event)
        if self.documents == 0:
            raise YamlError(Position(1, 1), "the file is empty; a policy file starts with 'version: 1'")
        return self.document

    def _take(self, event: Event) -> None:
        if isinstance(event, DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise YamlError(_at(event), "a second document ('---') in one file; use two files")
        elif isinstance(event, AliasEvent):
            raise YamlError(_at(event), "aliases ('*name') are not allowed in a policy; write the value out")
        elif isinstance(event, ScalarEvent):
            self._scalar(event)
        elif isinstance(event, CollectionStartEvent):
            self._open(event)
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            frame = self.stack.pop()
            if isinstance(frame.container, dict) and frame.key is not None:
                raise YamlError(_at(event), f"the key '{printable(frame.key, 60)}' has no value")

    def _open(self, event: Event) -> None:
        if len(self.stack) >= MAX_DEPTH:
            raise YamlError(_at(event), _TOO_DEEP)
        assert isinstance(event, MappingStartEvent | SequenceStartEvent)
        _refuse_marks(event, "mapping" if isinstance(event, MappingStartEvent) else "list")
        container: dict[str, Any] | list[Any] = {} if isinstance(event, MappingStartEvent) else []
        if self._expects_key():
            raise YamlError(_at(event), "a key must be plain text")
        path = self._place(container, _at(event))
        self.stack.append(_Frame(path, container))

    def _expects_key(self) -> bool:
        return bool(self.stack) and isinstance(self.stack[-1].container, dict) and self.stack[-1].key is None

    def _scalar(self, event: ScalarEvent) -> None:
        _refuse_marks(event, "value")
        if self._expects_key():
            self._key(event)
        else:
            self._place(self._resolve(event), _at(event))

    def _key(self, event: ScalarEvent) -> None:
        frame = self.stack[-1]
        assert isinstance(frame.container, dict)
        key = event.value
        if key == "<<" and event.implicit[0]:
            raise YamlError(_at(event), "merge keys ('<<') are not allowed in a policy; write the keys out")
        if key in frame.container:
            first = self.document.keys[(*frame.path, key)]
            raise YamlError(
                _at(event), f"duplicate key '{printable(key, 60)}'; it stands first on line {first.line}"
            )
        frame.key = key
        self.document.keys[(*frame.path, key)] = _at(event)

    def _place(self, value: Any, position: Position) -> Path:
        path: Path = ()
        if self.stack:
            frame = self.stack[-1]
            if isinstance(frame.container, dict):
                assert frame.key is not None
                path = (*frame.path, frame.key)
                frame.container[frame.key] = value
                frame.key = None
            else:
                path = (*frame.path, len(frame.container))
                frame.container.append(value)
        else:
            self.document.data = value
        if len(self.document.values) >= MAX_VALUES:
            raise YamlError(position, f"more than {MAX_VALUES:,} values in one file; split it")
        self.document.values[path] = position
        return path

    def _resolve(self, event: ScalarEvent) -> Any:
        if not event.implicit[0]:
            return event.value
        tag = str(self.resolver.resolve(ScalarNode, event.value, (True, False)))  # type: ignore[no-untyped-call]
        return _plain_value(tag.removeprefix(_CORE_TAG), event)


def _refuse_marks(event: Any, what: str) -> None:
    if event.tag is not None and event.tag != "!":
        raise YamlError(_at(event), f"the YAML tag '{event.tag[:60]}' is not allowed; write a plain {what}")
    if event.anchor is not None:
        raise YamlError(_at(event), f"the anchor '&{event.anchor[:60]}' is not allowed; remove it")


def _plain_value(kind: str, event: ScalarEvent) -> Any:
    text: str = event.value
    if kind == "null":
        return NOTHING
    if kind == "bool":
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise YamlError(_at(event), f"'{text}' would be read as true or false by YAML; write it in quotes")
    if kind == "int" and _INTEGER.fullmatch(text):
        return int(text) if len(text) < 20 else text
    if kind == "float" and _FRACTION.fullmatch(text):
        return float(text)
    if kind in ("int", "float"):
        # Octal, sexagesimal, infinite, 1_000: readers of YAML do not agree on the value.
        raise YamlError(
            _at(event), f"'{printable(text, 60)}' would be read as a number by YAML; write it in quotes"
        )
    return text
