"""The one rule of protection: which tags may not be deleted although something selects them. Pure.

Deciding asks it when a plan is made, and the final check asks it again with what the image holds then, so
that both keep the same tags.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from pruner.model import Reason, ReasonKind, Tag

_UNKNOWN_DIGEST: Final = Reason(
    ReasonKind.UNKNOWN_DIGEST, "its digest is not known, so it may be the same image as a kept tag"
)
_UNKNOWN_SIBLING: Final = Reason(
    ReasonKind.UNKNOWN_DIGEST, "a kept tag of this image has no known digest and may be the same image"
)


def short(digest: str) -> str:
    """A digest for people."""
    return digest[:19]


class Candidate(Protocol):
    """What selects a tag for deletion."""

    @property
    def explicit(self) -> bool:
        """Whether an explicit target names the tag."""

    @property
    def delete_shared(self) -> bool:
        """Whether the policy deletes the tag even if a kept tag has the same digest."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for a whole image.

    ``keep_at_least`` is how many ordinary tags rules leave in it. ``takes_siblings`` says that a deletion
    may delete every tag of the same digest, whatever a policy says.
    """

    keep_at_least: int = 0
    takes_siblings: bool = False


def protect(
    tags: Sequence[Tag],
    candidates: Mapping[int, Candidate],
    updated: Sequence[int | None],
    terms: Terms,
) -> dict[int, Reason]:
    """The candidates that have to stay, each with the reason.

    ``tags`` are all tags of one image, ``candidates`` are by their index, ``updated`` is when each tag was
    last updated (epoch milliseconds), which ranks the tags that ``keep_at_least`` keeps.
    """
    return _Protection(tags, dict(candidates), updated, terms).run()


class _Protection:
    """Keeping a tag can make it necessary to keep another one, so the rules are repeated to a fixed point:

    1. A tag that has, or may have, the digest of a kept tag stays, since the server may delete every name
       of a digest together with one of them.
    2. A part of a kept tag stays: a platform of its index, or what its manifest names as a child.
    3. What a kept tag belongs to stays (the image of a kept signature), and so does what belongs to a kept
       tag, unless an explicit target names it.
    4. Of the remaining candidates that rules select, the newest stay until ``keep_at_least`` is met. Only
       ordinary tags count; signatures and the like do not.

    Every step only ever keeps more, so the result does not depend on the order of the tags.
    """

    def __init__(
        self,
        tags: Sequence[Tag],
        candidates: dict[int, Candidate],
        updated: Sequence[int | None],
        terms: Terms,
    ) -> None:
        self._tags = tags
        self._going = candidates
        """The candidates that nothing keeps so far."""
        self._updated = updated
        self._terms = terms
        self._kept: dict[int, Reason] = {}
        self._subjects = {i: tag.subject for i, tag in enumerate(tags) if tag.subject is not None}
        """What each attachment (a signature, say) belongs to."""
        self._has_platforms = any(tag.platforms for tag in tags)
        self._has_links = bool(self._subjects) or any(tag.links is not None for tag in tags)

    def run(self) -> dict[int, Reason]:
        """Repeat all rules until nothing changes."""
        while self._going and (self._protect_related() or self._protect_the_newest()):
            pass
        return self._kept

    def _keep(self, index: int, reason: Reason) -> None:
        self._kept[index] = reason
        del self._going[index]

    def _lets_shared_go(self, candidate: Candidate) -> bool:
        return candidate.delete_shared and not self._terms.takes_siblings

    def _protect_related(self) -> bool:
        """Rules 1 to 3, once; whether they kept anything."""
        before = len(self._going)
        self._protect_shared()
        if self._has_platforms:
            self._protect_platforms()
        if self._has_links:
            self._protect_linked()
        return len(self._going) < before

    def _protect_shared(self) -> None:
        """Rule 1. A digest that is not known may be any."""
        names: dict[str, str] = {}
        staying = doubtful = False
        for index, tag in enumerate(self._tags):
            if index not in self._going:
                staying = True
                doubtful = doubtful or tag.digest is None
                for digest in tag.identities:
                    names.setdefault(digest, tag.name)
        if not staying:
            return
        for index, candidate in list(self._going.items()):
            if self._lets_shared_go(candidate):
                continue
            tag = self._tags[index]
            other = _first(names, tag.identities)
            if tag.digest is None:
                self._keep(index, _UNKNOWN_DIGEST)
            elif other is not None:
                self._keep(index, _same_digest(other[1]))
            elif doubtful:
                self._keep(index, _UNKNOWN_SIBLING)

    def _protect_platforms(self) -> None:
        """Rule 2, for the platforms that a listing tells; shared digests may be let go by a policy."""
        going = {
            digest
            for index, candidate in self._going.items()
            if not self._lets_shared_go(candidate)
            for digest in self._tags[index].identities
        }
        wholes: dict[str, str] = {}
        for index, tag in enumerate(self._tags):
            if tag.platforms and index not in self._going:
                wholes.update((digest, tag.name) for digest in tag.platforms if digest in going)
        for index, candidate in list(self._going.items()) if wholes else ():
            whole = _first(wholes, self._tags[index].identities)
            if whole is not None and not self._lets_shared_go(candidate):
                self._keep(index, _part(ReasonKind.SHARED_DIGEST, *whole))

    def _protect_linked(self) -> None:
        """Rules 2 and 3, for what manifests say of one another, and for names of signatures."""
        staying = _Staying(tag for index, tag in enumerate(self._tags) if index not in self._going)
        for index, candidate in list(self._going.items()):
            if (reason := self._linked(index, candidate, staying)) is not None:
                self._keep(index, reason)

    def _linked(self, index: int, candidate: Candidate, staying: "_Staying") -> Reason | None:
        tag, subject = self._tags[index], self._subjects.get(index)
        if (whole := _first(staying.children, tag.identities)) is not None:
            return _part(ReasonKind.LINKED, *whole)
        if (dependent := _first(staying.subjects, tag.identities)) is not None:
            text = f"'{dependent[1]}', which is kept, belongs to {short(dependent[0])}"
            return Reason(ReasonKind.LINKED, text)
        if subject is not None and not candidate.explicit:
            if (owner := staying.names.get(subject)) is not None:
                return Reason(ReasonKind.COSIGN, f"attached to '{owner}', which is kept")
            if staying.nameless is not None:
                text = f"may be attached to '{staying.nameless}', which is kept and has no known digest"
                return Reason(ReasonKind.COSIGN, text)
        if self._terms.takes_siblings and tag.links is not None and tag.links.untagged_referrers:
            first = short(tag.links.untagged_referrers[0])
            return Reason(ReasonKind.LINKED, f"{first}, which has no tag, belongs to it and would stay")
        return None

    def _protect_the_newest(self) -> bool:
        """Rule 4; whether it kept anything."""
        ordinary = len(self._tags) - len(self._subjects)
        going = [index for index in self._going if index not in self._subjects]
        missing = min(self._terms.keep_at_least, ordinary) - (ordinary - len(going))
        if missing <= 0:
            return False
        # Newest first, then by name, so that equal times cannot make the result depend on anything else.
        by_rule = [index for index in going if not self._going[index].explicit]
        ranked = sorted(by_rule, key=lambda index: (-(self._updated[index] or 0), self._tags[index].name))
        siblings: dict[str | None, list[int]] = {}
        for index in going:
            siblings.setdefault(self._tags[index].digest, []).append(index)
        text = f"one of the {self._terms.keep_at_least} newest tags that stay at least (keep_at_least)"
        reason = Reason(ReasonKind.KEEP_AT_LEAST, text)
        for index in ranked:
            if missing <= 0:
                break
            if index in self._going:
                self._keep(index, reason)
                missing -= 1 + self._keep_siblings(index, siblings[self._tags[index].digest])
        return bool(ranked)

    def _keep_siblings(self, index: int, siblings: Sequence[int]) -> int:
        """Keep the ordinary tags that rule 1 keeps with a tag, so that they count; how many there are."""
        tag, before = self._tags[index], len(self._going)
        for sibling in siblings if tag.digest is not None else ():
            if sibling in self._going and not self._lets_shared_go(self._going[sibling]):
                self._keep(sibling, _same_digest(tag.name))
        return before - len(self._going)


class _Staying:
    """The tags that stay, by what they say of others. Of several with one digest the last is named."""

    def __init__(self, tags: Iterable[Tag]) -> None:
        self.names: dict[str, str] = {}
        """Names by digest."""
        self.children: dict[str, str] = {}
        """The tags that a manifest is a part of, by its digest."""
        self.subjects: dict[str, str] = {}
        """What belongs to a manifest, by its digest."""
        self.nameless: str | None = None
        """An ordinary tag of which no digest is known."""
        for tag in tags:
            self.names.update(dict.fromkeys(tag.identities, tag.name))
            if tag.digest is None and tag.subject is None:
                self.nameless = tag.name
            if tag.links is not None:
                self.children.update(dict.fromkeys(tag.links.children, tag.name))
                if tag.links.subject is not None:
                    self.subjects[tag.links.subject] = tag.name


def _same_digest(name: str) -> Reason:
    return Reason(ReasonKind.SHARED_DIGEST, f"has the same digest as '{name}', which is kept")


def _part(kind: ReasonKind, digest: str, whole: str) -> Reason:
    return Reason(kind, f"{short(digest)} is part of '{whole}', which is kept")


def _first(names: Mapping[str, str], digests: Sequence[str]) -> tuple[str, str] | None:
    """The first of ``digests`` that is in ``names``, with its name."""
    for digest in digests:
        if digest in names:
            return digest, names[digest]
    return None
