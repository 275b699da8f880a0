"""Which files a user's paths name. Nothing in a folder is left out in silence."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from pruner import names

_MOST_ENTRIES: Final = 100_000
"""How many entries below a sub-folder are looked through."""


class FileSearch:
    """Finds the files that paths name: files, and those in folders whose name ``is_wanted``.

    Sub-folders are not read: a folder 'disabled' must not begin to delete. One that holds wanted files is a
    problem unless a path names it too. Hidden entries, whose name begins with a dot, are skipped: a ConfigMap
    that Kubernetes mounts has its files in ``..data`` as well.
    """

    def __init__(self, paths: Iterable[str], is_wanted: Callable[[str], bool]) -> None:
        self.problems: list[str] = []
        self._named = {os.path.realpath(path) for path in paths}
        self._is_wanted = is_wanted

    def files(self, path: Path) -> list[Path]:
        """``path`` itself, or the wanted files of a folder, sorted. Adds to ``problems``."""
        try:
            is_folder = _is_folder(path)
        except (OSError, ValueError):
            # What is wrong with it is said when it is read.
            is_folder = False
        if not is_folder:
            return [path]
        found = []
        for member, is_folder in self._entries(path):
            if is_folder:
                self._check_folder(member)
            elif self._is_wanted(member.name):
                found.append(member)
        return found

    def _entries(self, folder: Path) -> Iterator[tuple[Path, bool]]:
        """What a folder holds, sorted, each with whether it is a folder."""
        try:
            members = sorted(member for member in folder.iterdir() if not member.name.startswith("."))
        except OSError as error:
            self._cannot_read(folder, error)
            return
        for member in members:
            try:
                yield member, _is_folder(member)
            except OSError as error:
                # It may be a folder with wanted files. A wanted file says so when it is read.
                if self._is_wanted(member.name):
                    yield member, False
                else:
                    self._cannot_read(member, error)

    def _cannot_read(self, path: Path, error: OSError) -> None:
        self.problems.append(f"{names.shown_path(path)}: cannot be read: {error.strerror or error}")

    def _is_named(self, path: Path) -> bool:
        return os.path.realpath(path) in self._named

    def _check_folder(self, folder: Path) -> None:
        """Note a problem if a sub-folder holds wanted files that no path names."""
        if self._is_named(folder):
            return
        shown = names.shown_path(folder)
        if self._is_wanted(folder.name):
            self.problems.append(f"{shown}: a folder with the name of a file; rename it")
            return
        for number, path in enumerate(self._below(folder)):
            if number == _MOST_ENTRIES:
                self.problems.append(f"{shown}: more than {_MOST_ENTRIES:,} entries; move it elsewhere")
                return
            if self._is_wanted(path.name) and not self._is_named(path):
                self.problems.append(
                    f"{names.shown_path(path.parent)}: this sub-folder holds {names.shown_path(path.name)}, "
                    f"and sub-folders are not read; name it as well, or move its files"
                )
                return

    def _below(self, folder: Path) -> Iterator[Path]:
        """Everything below a folder, without the folders that are named; each folder once."""
        waiting, seen = [folder], set(self._named)
        while waiting:
            here = waiting.pop()
            if (real := os.path.realpath(here)) in seen:
                continue
            seen.add(real)
            for member, is_folder in self._entries(here):
                if is_folder:
                    waiting.append(member)
                yield member


def _is_folder(path: Path) -> bool:
    """Whether a path leads to a folder; OSError where it leads nowhere, as a dangling link does."""
    return stat.S_ISDIR(path.stat().st_mode)
