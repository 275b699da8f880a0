"""The condition that ranks tags: among the newest of a group, by time, by version or by digest. Pure."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pruner.policy.semver import Version, parse_version
from pruner.policy.verdicts import NO, UNKNOWN, YES, ImageTable, Verdicts


@dataclass(frozen=True, slots=True)
class Newest:
    """Among the ``count`` newest of the tags that the rule's other conditions select.

    ``group`` gives the key of a tag's group and ``order`` what tags are ranked by (None: not known); a
    tag outside every group (None) is not selected. Where unknown facts or equal times leave the rank
    open, the verdict is unknown. With ``by_digest`` the tags of one digest have one rank, that of the newest.
    """

    label: str
    count: int
    group: Callable[[ImageTable, int], Hashable | None]
    order: Callable[[ImageTable, int], Any | None]
    by_digest: bool = False

    def narrow(self, table: ImageTable, verdicts: Verdicts) -> None:
        """Ranks within each group."""
        groups: defaultdict[Hashable, list[int]] = defaultdict(list)
        for index, verdict in enumerate(verdicts):
            if verdict:
                key = self.group(table, index)
                if key is None:
                    verdicts[index] = NO
                else:
                    groups[key].append(index)
        for members in groups.values():
            if len(members) > self.count:
                for index, (best, worst) in self._ranks(table, members, verdicts).items():
                    verdicts[index] = min(verdicts[index], self._verdict(best, worst))

    def _verdict(self, best: int, worst: int) -> int:
        if worst <= self.count:
            return YES
        return NO if best > self.count else UNKNOWN

    def _ranks(
        self, table: ImageTable, members: Sequence[int], verdicts: Verdicts
    ) -> dict[int, tuple[int, int]]:
        """The best and the worst rank (from 1) that each member can have."""
        if self.by_digest:
            return self._ranks_of_digests(table, members, verdicts)
        orders = {index: self.order(table, index) for index in members}
        known = sorted(order for order in orders.values() if order is not None)
        certain = sorted(
            order for index, order in orders.items() if order is not None and verdicts[index] == YES
        )
        unknown = len(members) - len(known)
        return {
            index: (1, len(members))
            if order is None
            else (
                1 + len(certain) - bisect_right(certain, order),
                len(known) - bisect_left(known, order) + unknown,
            )
            for index, order in orders.items()
        }

    def _ranks_of_digests(
        self, table: ImageTable, members: Sequence[int], verdicts: Verdicts
    ) -> dict[int, tuple[int, int]]:
        """As ``_ranks``, of digests. One that is not known may be any of the others, or one more."""
        of_digest: defaultdict[str | None, list[int]] = defaultdict(list)
        for index in members:
            of_digest[table.tags[index].digest].append(index)
        anywhere = [self.order(table, index) for index in of_digest.pop(None, ())]
        unknown = len(anywhere)
        spans: dict[str | None, tuple[Any, Any]] = {}
        certain = []
        for digest, own in of_digest.items():
            orders: dict[int, Any] = {index: self.order(table, index) for index in own}
            if None in orders.values():
                continue
            sure = [orders[index] for index in own if verdicts[index] == YES]
            # Without those tags that may not belong here, the digest may be as old as the others.
            spans[digest] = max(sure, default=min(orders.values())), max(orders.values())
            certain += [max(sure)] if sure else []
        certain.sort()
        latest = sorted(newest for _, newest in spans.values())
        undated = len(of_digest) - len(spans) + unknown

        def rank(digest: str | None) -> tuple[int, int]:
            if digest not in spans:
                return 1, len(of_digest) + unknown
            oldest, newest = spans[digest]
            if None in anywhere:
                return 1, len(latest) - bisect_left(latest, oldest) + undated
            # A tag without a digest may be of this one, and then it is as new.
            newest = max([newest, *anywhere])
            newer = len(certain) - bisect_right(certain, newest)
            return 1 + newer, len(latest) - bisect_left(latest, oldest) + undated

        return {index: rank(table.tags[index].digest) for index in members}

    def explain(self, table: ImageTable, index: int, before: Verdicts) -> tuple[int, str]:
        """The rank and of how many."""
        if not before[index]:
            return NO, "not ranked: another condition of the rule does not hold"
        key = self.group(table, index)
        if key is None:
            return NO, f"'{table.names[index]}' belongs to no group"
        count, ranks = self._ranks_of_group(table, key, before)
        best, worst = ranks[index]
        verdict = YES if count <= self.count else self._verdict(best, worst)
        rank = f"number {best}" if best == worst else f"between number {best} and {worst}"
        where = "" if key is ALL else f" of the group '{_group_text(key)}'"
        return verdict, f"{rank} of {count}{where}, newest first"

    def _ranks_of_group(
        self, table: ImageTable, key: Hashable, before: Verdicts
    ) -> tuple[int, dict[int, tuple[int, int]]]:
        """How many tags a group has, and the ranks that each can have; found out once per image."""
        place = ("ranks", id(self), key, bytes(before))
        if place not in table.cache:
            members = [i for i, verdict in enumerate(before) if verdict and self.group(table, i) == key]
            table.cache[place] = len(members), self._ranks(table, members, before)
        found: tuple[int, dict[int, tuple[int, int]]] = table.cache[place]
        return found


class _All:
    """The key of the one group of a rule without groups."""


ALL: Final = _All()


def _group_text(key: Hashable) -> str:
    return ".".join(map(str, key)) if isinstance(key, tuple) else str(key)


def one_group(table: ImageTable, index: int) -> Hashable:
    """All tags rank together."""
    return ALL


def by_update(table: ImageTable, index: int) -> int | None:
    """Rank by the time of the last update."""
    return table.updated[index]


def by_version(table: ImageTable, index: int) -> Version | None:
    """Rank by semantic version."""
    return parse_version(table.names[index])


def captured(capture: Callable[[str], str | None]) -> Callable[[ImageTable, int], Hashable | None]:
    """Group by what a regular expression captures from the name."""
    return lambda table, index: capture(table.names[index])


def per_version(parts: int) -> Callable[[ImageTable, int], Hashable | None]:
    """Group versions by their first ``parts`` numbers."""

    def key(table: ImageTable, index: int) -> Hashable | None:
        version = parse_version(table.names[index])
        return None if version is None else tuple(version[:parts])

    return key
