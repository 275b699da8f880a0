"""Verdicts on all tags of one image at once, and what explains one of them. Pure.

A condition is true, false or unknown for a tag: unknown when a fact it needs (a time, a digest, a size)
is not known. A delete rule needs every condition true; a keep rule protects unless one is false.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Final, Protocol

from pruner.model import Tag

NO: Final = 0
UNKNOWN: Final = 1
YES: Final = 2
VERDICT_NAMES: Final = ("no", "unknown", "yes")

Verdicts = bytearray
"""One of NO, UNKNOWN, YES per tag of an image; 'and' is min, 'or' is max, 'not' is 2 - x."""


class ImageTable:
    """The tags of one image at one moment (epoch milliseconds), and what several conditions share."""

    def __init__(self, tags: Sequence[Tag], now: int) -> None:
        self.tags = tags
        self.now = now
        self.names = [tag.target.tag for tag in tags]
        # Whichever clock is wrong, nothing is newer than now.
        self.updated = [None if t.updated is None else min(t.updated, now) for t in tags]
        self.cache: dict[Hashable, Any] = {}
        """What explaining one tag has found out about all of them; keys start with an object's id."""
        self._by_digest: dict[str, list[int]] | None = None
        self._by_identity: dict[str, list[int]] | None = None

    def __len__(self) -> int:
        return len(self.tags)

    @property
    def pulled(self) -> list[int | None]:
        """When each tag was last pulled, at the latest now."""
        if "pulled" not in self.cache:
            self.cache["pulled"] = [
                None if tag.last_pulled is None else min(tag.last_pulled, self.now) for tag in self.tags
            ]
        found: list[int | None] = self.cache["pulled"]
        return found

    @property
    def by_digest(self) -> dict[str, list[int]]:
        """The indices of the tags of each known digest."""
        if self._by_digest is None:
            groups: defaultdict[str, list[int]] = defaultdict(list)
            for index, tag in enumerate(self.tags):
                if tag.digest is not None:
                    groups[tag.digest].append(index)
            self._by_digest = dict(groups)
        return self._by_digest

    @property
    def by_identity(self) -> dict[str, list[int]]:
        """As ``by_digest``, also by the digests of manifests where lists name other ones."""
        if self._by_identity is None:
            groups: defaultdict[str, list[int]] = defaultdict(list)
            for index, tag in enumerate(self.tags):
                for digest in tag.identities:
                    groups[digest].append(index)
            self._by_identity = dict(groups)
        return self._by_identity


class Condition(Protocol):
    """One condition of a rule."""

    @property
    def label(self) -> str:
        """The condition as the policy writes it."""

    def narrow(self, table: ImageTable, verdicts: Verdicts) -> None:
        """Lower each verdict to this condition's own where that is lower."""

    def explain(self, table: ImageTable, index: int, before: Verdicts) -> tuple[int, str]:
        """This condition's verdict on one tag and the values compared.

        ``before`` holds the verdicts of the conditions judged earlier in the rule.
        """


Conditions = tuple[Condition, ...]


def judge(conditions: Iterable[Condition], table: ImageTable) -> Verdicts:
    """The verdict on each tag: whether all ``conditions`` hold."""
    verdicts = bytearray([YES]) * len(table)
    for condition in conditions:
        condition.narrow(table, verdicts)
    return verdicts


def narrow_each(verdicts: Verdicts, verdict_of: Callable[[int], int]) -> None:
    """Lower each verdict to its tag's own, by index, where that is lower; what is NO already is not asked."""
    for index, current in enumerate(verdicts):
        if current:
            own = verdict_of(index)
            if own < current:
                verdicts[index] = own


def explain_each(conditions: Conditions, table: ImageTable, index: int) -> list[tuple[str, int, str]]:
    """Label, verdict and compared values of each condition on one tag."""
    found = []
    for condition, before in _steps(conditions, table):
        verdict, text = condition.explain(table, index, before)
        found.append((condition.label, verdict, text))
    return found


def _steps(conditions: Conditions, table: ImageTable) -> list[tuple[Condition, Verdicts]]:
    """Each condition with the verdicts on all tags before it; found out once per image."""
    key = ("steps", id(conditions))
    if key not in table.cache:
        before = bytearray([YES]) * len(table)
        steps = []
        for condition in conditions:
            steps.append((condition, bytearray(before)))
            condition.narrow(table, before)
        table.cache[key] = steps
    found: list[tuple[Condition, Verdicts]] = table.cache[key]
    return found


def explain_all(conditions: Conditions, table: ImageTable, index: int) -> tuple[int, str]:
    """The verdict of all ``conditions`` together on one tag, and the values compared."""
    found = explain_each(conditions, table, index)
    verdict = min((own for _, own, _ in found), default=YES)
    return verdict, ", ".join(f"{label}: {text}" for label, _, text in found)
