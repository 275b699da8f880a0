"""Inventory + policies -> plan: decides each image as it is listed and writes what goes. Cannot delete."""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final

from anyio.lowlevel import checkpoint

from pruner import __version__
from pruner.model import Action, Decision, ReasonKind
from pruner.plan.file import PlanWriter
from pruner.plan.guards import GuardCounter, Guards
from pruner.plan.inventory import ImageListing
from pruner.plan.records import (
    FORMAT,
    VERSION,
    Entry,
    Footer,
    Header,
    ImageRecord,
    InUseFacts,
    KeptTarget,
    RegistryFacts,
)
from pruner.plan.true_bytes import TrueBytes
from pruner.policy.image_policies import ImagePolicies, RegistryPolicies
from pruner.policy.policy import PolicySet
from pruner.policy.retention import decide
from pruner.tasks import in_thread_if_long

_ENTRIES_AT_ONCE: Final = 1_000
"""So many take about ten milliseconds to write."""


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What a plan is made from, besides the inventory.

    ``listed_at`` is when the listing began, ``now`` gives the moment that ages are judged at: both in epoch
    milliseconds.
    """

    policies: PolicySet
    registries: Mapping[str, RegistryFacts]
    guards: Guards
    listed_at: int
    now: Callable[[], int]
    in_use: InUseFacts | None = None

    def header(self) -> Header:
        """The header of the plan."""
        return Header(
            format=FORMAT,
            version=VERSION,
            tool=__version__,
            policy_fingerprint=self.policies.fingerprint,
            policy_files=self.policies.files,
            registries=dict(sorted(self.registries.items())),
            listed_at=self.listed_at,
            decided_at=self.now(),
            guards=self.guards.described(),
            in_use=self.in_use,
        )


class PlanBuilder:
    """Takes listed images in order and writes a plan to ``file``, if asked with what is freed."""

    def __init__(
        self,
        request: PlanRequest,
        policies: Mapping[str, RegistryPolicies],
        file: IO[bytes],
        true_bytes: TrueBytes | None = None,
    ) -> None:
        self._true_bytes = true_bytes
        self._now = request.now
        self._policies = policies
        self._writer = PlanWriter(file, request.header())
        self._guards = GuardCounter.of(request.guards, request.policies.policies)
        self.in_use = 0
        """How many tags stay because they are in use."""

    def take(self, listing: ImageListing) -> None:
        """Decide one image and write what is deleted."""
        policies = self._policies[listing.registry].of(listing.image)
        for _ in self._write(listing, policies, decide(listing.tags or (), policies, self._now())):
            pass

    async def take_live(self, listing: ImageListing) -> None:
        """As ``take``, while other things go on: a large image takes seconds.

        Ages are judged at a moment after the last page of the image's list.
        """
        policies = self._policies[listing.registry].of(listing.image)
        tags = listing.tags or ()
        decisions = await in_thread_if_long(len(tags), decide, tags, policies, self._now())
        for _ in self._write(listing, policies, decisions):
            await checkpoint()

    def _write(
        self, listing: ImageListing, policies: ImagePolicies, decisions: Sequence[Decision]
    ) -> Iterator[None]:
        """Write one image; yields now and then, for others to go on."""
        tags = listing.tags or ()
        self._writer.listed(len(tags))
        if self._true_bytes is not None:
            self._true_bytes.take(listing.registry, listing.image, decisions)
        if policies.in_use is not None:
            self.in_use += sum(item.reasons[0].kind is ReasonKind.IN_USE for item in decisions)
        going = [decision for decision in decisions if decision.action is Action.DELETE]
        missing = _missing_targets(listing, policies)
        for decision in decisions if policies.targets else ():
            if decision.action is Action.KEEP and decision.tag.name in policies.targets:
                self._writer.kept(_kept(decision, policies))
        if not going and not missing:
            return
        self._count(listing, going, policies)
        self._writer.image(
            ImageRecord(
                listing.registry,
                listing.image,
                len(tags),
                len(going) + len(missing),
                sum(decision.tag.size or 0 for decision in going),
                listing.tags is None,
                policies.keep_at_least,
                policies.asks_for_pulls,
                policies.takes_siblings,
                () if policies.in_use is None else tuple(sorted(policies.in_use.tags)),
                () if policies.in_use is None else tuple(sorted(policies.in_use.digests)),
            )
        )
        # Decisions come sorted by name, and of a million there is no room for all entries as well.
        entries = heapq.merge(map(_entry, going), missing, key=lambda entry: entry.tag)
        for number, entry in enumerate(entries):
            self._writer.entry(entry)
            if number % _ENTRIES_AT_ONCE == _ENTRIES_AT_ONCE - 1:
                yield

    def _count(self, listing: ImageListing, going: Sequence[Decision], policies: ImagePolicies) -> None:
        self._guards.image(
            listing.registry,
            listing.image,
            len(listing.tags or ()),
            (decision.reasons[0].policy or "" for decision in going),
            policies.matching,
        )

    def finish(self) -> Footer:
        """Check the guards and write the footer; RefusedError if a guard is exceeded."""
        self._guards.check()
        if self._true_bytes is not None:
            self._writer.freed(*self._true_bytes.finish())
        return self._writer.finish()


def _kept(decision: Decision, policies: ImagePolicies) -> KeptTarget:
    target, reason = decision.tag.target, str(decision.reasons[0])
    item, _ = policies.targets[target.tag]
    return KeptTarget(target.registry, target.image, target.tag, reason, item.policy)


def _entry(decision: Decision) -> Entry:
    tag, reason = decision.tag, decision.reasons[0]
    return Entry(
        0,
        tag.target.registry,
        tag.target.image,
        tag.target.tag,
        reason.policy or "",
        reason.source or "",
        reason.kind,
        reason.text,
        tag.digest,
        tag.size,
        tag.updated,
        tag.last_pulled,
        delete_shared=decision.delete_shared,
        orphan=tag.orphaned,
        platforms=tag.platforms or None,
        manifest=tag.manifest,
    )


def _missing_targets(listing: ImageListing, policies: ImagePolicies) -> list[Entry]:
    """Explicit targets that are not there: they stay in the plan, so that every target is accounted for."""
    if not policies.targets:
        return []
    present = {tag.target.tag for tag in listing.tags or ()}
    why = "explicit target, not there" if listing.tags is not None else "explicit target, no such image"
    return [
        Entry(
            0,
            listing.registry,
            listing.image,
            name,
            item.policy,
            item.source,
            ReasonKind.EXPLICIT_TARGET,
            why,
            missing=True,
        )
        for name, (item, _) in sorted(policies.targets.items())
        if name not in present
    ]
