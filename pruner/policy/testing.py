"""Tests of policies: small inventories, decided like real ones, compared with what is expected. Pure."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from pruner import names
from pruner.errors import InputError, PolicyError
from pruner.files import open_regular
from pruner.model import Action, Decision, Tag, Target
from pruner.policy import patterns
from pruner.policy.image_policies import RegistryPolicies
from pruner.policy.policy import PolicySet
from pruner.policy.problems import problems_of
from pruner.policy.retention import decide
from pruner.policy.test_document import TagDocument, TestDocument, TestsDocument
from pruner.policy.yaml_source import MAX_BYTES, YamlError, read_yaml

_DEFAULT_NOW: Final = "2026-01-01"


@dataclass(frozen=True, slots=True)
class TestResult:
    """How one test ended; ``problems`` is empty when it passed. ``source`` is ``file:line``."""

    __test__ = False

    name: str
    source: str
    problems: tuple[str, ...]


def run_tests(path: Path, policies: PolicySet) -> Iterator[TestResult]:
    """Run the tests of a file against ``policies``. PolicyError lists everything wrong with the file."""
    name = names.shown_path(path)
    try:
        with open_regular(path) as file:
            source = read_yaml(file.read(MAX_BYTES + 1))
        document = TestsDocument.model_validate(source.data)
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror or error}") from None
    except YamlError as error:
        at = error.position
        problem = names.printable(error.problem, 1000)
        raise PolicyError([f"{name}:{at.line}:{at.column}: {problem}"]) from None
    except ValidationError as error:
        raise PolicyError(problems_of(error, name, source, TestsDocument)) from None
    for number, test in enumerate(document.tests):
        line = source.position(("tests", number)).line
        problems = tuple(names.printable(text, 1000) for text in _problems(test, policies))
        yield TestResult(test.name, f"{name}:{line}", problems)


def _milliseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _problems(test: TestDocument, policies: PolicySet) -> Iterator[str]:
    yield from _mistakes(test, policies)
    now = _milliseconds(test.now or _DEFAULT_NOW)
    decisions = {str(item.tag.target): item for item in _decide(test, policies, now)}
    going = {name for name, item in decisions.items() if item.action is Action.DELETE}
    if test.expect.deleted is not None:
        expected = set(test.expect.deleted)
        for name in sorted(expected - going):
            why = f": {decisions[name].reasons[0]}" if name in decisions else ": no such tag in the inventory"
            yield f"{name} should go, but stays{why}"
        for name in sorted(going - expected):
            yield f"{name} should stay, but goes: {decisions[name].reasons[0]}"
    for action, verb, other, references in (
        (Action.DELETE, "go", "stays", test.expect.goes),
        (Action.KEEP, "stay", "goes", test.expect.stays),
    ):
        for reference in references or ():
            matching = [item for name, item in decisions.items() if _matches(reference, item.tag.target)]
            if not matching:
                yield f"{reference} matches no tag of the inventory"
            for item in matching:
                if item.action is not action:
                    yield f"{item.tag.target} should {verb}, but {other}: {item.reasons[0]}"


def _mistakes(test: TestDocument, policies: PolicySet) -> Iterator[str]:
    """What makes a test pass that tests nothing."""
    for path, items in test.inventory.items():
        if not policies.in_registry(path.partition("/")[0]):
            yield f"{path}: no policy is about this registry"
        tags = Counter(item if isinstance(item, str) else item.tag for item in items)
        for name, count in tags.items():
            if count > 1:
                yield f"{path}:{name} stands {count} times in the inventory"


def _matches(reference: str, target: Target) -> bool:
    path, _, tag = reference.rpartition(":")
    return patterns.compile_globs([path])(f"{target.registry}/{target.image}") and patterns.compile_globs(
        [tag]
    )(target.tag)


def _decide(test: TestDocument, policies: PolicySet, now: int) -> Iterator[Decision]:
    for path, items in sorted(test.inventory.items()):
        registry, _, image = path.partition("/")
        of_image = RegistryPolicies(policies.in_registry(registry)).of(image)
        tags = [_tag(registry, image, item, now) for item in items]
        yield from decide(tags, of_image, now)


def _tag(registry: str, image: str, item: str | TagDocument, now: int) -> Tag:
    fields = TagDocument.model_validate({"tag": item}) if isinstance(item, str) else item
    label = fields.digest or f"{registry}/{image}:{fields.tag}"
    updated = _milliseconds(fields.updated) if fields.updated else None
    if fields.age is not None:
        updated = now - fields.age
    return Tag(
        Target(registry, image, fields.tag),
        f"sha256:{hashlib.sha256(label.encode()).hexdigest()}",
        fields.size,
        updated,
        updated,
        None if fields.pulled is None else now - fields.pulled,
    )
