"""A checked policy document -> compiled policies."""

from collections.abc import Callable, Sequence
from typing import Final

from pruner.model import Target
from pruner.policy import combined, newest, patterns
from pruner.policy.conditions import Age, DigestSharedWith, LargerThan, NameMatches, Orphaned, Semver
from pruner.policy.document import (
    Document,
    ImageTagsDocument,
    InUseDocument,
    LimitsDocument,
    PolicyDocument,
    RegexDocument,
    RegistryDocument,
    RuleDocument,
    SemverDocument,
    format_size,
)
from pruner.policy.duration import format_duration
from pruner.policy.in_use import DEFAULT_MAX_AGE_MS, InUseDemand
from pruner.policy.policy import ExplicitTarget, Hold, Limits, Policy, RegistrySettings, Rule
from pruner.policy.semver import parse_range
from pruner.policy.verdicts import Condition, Conditions
from pruner.references import normal_place

_LABEL_LENGTH: Final = 240

Path = tuple[str | int, ...]
Locate = Callable[[Path], str]
"""The ``file:line`` of a path in the document."""


def compile_policies(document: Document, locate: Locate) -> list[Policy]:
    """The policies of one document, in its order."""
    return [_policy(policy, ("policies", index), locate) for index, policy in enumerate(document.policies)]


def compile_registries(document: Document, locate: Locate) -> dict[str, RegistrySettings]:
    """The registries' settings of one document."""
    registries = document.registries or {}
    return {name: _settings(item, locate(("registries", name))) for name, item in registries.items()}


def _settings(item: RegistryDocument, source: str) -> RegistrySettings:
    return RegistrySettings(
        source,
        item.region,
        item.endpoint,
        item.profile,
        item.concurrency,
        item.requests_per_second,
        item.type or "ncr",
        item.url,
        None if item.images is None else tuple(item.images),
        item.delete_by or "auto",
        item.v2_url,
        item.graph is True,
        tuple(map(normal_place, item.also_pulled_from or ())),
    )


def _policy(item: PolicyDocument, path: Path, locate: Locate) -> Policy:
    images = tuple(item.images or ())
    return Policy(
        name=item.name,
        registry=item.registry,
        source=locate(path),
        images=images,
        selects=patterns.compile_globs(images) if item.images is not None else None,
        delete=_rules(item.delete, item.name, (*path, "delete"), locate),
        keep=_rules(item.keep, item.name, (*path, "keep"), locate),
        targets=_targets(item, (*path, "targets"), locate),
        holds=_holds(item, (*path, "hold"), locate),
        limits=_limits(item.limits),
        delete_shared=item.shared_digest == "delete",
        undo=item.undo is True,
        in_use=None if item.in_use is None else _in_use(item.in_use),
    )


def _in_use(item: InUseDocument) -> InUseDemand:
    max_age = DEFAULT_MAX_AGE_MS if item.max_age is None else item.max_age
    return InUseDemand(tuple(item.clusters), max_age, (tuple(item.other_hosts or ()),))


def _limits(item: LimitsDocument | None) -> Limits:
    if item is None:
        return Limits()
    return Limits(
        item.max_deletions,
        item.max_deletions_per_image,
        item.max_deletions_per_registry,
        item.max_share,
        item.keep_at_least,
    )


def _targets(item: PolicyDocument, path: Path, locate: Locate) -> tuple[ExplicitTarget, ...]:
    found = []
    for index, entry in enumerate(item.targets or ()):
        source = locate((*path, index))
        if isinstance(entry, ImageTagsDocument):
            pairs = [(entry.image, tag) for tag in entry.tags]
        else:
            image, _, tag = entry.rpartition(":")
            pairs = [(image, tag)]
        found += [
            ExplicitTarget(Target(item.registry, image, tag), item.name, source) for image, tag in pairs
        ]
    return tuple(found)


def _holds(item: PolicyDocument, path: Path, locate: Locate) -> tuple[Hold, ...]:
    found = []
    for index, text in enumerate(item.hold or ()):
        image, _, tag = text.rpartition(":")
        matchers = patterns.compile_globs([image]), patterns.compile_globs([tag])
        found.append(Hold(item.name, locate((*path, index)), *matchers, f"hold {text}"))
    return tuple(found)


