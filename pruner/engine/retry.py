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
    RedirectError,
    RequestError,
    ResponseError,
    TagMovedError,
)
from pruner.registry.base import Deletion
from pruner.registry.ncr import protocol
from pruner.registry.oci import protocol as oci


class Verdict(Enum):
    """What to do after an attempt."""

    DONE = auto()
    GONE = auto()
    MOVED = auto()
    """It is another image now; nothing was sent."""
    RETRY = auto()
    """It did not happen; try again later."""
    THROTTLED = auto()
    """The server refused to look at it; slow down, then try again."""
    RECHECK = auto()
    """It may have happened; read before saying anything."""
    FAIL = auto()
    STOP_REGISTRY = auto()
    STOP_CREDENTIALS = auto()
    STOP_ENDPOINT = auto()
    STOP_QUOTA = auto()


_STATUS: Final = {
    401: Verdict.STOP_CREDENTIALS,
    403: Verdict.STOP_REGISTRY,
    404: Verdict.RECHECK,
    408: Verdict.RECHECK,
    429: Verdict.THROTTLED,
}
_BY_LAYER_AND_CODE: Final[dict[tuple[int, str, int | str], Verdict]] = {
    (401, "gateway", protocol.GATEWAY_PERMISSION_DENIED): Verdict.STOP_REGISTRY,
    (429, "gateway", protocol.GATEWAY_QUOTA_EXCEEDED): Verdict.STOP_QUOTA,
    (404, "oci", oci.MANIFEST_UNKNOWN): Verdict.GONE,
    (404, "oci", oci.NAME_UNKNOWN): Verdict.GONE,
}
_BY_LAYER: Final = {
    (404, "ncr"): Verdict.GONE,
    (404, "gateway"): Verdict.STOP_ENDPOINT,
    (405, "oci"): Verdict.STOP_REGISTRY,
}


def classify_delete(result: Deletion | RequestError) -> Verdict:
    """What the result of one DELETE means."""
    if isinstance(result, Deletion):
        return Verdict.DONE if result.confirmed else Verdict.RECHECK
    if isinstance(result, ResponseError):
        return _classify_response(result)
    if isinstance(result, TagMovedError):
        return Verdict.MOVED
    if isinstance(result, CertificateError | RedirectError):
        return Verdict.STOP_ENDPOINT
    if isinstance(result, ConnectError):
        return Verdict.RETRY
    return Verdict.RECHECK


def classify_read(error: RequestError) -> Verdict:
    """What a failed GET means: reading again is always safe, so nothing needs a re-check."""
    if isinstance(error, ResponseError):
        verdict = _classify_response(error)
        if verdict is Verdict.RECHECK:
            return Verdict.FAIL if error.status == 404 else Verdict.RETRY
        return verdict
    if isinstance(error, CertificateError | RedirectError):
        return Verdict.STOP_ENDPOINT
    retryable = isinstance(error, ConnectError | LostReplyError | MalformedReplyError)
    return Verdict.RETRY if retryable else Verdict.FAIL


def _classify_response(error: ResponseError) -> Verdict:
    exact = _BY_LAYER_AND_CODE.get((error.status, error.layer, error.code or 0))
    by_layer = exact or _BY_LAYER.get((error.status, error.layer))
    by_status = by_layer or _STATUS.get(error.status)
    if by_status is not None:
        return by_status
    return Verdict.RECHECK if error.status >= 500 else Verdict.FAIL


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
