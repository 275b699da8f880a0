"""References from files: one a line, or the images of Compose files, Helm values and manifests (YAML).

What stands for an image but is no whole reference (a placeholder, a Helm image without a tag) is passed on as
it is written: whether it may be one of ours is for the plan to say.
"""

import re
from collections.abc import Iterator
from typing import Final

import yaml
from yaml.events import NodeEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from pruner import names
from pruner.errors import InputError
from pruner.files import STDIN, read_text
from pruner.references import DOCKER_HUB, MAX_LENGTH, TOO_LONG, host_of, parse_reference
from pruner.workloads.objects import Usage

MAX_BYTES: Final = 20 * 1024 * 1024
MAX_NODES: Final = 1_000_000
"""How many values and keys the YAML of a file may have; the library needs 300 bytes for each."""
MAX_USAGES: Final = 500_000
_MAX_DEPTH: Final = 100
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
NO_TAG: Final = "<no tag>"
"""Stands for the tag that a Helm chart would choose."""
_PAIRS: Final = (
    ("repository", "tag"),
    ("image", "tag"),
    ("name", "newTag"),
    ("newName", "newTag"),
    ("imageRepository", "imageTag"),
)
"""Keys that say a reference together."""
_PARTS: Final = frozenset({"registry", "digest", "sha256", "reference"}.union(*_PAIRS))
_NUMBER: Final = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}")
_SCHEME: Final = re.compile(r"^(?:docker|docker-pullable|oci|https?)://")


def read_references(source: str) -> list[Usage]:
    """The references in a file, or on standard input (``-``); InputError if it cannot be understood."""
    name = "<stdin>" if source == STDIN else names.shown_path(source)
    text = read_text(source, MAX_BYTES)
    found: dict[Usage, None] = {}
    for usage in _lines(name, text) if _is_plain(text) else _yaml(name, text):
        if len(usage.reference) > MAX_LENGTH:
            shown = names.printable(usage.reference[:60])
            raise InputError(f"{usage.workload}: '{shown}…' {TOO_LONG}; correct or remove it")
        found[usage] = None
        if len(found) > MAX_USAGES:
            raise InputError(f"{name}: more than {MAX_USAGES:,} images; split it")
    if not found:
        raise InputError(f"{name}: no image in it; write one reference a line, or YAML with 'image' keys")
    return list(found)


