"""Which policies apply to an image: those of its registry, indexed by what they say of images. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pruner.policy.combined import asks_for_pulls
from pruner.policy.in_use import ImageUse
from pruner.policy.policy import ExplicitTarget, Hold, Policy, Rule

DEFAULT_KEEP_AT_LEAST: Final = 1

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
