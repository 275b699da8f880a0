"""The conditions of a rule, judged over all tags of one image at once. Pure.

A condition is true, false or unknown for a tag: unknown when a fact it needs (a time, a digest, a size)
is not known. A delete rule needs every condition true; a keep rule protects unless one is false.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from pruner.model import Tag
from pruner.policy.duration import format_age
from pruner.policy.patterns import Matcher
from pruner.policy.semver import Version, parse_version

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
        # A time in the future is not a time that can be relied on.
        self.updated = [t.updated if t.updated is not None and t.updated <= now else None for t in tags]
        self.cache: dict[Hashable, Any] = {}
        """What explaining one tag has found out about all of them; keys start with an object's id."""
        self._by_digest: dict[str, list[int]] | None = None

    def __len__(self) -> int:
        return len(self.tags)

    @property
    def pulled(self) -> list[int | None]:
        """When each tag was last pulled; a time in the future is not known."""
        if "pulled" not in self.cache:
            self.cache["pulled"] = [
                tag.last_pulled if tag.last_pulled is not None and tag.last_pulled <= self.now else None
                for tag in self.tags
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


def _narrow_each(verdicts: Verdicts, verdict_of: Callable[[int], int]) -> None:
    for index, current in enumerate(verdicts):
        if current:
            own = verdict_of(index)
            if own < current:
                verdicts[index] = own


def _date(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d}"


@dataclass(frozen=True, slots=True)
class NameMatches:
    """The tag's name matches globs or a regular expression."""

    matches: Matcher
    label: str

    def narrow(self, table: ImageTable, verdicts: Verdicts) -> None:
        """Never unknown: every tag has a name."""
        matches = self.matches
        for index, name in enumerate(table.names):
            if verdicts[index] and not matches(name):
                verdicts[index] = NO

    def explain(self, table: ImageTable, index: int, before: Verdicts) -> tuple[int, str]:
        """Whether the name matches."""
        name = table.names[index]
        return (YES, f"'{name}' matches") if self.matches(name) else (NO, f"'{name}' does not match")


@dataclass(frozen=True, slots=True)
class Age:
    """Last updated (or last pulled) longer ago than ``limit`` milliseconds, or at most that long ago."""

    label: str
    limit: int
    older: bool
    pulled: bool = False

    def _times(self, table: ImageTable) -> Sequence[int | None]:
        if not self.pulled:
            return table.updated
        return table.pulled

    def _verdict(self, moment: int | None, now: int) -> int:
        if moment is None:
            return UNKNOWN
        return YES if (now - moment > self.limit) is self.older else NO

    def narrow(self, table: ImageTable, verdicts: Verdicts) -> None:
        """Unknown where the time is."""
        now = table.now
        for index, moment in enumerate(self._times(table)):
            if verdicts[index]:
                verdicts[index] = min(verdicts[index], self._verdict(moment, now))

    def explain(self, table: ImageTable, index: int, before: Verdicts) -> tuple[int, str]:
        """The date and the age compared."""
        moment = self._times(table)[index]
        what = "last pulled" if self.pulled else "last updated"
        if moment is None:
            return UNKNOWN, f"when it was {what} is not known"
        age = format_age(table.now - moment)
        return self._verdict(moment, table.now), f"{what} {_date(moment)}, {age} ago"


@dataclass(frozen=True, slots=True)
class LargerThan:
    """The tag refers to more than ``limit`` bytes."""

    label: str
    limit: int

    def narrow(self, table: ImageTable, verdicts: Verdicts) -> None:
        """Unknown where the size is."""
        _narrow_each(verdicts, lambda index: self._verdict(table.tags[index].size))

    def _verdict(self, size: int | None) -> int:
        if size is None:
            return UNKNOWN
        return YES if size > self.limit else NO

    def explain(self, table: ImageTable, index: int, before: Verdicts) -> tuple[int, str]:
        """The size compared."""
        size = table.tags[index].size
        return self._verdict(size), "size is not known" if size is None else f"size is {size} bytes"


@dataclass(frozen=True, slots=True)
class DigestSharedWith:
    """Another tag of the image that ``matches`` has the same digest."""

    label: str
    matches: Matcher

    def narrow(self, table: ImageTable, verdicts: Verdicts) -> None:
        """Unknown where the digest is, and where a matching tag's digest is not known."""
        _narrow_each(verdicts, self._judge(table))

    def _judge(self, table: ImageTable) -> Callable[[int], int]:
        matching = {index for index, name in enumerate(table.names) if self.matches(name)}
        doubtful = {index for index in matching if table.tags[index].digest is None}

        def verdict(index: int) -> int:
            digest = table.tags[index].digest
            if digest is not None and any(i in matching and i != index for i in table.by_digest[digest]):
                return YES
            others = matching - {index} if digest is None else doubtful
            return UNKNOWN if others else NO

        return verdict

    def explain(self, table: ImageTable, index: int, before: Verdicts) -> tuple[int, str]:
        """Which tag shares the digest."""
        judge_one = table.cache.setdefault(("digests", id(self)), None) or self._judge(table)
        table.cache[("digests", id(self))] = judge_one
        verdict: int = judge_one(index)
        if verdict == YES:
            siblings = table.by_digest[table.tags[index].digest or ""]
            names = [table.names[i] for i in siblings if i != index and self.matches(table.names[i])]
            return YES, f"same digest as '{names[0]}'"
        return verdict, "no matching tag has its digest" if verdict == NO else "a digest is not known"


@dataclass(frozen=True, slots=True)
class Orphaned:
    """The tag is a signature, say, of an image that is not there any more."""

    label: str

    def narrow(self, table: ImageTable, verdicts: Verdicts) -> None:
        """Unknown where the registry does not tell what hangs together."""
        _narrow_each(verdicts, lambda index: self._verdict(table.tags[index]))

    def _verdict(self, tag: Tag) -> int:
        if tag.subject is None:
            return NO
        if tag.links is None:
            return UNKNOWN
        return YES if tag.orphaned else NO

    def explain(self, table: ImageTable, index: int, before: Verdicts) -> tuple[int, str]:
        """What it belongs to."""
        tag = table.tags[index]
        verdict = self._verdict(tag)
        if tag.subject is None:
            return verdict, "belongs to no other image"
        subject = tag.subject[:19]
        texts = {YES: "is not there any more", NO: "is there", UNKNOWN: "may be there or not"}
        return verdict, f"{subject}, which it belongs to, {texts[verdict]}"


@dataclass(frozen=True, slots=True)
class Semver:
    """The tag is a semantic version within a range, a release or a prerelease."""

    label: str
    in_range: Callable[[Version], bool] | None
    prerelease: bool | None

    def narrow(self, table: ImageTable, verdicts: Verdicts) -> None:
        """Never unknown: a name is a version or not."""
        _narrow_each(verdicts, lambda index: self._verdict(parse_version(table.names[index])))

    def _verdict(self, version: Version | None) -> int:
        if version is None:
            return NO
        if self.prerelease is not None and self.prerelease is version.final:
            return NO
        return NO if self.in_range is not None and not self.in_range(version) else YES

    def explain(self, table: ImageTable, index: int, before: Verdicts) -> tuple[int, str]:
        """The version found."""
        name = table.names[index]
        version = parse_version(name)
        if version is None:
            return NO, f"'{name}' is not a semantic version"
        kind = "release" if version.final else "prerelease"
        return self._verdict(
            version
        ), f"'{name}' is the {kind} {version.major}.{version.minor}.{version.patch}"


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


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of several sets of conditions holds."""

    label: str
    alternatives: tuple[Conditions, ...]

    def narrow(self, table: ImageTable, verdicts: Verdicts) -> None:
        """The highest verdict of the alternatives."""
        judged = [judge(conditions, table) for conditions in self.alternatives]
        _narrow_each(verdicts, lambda index: max(own[index] for own in judged))

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
        _narrow_each(verdicts, lambda index: min(own[index] for own in judged))

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
        _narrow_each(verdicts, lambda index: YES - judged[index])

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
