"""What was read of manifests before: a digest never stands for anything else, so this is kept between runs.

An SQLite file in the user's cache directory, bounded, shared by all runs and registries. It only saves
requests: where it cannot be used, everything is read again.
"""

import contextlib
import os
import sqlite3
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from pruner.registry.oci.manifests import Manifest

MOST_ON_DISK: Final = 1_000_000
MOST_IN_MEMORY: Final = 2_000
_TRIMMED_AT_ONCE: Final = 10_000
_WRITES_AT_ONCE: Final = 200
_SCHEMA: Final = """
    CREATE TABLE IF NOT EXISTS manifests (
        digest TEXT NOT NULL UNIQUE, manifest BLOB NOT NULL, created TEXT, number INTEGER PRIMARY KEY
    )
"""


class Known(msgspec.Struct, frozen=True, gc=False):
    """One manifest. ``created`` is as its configuration has it: "" if it has none, None if not read."""

    manifest: Manifest
    created: str | None = None


_decoder = msgspec.json.Decoder(Manifest)


def cache_directory(env: Mapping[str, str] = os.environ) -> Path:
    """Where what can be read again is kept."""
    if chosen := env.get("PRUNER_CACHE_DIR"):
        return Path(chosen)
    return Path(env.get("XDG_CACHE_HOME") or Path(env.get("HOME") or "/", ".cache")) / "ncr-pruner"


class KnownManifests:
    """Manifests by digest, in memory and in ``folder`` (None: in memory only)."""

    def __init__(self, folder: Path | None) -> None:
        self._recent: OrderedDict[str, Known] = OrderedDict()
        self._waiting: dict[str, Known] = {}
        self._file = None if folder is None else _opened(folder / "manifests-2.sqlite3")

    def get(self, digest: str) -> Known | None:
        """What is known of a digest."""
        known = self._recent.get(digest) or self._waiting.get(digest) or self._stored(digest)
        if known is not None:
            self._remember(digest, known)
        return known

    def put(self, digest: str, known: Known) -> None:
        """Keep what was read, whose digest was checked."""
        self._remember(digest, known)
        self._waiting[digest] = known
        if len(self._waiting) >= _WRITES_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write what is not written yet."""
        rows = [(d, msgspec.json.encode(k.manifest), k.created) for d, k in self._waiting.items()]
        self._waiting.clear()
        if self._file is None or not rows:
            return
        # Another run may be writing, or the disk may be full: then it is read again next time.
        with contextlib.suppress(sqlite3.Error), self._file:
            self._file.executemany(
                "INSERT OR REPLACE INTO manifests (digest, manifest, created) VALUES (?, ?, ?)", rows
            )
            (count,) = self._file.execute("SELECT count(*) FROM manifests").fetchone()
            if count > MOST_ON_DISK:
                self._file.execute(
                    "DELETE FROM manifests WHERE number IN "
                    "(SELECT number FROM manifests ORDER BY number LIMIT ?)",
                    (count - MOST_ON_DISK + _TRIMMED_AT_ONCE,),
                )

    def close(self) -> None:
        """Write everything and let go of the file."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _remember(self, digest: str, known: Known) -> None:
        self._recent[digest] = known
        self._recent.move_to_end(digest)
        if len(self._recent) > MOST_IN_MEMORY:
            self._recent.popitem(last=False)

    def _stored(self, digest: str) -> Known | None:
        if self._file is None:
            return None
        try:
            row = self._file.execute(
                "SELECT manifest, created FROM manifests WHERE digest = ?", (digest,)
            ).fetchone()
            return None if row is None else Known(_decoder.decode(row[0]), row[1])
        except (sqlite3.Error, msgspec.MsgspecError, UnicodeDecodeError):
            return None


def _opened(path: Path) -> sqlite3.Connection | None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _prepared(path)
    except sqlite3.OperationalError:
        return None
    except sqlite3.DatabaseError:
        # Damaged: everything in it can be read again.
        with contextlib.suppress(OSError, sqlite3.Error):
            path.unlink()
            return _prepared(path)
        return None
    except OSError:
        return None


def _prepared(path: Path) -> sqlite3.Connection:
    file = sqlite3.connect(path, timeout=1.0)
    try:
        file.execute("PRAGMA journal_mode=WAL")
        file.execute("PRAGMA synchronous=OFF")
        file.execute(_SCHEMA)
    except BaseException:
        file.close()
        raise
    return file
