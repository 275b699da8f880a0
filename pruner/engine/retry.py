"""What an attempt's result means, how long to wait, and when to stop trying. Pure.

Sources: the gateway's error table (see ``registry/ncr/protocol.py``), the OCI specification's error codes,
and full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter").
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from pruner.errors import (
    CertificateError,
    ConnectError,
    LostReplyError,
    MalformedReplyError,
    NamesNotDeletedError,
    RedirectError,
    RequestError,
    ResponseError,
)
from pruner.registry.base import Deletion
from pruner.registry.ncr import protocol
from pruner.registry.oci import protocol as oci


class NextStep(Enum):
    """What to do after an attempt."""

    DONE = auto()
    ACCEPTED = auto()
    """The registry has taken the request and may still be at it; look later whether the tag is gone."""
    GONE = auto()
    """The registry says that it has no such tag."""
    BY_DIGEST = auto()
    """This registry deletes no tags by their names: delete the manifest."""
    RETRY = auto()
    """It did not happen; try again later."""
    THROTTLED = auto()
    """The server refused to look at it; slow down, then try again."""
    NOT_READY = auto()
    """The whole registry takes no deletions for a while; wait, then try again."""
    IN_DOUBT = auto()
    """It may have happened; read the tag before saying anything."""
    FAIL = auto()
    STOP_REGISTRY = auto()
    STOP_CREDENTIALS = auto()
    STOP_ENDPOINT = auto()
    STOP_QUOTA = auto()


_STATUS: Final = {
    401: NextStep.STOP_CREDENTIALS,
    403: NextStep.STOP_REGISTRY,
    404: NextStep.IN_DOUBT,
    408: NextStep.IN_DOUBT,
    424: NextStep.NOT_READY,
    429: NextStep.THROTTLED,
}
_BY_LAYER_AND_CODE: Final[dict[tuple[int, str, int | str], NextStep]] = {
    (401, "gateway", protocol.GATEWAY_PERMISSION_DENIED): NextStep.STOP_REGISTRY,
    (429, "gateway", protocol.GATEWAY_QUOTA_EXCEEDED): NextStep.STOP_QUOTA,
    (409, "gateway", protocol.RESOURCE_NOT_READY): NextStep.NOT_READY,
    (404, "oci", oci.MANIFEST_UNKNOWN): NextStep.GONE,
    (404, "oci", oci.NAME_UNKNOWN): NextStep.GONE,
}
_BY_LAYER: Final = {
    (404, "ncr"): NextStep.GONE,
    (404, "gateway"): NextStep.STOP_ENDPOINT,
    (405, "oci"): NextStep.STOP_REGISTRY,
}


def classify_delete(result: Deletion | RequestError) -> NextStep:
    """What the result of one DELETE means."""
    if isinstance(result, Deletion):
        return _classify_success(result)
    if isinstance(result, ResponseError):
        return _classify_response(result)
    if isinstance(result, NamesNotDeletedError):
        return NextStep.BY_DIGEST
    if isinstance(result, CertificateError | RedirectError):
        return NextStep.STOP_ENDPOINT
    if isinstance(result, ConnectError):
        return NextStep.RETRY
    return NextStep.IN_DOUBT


def _classify_success(deletion: Deletion) -> NextStep:
    if deletion.accepted:
        return NextStep.ACCEPTED
    return NextStep.DONE if deletion.confirmed else NextStep.IN_DOUBT


def was_refused(step: NextStep) -> bool:
    """Whether it is certain that a DELETE with this result was not carried out."""
    return step not in (NextStep.DONE, NextStep.ACCEPTED, NextStep.IN_DOUBT)


def classify_read(error: RequestError) -> NextStep:
    """What a failed GET means: reading again is always safe, so nothing needs a re-check."""
    if isinstance(error, ResponseError):
        step = _classify_response(error)
        if step is NextStep.IN_DOUBT:
            return NextStep.FAIL if error.status == 404 else NextStep.RETRY
        return NextStep.RETRY if step is NextStep.NOT_READY else step
    if isinstance(error, CertificateError | RedirectError):
        return NextStep.STOP_ENDPOINT
    retryable = isinstance(error, ConnectError | LostReplyError | MalformedReplyError)
    return NextStep.RETRY if retryable else NextStep.FAIL


def _classify_response(error: ResponseError) -> NextStep:
    exact = _BY_LAYER_AND_CODE.get((error.status, error.layer, error.code or 0))
    by_layer = exact or _BY_LAYER.get((error.status, error.layer))
    by_status = by_layer or _STATUS.get(error.status)
    if by_status is not None:
        return by_status
    return NextStep.IN_DOUBT if error.status >= 500 else NextStep.FAIL


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter; seconds."""

    base: float = 0.5
    cap: float = 30.0
    attempts: int = 6
    """Most attempts for one target (refusals for speed do not count)."""

    def delay(self, failures: int, dice: float) -> float:
        """How long to wait after ``failures`` (from 1) attempts; ``dice`` is random in [0, 1)."""
        exponent = min(failures - 1, 30)
        return dice * min(self.cap, self.base * float(2**exponent))


class RetryBudget:
    """How many retries a whole run may still spend: a sick server is not hammered.

    Starts with ``start`` and gains one per success, up to ``start``.
    """

    def __init__(self, start: int = 200) -> None:
        self._start = start
        self._left = float(start)

    def succeeded(self) -> None:
        """One more request went well."""
        if self._left < self._start:
            self._left += 1.0

    def spend(self) -> bool:
        """Take one retry; False when there is none left."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
