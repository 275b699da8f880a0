"""The named values that cross the walls. Frozen; unknown is None, never 0."""

from enum import Enum, StrEnum

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

    ``links`` is None where they are not known, or nobody asked. ``platforms`` are the digests of its parts,
    other than the tag's own, that a listing tells without being asked.
    """

    target: Target
    digest: str | None = None
    size: int | None = None
    created: int | None = None
    updated: int | None = None
    last_pulled: int | None = None
    links: Links | None = None
    platforms: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """The tag's own name."""
        return self.target.tag

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

    ``deleted`` is confirmed by the server; ``gone`` was not there any more; ``changed`` moved since the
    plan and was left alone; ``unknown`` was sent and could neither be confirmed nor read again.
    """

    DELETED = "deleted"
    GONE = "gone"
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


class StopKind(Enum):
    """Why a run ended before all targets were done."""

    CREDENTIALS = "credentials"
    WRONG_ENDPOINT = "wrong endpoint"
    UNREACHABLE = "unreachable"
    QUOTA = "quota"
    RETRY_BUDGET = "retry budget"
    DISK = "disk"
    DEADLINE = "deadline"
    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"
