"""Kubernetes objects -> which images they use. Pure.

Only what is needed of each object is read, after the API's reference (Workload Resources). An object that is
not as documented is an error: what it uses is not known.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

REVISIONS: Final = 10
"""The ReplicaSets of so many latest revisions of a Deployment are in use (revisionHistoryLimit's default)."""
_DIGEST: Final = re.compile(
    r"(?:[a-z-]+://)?(?:(?P<name>[^@\s]+)@)?(?P<digest>sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})"
)

T = TypeVar("T")


class Usage(NamedTuple):
    """One use of an image; ``digest`` is what runs, if the node says so."""

    workload: str
    reference: str
    digest: str | None = None
    runs_unknown: bool = False
    """Whether it runs, and its node says no digest that a registry knows."""


class _Struct(msgspec.Struct, rename="camel"):
    pass


class _Owner(_Struct):
    kind: str
    name: str
    controller: bool | None = None


class _Annotations(msgspec.Struct):
    revision: str = msgspec.field(name="deployment.kubernetes.io/revision", default="")


class _Metadata(_Struct):
    name: str
    namespace: str = ""
    annotations: _Annotations | None = None
    owner_references: list[_Owner] | None = None

    def workload(self, kind: str) -> str:
        return f"{kind} {self.namespace}/{self.name}"

    @property
    def owner(self) -> _Owner | None:
        return next((own for own in self.owner_references or () if own.controller), None)


class _Container(_Struct):
    name: str
    # Whoever makes pods out of a template may leave it to an admission controller.
    image: str = ""


class _ImageVolume(_Struct):
    reference: str = ""


class _Volume(_Struct):
    image: _ImageVolume | None = None


class _PodSpec(_Struct):
    containers: list[_Container]
    init_containers: list[_Container] | None = None
    ephemeral_containers: list[_Container] | None = None
    volumes: list[_Volume] | None = None

    def images(self) -> Iterator[tuple[str, str]]:
        """Name of the container ("" for a volume) and reference."""
        for group in (self.init_containers, self.containers, self.ephemeral_containers):
            for container in group or ():
                if container.image:
                    yield container.name, container.image
        for volume in self.volumes or ():
            if volume.image is not None and volume.image.reference:
                yield "", volume.image.reference


class _ContainerStatus(_Struct):
    name: str
    image: str = ""
    image_id: str = msgspec.field(name="imageID", default="")
    state: dict[str, Any] | None = None

    @property
    def runs(self) -> bool:
        """Whether it has been started, so that it runs something, whatever its image is called now."""
        return bool(self.image_id) or "running" in (self.state or {})


class _PodStatus(_Struct):
    phase: str = ""
    container_statuses: list[_ContainerStatus] | None = None
    init_container_statuses: list[_ContainerStatus] | None = None
    ephemeral_container_statuses: list[_ContainerStatus] | None = None

    def statuses(self) -> Iterator[_ContainerStatus]:
        groups = (self.container_statuses, self.init_container_statuses, self.ephemeral_container_statuses)
        for group in groups:
            yield from group or ()


class _Pod(_Struct):
    metadata: _Metadata
    spec: _PodSpec
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)


class _Template(_Struct):
    spec: _PodSpec


class _TemplateSpec(_Struct):
    template: _Template
    replicas: int | None = None


class _Workload(_Struct):
    metadata: _Metadata
    spec: _TemplateSpec


class _Condition(_Struct):
    type: str
    status: str


class _JobStatus(_Struct):
    conditions: list[_Condition] | None = None

    @property
    def is_over(self) -> bool:
        return any(
            own.type in ("Complete", "Failed") and own.status == "True" for own in self.conditions or ()
        )


class _Job(_Struct):
    metadata: _Metadata
    spec: _TemplateSpec
    status: _JobStatus = msgspec.field(default_factory=_JobStatus)


class _JobTemplate(_Struct):
    spec: _TemplateSpec


class _CronJobSpec(_Struct):
    job_template: _JobTemplate


