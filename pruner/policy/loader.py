"""Policy files -> compiled policies, or every error of every file at once as ``file:line:column: …``."""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from pruner import names
from pruner.errors import InputError, PolicyError
from pruner.policy import document as doc
from pruner.policy.compile import compile_policies, compile_registries
from pruner.policy.lint import lint_document
from pruner.policy.policy import Policy, PolicySet, RegistrySettings
from pruner.policy.problems import problems_of
from pruner.policy.yaml_source import MAX_BYTES, YamlDocument, YamlError, read_yaml

SUFFIXES = (".yaml", ".yml")
STDIN = "-"


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
    loaded.check_shared()
    if loaded.problems:
        raise PolicyError(loaded.problems)
    digest = hashlib.sha256()
    for _, content in files:
        digest.update(f"{len(content)}:".encode() + content)
    return PolicySet(
        tuple(loaded.policies),
        loaded.registries,
        digest.hexdigest(),
        tuple(name for name, _ in files),
        tuple(loaded.warnings),
    )


def _sources(paths: Sequence[str], stdin: BinaryIO | None) -> Iterator[tuple[str, Callable[[], bytes]]]:
    seen: set[str] = set()
    for text in paths:
        if text == STDIN:
            stream = stdin or sys.stdin.buffer
            yield "<stdin>", lambda stream=stream: stream.read(MAX_BYTES + 1)  # type: ignore[misc]
            continue
        path = Path(text)
        members = _folder(path) if path.is_dir() else [path]
        for member in members:
            real = os.path.realpath(member)
            if real not in seen:
                seen.add(real)
                yield str(member), lambda member=member: _read(member)  # type: ignore[misc]


def _folder(path: Path) -> list[Path]:
    try:
        members = sorted(
            member
            for member in path.iterdir()
            if member.suffix in SUFFIXES and member.is_file() and not _is_policy_test(member)
        )
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
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
        self.warnings: list[str] = []
        self.registries: dict[str, RegistrySettings] = {}

    def add(self, name: str, content: bytes) -> None:
        """Load one file; its problems are collected."""
        try:
            source = read_yaml(content)
        except YamlError as error:
            at = error.position
            self.problems.append(f"{name}:{at.line}:{at.column}: {names.printable(error.problem, 1000)}")
            return
        try:
            document = doc.Document.model_validate(source.data)
        except ValidationError as error:
            self.problems += problems_of(error, name, source, doc.Document)
            return
        self._take(name, source, document)

    def _take(self, name: str, source: YamlDocument, document: doc.Document) -> None:
        def locate(path: tuple[int | str, ...]) -> str:
            return f"{name}:{(source.keys.get(path) or source.position(path)).line}"

        try:
            policies = compile_policies(document, locate)
        except ValueError as error:
            # Each pattern is fine by itself; only all patterns of a list together can be too large.
            self.problems.append(f"{name}:1:1: {error}")
            return
        self.warnings += lint_document(document, locate)
        for policy in policies:
            first = next((other for other in self.policies if other.name == policy.name), None)
            if first is not None:
                self.problems.append(
                    f"{policy.source}:1: a second policy named '{policy.name}'; the first stands at "
                    f"{first.source}; give each policy its own name"
                )
            self.policies.append(policy)
        for registry, settings in compile_registries(document, locate).items():
            known = self.registries.setdefault(registry, settings)
            if _facts(known) != _facts(settings):
                self.problems.append(
                    f"{settings.source}:1: registry '{registry}' is described differently at "
                    f"{known.source}; make both the same or remove one"
                )

    def check_shared(self) -> None:
        """Deleting a manifest takes all its tags along, so there no tag of a kept digest can go."""
        for policy in self.policies:
            settings = self.registries.get(policy.registry)
            if policy.delete_shared and settings is not None and settings.takes_siblings:
                self.problems.append(
                    f"{policy.source}:1: 'shared_digest: delete' of policy '{policy.name}' needs a registry "
                    f"that deletes a tag by its name; if '{policy.registry}' does, write 'delete_by: tag' at "
                    f"{settings.source}"
                )


def _facts(settings: RegistrySettings) -> RegistrySettings:
    """All but the place where they stand."""
    return replace(settings, source="")