def _numbered(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if (content := line.partition(" #")[0].strip()) and not content.startswith("#"):
            yield number, content


def _is_plain(text: str) -> bool:
    """Whether every line is one word, as no YAML with an image in it is."""
    return all(len(line.split()) == 1 and not line.endswith(":") for _, line in _numbered(text))


def _lines(name: str, text: str) -> Iterator[Usage]:
    for number, line in _numbered(text):
        yield _usage(f"{name}:{number}", _SCHEME.sub("", line.strip("\"',")))


def _usage(where: str, text: str) -> Usage:
    """A use by a single text; without a tag, that may be given elsewhere, and be any."""
    rest = text.rpartition("/")[2]
    return Usage(where, text, None, ":" not in rest and "@" not in rest)


def _yaml(name: str, text: str) -> Iterator[Usage]:
    try:
        # The library would keep every value, however many there are, before it hands out the first.
        count = sum(isinstance(event, NodeEvent) for event in yaml.parse(text, Loader=_LOADER))
        if count > MAX_NODES:
            raise InputError(f"{name}: more than {MAX_NODES:,} values and keys; split it")
        for document in yaml.compose_all(text, Loader=_LOADER):
            if document is not None:
                yield from _Document(name, document).usages()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = name if mark is None else f"{name}:{mark.line + 1}:{mark.column + 1}"
        problem = names.printable(str(getattr(error, "problem", None) or error))
        raise InputError(f"{where}: neither references line by line nor YAML: {problem}") from None
    except RecursionError:
        raise InputError(f"{name}: nested too deeply") from None


class _Document:
    """One YAML document. Each node is looked at once, however many aliases name it.

    Whatever stands under a key that ends in ``image`` or ``images`` is an image, as is a map of
    ``repository`` and ``tag``, and any other text that is a whole reference with a host.
    """

    def __init__(self, name: str, root: Node) -> None:
        self._name = name
        self._root = root
        self._seen: set[int] = set()
        self._images: set[int] = set()
        """What was looked at as an image: a node may be seen as another value before."""
        self._merged: dict[int, dict[str, str]] = {}
        """The parts of each map, with those of the maps merged into it."""
        self._registries: dict[str, None] = {}
        """What charts put before images that name no registry themselves (``global.imageRegistry``)."""

    def usages(self) -> Iterator[Usage]:
        """All of its images."""
        without_host = []
        for usage in self._walk(self._root, 0):
            yield usage
            if host_of(usage.reference) == DOCKER_HUB:
                without_host.append(usage)
        for usage in without_host:
            for registry in self._registries:
                yield Usage(usage.workload, f"{registry}/{usage.reference}")

    def _where(self, node: Node) -> str:
        return f"{self._name}:{node.start_mark.line + 1}"

    def _walk(self, node: Node, depth: int) -> Iterator[Usage]:
        if id(node) in self._seen:
            return
        self._seen.add(id(node))
        if depth > _MAX_DEPTH:
            raise InputError(f"{self._where(node)}: nested more than {_MAX_DEPTH} levels deep")
        if isinstance(node, ScalarNode):
            if _is_whole(node.value):
                yield _usage(self._where(node), node.value)
        elif isinstance(node, SequenceNode):
            for item in node.value:
                yield from self._walk(item, depth + 1)
        elif isinstance(node, MappingNode):
            yield from self._map(node, depth)

    def _map(self, node: MappingNode, depth: int) -> Iterator[Usage]:
        for name in _assembled(self._parts(node)):
            yield Usage(self._where(node), name)
        for key, value in node.value:
            name = key.value.lower() if isinstance(key, ScalarNode) else ""
            if name in ("imageregistry", "global.imageregistry") and (text := _text_of(value)):
                self._registries[text[: MAX_LENGTH + 1].rstrip("/")] = None
            elif name.endswith(("image", "images")):
                yield from self._image(value)
            yield from self._walk(value, depth + 1)

    def _image(self, node: Node) -> Iterator[Usage]:
        if id(node) in self._images:
            return
        self._images.add(id(node))
        self._seen.add(id(node))
        if isinstance(node, ScalarNode):
            if text := _text_of(node).strip():
                yield _usage(self._where(node), text)
        elif isinstance(node, SequenceNode):
            for item in node.value:
                yield from self._image(item)
        elif isinstance(node, MappingNode):
            yield from self._image_map(node)

    def _image_map(self, node: MappingNode) -> Iterator[Usage]:
        parts = self._parts(node)
        repository = parts.get("repository") or parts.get("name")
        if found := _assembled(parts):
            for name in found:
                yield Usage(self._where(node), name)
        elif repository:
            yield Usage(self._where(node), _helm(repository, parts))
        elif reference := parts.get("reference"):
            yield Usage(self._where(node), reference)
        else:
            for _, value in node.value:
                yield from self._image(value)

    def _parts(self, node: MappingNode) -> dict[str, str]:
        """The parts of references in a map, those of maps that are merged into it (``<<``) included."""
        if id(node) in self._merged:
            return self._merged[id(node)]
        # A map that is merged into itself adds nothing.
        self._merged[id(node)] = {}
        found: dict[str, str] = {}
        for key, value in node.value:
            if isinstance(key, ScalarNode) and key.value == "<<":
                merged = value.value if isinstance(value, SequenceNode) else [value]
                for item in merged:
                    if isinstance(item, MappingNode):
                        found = self._parts(item) | found
        for key, value in node.value:
            if isinstance(key, ScalarNode) and key.value in _PARTS and (text := _text_of(value)):
                # No longer than what shows that it is too long: many maps may have merged it.
                found[key.value] = text[: MAX_LENGTH + 1]
        self._merged[id(node)] = found
        return found


def _assembled(parts: dict[str, str]) -> list[str]:
    """The references that a map says in parts: ``repository``, say, and ``tag`` or ``digest``."""
    found = []
    for place, tag in _PAIRS:
        repository = parts.get(place, "")
        if repository and (parts.get(tag) or parts.get("digest")):
            own = parts | {"tag": parts.get(tag, "")}
            found.append(_helm(repository, own))
            if "name" in parts and place == "repository":
                found.append(_helm(f"{repository}/{parts['name']}", own))
            if _NUMBER.fullmatch(own["tag"]):
                # A template may print such a tag as the number that it is.
                found.append(_helm(repository, own | {"tag": f"{float(own['tag']):g}"}))
    return list(dict.fromkeys(found))


def _is_whole(text: str) -> bool:
    """Whether a text, wherever it stands, is a reference that names its host."""
    if "/" not in text or host_of(text) == DOCKER_HUB:
        return False
    try:
        parse_reference(text)
    except InputError:
        return False
    return True


def _text_of(node: Node) -> str:
    """A scalar's text, whatever its tag; nothing for null."""
    is_null = not isinstance(node, ScalarNode) or node.tag == "tag:yaml.org,2002:null"
    return "" if is_null else str(node.value)


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
