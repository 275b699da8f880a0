"""Policies as the rest of the program sees them: compiled, frozen, and free of the YAML they came from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pruner.model import Target
from pruner.policy.in_use import InUseDemand
from pruner.policy.patterns import Matcher
from pruner.policy.verdicts import Conditions


@dataclass(frozen=True, slots=True)
class Rule:
    """A delete or keep rule. ``source`` is ``file:line``; ``label`` is the rule as the policy writes it."""

    policy: str
    source: str
    label: str
    conditions: Conditions


@dataclass(frozen=True, slots=True)
class Hold:
    """Tags that are never deleted, whatever any rule or target says."""

    policy: str
    source: str
    image: Matcher
    tag: Matcher
    label: str


@dataclass(frozen=True, slots=True)
class ExplicitTarget:
    """A target that a policy, a file or the command line names."""

    target: Target
    policy: str
    source: str


class SpooledTargets(Protocol):
    """Explicit targets that are not in memory."""

    def images(self, registry: str) -> list[str]:
        """The images named in a registry, sorted."""

    def of(self, registry: str, image: str) -> list[ExplicitTarget]:
        """The targets of one image."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Guards; None is no guard of that kind. ``max_share`` is a fraction of an image's tags."""

    max_deletions: int | None = None
    max_deletions_per_image: int | None = None
    max_deletions_per_registry: int | None = None
    max_share: float | None = None
    keep_at_least: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy: rules over the images that ``selects`` matches, or explicit targets."""

    name: str
    registry: str
    source: str
    images: tuple[str, ...] = ()
    selects: Matcher | None = None
    delete: tuple[Rule, ...] = ()
    keep: tuple[Rule, ...] = ()
    targets: tuple[ExplicitTarget, ...] = ()
    spooled: SpooledTargets | None = None
    """Further explicit targets, kept elsewhere because they may be very many."""
    holds: tuple[Hold, ...] = ()
    limits: Limits = field(default_factory=Limits)
    delete_shared: bool = False
    undo: bool = False
    """Whether the manifests of what goes are to be kept."""
    in_use: InUseDemand | None = None
    """The proof of what is in use that is asked for before anything goes."""

    @property
    def has_rules(self) -> bool:
        """Whether this policy decides by rules (and not by explicit targets)."""
        return self.selects is not None


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """Connection facts of a registry as a policy file states them. ``source`` is ``file:line``."""

    source: str
    region: str | None = None
    endpoint: str | None = None
    profile: str | None = None
    concurrency: int | None = None
    requests_per_second: float | None = None
    type: Literal["ncr", "oci"] = "ncr"
    url: str | None = None
    images: tuple[str, ...] | None = None
    """The images of a registry that does not list them."""
    delete_by: Literal["auto", "tag", "digest"] = "auto"
    v2_url: str | None = None
    """Where an NCR registry speaks the Docker Registry API."""
    graph: bool = False
    """Whether that is asked what hangs together."""
    also_pulled_from: tuple[str, ...] = ()
    """Further places, as ``host[/prefix]``, where workloads pull the registry's images from."""

    @property
    def takes_siblings(self) -> bool:
        """Whether a deletion may take along every tag of the same digest, whatever anybody asks for."""
        return self.type == "oci" and self.delete_by != "tag"


@dataclass(frozen=True, slots=True)
class PolicySet:
    """All policies of a run, in the order written, and the registries' settings.

    ``fingerprint`` is the SHA-256 of the files' contents in order.
    """

    policies: tuple[Policy, ...]
    registries: dict[str, RegistrySettings]
    fingerprint: str
    files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    """What is valid but probably not meant so, as ``file:line: …``."""

    @property
    def registry_names(self) -> list[str]:
        """The registries that some policy acts on, sorted."""
        return sorted({policy.registry for policy in self.policies})

    def in_registry(self, registry: str) -> "Sequence[Policy]":
        """The policies of one registry."""
        return [policy for policy in self.policies if policy.registry == registry]
