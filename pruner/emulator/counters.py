"""What an emulator has seen and done since it was started."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True, kw_only=True)
class Counters:
    """Running totals of one emulator; every number is a count of requests unless it says otherwise."""

    requests: int = 0
    """All API requests, also the refused ones; control requests are not counted."""
    by_operation: dict[str, int] = field(default_factory=dict)
    by_status: dict[str, int] = field(default_factory=dict)
    """By HTTP status, or ``aborted`` where no whole answer was sent."""
    throttled: int = 0
    unauthenticated: int = 0
    deleted: int = 0
    """Tags really removed by a DELETE request."""
    siblings_untagged: int = 0
    """Further tags of the same digest that went with a deleted one."""
    missing: int = 0
    """Requests for a registry, image or tag that does not exist."""
    forbidden_deletes: int = 0
    """DELETE requests for an image or a registry: a deleter of tags never sends one."""
    duplicate_deletes: int = 0
    """DELETE requests for a tag that an earlier DELETE request had already removed."""
    faults: int = 0
    """Times that a fault rule fired."""
    max_in_flight: int = 0
    """Highest number of requests that were open at the same time."""

    def count_operation(self, name: str) -> None:
        """Count one request for an operation."""
        self.requests += 1
        self.by_operation[name] = self.by_operation.get(name, 0) + 1

    def count_status(self, status: str) -> None:
        """Count one answer."""
        self.by_status[status] = self.by_status.get(status, 0) + 1

    def to_json(self) -> dict[str, Any]:
        """Return the counters as plain values."""
        return asdict(self)
