"""The error hierarchy. Every error a user can meet carries one sentence and an exit code.

Foreign exceptions (aiohttp, YAML, OS) are translated once, at the edge where they appear.
"""

from collections.abc import Sequence
from enum import Enum, IntEnum
from typing import ClassVar, Literal


class ExitCode(IntEnum):
    """The exit codes of the command line: a contract, listed in docs/exit-codes.md."""

    DONE = 0
    SOME_FAILED = 1
    BAD_INPUT = 2
    REFUSED = 3
    CREDENTIALS = 4
    UNREACHABLE = 5
    PARTIAL = 6
    INTERRUPTED = 130
    TERMINATED = 143


class StopKind(Enum):
    """Why a run ended before all targets were done."""

    CREDENTIALS = "credentials"
    WRONG_ENDPOINT = "wrong endpoint"
    UNREACHABLE = "unreachable"
    QUOTA = "quota"
    RETRY_BUDGET = "retry budget"
    NOT_READY = "not ready"
    DISK = "disk"
    DEADLINE = "deadline"
    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"


class PrunerError(Exception):
    """Base of all errors that end a command with one sentence instead of a traceback."""

    exit_code: ExitCode = ExitCode.SOME_FAILED
    stops: ClassVar[StopKind | None] = None
    """Why a run ends that meets this error; None if it only concerns a registry or a tag."""


class InputError(PrunerError):
    """Something the user wrote is wrong; nothing was sent."""

    exit_code = ExitCode.BAD_INPUT


class PolicyError(InputError):
    """All problems of all policy files, each as ``file:line:column: …``."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


Guard = Literal[
    "max_deletions",
    "max_deletions_per_image",
    "max_deletions_per_registry",
    "max_share",
    "max_growth",
    "max_age",
    "in_use",
    "listing",
    "lock",
    "confirmation",
    "other",
]
"""What refuses a run."""


class RefusedError(PrunerError):
    """``guards`` refused before the first DELETE."""

    exit_code = ExitCode.REFUSED

    def __init__(self, message: str, *guards: Guard) -> None:
        super().__init__(message)
        self.guards: tuple[Guard, ...] = guards or ("other",)


class ShardBusyError(RefusedError):
    """Somebody else works on the same shard: nothing is wrong, and trying again later goes on."""

    exit_code = ExitCode.PARTIAL


class CredentialsError(PrunerError):
    """No usable credentials, or the registry does not accept them."""

    exit_code = ExitCode.CREDENTIALS
    stops = StopKind.CREDENTIALS


class ClockError(CredentialsError):
    """The local clock is too far from the registry's, so no age can be believed."""


class UnreachableError(PrunerError):
    """The endpoint cannot be reached, or what answers there is not NCR."""

    exit_code = ExitCode.UNREACHABLE
    stops = StopKind.UNREACHABLE


class QuotaError(PrunerError):
    """The account's quota of requests is used up: nothing works until it is renewed."""

    exit_code = ExitCode.PARTIAL
    stops = StopKind.QUOTA


class ListingError(RefusedError):
    """A listing that is not complete and consistent. An incomplete listing never leads to a deletion."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "listing")


Layer = Literal["gateway", "ncr", "oci", "unknown"]
"""Which layer wrote an error body: NCR's API gateway, NCR behind it, an OCI registry, or something else."""


class RequestError(PrunerError):
    """One HTTP attempt that did not succeed."""

    exit_code = ExitCode.UNREACHABLE


class ResponseError(RequestError):
    """The server answered with something other than success.

    ``status`` is the HTTP status, ``code`` the code of the body (gateway ``errorCode``, NCR ``returnCode``,
    or the name that an OCI registry gives) or None, ``retry_after`` the raw header value, ``clock_skew`` how
    many seconds the local clock is ahead of the server's Date header (None without one), ``from_registry``
    whether an OCI registry itself answered, and no proxy before it.
    """

    def __init__(
        self,
        status: int,
        layer: Layer,
        code: int | str | None = None,
        message: str = "",
        *,
        trace_id: str | None = None,
        retry_after: str | None = None,
        clock_skew: float | None = None,
        from_registry: bool = True,
    ) -> None:
        super().__init__(status, layer, code, message)
        self.status = status
        self.layer = layer
        self.code = code
        self.message = message
        self.trace_id = trace_id
        self.retry_after = retry_after
        self.clock_skew = clock_skew
        self.from_registry = from_registry

    def __str__(self) -> str:
        who = {"gateway": "gateway code", "ncr": "NCR code"}.get(self.layer, "code")
        code = "" if self.code is None else f", {who} {self.code}"
        trace = f" (trace id {self.trace_id})" if self.trace_id else ""
        return f"HTTP {self.status}{code}: {self.message or 'no message'}{trace}"


class ConnectError(RequestError):
    """The request was never sent: no connection could be made (DNS, refused, TLS, connect timeout)."""


class HostNameError(ConnectError):
    """The server's host name cannot be resolved."""


class CertificateError(ConnectError):
    """The server's TLS certificate cannot be trusted. Trying again does not help."""


class TryAgainError(PrunerError):
    """An attempt that did not succeed, and may be made again once its conditions were looked at again."""

    exit_code = ExitCode.UNREACHABLE


class LostReplyError(RequestError):
    """The request may have reached the server, but no complete answer came back."""


class NamesNotDeletedError(RequestError):
    """A registry says that it deletes no tags by their names, only manifests by their digests."""


class RedirectError(RequestError):
    """The server answered with a redirect, which a signed request never follows."""


class MalformedReplyError(RequestError):
    """A successful status with a body that is not what the API documents."""