def _rules(items: Sequence[RuleDocument] | None, policy: str, path: Path, locate: Locate) -> tuple[Rule, ...]:
    rules = []
    for index, item in enumerate(items or ()):
        compiled = _conditions(item)
        label = shortened(", ".join(condition.label for condition in compiled))
        rules.append(Rule(policy, locate((*path, index)), label, compiled))
    return tuple(rules)


def _conditions(item: RuleDocument) -> Conditions:
    """Cheap conditions first; ranks last, since they rank what the others select."""
    found: list[Condition] = []
    if item.tags is not None:
        found.append(_tags(item.tags))
    found += _ages(item)
    if item.larger_than is not None:
        found.append(LargerThan(f"larger_than {format_size(item.larger_than)}", item.larger_than))
    if item.orphaned:
        found.append(Orphaned("orphaned"))
    if item.semver is not None:
        found += _semver(item.semver)
    if item.digest_shared_with is not None:
        globs = item.digest_shared_with
        label = f"digest_shared_with {_listed(globs)}"
        found.append(DigestSharedWith(label, patterns.compile_globs(globs)))
    found += _composites(item)
    if item.semver is not None and item.semver.newest is not None:
        found.append(_newest_version(item.semver, item.semver.newest))
    if item.newest is not None:
        found.append(_newest(item, item.newest))
    return tuple(found)


def _tags(item: list[str] | RegexDocument) -> Condition:
    if isinstance(item, RegexDocument):
        return NameMatches(patterns.compile_regex(item.regex), f"tags /{item.regex}/")
    return NameMatches(patterns.compile_globs(item), f"tags {_listed(item)}")


def _ages(item: RuleDocument) -> list[Condition]:
    written = (
        ("older_than", item.older_than, True, False),
        ("newer_than", item.newer_than, False, False),
        ("pulled_within", item.pulled_within, False, True),
        ("not_pulled_for", item.not_pulled_for, True, True),
    )
    return [
        Age(f"{name} {format_duration(limit)}", limit, older, pulled)
        for name, limit, older, pulled in written
        if limit is not None
    ]


def _semver(item: SemverDocument) -> list[Condition]:
    parts = [] if item.range is None else [item.range]
    if item.prerelease is not None:
        parts.append("prereleases" if item.prerelease else "releases")
    in_range = None if item.range is None else parse_range(item.range)
    return [Semver(f"semver {' '.join(parts) or 'versions'}", in_range, item.prerelease)]


def _newest_version(item: SemverDocument, count: int) -> Condition:
    group = newest.one_group if item.per is None else newest.per_version(1 if item.per == "major" else 2)
    per = "" if item.per is None else f" per {item.per}"
    return newest.Newest(f"newest {count} versions{per}", count, group, newest.by_version)


def _newest(item: RuleDocument, count: int) -> Condition:
    by_digest = item.count_by == "digest"
    what = f"newest {count} digests" if by_digest else f"newest {count}"
    if item.group_by is None:
        return newest.Newest(what, count, newest.one_group, newest.by_update, by_digest)
    group = newest.captured(patterns.capture(item.group_by))
    return newest.Newest(f"{what} by /{item.group_by}/", count, group, newest.by_update, by_digest)


def _composites(item: RuleDocument) -> list[Condition]:
    found: list[Condition] = []
    if item.any is not None:
        alternatives = tuple(_conditions(part) for part in item.any)
        found.append(combined.AnyOf(f"any ({_joined(alternatives, ' | ')})", alternatives))
    if item.all is not None:
        parts = tuple(_conditions(part) for part in item.all)
        found.append(combined.AllOf(f"all ({_joined(parts, ' & ')})", parts))
    if item.not_ is not None:
        inner = _conditions(item.not_)
        found.append(combined.Not(f"not ({_joined((inner,), '')})", inner))
    return found


def _joined(parts: Sequence[Conditions], separator: str) -> str:
    return separator.join(", ".join(condition.label for condition in part) for part in parts)


def shortened(text: str) -> str:
    """``text``, cut where it would make reasons unreadable."""
    return text if len(text) <= _LABEL_LENGTH else f"{text[: _LABEL_LENGTH - 1]}…"


def _listed(globs: Sequence[str]) -> str:
    return " ".join(globs) if len(globs) <= 4 else f"{' '.join(globs[:3])} … ({len(globs)} patterns)"
