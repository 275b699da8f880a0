"""The named values that cross the walls. Frozen; unknown is None, never 0."""

from enum import StrEnum

import msgspec

from pruner import names
from pruner.errors import InputError


class Target(msgspec.Struct, frozen=True, order=True, gc=False):
    """What one DELETE names. Valid by construction (InvalidNameError otherwise)."""

    registry: str
    image: str
    tag: str

    def __post_init__(self) -> None:
        names.check_repository(self.registry, self.image)
        names.check_tag(self.tag)

    def __str__(self) -> str:
        return f"{self.registry}/{self.image}:{self.tag}"

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Read ``registry/image:tag``. A digest or a missing tag raises InputError."""
        if "@" in text:
            raise InputError(
                f"'{names.printable(text)}' names a digest; NCR deletes tags only: write registry/image:tag"
            )
        path, colon, tag = text.rpartition(":")
        registry, slash, image = path.partition("/")
        if not colon or not slash or "/" in tag:
            raise InputError(f"'{names.printable(text)}' is not a reference: write registry/image:tag")
        return cls(registry, image, tag)


class Links(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """How a tag's manifest hangs together with others, all by digest.

    ``children`` are what an index consists of, ``subject`` is what an artifact (a signature, say) belongs to,
    ``untagged_referrers`` are artifacts that belong to this one and that no tag names. ``orphaned`` says that
    the subject is not there any more.
    """

    children: tuple[str, ...] = ()
    subject: str | None = None
    untagged_referrers: tuple[str, ...] = ()
    orphaned: bool = False


class Tag(msgspec.Struct, frozen=True, gc=False):
    """One listed tag. ``size`` in bytes, times in epoch milliseconds; what is not known is None.

    ``digest`` is what the list names: the digest of the manifest that the tag points to or, on NCR, of one
    of its platforms. ``manifest`` is the digest of the manifest itself where the list names another one and
    the manifest was read by the tag's name. ``links`` is what the manifest says; None if it was not read.
    ``platforms`` are the digests of the platforms, other than ``digest``, that the list names.
    """

    target: Target
    digest: str | None = None
    size: int | None = None
    created: int | None = None
    updated: int | None = None
    last_pulled: int | None = None
    links: Links | None = None
    platforms: tuple[str, ...] | None = None
    manifest: str | None = None

    @property
    def name(self) -> str:
        """The tag's own name."""
        return self.target.tag

    @property
    def identities(self) -> tuple[str, ...]:
        """The known digests by which the tag's manifest may be called."""
        if self.digest is None:
            return () if self.manifest is None else (self.manifest,)
        if self.manifest is None or self.manifest == self.digest:
            return (self.digest,)
        return (self.digest, self.manifest)

    @property
    def subject(self) -> str | None:
        """The digest of the image that a signature, say, belongs to; None for an ordinary tag."""
        name = self.target.tag
        subject = names.attachment_subject(name) if name.startswith("sha256-") else None
        return subject or (None if self.links is None else self.links.subject)

    @property
    def parts(self) -> tuple[str, ...]:
        """The digests of what it consists of, as far as they are known."""
        children = () if self.links is None else self.links.children
        return children + self.platforms if self.platforms else children

    @property
    def orphaned(self) -> bool:
        """Whether it is known to belong to an image that is not there any more."""
        return self.links is not None and self.links.orphaned


class Action(StrEnum):
    """What a decision says of a tag."""

    KEEP = "keep"
    DELETE = "delete"


class ReasonKind(StrEnum):
    """Why a tag goes or stays; the machine-readable half of a Reason."""

    DELETE_RULE = "delete_rule"
    EXPLICIT_TARGET = "explicit_target"
    KEEP_RULE = "keep_rule"
    HOLD = "hold"
    IN_USE = "in_use"
    UNMATCHED = "unmatched"
    UNKNOWN_AGE = "unknown_age"
    UNKNOWN_FACT = "unknown_fact"
    SHARED_DIGEST = "shared_digest"
    UNKNOWN_DIGEST = "unknown_digest"
    KEEP_AT_LEAST = "keep_at_least"
    COSIGN = "cosign"
    LINKED = "linked"


class Reason(msgspec.Struct, frozen=True):
    """Why: the kind, the policy and ``file:line`` that decided (None for built-in rules), a sentence."""

    kind: ReasonKind
    text: str
    policy: str | None = None
    source: str | None = None

    def __str__(self) -> str:
        return f"{self.text} ({self.source})" if self.source else self.text


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Whether a tag goes or stays, and why. The first reason is the one that decided.

    ``delete_shared`` says that the policy lets the tag go even if a kept tag has the same digest.
    """

    tag: Tag
    action: Action
    reasons: tuple[Reason, ...]
    delete_shared: bool = False


class Status(StrEnum):
    """How a target ended.

    ``deleted`` is confirmed by the server; ``gone`` was not there any more; ``kept`` was named as a target
    and is kept by a rule of the plan; ``changed`` moved since the plan and was left alone; ``unknown`` was
    sent and could neither be confirmed nor read again.
    """

    DELETED = "deleted"
    GONE = "gone"
    KEPT = "kept"
    CHANGED = "changed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_ATTEMPTED = "not_attempted"


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one target ended. ``started`` in epoch milliseconds, ``elapsed`` in seconds."""

    target: Target
    status: Status
    attempts: int = 0
    http_status: int | None = None
    error: str | None = None
    cause: str | None = None
    started: int | None = None
    elapsed: float = 0.0
    policy: str | None = None
    size: int | None = None
