"""Conditions made of others (any, all, not), and what is asked for anywhere in them. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from pruner.policy.conditions import Age, Orphaned
from pruner.policy.newest import Newest
from pruner.policy.verdicts import (
    YES,
    Condition,
    Conditions,
    ImageTable,
    Verdicts,
    explain_all,
    judge,
    narrow_each,
)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of several sets of conditions holds."""

    label: str
    alternatives: tuple[Conditions, ...]

    def narrow(self, table: ImageTable, verdicts: Verdicts) -> None:
        """The highest verdict of the alternatives."""
        judged = [judge(conditions, table) for conditions in self.alternatives]
        narrow_each(verdicts, lambda index: max(own[index] for own in judged))

    def explain(self, table: ImageTable, index: int, before: Verdicts) -> tuple[int, str]:
        """What each alternative says."""
        judged = [explain_all(conditions, table, index) for conditions in self.alternatives]
        return max(verdict for verdict, _ in judged), "; or ".join(text for _, text in judged)


@dataclass(frozen=True, slots=True)
class AllOf:
    """Each of several sets of conditions holds."""

    label: str
    parts: tuple[Conditions, ...]

    def narrow(self, table: ImageTable, verdicts: Verdicts) -> None:
        """The lowest verdict of the parts."""
        judged = [judge(conditions, table) for conditions in self.parts]
        narrow_each(verdicts, lambda index: min(own[index] for own in judged))

    def explain(self, table: ImageTable, index: int, before: Verdicts) -> tuple[int, str]:
        """What each part says."""
        judged = [explain_all(conditions, table, index) for conditions in self.parts]
        return min(verdict for verdict, _ in judged), "; and ".join(text for _, text in judged)


@dataclass(frozen=True, slots=True)
class Not:
    """A set of conditions does not hold; unknown stays unknown."""

    label: str
    conditions: Conditions

    def narrow(self, table: ImageTable, verdicts: Verdicts) -> None:
        """The opposite verdict."""
        judged = judge(self.conditions, table)
        narrow_each(verdicts, lambda index: YES - judged[index])

    def explain(self, table: ImageTable, index: int, before: Verdicts) -> tuple[int, str]:
        """What the conditions say, turned round."""
        verdict, text = explain_all(self.conditions, table, index)
        return YES - verdict, f"not ({text})"


def has_rank(conditions: Conditions) -> bool:
    """Whether any of ``conditions``, or of those inside them, ranks tags."""
    return any(isinstance(condition, Newest) for condition in _flat(conditions))


def asks_for_orphans(conditions: Conditions) -> bool:
    """Whether ``conditions`` are of what belongs to an image that is gone."""
    return any(isinstance(condition, Orphaned) for condition in conditions)


def asks_for_pulls(conditions: Conditions) -> bool:
    """Whether any of ``conditions``, or of those inside them, asks when a tag was last pulled."""
    return any(isinstance(condition, Age) and condition.pulled for condition in _flat(conditions))


def _flat(conditions: Conditions) -> Iterator[Condition]:
    """The conditions and those inside them."""
    for condition in conditions:
        yield condition
        inner: tuple[Conditions, ...] = ()
        if isinstance(condition, AnyOf):
            inner = condition.alternatives
        elif isinstance(condition, AllOf):
            inner = condition.parts
        elif isinstance(condition, Not):
            inner = (condition.conditions,)
        for part in inner:
            yield from _flat(part)
