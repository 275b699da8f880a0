"""What runs somewhere stays: by name, by digest, and with what belongs to it. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pruner.model import Tag

DEFAULT_MAX_AGE_MS: Final = 2 * 60 * 60 * 1000
"""How old a proof of what is in use may be, unless a policy or the command line says so."""


@dataclass(frozen=True, slots=True)
class InUseDemand:
    """The proof that a policy asks for before anything goes.

    ``sources`` are the clusters (or other sources) that it has to cover, ``max_age`` in milliseconds how old
    it may be, ``other_hosts`` globs of hosts that look like one of ours and are not: of each policy that
    asks, and only where all of them agree.
    """

    sources: tuple[str, ...] = ()
    max_age: int = DEFAULT_MAX_AGE_MS
    other_hosts: tuple[tuple[str, ...], ...] = ()


@dataclass(slots=True)
class ImageUse:
    """Who uses which tags and digests of one image."""

    tags: dict[str, dict[str, None]] = field(default_factory=dict)
    digests: dict[str, dict[str, None]] = field(default_factory=dict)
    any_tag: dict[str, None] = field(default_factory=dict)
    """Who runs something of the image, and nobody knows which digest."""

    def add(self, tag: str | None, digest: str | None, workload: str, *, runs_unknown: bool = False) -> None:
        """Note one use."""
        if tag is not None:
            self.tags.setdefault(tag, {})[workload] = None
        if digest is not None:
            self.digests.setdefault(digest, {})[workload] = None
        if runs_unknown:
            self.any_tag[workload] = None

    def protected(self, tags: Iterable[Tag]) -> dict[str, str]:
        """The names of the tags that must stay, each with why; ``tags`` are all tags of the image."""
        tags = list(tags)
        digests = {digest: _users(users) for digest, users in self.digests.items()}
        for tag in tags:
            if tag.name in self.tags:
                for digest in tag.identities:
                    digests.setdefault(digest, f"{_users(self.tags[tag.name])} as '{tag.name}'")
        parts = self._parts_in_use(tags, digests)
        nameless = any(tag.name in self.tags and tag.digest is None for tag in tags)
        shown = {digest for tag in tags for digest in (*tag.identities, *tag.parts)}
        is_unfound = any(digest not in shown for digest in self.digests)
        found: dict[str, str] = {}
        for tag in tags:
            if tag.name in self.tags:
                found[tag.name] = f"in use by {_users(self.tags[tag.name])}"
            elif (why := _by_digest(tag, digests, parts)) is not None:
                found[tag.name] = why
            elif self.any_tag:
                found[tag.name] = f"may be what {_users(self.any_tag)} runs: its node does not say the digest"
            elif nameless or (tag.digest is None and digests):
                found[tag.name] = "may be an image that is in use: not all digests are known"
            elif is_unfound and tag.links is None:
                # A list may name the digest of one platform, while nodes name that of the whole index.
                found[tag.name] = "may be an image that is in use: a digest in use is of no listed tag"
        return found

    def _parts_in_use(self, tags: Iterable[Tag], digests: Mapping[str, str]) -> dict[str, str]:
        """The digests of what the tags in use consist of, each with who uses it."""
        found: dict[str, str] = {}
        for tag in tags:
            if not tag.parts:
                continue
            users = next((digests[digest] for digest in tag.identities if digest in digests), None)
            if users is None and tag.name in self.tags:
                users = _users(self.tags[tag.name])
            if users is not None:
                found.update(dict.fromkeys(tag.parts, f"{users}, as a part of '{tag.name}'"))
        return found


def _by_digest(tag: Tag, digests: Mapping[str, str], parts: Mapping[str, str]) -> str | None:
    for digest in tag.identities:
        if (users := digests.get(digest) or parts.get(digest)) is not None:
            return f"its digest is in use by {users}"
    if tag.subject is not None and tag.subject in digests:
        return f"belongs to a digest that is in use by {digests[tag.subject]}"
    for part in tag.parts:
        if part in digests:
            return f"a part of it is in use by {digests[part]}"
    return None


def _users(users: Mapping[str, None]) -> str:
    more = f" and {len(users) - 1} more" if len(users) > 1 else ""
    return next(iter(users)) + more


InUse = Mapping[tuple[str, str], ImageUse]
"""What is in use, by registry and image."""


def of_registry(in_use: InUse, registry: str) -> dict[str, ImageUse]:
    """What is in use of one registry, by image."""
    return {image: use for (name, image), use in in_use.items() if name == registry}
