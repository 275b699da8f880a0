"""Which facts deciding an image can ask for, out of the names of its tags alone. Pure.

Where a fact costs requests, what nobody asks for is not read. A condition that needs a fact is unknown
without it, so a rule that is false by the name alone is false whatever is found out.
"""

from collections.abc import Sequence

from pruner.model import Tag, Target
from pruner.policy.conditions import NO, ImageTable, has_rank, judge
from pruner.policy.policy import Rule
from pruner.policy.retention import ImagePolicies
from pruner.registry.base import Want, Wanted


def want_of(policies: ImagePolicies) -> Want:
    """What ``policies`` may ask of an image's tags."""

    def want(names: Sequence[str]) -> Wanted:
        table = ImageTable([Tag(Target("x", "x", name)) for name in names], 0)
        going = {name for rule, _ in policies.delete for name in _possible(rule, table)}
        explicit = {name for name in names if name in policies.targets}
        if not going and not explicit:
            return Wanted(identity=False, times=())
        ranked = {n for rule in policies.keep if has_rank(rule.conditions) for n in _possible(rule, table)}
        return Wanted(times=going | ranked, referrers=going | explicit)

    return want


def _possible(rule: Rule, table: ImageTable) -> list[str]:
    """The names that a rule may select."""
    verdicts = judge(rule.conditions, table)
    return [name for name, verdict in zip(table.names, verdicts, strict=True) if verdict != NO]
