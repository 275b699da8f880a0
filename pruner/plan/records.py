"""The lines of a plan file, format version 1."""

from typing import Any, Final, Literal

import msgspec

from pruner.model import ReasonKind, Target

FORMAT: Final = "ncr-pruner.plan"
VERSION: Final = 1


class RegistryFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a registry was listed. ``endpoint`` is the URL of an ``oci`` one.

    ``v2_url`` is where an NCR registry speaks the Docker Registry API, if not at its usual name; ``undo``
    says that a policy asks to keep the manifests of what goes, ``graph`` that they are read. ``pulled_from``
    are the places, as ``host[/prefix]``, where workloads pull its images from. ``concurrency``
    and ``requests_per_second`` are what the policies allow at most.
    """

    endpoint: str
    region: str | None = None
    profile: str | None = None
    type: Literal["ncr", "oci"] = "ncr"
    images: tuple[str, ...] | None = None
    delete_by: Literal["auto", "tag", "digest"] = "auto"
    v2_url: str | None = None
    undo: bool = False
    graph: bool = False
    pulled_from: tuple[str, ...] = ()
    concurrency: int | None = None
    requests_per_second: float | None = None


class InUseFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """The proof of what is in use that a plan was made with.

    ``read_at`` says of each source when it was read (epoch milliseconds), ``demanded`` which sources policies
    ask for, ``max_age`` (milliseconds) how old it may be when the plan is carried out.
    """

    read_at: dict[str, int]
    demanded: tuple[str, ...]
    max_age: int
    other_hosts: tuple[tuple[str, ...], ...] = ()


class Header(msgspec.Struct, frozen=True, tag="header", tag_field="type", omit_defaults=True):
    """The first line.

    ``listed_at`` is when the registry was listed, ``decided_at`` the moment that ages were judged at; both
    in epoch milliseconds. ``in_use`` is there if the plan was made with a proof of what is in use.
    """

    format: str
    version: int
    tool: str
    policy_fingerprint: str
    policy_files: tuple[str, ...]
    registries: dict[str, RegistryFacts]
    listed_at: int
    decided_at: int
    guards: dict[str, Any]
    in_use: InUseFacts | None = None


class ImageRecord(msgspec.Struct, frozen=True, tag="image", tag_field="type", omit_defaults=True):
    """An image that the entries after it belong to: how many tags it has, and how many entries follow.

    ``missing`` says that the registry has no such image. ``keep_at_least`` is how many tags its rules leave,
    ``pulls`` whether any of them asks when a tag was last pulled: both are looked at again before deleting.
    ``takes_siblings`` says that a deletion may take along every tag of the same digest. ``used_tags`` and
    ``used_digests`` were in use when the plan was made.
    """

    registry: str
    image: str
    tags: int
    entries: int
    bytes: int = 0
    missing: bool = False
    keep_at_least: int = 0
    pulls: bool = False
    takes_siblings: bool = False
    used_tags: tuple[str, ...] = ()
    used_digests: tuple[str, ...] = ()
    check: str = ""


class Entry(msgspec.Struct, frozen=True, tag="delete", tag_field="type", omit_defaults=True, gc=False):
    """One deletion. ``seq`` counts from 1; ``size`` in bytes, times in epoch milliseconds.

    ``missing`` marks an explicit target that was not there when the image was listed, ``delete_shared`` a
    policy that lets a digest go that kept tags share, ``orphan`` what goes because the image that it belongs
    to is not there any more. ``platforms`` and ``manifest`` are those of the tag (``model.Tag``). ``check``
    binds the line to its plan (in all records).
    """

    seq: int
    registry: str
    image: str
    tag: str
    policy: str
    source: str
    kind: ReasonKind
    reason: str
    digest: str | None = None
    size: int | None = None
    updated: int | None = None
    last_pulled: int | None = None
    missing: bool = False
    delete_shared: bool = False
    orphan: bool = False
    platforms: tuple[str, ...] | None = None
    manifest: str | None = None
    check: str = ""

    @property
    def target(self) -> Target:
        """What the DELETE names."""
        return Target(self.registry, self.image, self.tag)


class KeptTarget(msgspec.Struct, frozen=True, tag="kept", tag_field="type"):
    """An explicit target that is kept all the same, and why.

    ``policy`` names it; plans of earlier versions of the program do not say so, and their checks cover what
    they say.
    """

    registry: str
    image: str
    tag: str
    reason: str
    policy: str | msgspec.UnsetType = msgspec.UNSET
    check: str = ""


class Freed(msgspec.Struct, frozen=True, tag="freed", tag_field="type"):
    """How many bytes nothing refers to any more once an image's deletions are done."""

    registry: str
    image: str
    bytes: int
    check: str = ""


class FreedTotal(msgspec.Struct, frozen=True, tag="freed_total", tag_field="type", omit_defaults=True):
    """The same for all images, and by policy; ``bytes`` is None if nothing could be counted.

    ``unread`` are the registries that are not counted, with how many digests' blobs are not known there.
    """

    bytes: int | None
    policies: dict[str, int]
    unread: dict[str, int]
    check: str = ""


class Footer(msgspec.Struct, frozen=True, tag="footer", tag_field="type"):
    """The last line: totals, and the SHA-256 over every line before it."""

    entries: int
    images: int
    images_listed: int
    tags_listed: int
    bytes: int
    kept_targets: int
    sha256: str
    check: str = ""


Record = Header | ImageRecord | Entry | KeptTarget | Freed | FreedTotal | Footer
