"""Policy files -> compiled policies, or every error of every file at once as ``file:line:column: …``."""

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final

from pydantic import ValidationError

from pruner import names
from pruner.errors import InputError, PolicyError
from pruner.files import STDIN, read_bytes
from pruner.policy import document as doc
from pruner.policy.compile import compile_policies, compile_registries
from pruner.policy.folders import FileSearch
from pruner.policy.lint import lint_document
from pruner.policy.policy import Policy, PolicySet, RegistrySettings
from pruner.policy.problems import problems_of
from pruner.policy.yaml_source import MAX_BYTES, YamlDocument, YamlError, read_yaml

SUFFIXES: Final = (".yaml", ".yml")
TEST_SUFFIXES: Final = (".test.yaml", ".test.yml")


def load_policies(paths: Sequence[str], stdin: BinaryIO | None = None) -> PolicySet:
    """Load files, the ``*.yaml`` and ``*.yml`` of folders, and ``-`` (standard input).

    Hidden entries of a folder are skipped, and sub-folders are not read: see ``FileSearch``.

    Raises PolicyError with all problems of all files, InputError when there is nothing to load.
    """
    if not paths:
        raise InputError("no policy file given; write a file, a folder or - for standard input")
    problems: list[str] = []
    files = list(_contents(paths, stdin, problems))
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


def _contents(
    paths: Sequence[str], stdin: BinaryIO | None, problems: list[str]
) -> Iterator[tuple[str, bytes]]:
    """The name, as it is shown, and the content of each file; what cannot be read is a problem."""
    seen: set[str] = set()
    search = FileSearch([path for path in paths if path != STDIN], _is_policy)
    for path in paths:
        if path == STDIN:
            yield "<stdin>", (stdin or sys.stdin.buffer).read(MAX_BYTES + 1)
            continue
        before = len(search.problems)
        files = search.files(Path(path))
        if not files and len(search.problems) == before:
            problems.append(f"{names.shown_path(path)}: the folder has no *.yaml or *.yml file")
        for file in files:
            if (real := os.path.realpath(file)) not in seen:
                seen.add(real)
                yield from _read(file, problems)
    problems += search.problems


def _read(file: Path, problems: list[str]) -> Iterator[tuple[str, bytes]]:
    name = names.shown_path(file)
    try:
        yield name, read_bytes(str(file), MAX_BYTES)
    except OSError as error:
        problems.append(f"{name}: cannot be read: {error.strerror or error}")


def is_yaml(name: str) -> bool:
    """Whether a file's name says that it holds YAML."""
    return name.lower().endswith(SUFFIXES)


def is_policy_test(name: str) -> bool:
    """``NAME.test.yaml`` beside a policy holds tests of it, not a policy."""
    return name.lower().endswith(TEST_SUFFIXES)


def _is_policy(name: str) -> bool:
    return is_yaml(name) and not is_policy_test(name)


class _Loaded:
    """What has been loaded so far, and all problems found."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        self.policies: list[Policy] = []
        self._by_name: dict[str, Policy] = {}
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
            first = self._by_name.setdefault(policy.name, policy)
            if first is not policy:
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
