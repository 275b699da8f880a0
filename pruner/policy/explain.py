"""Why a tag goes or stays: every rule that applies, every condition with the values compared. Pure.

The verdict comes from ``retention.decide``; this only tells how it came about.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from pruner.model import Action, Decision, ReasonKind, Tag
from pruner.policy.image_policies import ImagePolicies
from pruner.policy.policy import Rule
from pruner.policy.retention import decide
from pruner.policy.verdicts import VERDICT_NAMES, YES, ImageTable, explain_each


class ConditionFact(msgspec.Struct, frozen=True):
    """One condition: as the policy writes it, whether it holds (yes, no, unknown), the values compared."""

    condition: str
    holds: str
    because: str


class RuleFact(msgspec.Struct, frozen=True):
    """One rule: what it is, where it stands, whether it selects the tag."""

    kind: Literal["delete", "keep"]
    policy: str
    source: str
    selects: str
    conditions: tuple[ConditionFact, ...]


class Explanation(msgspec.Struct, frozen=True):
    """Everything that is to say of one tag."""

    target: str
    action: Action
    because: str
    kind: ReasonKind
    policy: str | None
    source: str | None
    rules: tuple[RuleFact, ...]
    change: str


def explain_image(
    tags: Sequence[Tag], policies: ImagePolicies, now: int, wanted: frozenset[str] | None = None
) -> Iterator[Explanation]:
    """Explain the tags of one image (those named in ``wanted``, or all), sorted by name."""
    decisions = decide(tags, policies, now)
    ordinary = [item.tag for item in decisions if item.tag.subject is None]
    table = ImageTable(ordinary, now)
    places = {tag.name: index for index, tag in enumerate(ordinary)}
    for decision in decisions:
        if wanted is None or decision.tag.name in wanted:
            yield _explain(table, places.get(decision.tag.name), decision, policies)


def _explain(
    table: ImageTable, index: int | None, decision: Decision, policies: ImagePolicies
) -> Explanation:
    rules: list[RuleFact] = []
    if index is not None:
        rules = [_rule("keep", rule, table, index) for rule in policies.keep]
        rules += [_rule("delete", rule, table, index) for rule, _ in policies.delete]
    reason = decision.reasons[0]
    return Explanation(
        str(decision.tag.target),
        decision.action,
        reason.text,
        reason.kind,
        reason.policy,
        reason.source,
        tuple(rules),
        _change(decision, rules),
    )


def _rule(kind: Literal["delete", "keep"], rule: Rule, table: ImageTable, index: int) -> RuleFact:
    found = explain_each(rule.conditions, table, index)
    verdict = min((own for _, own, _ in found), default=YES)
    conditions = tuple(ConditionFact(label, VERDICT_NAMES[own], text) for label, own, text in found)
    return RuleFact(kind, rule.policy, rule.source, VERDICT_NAMES[verdict], conditions)


_CHANGES = {
    ReasonKind.DELETE_RULE: "a keep rule that selects it, or a hold, would keep it",
    ReasonKind.EXPLICIT_TARGET: "taking it off the targets, or a hold, would keep it",
    ReasonKind.COSIGN: "it goes and stays with the image it is attached to",
    ReasonKind.LINKED: "it goes when the other one goes, or does not refer to it any more",
    ReasonKind.HOLD: "only removing the hold could let it go",
    ReasonKind.IN_USE: "it goes when nothing uses it any more",
    ReasonKind.UNKNOWN_AGE: "a new push gives it a time; naming it as an explicit target would delete it",
    ReasonKind.SHARED_DIGEST: "it goes when the other tag goes, or with 'shared_digest: delete'",
    ReasonKind.UNKNOWN_DIGEST: "naming the digest is the registry's part; 'shared_digest: delete' ignores it",
    ReasonKind.KEEP_AT_LEAST: "a newer tag, or a lower keep_at_least, would let it go",
}


_OF_ATTACHMENTS = {
    ReasonKind.DELETE_RULE,
    ReasonKind.HOLD,
    ReasonKind.IN_USE,
    ReasonKind.LINKED,
    ReasonKind.KEEP_RULE,
    ReasonKind.EXPLICIT_TARGET,
    ReasonKind.UNKNOWN_AGE,
}


def _change(decision: Decision, rules: Sequence[RuleFact]) -> str:
    kind = decision.reasons[0].kind
    if decision.tag.subject is not None and kind not in _OF_ATTACHMENTS:
        return _CHANGES[ReasonKind.COSIGN]
    if kind is ReasonKind.KEEP_RULE:
        sources = _keeping(rules) or decision.reasons[0].source
        return f"it goes when no keep rule selects it any more (now: {sources})"
    if kind in (ReasonKind.UNMATCHED, ReasonKind.UNKNOWN_FACT):
        return _nearest(rules)
    return _CHANGES[kind]


def _nearest(rules: Sequence[RuleFact]) -> str:
    """The delete rule that lacks the least, and what it lacks."""
    lacking = [
        (sum(1 for fact in rule.conditions if fact.holds != "yes"), rule)
        for rule in rules
        if rule.kind == "delete"
    ]
    if not lacking:
        return "no policy has a delete rule for this image"
    _, rule = min(lacking, key=lambda item: item[0])
    missing = ", ".join(fact.condition for fact in rule.conditions if fact.holds != "yes")
    keeping = _keeping(rules)
    unless = f", and no keep rule selected it (now: {keeping})" if keeping else ""
    return f"it would go by {rule.source} if this held: {missing}{unless}"


def _keeping(rules: Sequence[RuleFact]) -> str:
    """Where the keep rules stand that select the tag."""
    return ", ".join(rule.source for rule in rules if rule.kind == "keep" and rule.selects != "no")
