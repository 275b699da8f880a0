"""Warnings about policies that are valid but probably not meant so. Pure; each says what to do."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from pruner import names
from pruner.model import Tag
from pruner.policy import patterns
from pruner.policy.document import Document, PolicyDocument, RegexDocument, RuleDocument
from pruner.policy.image_policies import RegistryPolicies
from pruner.policy.policy import Policy
from pruner.policy.verdicts import ImageTable, judge

_Path = tuple[str | int, ...]
Locate = Callable[[_Path], str]

_AGE_OR_COUNT: Final = (
    "older_than",
    "not_pulled_for",
    "newest",
    "larger_than",
    "digest_shared_with",
    "orphaned",
)
_GLOB_IN_REGEX: Final = re.compile(r"[A-Za-z0-9_-]\*$|^\*")
_NOT_IN_TAGS: Final = re.compile(r"[^A-Za-z0-9_.*?\[\]!^-]")
_MOST_EXCLUSIONS: Final = 200
"""Of so many lists of globs with exclusions each is asked by itself for every name."""
_WARNING_LENGTH: Final = 1000
_MOVING: Final = frozenset({"latest", "main", "master", "stable", "edge", "nightly"})
"""Names that people rightly protect even where nothing threatens them."""


def lint_document(document: Document, locate: Locate) -> list[str]:
    """Warnings about one file, as ``file:line: …``."""
    deleting: dict[str, list[RuleDocument]] = {}
    for policy in document.policies:
        deleting.setdefault(policy.registry, []).extend(policy.delete or ())
    # Made once for a registry: with thousands of rules, to ask each for each name would take minutes.
    selects = {registry: _name_matcher(rules) for registry, rules in deleting.items()}
    found: list[str] = []
    for number, policy in enumerate(document.policies):
        warnings = _policy(policy, selects[policy.registry], ("policies", number), locate)
        found += (names.printable(text, _WARNING_LENGTH) for text in warnings)
    return found


def _policy(policy: PolicyDocument, selects: patterns.Matcher, path: _Path, locate: Locate) -> Iterator[str]:
    keeps_newest = any(
        rule.newest is not None or (rule.semver is not None and rule.semver.newest is not None)
        for rule in policy.keep or ()
    )
    for number, rule in enumerate(policy.delete or ()):
        where = (*path, "delete", number)
        if not keeps_newest and not _has_age_or_count(rule):
            yield (
                f"{locate(where)}: this delete rule has no age or count condition and takes tags however new "
                f"they are; add older_than, or a keep rule with newest"
            )
        if _takes_newest(rule):
            yield (
                f"{locate(where)}: this delete rule takes the newest tags and leaves the older ones; to keep "
                f"the newest, write it in a keep rule"
            )
        yield from _rule(rule, where, locate)
    for number, rule in enumerate(policy.keep or ()):
        where = (*path, "keep", number)
        yield from _rule(rule, where, locate)
        yield from _idle_keep(rule, selects, where, locate)
    for key in ("delete", "keep"):
        yield from _repeated(getattr(policy, key) or (), (*path, key), locate)


def _has_age_or_count(rule: RuleDocument) -> bool:
    if any(getattr(rule, name) is not None for name in _AGE_OR_COUNT):
        return True
    if rule.semver is not None and rule.semver.newest is not None:
        return True
    inner = [*(rule.all or ()), *([rule.not_] if rule.not_ else [])]
    if any(_has_age_or_count(part) or part.newer_than is not None for part in inner):
        return True
    return rule.any is not None and all(_has_age_or_count(part) for part in rule.any)


def _takes_newest(rule: RuleDocument) -> bool:
    if rule.newest is not None or (rule.semver is not None and rule.semver.newest is not None):
        return True
    return any(_takes_newest(part) for part in (*(rule.any or ()), *(rule.all or ())))


def _rule(rule: RuleDocument, path: _Path, locate: Locate) -> Iterator[str]:
    if rule.older_than is not None and rule.newer_than is not None and rule.older_than >= rule.newer_than:
        yield f"{locate(path)}: no tag is both older_than and newer_than these; the rule never matches"
    longest, shortest = rule.pulled_within, rule.not_pulled_for
    if longest is not None and shortest is not None and shortest >= longest:
        yield f"{locate(path)}: no tag is both pulled_within and not_pulled_for these; it never matches"
    if isinstance(rule.tags, RegexDocument):
        yield from _regex(rule.tags.regex, locate((*path, "tags")))
    else:
        yield from _globs(rule.tags or (), locate((*path, "tags")))
    for key in ("any", "all"):
        for number, part in enumerate(getattr(rule, key) or ()):
            yield from _rule(part, (*path, key, number), locate)
    if rule.not_ is not None:
        yield from _rule(rule.not_, (*path, "not"), locate)


def _regex(regex: str, where: str) -> Iterator[str]:
    if regex.startswith("^") or (regex.endswith("$") and not regex.endswith(r"\$")):
        yield f"{where}: '{regex}': an expression always matches the whole name; remove '^' and '$'"
    elif _GLOB_IN_REGEX.search(regex) and not re.search(r"[.()\[\]|+\\{]", regex):
        yield f"{where}: '{regex}' looks like a glob; write tags: ['{regex}'] or '.*' for anything"


def _globs(globs: Sequence[str], where: str) -> Iterator[str]:
    for glob in globs:
        if _NOT_IN_TAGS.search(glob) or glob.startswith(".*"):
            yield f"{where}: no tag can match '{glob}'; for a regular expression write {{regex: '{glob}'}}"


def _idle_keep(rule: RuleDocument, selects: patterns.Matcher, path: _Path, locate: Locate) -> Iterator[str]:
    """A keep rule for plain names that no delete rule selects protects nothing."""
    tags = rule.tags if isinstance(rule.tags, list) else []
    if not tags or _MOVING & set(tags) or any(set(tag) & set("*?[!") for tag in tags):
        return
    if not any(map(selects, tags)):
        listed = ", ".join(tags[:5])
        yield f"{locate(path)}: no delete rule here selects {listed}; the keep rule protects nothing"


def _name_matcher(rules: Sequence[RuleDocument]) -> patterns.Matcher:
    """Whether any of many delete rules may select a name. Where that is too much to ask, it may."""
    globs: list[str] = []
    regexes: list[str] = []
    with_exclusions: set[tuple[str, ...]] = set()
    for rule in rules:
        if rule.tags is None:
            return _may_be
        if isinstance(rule.tags, RegexDocument):
            regexes.append(rule.tags.regex)
        elif any(glob.startswith("!") for glob in rule.tags):
            with_exclusions.add(tuple(rule.tags))
        else:
            globs += rule.tags
    if len(with_exclusions) > _MOST_EXCLUSIONS:
        return _may_be
    matchers = [patterns.match_any(globs, regexes), *map(patterns.compile_globs, with_exclusions)]
    return lambda name: any(matches(name) for matches in matchers)


def _may_be(name: str) -> bool:
    return True


def _repeated(rules: Sequence[RuleDocument], path: _Path, locate: Locate) -> Iterator[str]:
    first: dict[str, int] = {}
    for number, rule in enumerate(rules):
        earlier = first.setdefault(rule.model_dump_json(), number)
        if earlier != number:
            where = locate((*path, earlier))
            yield f"{locate((*path, number))}: the same rule stands at {where}; remove one"


class InventoryLint:
    """Warnings that need to know what is there; takes one image after the other."""

    def __init__(self, policies: Sequence[Policy], index: dict[str, RegistryPolicies], now: int) -> None:
        self._policies = [policy for policy in policies if policy.has_rules]
        self._index = index
        self._now = now
        self._matched: set[tuple[str, str]] = set()
        self._selected: set[str] = set()
        self._effective: set[str] = set()
        self._shared: dict[tuple[str, ...], list[str]] = {}
        self._globs = {
            glob: patterns.compile_globs([glob])
            for policy in self._policies
            for glob in policy.images
            if not glob.startswith("!")
        }

    def take(self, registry: str, image: str, tags: Sequence[Tag]) -> None:
        """Look at one image."""
        selecting = []
        for policy in self._policies:
            if policy.registry != registry:
                continue
            for glob in policy.images:
                if not glob.startswith("!") and self._globs[glob](image):
                    self._matched.add((policy.name, glob))
            if policy.selects is not None and policy.selects(image):
                selecting.append(policy.name)
        if len(selecting) > 1:
            self._shared.setdefault(tuple(selecting), []).append(f"{registry}/{image}")
        if selecting:
            self._selected.update(selecting)
            table = ImageTable(tags, self._now)
            for rule in self._index[registry].of(image).keep:
                if rule.source not in self._effective and any(judge(rule.conditions, table)):
                    self._effective.add(rule.source)

    def warnings(self) -> Iterator[str]:
        """What is to say when all images have been seen."""
        return (names.printable(text, _WARNING_LENGTH) for text in self._warnings())

    def _warnings(self) -> Iterator[str]:
        for policy in self._policies:
            for glob in policy.images:
                if not glob.startswith("!") and (policy.name, glob) not in self._matched:
                    yield f"{policy.source}: policy '{policy.name}': '{glob}' matches no image; is it right?"
            for rule in policy.keep:
                if policy.name in self._selected and rule.source not in self._effective:
                    yield f"{rule.source}: this keep rule matches no tag; is it right?"
        for policies, images in self._shared.items():
            more = f" and {len(images) - 1} more" if len(images) > 1 else ""
            listed = " and ".join(f"'{name}'" for name in policies)
            yield f"policies {listed} both select {images[0]}{more}; a keep rule of either wins"