class _CronJob(_Struct):
    metadata: _Metadata
    spec: _CronJobSpec


class _ListMetadata(_Struct):
    continue_: str | None = msgspec.field(name="continue", default=None)
    remaining_item_count: int | None = None


class _List(msgspec.Struct):
    """A list as it is sent. An answer without ``items`` or ``metadata`` does not say whether it is whole."""

    kind: str
    items: list[msgspec.Raw] | None
    metadata: _ListMetadata


def _pods(pods: Iterable[_Pod]) -> Iterator[Usage]:
    """Pods that are not over: what they are to run, and what their nodes say that they run."""
    for pod in pods:
        if pod.status.phase in ("Succeeded", "Failed"):
            continue
        owner = pod.metadata.owner
        workload = pod.metadata.workload("Pod")
        if owner is not None:
            workload = f"{owner.kind} {pod.metadata.namespace}/{owner.name}"
        statuses = list(pod.status.statuses())
        by_name = {status.name: status for status in statuses}
        for name, reference in pod.spec.images():
            yield _of_container(workload, reference, by_name.get(name), pod.status.phase)
        for status in statuses:
            repository, digest = _running(status.image_id)
            if repository is not None and digest is not None:
                # The node may have pulled it under another name, for example from a mirror.
                yield Usage(workload, f"{repository}@{digest}")


def _of_container(workload: str, reference: str, status: _ContainerStatus | None, phase: str) -> Usage:
    """The use of an image by a container or a volume of a Pod, of which the node may report nothing."""
    if status is None:
        # Only a Pod that has not started yet certainly runs nothing.
        return Usage(workload, reference, None, phase != "Pending" and "@" not in reference)
    _, digest = _running(status.image_id)
    return Usage(workload, reference, digest, status.runs and digest is None)


def _running(image_id: str) -> tuple[str | None, str | None]:
    """Repository and digest of a container's imageID.

    Runtimes write ``docker-pullable://REPOSITORY@DIGEST``, ``REPOSITORY@DIGEST`` or the bare digest of an
    image's configuration, which is not what a registry calls it.
    """
    match = _DIGEST.fullmatch(image_id)
    if match is None or match["name"] is None:
        return None, None
    return match["name"], match["digest"]


def _templates(kind: str) -> Callable[[Iterable[_Workload]], Iterator[Usage]]:
    def usages(workloads: Iterable[_Workload]) -> Iterator[Usage]:
        for item in workloads:
            yield from _of_template(item.metadata.workload(kind), item.spec.template.spec)

    return usages


def _of_template(workload: str, spec: _PodSpec) -> Iterator[Usage]:
    for _, reference in spec.images():
        yield Usage(workload, reference)


def _replica_sets(sets: Iterable[_Workload]) -> Iterator[Usage]:
    """Those that have replicas, and those that a Deployment may be rolled back to."""
    idle: dict[str, list[tuple[int, _Workload]]] = {}
    for item in sets:
        if item.spec.replicas is None or item.spec.replicas > 0:
            yield from _of_template(item.metadata.workload("ReplicaSet"), item.spec.template.spec)
            continue
        owner, name = item.metadata.owner, item.metadata.name
        key = f"{item.metadata.namespace}/{name if owner is None else f'{owner.kind}/{owner.name}'}"
        idle.setdefault(key, []).append((_revision(item), item))
    for found in idle.values():
        newest = sorted(found, key=lambda pair: pair[0])[-REVISIONS:]
        # Of which revision is not known may be any.
        for _, item in [pair for pair in found if pair[0] == 0 and pair not in newest] + newest:
            workload = f"{item.metadata.workload('ReplicaSet')} (an earlier revision)"
            yield from _of_template(workload, item.spec.template.spec)


def _revision(item: _Workload) -> int:
    annotations = item.metadata.annotations
    text = "" if annotations is None else annotations.revision
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0


