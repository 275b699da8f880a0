"""The conditions of a rule that look at a tag for itself: its name, times, size, digest and subject. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pruner.model import Tag
from pruner.policy.duration import format_age
from pruner.policy.patterns import Matcher
from pruner.policy.semver import Version, parse_version
from pruner.policy.verdicts import NO, UNKNOWN, YES, ImageTable, Verdicts, narrow_each


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
        narrow_each(verdicts, lambda index: self._verdict(table.tags[index].size))

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
        narrow_each(verdicts, self._judge(table))

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
        narrow_each(verdicts, lambda index: self._verdict(table.tags[index]))

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
        narrow_each(verdicts, lambda index: self._verdict(parse_version(table.names[index])))

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
