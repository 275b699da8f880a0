"""What a run knows of itself while it goes on: why it stops, and its running totals."""

from collections import Counter
from dataclasses import dataclass, field

import anyio

from pruner.engine.gate import Gate
from pruner.errors import StopKind
from pruner.model import Outcome, Status


@dataclass(slots=True)
class RunStats:
    """Running totals. ``requests`` counts everything sent, ``throttled`` what was refused for speed."""

    total: int = 0
    statuses: Counter[Status] = field(default_factory=Counter)
    retries: int = 0
    accepted: int = 0
    """Deletions that the registry has accepted, and that are not confirmed yet."""
    bytes_deleted: int = 0

    @property
    def done(self) -> int:
        """How many targets have ended, or were accepted."""
        return self.statuses.total() + self.accepted

    def take(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.statuses[outcome.status] += 1
        if outcome.status is Status.DELETED:
            self.bytes_deleted += outcome.size or 0


class RunState:
    """Whether the run, or a registry of it, is stopping, and why. The first reason stays."""

    def __init__(self, gates: list[Gate]) -> None:
        self.stats = RunStats()
        self.stop_kind: StopKind | None = None
        self.message = ""
        self.stopped_registries: dict[str, str] = {}
        self.stopping = anyio.Event()
        self._gates = gates

    def stop(self, kind: StopKind, message: str) -> None:
        """Take no further target; what is in flight is finished."""
        if self.stop_kind is None:
            self.stop_kind = kind
            self.message = message
            self.stopping.set()
            for gate in self._gates:
                gate.close()

    def stop_registry(self, registry: str, reason: str) -> bool:
        """Take no further target of one registry; False if that was so already."""
        if registry in self.stopped_registries:
            return False
        self.stopped_registries[registry] = reason
        return True

    def may_work_on(self, registry: str) -> bool:
        """Whether targets of ``registry`` may still be taken."""
        return self.stop_kind is None and registry not in self.stopped_registries

    async def sleep(self, seconds: float) -> bool:
        """Wait, but not beyond the moment the run stops; whether it stops."""
        with anyio.move_on_after(seconds):
            await self.stopping.wait()
        return self.stop_kind is not None
