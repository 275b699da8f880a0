"""How an emulator is set up."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pruner.emulator.faults import Fault
from pruner.emulator.throttle import NO_LIMITS, Limits
from pruner.registry.ncr import protocol

# The published example keys; they are worth nothing outside of an emulator.
DEMO_ACCESS_KEY: Final = "AKIDEXAMPLE000000001"
DEMO_SECRET_KEY: Final = "SKEXAMPLE0000000000000000000000000000001"  # noqa: S105
DEFAULT_REGIONS: Final = ("KR", "SGN", "JPN", "gov-KR", "gov-KRS")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorConfig:
    """Everything that an emulator is started with."""

    access_key: str = DEMO_ACCESS_KEY
    secret_key: str = field(default=DEMO_SECRET_KEY, repr=False)
    seed: str | Mapping[str, Any] = "demo"
    """``demo``, ``generate:RxIxT[,seed=N]``, the path of a JSON or JSON Lines file, or a decoded document."""
    host: str = "127.0.0.1"
    port: int = 0
    """0 takes any free port."""
    regions: tuple[str, ...] = DEFAULT_REGIONS
    """Names of the regions whose path prefixes are served; all show the same registries."""
    page_size_default: int = 10
    page_size_max: int = 1000
    latency_seconds: float = 0.0
    """Added to every answer."""
    limits: Limits = NO_LIMITS
    faults: tuple[Fault, ...] = ()
    deny_registries: tuple[str, ...] = ()
    """Registries that the key may not touch."""
    deny_with: Literal["registry", "gateway"] = "registry"
    """How a denied registry is refused: 403 of the registry service, or 401/210 of the gateway."""
    read_only: bool = False
    """Whether every DELETE is refused with 401/210, as for a key that may only view."""
    untag_siblings: bool = False
    """Whether deleting a tag also removes the other tags of the image that have its digest."""
    missing_tag_status: Literal[404, 500] = 404
    record_deleted: bool = True
    """Whether the names of deleted tags are kept; switch it off when deleting very many."""
    clock_offset_seconds: float = 0.0
    """How much the emulator's clock is ahead."""
    seed_random: int = 0
    """Seed of the dice behind ``Fault.probability``."""
    now_ms: int | None = None
    """Moment that the seed's ages are relative to, milliseconds since the epoch; None is the start."""

    def __post_init__(self) -> None:
        """Refuse what cannot be served."""
        unknown = [region for region in self.regions if region not in protocol.REGION_PREFIXES]
        if unknown:
            raise ValueError(f"unknown regions: {', '.join(unknown)}")
        if not 0 < self.page_size_default <= self.page_size_max:
            raise ValueError("page_size_default must be between 1 and page_size_max")
        if self.host not in {"127.0.0.1", "localhost", "::1"}:
            raise ValueError(f"the emulator serves on loopback only, not on {self.host!r}")
