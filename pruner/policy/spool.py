"""Explicit targets by the million: on disk, sorted, each once, so that memory does not grow with them."""

import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pruner.errors import PrunerError
from pruner.model import Target
from pruner.policy.policy import ExplicitTarget

_BATCH: Final = 2000
_CACHE_KIB: Final = 2048
POLICY: Final = "delete"


class SpoolError(PrunerError):
    """The temporary file cannot be written (disk full, say)."""


class TargetSpool:
    """A set of targets in a temporary file that goes with it. The first source of a target stays."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pruner-")
        self._base = sqlite3.connect(Path(self._folder.name) / "targets.sqlite", isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            f"PRAGMA cache_size = -{_CACHE_KIB}",
            "CREATE TABLE targets (registry TEXT, image TEXT, tag TEXT, source TEXT, "
            "PRIMARY KEY (registry, image, tag)) WITHOUT ROWID",
            "BEGIN",
        ):
            self._base.execute(statement)
        self._pending: list[tuple[str, str, str, str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._base.close()
        self._folder.cleanup()

    def add(self, target: Target, source: str) -> None:
        """Add one target; ``source`` says where it was named."""
        self._pending.append((target.registry, target.image, target.tag, source))
        if len(self._pending) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        try:
            self._base.executemany("INSERT OR IGNORE INTO targets VALUES (?, ?, ?, ?)", self._pending)
        except sqlite3.Error as error:
            raise SpoolError(f"targets cannot be kept in {self._folder.name}: {error}") from None
        self._pending.clear()

    def __iter__(self) -> Iterator[Target]:
        """All targets, sorted."""
        self._flush()
        for row in self._base.execute("SELECT registry, image, tag FROM targets ORDER BY 1, 2, 3"):
            yield Target(*row)

    def registries(self) -> list[str]:
        """The registries named, sorted."""
        self._flush()
        return [row[0] for row in self._base.execute("SELECT DISTINCT registry FROM targets ORDER BY 1")]

    def images(self, registry: str) -> list[str]:
        """The images named in a registry, sorted."""
        self._flush()
        query = "SELECT DISTINCT image FROM targets WHERE registry = ? ORDER BY 1"
        return [row[0] for row in self._base.execute(query, (registry,))]

    def of(self, registry: str, image: str) -> list[ExplicitTarget]:
        """The targets of one image, sorted."""
        self._flush()
        query = "SELECT tag, source FROM targets WHERE registry = ? AND image = ? ORDER BY 1"
        rows = self._base.execute(query, (registry, image))
        return [ExplicitTarget(Target(registry, image, tag), POLICY, source) for tag, source in rows]
