"""Deciding: (tags of an image, policies, clock) -> a decision for every tag. Pure and deterministic.

The order of precedence, strongest first: a hold; being in use; a keep rule; what ``protecting`` keeps; a
delete rule or explicit target. A tag that nothing selects is kept, and so is one of which a rule needs a fact
that is not known. Explicit targets do not heed ``keep_at_least``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pruner.model import Action, Decision, Reason, ReasonKind, Tag
from pruner.policy.combined import asks_for_orphans, has_rank
from pruner.policy.image_policies import ImagePolicies
from pruner.policy.policy import Rule
from pruner.policy.protecting import Terms, protect
from pruner.policy.verdicts import YES, ImageTable, Verdicts, judge

_UNMATCHED: Final = Reason(ReasonKind.UNMATCHED, "no delete rule selects it")
_UNKNOWN_AGE: Final = Reason(ReasonKind.UNKNOWN_AGE, "when it was last updated is not known")
_NO_SUBJECT: Final = Reason(ReasonKind.COSIGN, "attached to an image that no tag here names")


@dataclass(frozen=True, slots=True)
class _Candidate:
    """What selects a tag for deletion; one for all the tags that the same rule selects."""

    reasons: tuple[Reason]
    explicit: bool
    delete_shared: bool

    @property
    def reason(self) -> Reason:
        """The only one."""
        return self.reasons[0]


def decide(tags: Sequence[Tag], policies: ImagePolicies, now: int) -> list[Decision]:
    """A decision for each tag of one image, sorted by tag name; ``now`` in epoch milliseconds.

    The same tags in any order, policies and clock give the same decisions.
    """
    table = ImageTable(sorted(tags, key=lambda tag: tag.target.tag), now)
    return _Decider(table, policies).decide()


class _Decider:
    def __init__(self, table: ImageTable, policies: ImagePolicies) -> None:
        self.table = table
        self.policies = policies
        self.reasons: list[Reason] = [_UNMATCHED] * len(table)
        """Why each tag is kept, as long as it is no candidate."""
        self.candidates: dict[int, _Candidate] = {}
        """What selects a tag for deletion, by the tag's index."""
        self.attachments = self._attachments()
        """What each signature, attestation or bill of materials belongs to, by its index."""
        self.kept_attachments: set[int] = set()
        """Attachments that a keep rule or a hold protects by their own name."""
        self.ordinary = [index for index in range(len(table)) if index not in self.attachments]
        self.judged = self._part(self.ordinary) if self.attachments else table

    def _part(self, indices: Sequence[int]) -> ImageTable:
        return ImageTable([self.table.tags[index] for index in indices], self.table.now)

    def decide(self) -> list[Decision]:
        self._select()
        self._protect_held()
        self._protect_in_use()
        if self.candidates:
            self._protect_by_keep_rules()
            self._select_attached()
            terms = Terms(self.policies.keep_at_least, self.policies.takes_siblings)
            kept = protect(self.table.tags, self.candidates, self.table.updated, terms)
            for index, reason in kept.items():
                self._keep(index, reason)
            self._explain_attached()
        return [self._decision(index, tag) for index, tag in enumerate(self.table.tags)]

    def _decision(self, index: int, tag: Tag) -> Decision:
        candidate = self.candidates.get(index)
        if candidate is None:
            return Decision(tag, Action.KEEP, (self.reasons[index],))
        return Decision(tag, Action.DELETE, candidate.reasons, candidate.delete_shared)

    def _attachments(self) -> dict[int, str]:
        """Signatures, attestations and bills of materials: their index and the digest they belong to."""
        found = {}
        for index, tag in enumerate(self.table.tags):
            if (subject := tag.subject) is not None:
                found[index] = subject
        return found

    def _keep(self, index: int, reason: Reason) -> None:
        del self.candidates[index]
        self.reasons[index] = reason

    def _verdicts(self, rule: Rule) -> Verdicts:
        """The verdict on each tag. Attachments are not judged, nor do they take part in ranks."""
        judged = judge(rule.conditions, self.judged)
        if not self.attachments:
            return judged
        verdicts = bytearray(len(self.table))
        for index, verdict in zip(self.ordinary, judged, strict=True):
            verdicts[index] = verdict
        return verdicts

    def _keep_verdicts(self, rule: Rule) -> Verdicts:
        """As ``_verdicts``, but keep rules without ranks also protect attachments."""
        verdicts = self._verdicts(rule)
        if self.attachments and not has_rank(rule.conditions):
            attached = self._attached_verdicts(rule)
            for index in self.attachments:
                verdicts[index] = attached[index]
        return verdicts

    def _attached_verdicts(self, rule: Rule) -> Verdicts:
        """The verdict on each attachment, and on no other tag."""
        verdicts = bytearray(len(self.table))
        indices = list(self.attachments)
        for index, verdict in zip(indices, judge(rule.conditions, self._part(indices)), strict=True):
            verdicts[index] = verdict
        return verdicts

    def _select(self) -> None:
        for rule, delete_shared in self.policies.delete:
            orphans = asks_for_orphans(rule.conditions)
            verdicts = self._attached_verdicts(rule) if orphans else self._verdicts(rule)
            reason = Reason(ReasonKind.DELETE_RULE, rule.label, rule.policy, rule.source)
            candidate = _Candidate((reason,), False, delete_shared)
            for index, verdict in enumerate(verdicts):
                if verdict and index not in self.candidates:
                    self._select_by(rule, candidate, index, verdict, needs_age=not orphans)
        for index, name in enumerate(self.table.names if self.policies.targets else ()):
            if name in self.policies.targets:
                item, delete_shared = self.policies.targets[name]
                reason = Reason(ReasonKind.EXPLICIT_TARGET, "explicit target", item.policy, item.source)
                self.candidates[index] = _Candidate((reason,), True, delete_shared)

    def _select_by(
        self, rule: Rule, candidate: _Candidate, index: int, verdict: int, *, needs_age: bool
    ) -> None:
        if needs_age and self.table.updated[index] is None:
            self.reasons[index] = _UNKNOWN_AGE
        elif verdict == YES:
            self.candidates[index] = candidate
        elif self.reasons[index] is _UNMATCHED:
            text = f"a fact that '{rule.label}' needs is not known"
            self.reasons[index] = Reason(ReasonKind.UNKNOWN_FACT, text, rule.policy, rule.source)

    def _protect_by_keep_rules(self) -> None:
        for rule in self.policies.keep:
            verdicts = self._keep_verdicts(rule)
            yes = Reason(ReasonKind.KEEP_RULE, rule.label, rule.policy, rule.source)
            text = f"{rule.label}, as far as is known"
            perhaps = Reason(ReasonKind.KEEP_RULE, text, rule.policy, rule.source)
            for index, verdict in enumerate(verdicts):
                if not verdict:
                    continue
                if index in self.attachments:
                    self.kept_attachments.add(index)
                if index in self.candidates:
                    self._keep(index, yes if verdict == YES else perhaps)

    def _protect_held(self) -> None:
        for hold in self.policies.holds:
            reason = Reason(ReasonKind.HOLD, hold.label, hold.policy, hold.source)
            for index, name in enumerate(self.table.names):
                if hold.tag(name):
                    if index in self.candidates:
                        del self.candidates[index]
                    self.reasons[index] = reason
                    self.kept_attachments.add(index)

    def _protect_in_use(self) -> None:
        if self.policies.in_use is None:
            return
        protected = self.policies.in_use.protected(self.table.tags)
        for index, name in enumerate(self.table.names):
            if name in protected and self.reasons[index].kind is not ReasonKind.HOLD:
                self.candidates.pop(index, None)
                self.reasons[index] = Reason(ReasonKind.IN_USE, protected[name])
                self.kept_attachments.add(index)

    def _owners(self, subject: str) -> list[int]:
        """The tags of the manifest that an attachment belongs to."""
        return self.table.by_identity.get(subject, [])

    def _select_attached(self) -> None:
        """What belongs to an image that a rule deletes is deleted with it."""
        for index, subject in self.attachments.items():
            if index in self.candidates or index in self.kept_attachments:
                continue
            owner = next((own for own in self._owners(subject) if self._goes_by_rule(own)), None)
            if owner is None:
                continue
            if self.table.updated[index] is None:
                self.reasons[index] = _UNKNOWN_AGE
                continue
            cause = self.candidates[owner]
            text = f"attached to '{self.table.names[owner]}', which is deleted"
            reason = Reason(ReasonKind.COSIGN, text, cause.reason.policy, cause.reason.source)
            self.candidates[index] = _Candidate((reason,), False, cause.delete_shared)

    def _goes_by_rule(self, index: int) -> bool:
        return index in self.candidates and not self.candidates[index].explicit

    def _explain_attached(self) -> None:
        """Why an attachment that nothing selects is kept."""
        for index, subject in self.attachments.items():
            if index in self.candidates or self.reasons[index] is not _UNMATCHED:
                continue
            owners = self._owners(subject)
            staying = next((owner for owner in owners if owner not in self.candidates), None)
            if staying is not None:
                text = f"attached to '{self.table.names[staying]}', which is kept"
                self.reasons[index] = Reason(ReasonKind.COSIGN, text)
            elif not owners:
                self.reasons[index] = _NO_SUBJECT
