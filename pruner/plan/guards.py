"""Guards: limits that refuse a whole plan before the first DELETE. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pruner.errors import Guard, RefusedError
from pruner.plan.records import Header
from pruner.policy.duration import format_age
from pruner.policy.policy import Limits, Policy

SHOWN_VIOLATIONS = 20
CLOCK_TOLERANCE_MS = 300_000


@dataclass(frozen=True, slots=True)
class Guards:
    """The limits of the command line; those of the policies hold as well, the stricter one decides."""

    max_deletions: int | None = None
    max_share: float | None = None
    keep_at_least: int | None = None

    def described(self) -> dict[str, Any]:
        """The guards that are set, for the plan's header."""
        facts = {
            "max_deletions": self.max_deletions,
            "max_share": self.max_share,
            "keep_at_least": self.keep_at_least,
        }
        return {name: value for name, value in facts.items() if value is not None}


def check_age(header: Header, max_age: int, now: int) -> None:
    """Raise RefusedError for a plan older than ``max_age`` milliseconds, or one that comes from the future.

    ``now`` in epoch milliseconds.
    """
    age = now - header.listed_at
    if age > max_age:
        raise RefusedError(
            f"refused, no DELETE was sent: the plan is {format_age(age)} old, --max-age allows "
            f"{format_age(max_age)}; make a new plan",
            "max_age",
        )
    if max(header.listed_at, header.decided_at) > now + CLOCK_TOLERANCE_MS:
        raise RefusedError(
            "refused, no DELETE was sent: the plan was made for a time that is yet to come", "max_age"
        )


SMALL_RUN = 10
"""Runs up to so many deletions never count as grown."""


def check_growth(planned: int, before: Sequence[int], factor: float | None) -> None:
    """Raise RefusedError if a plan has more than ``factor`` times what the largest of the last runs had."""
    if factor is None or not before:
        return
    usual = max(*before, SMALL_RUN)
    if planned > factor * usual:
        raise RefusedError(
            f"refused, nothing was deleted: {planned} deletions, but the last {len(before)} runs had at most "
            f"{max(before)}, and --max-growth allows {factor:g} times that",
            "max_growth",
        )


@dataclass(slots=True)
class GuardCounter:
    """Counts deletions while a plan is built; ``check`` raises if anything is exceeded."""

    guards: Guards
    limits: dict[str, Limits]
    """The limits of each policy by its name."""
    registries: dict[str, str]
    """The registry of each policy."""
    by_policy: dict[str, int] = field(default_factory=dict)
    by_registry: dict[str, int] = field(default_factory=dict)
    total: int = 0
    violations: list[str] = field(default_factory=list)
    exceeded: dict[Guard, None] = field(default_factory=dict)
    """The kinds of limits that are exceeded, in the order found."""
    hidden: int = 0

    @classmethod
    def of(cls, guards: Guards, policies: Sequence[Policy]) -> "GuardCounter":
        """A counter for ``policies``."""
        return cls(
            guards,
            {policy.name: policy.limits for policy in policies},
            {policy.name: policy.registry for policy in policies},
        )

    def image(
        self, registry: str, image: str, tags: int, deletions: Iterable[str], rules: Sequence[Policy]
    ) -> None:
        """Count an image: its number of tags, the policy of each deletion, the rule policies that match."""
        by_policy: dict[str, int] = {}
        for policy in deletions:
            by_policy[policy] = by_policy.get(policy, 0) + 1
        count = sum(by_policy.values())
        self.total += count
        self.by_registry[registry] = self.by_registry.get(registry, 0) + count
        for policy, own in by_policy.items():
            self.by_policy[policy] = self.by_policy.get(policy, 0) + own
        where = f"{registry}/{image}"
        names = sorted({*by_policy, *(policy.name for policy in rules)}) if count else []
        for policy in names:
            most = self.limits[policy].max_deletions_per_image if policy in self.limits else None
            if most is not None and count > most:
                self._violated(
                    "max_deletions_per_image",
                    f"{where}: {count} deletions, policy '{policy}' allows {most} per image",
                )
        self._check_share(where, tags, count, names)

    def _check_share(self, where: str, tags: int, count: int, policies: Sequence[str]) -> None:
        if not tags or not count:
            return
        shares = [("--max-share", self.guards.max_share)]
        shares += [
            (f"policy '{name}'", self.limits[name].max_share) for name in policies if name in self.limits
        ]
        for who, most in shares:
            if most is not None and count * 100 > round(most * 100) * tags:
                self._violated(
                    "max_share",
                    f"{where}: {count} of {tags} tags ({count / tags:.1%}) would go, {who} allows {most:.0%}",
                )

    def _violated(self, guard: Guard, text: str) -> None:
        self.exceeded[guard] = None
        if len(self.violations) < SHOWN_VIOLATIONS:
            self.violations.append(text)
        else:
            self.hidden += 1

    def check(self) -> None:
        """Raise RefusedError listing every limit that is exceeded, those of the whole run first."""
        of_the_run = list(self._of_the_run())
        violations = [*(text for _, text in of_the_run), *self.violations]
        if violations:
            more = [f"… and {self.hidden} more"] if self.hidden else []
            lines = "\n".join(f"  {text}" for text in [*violations, *more])
            guards = dict.fromkeys([*(guard for guard, _ in of_the_run), *self.exceeded])
            raise RefusedError(f"refused, nothing was deleted:\n{lines}", *guards)

    def _of_the_run(self) -> Iterator[tuple[Guard, str]]:
        most = self.guards.max_deletions
        if most is not None and self.total > most:
            yield "max_deletions", f"{self.total} deletions in all, --max-deletions allows {most}"
        for policy, count in sorted(self.by_policy.items()):
            limit = self.limits[policy].max_deletions if policy in self.limits else None
            if limit is not None and count > limit:
                text = f"policy '{policy}': {count} deletions, its max_deletions allows {limit}"
                yield "max_deletions", text
        for policy, limits in sorted(self.limits.items()):
            limit = limits.max_deletions_per_registry
            count = self.by_registry.get(self.registries[policy], 0)
            if limit is not None and count > limit:
                text = (
                    f"registry '{self.registries[policy]}': {count} deletions, "
                    f"policy '{policy}' allows {limit} per registry"
                )
                yield "max_deletions_per_registry", text