def _jobs(jobs: Iterable[_Job]) -> Iterator[Usage]:
    for item in jobs:
        if not item.status.is_over:
            yield from _of_template(item.metadata.workload("Job"), item.spec.template.spec)


def _cron_jobs(jobs: Iterable[_CronJob]) -> Iterator[Usage]:
    for item in jobs:
        spec = item.spec.job_template.spec.template.spec
        yield from _of_template(item.metadata.workload("CronJob"), spec)


class Kind(NamedTuple):
    """A kind of object: its path in the API, what its list is called, and what its objects use.

    ``decode`` keeps of an object only what ``usages`` needs.
    """

    resource: str
    path: str
    list_kind: str
    decode: Callable[[msgspec.Raw], Any]
    usages: Callable[[Iterable[Any]], Iterator[Usage]]


def _kind(
    api: str, resource: str, kind: str, of_type: type[T], usages: Callable[[Iterable[T]], Iterator[Usage]]
) -> Kind:
    decode = msgspec.json.Decoder(of_type).decode
    return Kind(resource, f"/{api}/{resource}", f"{kind}List", decode, usages)


KINDS: Final = (
    _kind("apis/apps/v1", "deployments", "Deployment", _Workload, _templates("Deployment")),
    _kind("apis/apps/v1", "statefulsets", "StatefulSet", _Workload, _templates("StatefulSet")),
    _kind("apis/apps/v1", "daemonsets", "DaemonSet", _Workload, _templates("DaemonSet")),
    _kind("apis/apps/v1", "replicasets", "ReplicaSet", _Workload, _replica_sets),
    _kind("apis/batch/v1", "cronjobs", "CronJob", _CronJob, _cron_jobs),
    _kind("apis/batch/v1", "jobs", "Job", _Job, _jobs),
    _kind("api/v1", "pods", "Pod", _Pod, _pods),
)
"""All kinds that are read. First those that people name, so that they are named as what uses an image."""

_list_decoder: Final = msgspec.json.Decoder(_List)


class Page(NamedTuple):
    """A part of a list, and the token of the next one, if there is any."""

    items: list[Any]
    following: str | None


class NotAsDocumentedError(Exception):
    """An answer that is not a page of the list that was asked for. Its text quotes nothing of the answer."""


def read_page(body: bytes, kind: Kind) -> Page:
    """Read a page of a list; NotAsDocumentedError if ``body`` is not a page, or does not say what follows."""
    try:
        found = _list_decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise NotAsDocumentedError(f"the answer is not a {kind.list_kind}") from None
    if found.kind != kind.list_kind:
        raise NotAsDocumentedError(f"the answer is a list of another kind, not a {kind.list_kind}")
    following = found.metadata.continue_ or None
    if following is None and found.metadata.remaining_item_count:
        raise NotAsDocumentedError("the list is not whole: objects remain, but there is no token for them")
    try:
        return Page([kind.decode(item) for item in found.items or ()], following)
    except msgspec.ValidationError as error:
        # It names fields and types, never a value.
        raise NotAsDocumentedError(f"an object is not as documented: {error}") from None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise NotAsDocumentedError("an object is not as documented") from None


_STATUS_REASONS: Final = frozenset(
    [
        "Unauthorized",
        "Forbidden",
        "NotFound",
        "AlreadyExists",
        "Conflict",
        "Gone",
        "Invalid",
        "ServerTimeout",
        "StoreReadError",
        "Timeout",
        "TooManyRequests",
        "BadRequest",
        "MethodNotAllowed",
        "NotAcceptable",
        "RequestEntityTooLarge",
        "UnsupportedMediaType",
        "InternalError",
        "Expired",
        "ServiceUnavailable",
    ]
)
"""The machine-readable reasons of a refusal (metav1.StatusReason)."""


def status_reason(body: bytes) -> str | None:
    """The documented reason that a Status object gives. Nothing else of it is safe to show."""
    try:
        document: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    reason = document.get("reason") if isinstance(document, dict) else None
    return reason if isinstance(reason, str) and reason in _STATUS_REASONS else None
