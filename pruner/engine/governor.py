"""Reading requests through the gate: paced, classified and retried like everything else that is sent."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final, NoReturn, TypeVar

from pruner.engine.gate import Gate
from pruner.engine.retry import Backoff, NextStep, classify_read
from pruner.engine.retry_after import parse_retry_after
from pruner.errors import (
    CredentialsError,
    HostNameError,
    MalformedReplyError,
    QuotaError,
    RequestError,
    ResponseError,
    UnreachableError,
)
from pruner.registry.ncr.protocol import CLOCK_SKEW_LIMIT_SECONDS

T = TypeVar("T")

THROTTLED_SECONDS: Final = 1800.0
"""A server that refuses everything for speed for this long ends the run."""


class Governor:
    """Runs reading requests for one (endpoint, credential); ``essential`` ones also while a run stops."""

    def __init__(
        self,
        gate: Gate,
        backoff: Backoff,
        dice: Random,
        wall_clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        *,
        essential: bool = False,
    ) -> None:
        self.gate = gate
        self._backoff = backoff
        self._dice = dice
        self._wall_clock = wall_clock
        self._sleep = sleep
        self._essential = essential

    async def run(self, send: Callable[[], Awaitable[T]]) -> T:
        """The result of ``send``; raises CredentialsError, UnreachableError, QuotaError or a RequestError."""
        failures = 0
        began = self.gate.now()
        while True:
            sent_at = await self.gate.acquire(essential=self._essential)
            try:
                result = await send()
            except RequestError as error:
                step = classify_read(error)
                report_to_gate(self.gate, step, error, sent_at, self._wall_clock())
                if step not in (NextStep.RETRY, NextStep.THROTTLED):
                    raise_stop(step, error)
                self._check_throttled(began, error)
                if isinstance(error, HostNameError) and not self.gate.heard:
                    # A name that is mistyped is not found later either.
                    raise_stop(step, error)
                failures += step is NextStep.RETRY
                if failures >= self._backoff.attempts:
                    raise_stop(step, error)
                if step is NextStep.RETRY:
                    await self._sleep(self._backoff.delay(failures, self._dice.random()))
            except BaseException:
                self.gate.abandoned(sent_at)
                raise
            else:
                self.gate.accepted(sent_at)
                return result

    def _check_throttled(self, began: float, error: RequestError) -> None:
        """Give up on a server that has refused everything for very long."""
        since = began if self.gate.accepted_at is None else max(began, self.gate.accepted_at)
        if self.gate.now() - since > THROTTLED_SECONDS:
            minutes = THROTTLED_SECONDS / 60
            raise UnreachableError(f"every request was refused for {minutes:.0f} minutes: {error}") from None


def report_to_gate(gate: Gate, step: NextStep, error: RequestError, sent_at: float, now: float) -> None:
    """Tell the gate how a request ended; ``now`` in epoch seconds."""
    response = error if isinstance(error, ResponseError) else None
    retry_after = None if response is None else parse_retry_after(response.retry_after, now)
    if step is NextStep.THROTTLED:
        gate.refused(sent_at, retry_after)
    elif response is not None and response.status == 503:
        gate.overloaded(sent_at, retry_after)
    elif step is NextStep.RETRY or (step is NextStep.IN_DOUBT and _is_server_trouble(error)):
        gate.failed(sent_at)
    else:
        gate.accepted(sent_at)


def _is_server_trouble(error: RequestError) -> bool:
    return not isinstance(error, ResponseError) or error.status >= 500


def raise_stop(step: NextStep, error: RequestError) -> NoReturn:
    """Raise what ends a command because of ``error``, in a sentence that says what to do."""
    if step is NextStep.STOP_CREDENTIALS and isinstance(error, ResponseError):
        raise CredentialsError(credentials_sentence(error)) from None
    if step is NextStep.STOP_REGISTRY:
        raise CredentialsError(permission_sentence(error, "read")) from None
    if step is NextStep.STOP_QUOTA:
        raise QuotaError(quota_sentence(error)) from None
    if step is NextStep.STOP_ENDPOINT and isinstance(error, ResponseError):
        raise UnreachableError(wrong_endpoint_sentence(error)) from None
    if isinstance(error, MalformedReplyError):
        raise error
    if not isinstance(error, ResponseError) or step is NextStep.RETRY:
        raise UnreachableError(str(error)) from None
    raise error


_NCR_PERMISSIONS: Final = (
    "listing needs NCP_CONTAINER_REGISTRY_VIEWER, deleting NCP_CONTAINER_REGISTRY_MANAGER, and the "
    "sub account may be bound to source addresses"
)


def permission_sentence(error: RequestError | None, what: str) -> str:
    """Why a registry refuses to let the account do ``what``, and what is missing."""
    if not isinstance(error, ResponseError) or error.layer in ("gateway", "ncr"):
        return f"no permission to {what}: {error}; {_NCR_PERMISSIONS}"
    if error.status == 405:
        return f"the registry does not allow deletion: {error}; its operator has to enable it"
    return f"no permission to {what}: {error}; ask for that right, or log in as somebody else"


def credentials_sentence(error: ResponseError) -> str:
    """Why the gateway does not know the caller; a wrong clock looks like a wrong key."""
    skew = error.clock_skew
    if skew is not None and abs(skew) > CLOCK_SKEW_LIMIT_SECONDS:
        way = "ahead of" if skew > 0 else "behind"
        return (
            f"the local clock is {abs(skew) / 60:.0f} minutes {way} the server's, and the gateway refuses "
            f"more than {CLOCK_SKEW_LIMIT_SECONDS // 60}: set the clock ({error})"
        )
    oci = "the login (PRUNER_OCI_USERNAME and PRUNER_OCI_PASSWORD, or docker login)"
    what = oci if error.layer == "oci" else "access key and secret key"
    return f"the registry does not accept the credentials: {error}; check {what}"


def quota_sentence(error: RequestError | None) -> str:
    """That nothing more can be sent for now."""
    return f"the quota is used up: {error}"


def wrong_endpoint_sentence(error: ResponseError) -> str:
    """Why a gateway's 404 is no missing tag."""
    return f"the gateway does not know this URL: {error}; check region or endpoint"
