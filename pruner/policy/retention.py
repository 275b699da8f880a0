"""Deciding: (tags of an image, policies, clock) -> a decision for every tag. Pure and deterministic.

The order of precedence, strongest first: a hold, being in use, a keep rule, facts that are not known, a
digest shared with a kept tag, the fewest tags that stay, a delete rule or explicit target. What nothing
selects stays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pruner.model import Action, Decision, Reason, ReasonKind, Tag
from pruner.policy.combined import asks_for_orphans, asks_for_pulls, has_rank
from pruner.policy.in_use import ImageUse
from pruner.policy.policy import ExplicitTarget, Hold, Policy, Rule
from pruner.policy.verdicts import YES, ImageTable, Verdicts, judge

DEFAULT_KEEP_AT_LEAST: Final = 1

_UNMATCHED: Final = Reason(ReasonKind.UNMATCHED, "no delete rule selects it")
_UNKNOWN_AGE: Final = Reason(ReasonKind.UNKNOWN_AGE, "when it was last updated is not known")
_UNKNOWN_DIGEST: Final = Reason(
    ReasonKind.UNKNOWN_DIGEST, "its digest is not known, so it may be the same image as a kept tag"
)
_UNKNOWN_SIBLING: Final = Reason(
    ReasonKind.UNKNOWN_DIGEST, "a kept tag of this image has no known digest and may be the same image"
)
_NO_SUBJECT: Final = Reason(ReasonKind.COSIGN, "attached to an image that no tag here names")


def short(digest: str) -> str:
    """A digest for people."""
    return digest[:19]


Selected = tuple[ExplicitTarget, bool]
"""An explicit target, and whether its policy lets shared digests go."""


@dataclass(frozen=True, slots=True)
class ImagePolicies:
    """Everything that applies to one image: what the policies of its registry say of it."""

    delete: tuple[tuple[Rule, bool], ...] = ()
    """Delete rules, each with whether its policy lets shared digests go."""
    keep: tuple[Rule, ...] = ()
    holds: tuple[Hold, ...] = ()
    targets: Mapping[str, Selected] = field(default_factory=dict)
    """Explicit targets by tag name."""
    keep_at_least: int = 0
    matching: tuple[Policy, ...] = ()
    takes_siblings: bool = False
    """Whether a deletion may take along every tag of the same digest."""
    in_use: ImageUse | None = None
    """What of the image is in use somewhere."""

    @property
    def asks_for_pulls(self) -> bool:
        """Whether any rule asks when a tag was last pulled."""
        rules = (*self.keep, *(rule for rule, _ in self.delete))
        return any(asks_for_pulls(rule.conditions) for rule in rules)


class RegistryPolicies:
    """The policies of one registry, indexed by what they say of an image.

    ``keep_at_least`` from the command line can only make the floor of rules higher. Where a deletion
    ``takes_siblings`` along, no policy lets a digest go that a kept tag has.
    """

    def __init__(
        self,
        policies: Sequence[Policy],
        keep_at_least: int | None = None,
        *,
        takes_siblings: bool = False,
    ) -> None:
        self._takes_siblings = takes_siblings
        self._in_use: Mapping[str, ImageUse] = {}
        self._by_rules = [policy for policy in policies if policy.selects is not None]
        self._holds = [hold for policy in policies for hold in policy.holds]
        self._keep_at_least = keep_at_least
        self._spooled = [policy for policy in policies if policy.spooled is not None]
        self._targets: dict[str, dict[str, Selected]] = {}
        for policy in policies:
            for item in policy.targets:
                of_image = self._targets.setdefault(item.target.image, {})
                of_image.setdefault(item.target.tag, (item, self._lets_shared_go(policy)))
        self._explicit_images = set(self._targets)
        for policy in self._spooled:
            if policy.spooled is not None:
                self._explicit_images.update(policy.spooled.images(policy.registry))

    def protect(self, in_use: Mapping[str, ImageUse]) -> None:
        """From now on, what is ``in_use``, by image, stays."""
        self._in_use = in_use

    @property
    def explicit_images(self) -> list[str]:
        """The images that explicit targets name, sorted."""
        return sorted(self._explicit_images)

    def explicit(self, image: str) -> Mapping[str, Selected]:
        """The explicit targets of ``image`` by tag name."""
        found = dict(self._targets.get(image, {}))
        for policy in self._spooled:
            for item in policy.spooled.of(policy.registry, image) if policy.spooled else ():
                found.setdefault(item.target.tag, (item, self._lets_shared_go(policy)))
        return found

    def _lets_shared_go(self, policy: Policy) -> bool:
        return policy.delete_shared and not self._takes_siblings

    def selects(self, image: str) -> bool:
        """Whether any policy says anything of ``image``."""
        return image in self._explicit_images or any(
            policy.selects is not None and policy.selects(image) for policy in self._by_rules
        )

    def of(self, image: str) -> ImagePolicies:
        """What the policies say of ``image``."""
        matching = tuple(p for p in self._by_rules if p.selects is not None and p.selects(image))
        floors = [
            DEFAULT_KEEP_AT_LEAST if policy.limits.keep_at_least is None else policy.limits.keep_at_least
            for policy in matching
        ]
        if matching and self._keep_at_least is not None:
            floors.append(self._keep_at_least)
        return ImagePolicies(
            tuple((rule, self._lets_shared_go(policy)) for policy in matching for rule in policy.delete),
            tuple(rule for policy in matching for rule in policy.keep),
            tuple(hold for hold in self._holds if hold.image(image)),
            self.explicit(image),
            max(floors, default=0),
            matching,
            self._takes_siblings,
            self._in_use.get(image),
        )


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
        self.candidates: dict[int, _Candidate] = {}
        self.attachments = self._attachments()
        self.linked = any(tag.links is not None for tag in table.tags)
        self.has_platforms = any(tag.platforms for tag in table.tags)
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
            self._protect_related()
            if self._protect_the_last():
                self._protect_related()
            self._protect_attached()
            self._protect_related(attached=True)
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

    def _protect_related(self, *, attached: bool = False) -> None:
        """Keeping one tag can endanger another, so this goes on until nothing changes.

        ``attached`` says that what goes together with its subject is decided.
        """
        before = -1
        while self.candidates and len(self.candidates) != before:
            before = len(self.candidates)
            self._protect_shared()
            if self.has_platforms:
                self._protect_platforms()
            if self.attachments or self.linked:
                self._protect_linked(attached=attached)

    def _protect_linked(self, *, attached: bool) -> None:
        """A tag that stays keeps what it consists of, and what it belongs to; and what belongs to it."""
        children: dict[str, str] = {}
        subjects: dict[str, str] = {}
        staying: dict[str | None, str] = {}
        for index, tag in enumerate(self.table.tags):
            if index in self.candidates:
                continue
            staying[tag.digest] = tag.target.tag
            if tag.links is None:
                continue
            children.update(dict.fromkeys(tag.links.children, tag.target.tag))
            if tag.links.subject is not None and (attached or index in self.kept_attachments):
                subjects[tag.links.subject] = tag.target.tag
        for index in list(self.candidates):
            tag = self.table.tags[index]
            digest, subject = tag.digest or "", self.attachments.get(index)
            if digest in children:
                text = f"{short(digest)} is part of '{children[digest]}', which is kept"
            elif digest in subjects:
                text = f"'{subjects[digest]}' belongs to {short(digest)} and is kept"
            elif subject in staying and not self.candidates[index].explicit:
                text = f"attached to '{staying[subject]}' ({short(subject or '')}), which is kept"
            elif tag.links is not None and tag.links.untagged_referrers:
                first = short(tag.links.untagged_referrers[0])
                text = f"{first}, which no tag names, belongs to it and would stay"
            else:
                continue
            self._keep(index, Reason(ReasonKind.LINKED, text))

    def _protect_shared(self) -> None:
        """The server may remove every name of a digest together with one of them."""
        tags = self.table.tags
        kept = [index for index in range(len(tags)) if index not in self.candidates]
        kept_names: dict[str, str] = {}
        for index in kept:
            kept_names.setdefault(tags[index].digest or "", tags[index].target.tag)
        doubtful = any(tags[index].digest is None for index in kept)
        for index, candidate in list(self.candidates.items()):
            digest = tags[index].digest
            if candidate.delete_shared or not kept:
                continue
            if digest is None:
                self._keep(index, _UNKNOWN_DIGEST)
            elif digest in kept_names:
                text = f"has the same digest as '{kept_names[digest]}', which is kept"
                self._keep(index, Reason(ReasonKind.SHARED_DIGEST, text))
            elif doubtful:
                self._keep(index, _UNKNOWN_SIBLING)

    def _protect_platforms(self) -> None:
        """With a name the server may remove a manifest that an index of another name consists of."""
        tags = self.table.tags
        going = {tags[index].digest for index, item in self.candidates.items() if not item.delete_shared}
        wholes: dict[str | None, str] = {}
        for index, tag in enumerate(tags):
            if tag.platforms and index not in self.candidates:
                wholes.update((digest, tag.target.tag) for digest in tag.platforms if digest in going)
        for index in [index for index in self.candidates if tags[index].digest in wholes]:
            if not self.candidates[index].delete_shared:
                digest = tags[index].digest
                text = f"{short(digest or '')} is part of '{wholes[digest]}', which is kept"
                self._keep(index, Reason(ReasonKind.SHARED_DIGEST, text))

    def _protect_the_last(self) -> bool:
        """The newest of what rules would delete stay, until enough tags do. Whether any had to."""
        if all(candidate.explicit for candidate in self.candidates.values()):
            return False
        counted = len(self.table) - len(self.attachments)
        going = sum(1 for index in self.candidates if index not in self.attachments)
        missing = min(self.policies.keep_at_least, counted) - (counted - going)
        if missing <= 0:
            return False
        # Newest first, then by name, so that equal times cannot make the result depend on anything else.
        by_rule = [index for index, candidate in self.candidates.items() if not candidate.explicit]
        ranked = sorted(by_rule, key=lambda i: (-(self.table.updated[i] or 0), self.table.names[i]))
        text = f"one of the {self.policies.keep_at_least} newest tags that stay at least (keep_at_least)"
        reason = Reason(ReasonKind.KEEP_AT_LEAST, text)
        for index in ranked:
            if missing <= 0:
                break
            if index in self.candidates:
                missing -= self._restore(index, reason)
        return True

    def _restore(self, index: int, reason: Reason) -> int:
        """Keep a candidate and those of its digest; how many tags more stay."""
        self._keep(index, reason)
        restored = 1
        digest = self.table.tags[index].digest
        for sibling in self.table.by_digest.get(digest or "", ()):
            candidate = self.candidates.get(sibling)
            if candidate is not None and not candidate.delete_shared:
                text = f"has the same digest as '{self.table.names[index]}', which is kept"
                self._keep(sibling, Reason(ReasonKind.SHARED_DIGEST, text))
                restored += 1
        return restored

    def _protect_attached(self) -> None:
        """Signatures go when the image they belong to goes by a rule, and stay otherwise."""
        doubtful = any(
            tag.digest is None and index not in self.candidates and index not in self.attachments
            for index, tag in enumerate(self.table.tags)
        )
        for index, subject in self.attachments.items():
            if index in self.candidates or index in self.kept_attachments:
                continue
            owners = self.table.by_digest.get(subject, [])
            staying = next((i for i in owners if i not in self.candidates), None)
            rule = next((i for i in owners if i in self.candidates and not self.candidates[i].explicit), None)
            if not owners:
                self.reasons[index] = _NO_SUBJECT
            elif staying is not None:
                text = f"attached to '{self.table.names[staying]}', which is kept"
                self.reasons[index] = Reason(ReasonKind.COSIGN, text)
            elif rule is not None and not doubtful:
                self._attach(index, rule)

    def _attach(self, index: int, owner: int) -> None:
        cause = self.candidates[owner]
        text = f"attached to '{self.table.names[owner]}', which goes"
        reason = Reason(ReasonKind.COSIGN, text, cause.reason.policy, cause.reason.source)
        if self.table.updated[index] is None:
            self.reasons[index] = _UNKNOWN_AGE
        else:
            self.candidates[index] = _Candidate((reason,), False, cause.delete_shared)
