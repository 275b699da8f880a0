"""References from files: one a line, or the images of Compose files, Helm values and manifests (YAML).

What stands for an image but is no whole reference (a placeholder, a Helm image without a tag) is passed on as
it is written: whether it may be one of ours is for the plan to say.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from pruner import names
from pruner.errors import InputError
from pruner.workloads.objects import Usage

MAX_BYTES: Final = 20 * 1024 * 1024
STDIN: Final = "-"
_MAX_DEPTH: Final = 100
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
NO_TAG: Final = "<no tag>"
"""Stands for the tag that a Helm chart would choose."""


def read_references(source: str) -> list[Usage]:
    """The references in a file, or on standard input (``-``); InputError if it cannot be understood."""
    name = "<stdin>" if source == STDIN else source
    text = _text(source, name)
    found = list(_lines(name, text) if _is_plain(text) else _yaml(name, text))
    if not found:
        raise InputError(f"{name}: no image in it; write one reference a line, or YAML with 'image' keys")
    return found


def _text(source: str, name: str) -> str:
    try:
        if source == STDIN:
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise InputError(f"{name}: more than {MAX_BYTES // 1024**2} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{name}: not UTF-8 text") from None


def _numbered(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if (content := line.partition(" #")[0].strip()) and not content.startswith("#"):
            yield number, content


def _is_plain(text: str) -> bool:
    """Whether every line is one word, as no YAML with an image in it is."""
    return all(len(line.split()) == 1 and not line.endswith(":") for _, line in _numbered(text))


def _lines(name: str, text: str) -> Iterator[Usage]:
    for number, line in _numbered(text):
        yield Usage(f"{name}:{number}", line)


def _yaml(name: str, text: str) -> Iterator[Usage]:
    try:
        for document in yaml.compose_all(text, Loader=_LOADER):
            if document is not None:
                yield from _walk(name, document, set(), 0)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = name if mark is None else f"{name}:{mark.line + 1}:{mark.column + 1}"
        problem = getattr(error, "problem", None) or error
        raise InputError(
            f"{where}: neither references line by line nor YAML: {names.printable(str(problem))}"
        ) from None
    except RecursionError:
        raise InputError(f"{name}: nested too deeply") from None


def _walk(name: str, node: Node, seen: set[int], depth: int) -> Iterator[Usage]:
    """The images below ``node``; what an alias names again is looked at once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if depth > _MAX_DEPTH:
        raise InputError(f"{name}:{node.start_mark.line + 1}: nested more than {_MAX_DEPTH} levels deep")
    if isinstance(node, SequenceNode):
        for item in node.value:
            yield from _walk(name, item, seen, depth + 1)
    elif isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(key, ScalarNode) and key.value == "image":
                yield from _image(name, value)
            yield from _walk(name, value, seen, depth + 1)


def _image(name: str, node: Node) -> Iterator[Usage]:
    where = f"{name}:{node.start_mark.line + 1}"
    if isinstance(node, ScalarNode):
        if node.value and node.tag == "tag:yaml.org,2002:str":
            yield Usage(where, node.value)
    elif isinstance(node, MappingNode):
        parts = {
            key.value: value.value
            for key, value in node.value
            if isinstance(key, ScalarNode) and isinstance(value, ScalarNode)
        }
        if repository := parts.get("repository") or parts.get("name"):
            yield Usage(where, _helm(repository, parts))


def _helm(repository: str, parts: dict[str, str]) -> str:
    """The reference that a chart makes of ``image: {registry, repository, tag, digest}``."""
    host = parts.get("registry", "")
    whole = f"{host.rstrip('/')}/{repository}" if host else repository
    tag, digest = parts.get("tag", ""), parts.get("digest", "") or parts.get("sha256", "")
    if tag.startswith("sha256:"):
        return f"{whole}@{tag}"
    if digest:
        digest = digest if ":" in digest else f"sha256:{digest}"
        return f"{whole}:{tag}@{digest}" if tag else f"{whole}@{digest}"
    return f"{whole}:{tag or NO_TAG}"
