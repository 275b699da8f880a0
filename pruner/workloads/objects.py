"""Kubernetes objects -> which images they use. Pure.

Only what is needed of each object is read, after the API's reference (Workload Resources). An object that is
not as documented is an error: what it uses is not known.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

REVISIONS: Final = 10
"""The ReplicaSets of so many latest revisions of a Deployment are in use (revisionHistoryLimit's default)."""
_REVISION: Final = "deployment.kubernetes.io/revision"
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


class _Metadata(_Struct):
    name: str
    namespace: str = ""
    annotations: dict[str, str] | None = None
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


class _List(msgspec.Struct):
    """``items`` has no default: an answer without them is no empty list."""

    kind: str
    items: list[msgspec.Raw] | None
    metadata: _ListMetadata = msgspec.field(default_factory=_ListMetadata)


def _pods(pods: Iterable[_Pod]) -> Iterator[Usage]:
    """Pods that are not over: what they are to run, and what their nodes say that they run."""
    for pod in pods:
        if pod.status.phase in ("Succeeded", "Failed"):
            continue
        owner = pod.metadata.owner
        workload = pod.metadata.workload("Pod")
        if owner is not None:
            workload = f"{owner.kind} {pod.metadata.namespace}/{owner.name}"
        running = {status.name: status for status in pod.status.statuses()}
        for name, reference in pod.spec.images():
            status = running.get(name)
            named, digest = (None, None) if status is None else _running(status.image_id)
            unknown = status is not None and status.runs and digest is None
            yield Usage(workload, reference, digest, unknown)
            if named is not None and digest is not None:
                # A node may have pulled it by another name, from a mirror, say.
                yield Usage(workload, f"{named}@{digest}")


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
    text = (item.metadata.annotations or {}).get(_REVISION, "")
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
    """A kind of object: its path in the API, what its list is called, and what its objects use."""

    resource: str
    path: str
    list_kind: str
    read: Callable[[Sequence[msgspec.Raw]], list[Usage]]


def _reader(
    of_type: type[T], usages: Callable[[Iterable[T]], Iterator[Usage]]
) -> Callable[[Sequence[msgspec.Raw]], list[Usage]]:
    decode = msgspec.json.Decoder(of_type).decode
    return lambda items: list(usages(decode(item) for item in items))


KINDS: Final = (
    Kind(
        "deployments",
        "/apis/apps/v1/deployments",
        "DeploymentList",
        _reader(_Workload, _templates("Deployment")),
    ),
    Kind(
        "statefulsets",
        "/apis/apps/v1/statefulsets",
        "StatefulSetList",
        _reader(_Workload, _templates("StatefulSet")),
    ),
    Kind(
        "daemonsets", "/apis/apps/v1/daemonsets", "DaemonSetList", _reader(_Workload, _templates("DaemonSet"))
    ),
    Kind("replicasets", "/apis/apps/v1/replicasets", "ReplicaSetList", _reader(_Workload, _replica_sets)),
    Kind("cronjobs", "/apis/batch/v1/cronjobs", "CronJobList", _reader(_CronJob, _cron_jobs)),
    Kind("jobs", "/apis/batch/v1/jobs", "JobList", _reader(_Job, _jobs)),
    Kind("pods", "/api/v1/pods", "PodList", _reader(_Pod, _pods)),
)
"""All kinds that are read. First those that people name, so that they are named as what uses an image."""

_list_decoder: Final = msgspec.json.Decoder(_List)


class Page(NamedTuple):
    """A part of a list, and the token of the next one, if there is any."""

    items: list[msgspec.Raw]
    following: str | None


def read_page(body: bytes, kind: Kind) -> Page:
    """A page of a list; ValueError if it is none."""
    found = _list_decoder.decode(body)
    if found.kind != kind.list_kind:
        raise ValueError(f"a {found.kind[:60]} instead of a {kind.list_kind}")
    return Page(found.items or [], found.metadata.continue_ or None)


def status_message(body: bytes) -> str:
    """What a Status object says, or nothing."""
    try:
        document: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    message = document.get("message") if isinstance(document, dict) else None
    return message if isinstance(message, str) else ""
