"""Which facts deciding an image can ask for, out of the names of its tags alone. Pure.

Where a fact costs requests, what nobody asks for is not read. A condition that needs a fact is unknown
without it, so a rule that is false by the name alone is false whatever is found out. Deciding with these
facts gives what deciding with all would: a tag that is kept only for want of a fact would be counted by
``keep_at_least``, and another would go in its place.
"""

from collections.abc import Iterable, Sequence

from pruner.model import Tag, Target
from pruner.policy.combined import asks_for_orphans, has_rank
from pruner.policy.conditions import Orphaned
from pruner.policy.image_policies import ImagePolicies
from pruner.policy.newest import Newest
from pruner.policy.policy import Rule
from pruner.policy.verdicts import NO, ImageTable, judge
from pruner.registry.base import Want, Wanted


def want_of(policies: ImagePolicies) -> Want:
    """What ``policies`` may ask of an image's tags."""
    deleting = [rule for rule, _ in policies.delete]
    of_orphans = [rule for rule in deleting if asks_for_orphans(rule.conditions)]
    of_others = [rule for rule in deleting if rule not in of_orphans]
    ranking = [rule for rule in policies.keep if has_rank(rule.conditions)]
    ranks_within = any(_ranks_within(rule) for rule in (*deleting, *policies.keep))

    def want(names: Sequence[str]) -> Wanted:
        table = ImageTable([Tag(Target("x", "x", name)) for name in names], 0)
        going = _possible(of_others, table) | {name for name in names if name in policies.targets}
        orphans = _possible(of_orphans, table)
        if not going and not orphans:
            return Wanted(identity=False, times=(), referrers=(), orphans=False)
        times = None if ranks_within else going | _possible(ranking, table)
        return Wanted(times=times, referrers=going | orphans, orphans=bool(orphans))

    return want


def _possible(rules: Iterable[Rule], table: ImageTable) -> set[str]:
    """The names that any of ``rules`` may select.

    Ranks depend on facts, and on which tags take part in them, and what is orphaned on other tags: neither
    is decided by a name.
    """
    found: set[str] = set()
    for rule in rules:
        conditions = [c for c in rule.conditions if not has_rank((c,)) and not isinstance(c, Orphaned)]
        verdicts = judge(conditions, table)
        found.update(name for name, verdict in zip(table.names, verdicts, strict=True) if verdict != NO)
    return found


def _ranks_within(rule: Rule) -> bool:
    """Whether a rank stands inside of another condition, where it ranks all tags of the image."""
    return any(has_rank((c,)) and not isinstance(c, Newest) for c in rule.conditions)
