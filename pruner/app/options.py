"""What a caller chooses: how to reach registries, which proof to use, how to carry a plan out."""

from dataclasses import dataclass
from pathlib import Path

from pruner.app.deadline import Deadline


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """How to reach registries, as far as the caller and not the policies say so.

    ``endpoint`` and ``region`` win over policies, ``profile`` is one of ~/.ncloud/configure, ``rate`` the
    most requests per second (None: as policies say; infinite: whatever the server allows), ``concurrency``
    the most requests in flight at each endpoint, ``timeout`` in seconds for one attempt, ``ca_bundle`` the
    path of certificates to trust instead of the system's.
    """

    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    rate: float | None = None
    concurrency: int | None = None
    timeout: float = 30.0
    ca_bundle: str | None = None
    allow_plain_http: bool = False
    oci: tuple[str, ...] = ()
    """Registries that no policy describes, as ``NAME=URL``."""
    only_hosts: tuple[str, ...] = ()
    """The hosts that requests with a key or a login may go to; without any, all that policies name."""
    key_hosts: tuple[str, ...] = ()
    """Hosts beside NCR's that NCR's key may be sent to, as the login of ``v2_url``."""


@dataclass(frozen=True, slots=True)
class InUseOptions:
    """Files that say what is in use, and how old they may be (milliseconds; None: as policies say, or 2h)."""

    files: tuple[Path, ...] = ()
    max_age: int | None = None


@dataclass(frozen=True, slots=True)
class ExecutionOptions:
    """How a plan is carried out: ``durable`` forces the journal to the disk."""

    durable: bool = False
    deadline: Deadline | None = None
    keep_manifests: bool = False
