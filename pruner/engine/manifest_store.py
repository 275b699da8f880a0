"""The manifests of what a run deletes, in its directory: each digest once, compressed, on the disk.

An SQLite file, format version 2; version 1 does not note what tags pointed to. ``add`` returns when the disk
has it; calls that wait at the same time share one write.
"""

import hashlib
import os
import sqlite3
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec

from pruner.engine.journal import JournalWriteError
from pruner.errors import InputError
from pruner.files import open_private
from pruner.model import Target
from pruner.registry.base import KeptManifest

VERSION: Final = 2
_READABLE: Final = (1, 2)
_SCHEMA: Final = (
    """
    CREATE TABLE IF NOT EXISTS manifests (
        digest TEXT PRIMARY KEY, media_type TEXT NOT NULL, data BLOB NOT NULL, links TEXT NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE TABLE IF NOT EXISTS registries (name TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS tags (name TEXT PRIMARY KEY, digest TEXT NOT NULL) WITHOUT ROWID",
)


class _Links(msgspec.Struct, omit_defaults=True):
    children: tuple[str, ...] = ()
    blobs: tuple[str, ...] = ()
    subject: str | None = None


_links = msgspec.json.Decoder(_Links)


class ManifestStore:
    """An open store. Many tasks of one event loop may use it; others see only what the disk has."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = _connected(path)
        self._reader = _connected(path)
        self._waiting: dict[str, KeptManifest | str] = {}
        """What is to be written: manifests by digest, and digests by tag."""
        self._writing = anyio.Lock()
        self._broken: JournalWriteError | None = None
        self._has_tags = True

    @classmethod
    def create(cls, path: Path, registries: Iterable[str] = ()) -> "ManifestStore":
        """A store at ``path`` for what goes from ``registries``, be it from an earlier session.

        JournalWriteError if it cannot be had.
        """
        try:
            if not path.exists():
                open_private(path).close()
            _prepare(path, registries)
            _sync_folder(path.parent)
            return cls(path)
        except (OSError, sqlite3.Error) as error:
            raise JournalWriteError(f"{path} cannot be written: {_reason(error)}") from None

    @classmethod
    def open(cls, path: Path) -> "ManifestStore":
        """The store of an earlier run; InputError if it is none."""
        try:
            store = cls(path)
            (version,) = store._reader.execute("PRAGMA user_version").fetchone()
            store._reader.execute("SELECT digest FROM manifests LIMIT 1").fetchone()
        except sqlite3.Error as error:
            raise InputError(f"{path} cannot be read: {error}") from None
        if version not in _READABLE:
            raise InputError(f"{path} has format version {version}; this program knows {VERSION}")
        store._has_tags = version >= 2
        return store

    def close(self) -> None:
        """Close the file; what was added is on the disk."""
        self._reader.close()
        self._writer.close()

    @property
    def registries(self) -> set[str]:
        """The registries of which manifests are kept."""
        try:
            return {name for (name,) in self._reader.execute("SELECT name FROM registries")}
        except sqlite3.Error as error:
            raise InputError(f"{self._path} cannot be read: {error}") from None

    def __contains__(self, digest: str) -> bool:
        return self._row("SELECT 1 FROM manifests WHERE digest = ?", digest) is not None

    def get(self, digest: str) -> KeptManifest | None:
        """What is kept of a digest; InputError if it cannot be read."""
        row = self._row("SELECT media_type, data, links FROM manifests WHERE digest = ?", digest)
        if row is None:
            return None
        media_type, data, links = row
        try:
            known = _links.decode(links)
            content = zlib.decompress(data)
        except (zlib.error, msgspec.MsgspecError, TypeError) as error:
            raise InputError(f"{self._path} is damaged: {error}") from None
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            raise InputError(f"{self._path} is damaged: the bytes of {digest} are others")
        return KeptManifest(digest, media_type, content, known.children, known.blobs, known.subject)

    def digest_of(self, target: Target) -> str | None:
        """The manifest that a tag pointed to, where a list names another digest; None if none was noted."""
        if not self._has_tags:
            return None
        row = self._row("SELECT digest FROM tags WHERE name = ?", str(target))
        return None if row is None else str(row[0])

    async def note(self, target: Target, digest: str) -> None:
        """Note what a tag points to; returns when the disk has it. JournalWriteError as for ``add``."""
        await self._add({str(target): digest})

    async def add(self, manifests: Iterable[KeptManifest]) -> None:
        """Keep ``manifests``; returns when the disk has them. JournalWriteError if it does not take them."""
        await self._add({manifest.digest: manifest for manifest in manifests})

    async def _add(self, mine: Mapping[str, KeptManifest | str]) -> None:
        self._waiting |= mine
        async with self._writing:
            # Whoever had the lock before may have written them as well, or failed to.
            if self._broken is not None:
                raise self._broken
            if not any(key in self._waiting for key in mine):
                return
            batch, self._waiting = self._waiting, {}
            self._broken = JournalWriteError(f"{self._path} was not written")
            try:
                await anyio.to_thread.run_sync(self._write, batch)
            except sqlite3.Error as error:
                self._broken = JournalWriteError(f"{self._path} cannot be written: {error}")
                raise self._broken from None
            self._broken = None

    def _write(self, batch: Mapping[str, KeptManifest | str]) -> None:
        rows = [
            (
                item.digest,
                item.media_type,
                zlib.compress(item.data),
                msgspec.json.encode(_Links(item.children, item.blobs, item.subject)).decode(),
            )
            for item in batch.values()
            if isinstance(item, KeptManifest)
        ]
        tags = [(name, item) for name, item in batch.items() if isinstance(item, str)]
        with self._writer:
            self._writer.executemany("INSERT OR REPLACE INTO manifests VALUES (?, ?, ?, ?)", rows)
            self._writer.executemany("INSERT OR REPLACE INTO tags VALUES (?, ?)", tags)

    def _row(self, query: str, digest: str) -> tuple[Any, ...] | None:
        try:
            row: tuple[Any, ...] | None = self._reader.execute(query, (digest,)).fetchone()
        except sqlite3.Error as error:
            raise InputError(f"{self._path} cannot be read: {error}") from None
        return row


def _connected(path: Path) -> sqlite3.Connection:
    # Only ever used by one thread at a time, but not always by the same.
    file = sqlite3.connect(path, check_same_thread=False)
    file.execute("PRAGMA synchronous=FULL")
    return file


def _prepare(path: Path, registries: Iterable[str]) -> None:
    file = _connected(path)
    # So that whoever reads does not wait for whoever writes, nor sees what the disk does not have.
    file.execute("PRAGMA journal_mode=WAL")
    (version,) = file.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise OSError(None, f"it has format version {version}; this program knows {VERSION}")
    if version < VERSION:
        with file:
            for statement in _SCHEMA:
                file.execute(statement)
            file.execute(f"PRAGMA user_version={VERSION}")
    with file:
        file.executemany("INSERT OR IGNORE INTO registries VALUES (?)", [(name,) for name in registries])
    file.close()


def _sync_folder(folder: Path) -> None:
    """That a file is there at all outlasts a loss of power as well."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: OSError | sqlite3.Error) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
