"""The file of ``ncloud configure``: profiles with a key pair each.

Errors name the line and never show its content: it may be a secret.
"""

import difflib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from pruner.errors import CredentialsError
from pruner.names import printable
from pruner.plain_names import is_plain_name
from pruner.registry.ncr.key_pair import Credentials, clean_key
from pruner.registry.secret import Secret

DEFAULT_PROFILE: Final = "DEFAULT"
MAX_FILE_BYTES: Final = 1 << 20
MAX_SHOWN_NAME: Final = 31
"""Longer names of profiles are not shown."""
MAX_SHOWN_NAMES: Final = 20
_HAS_MODES: Final = os.name != "nt"
_MAX_LINKS: Final = 40
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
_READABLE_BY_OTHERS: Final = stat.S_IRGRP | stat.S_IROTH
_HOME_VARIABLE: Final = "USERPROFILE" if os.name == "nt" else "HOME"
_FILE_KEYS: Final = ("ncloud_access_key_id", "ncloud_secret_access_key")
_SECTION: Final = re.compile(r"\[([^\[\]]+)\]\s*(?:[#;].*)?")


def default_configure_path(env: Mapping[str, str]) -> Path:
    """Where ``ncloud configure`` writes its file: ``.ncloud/configure`` in the home folder."""
    home = env.get(_HOME_VARIABLE)
    return (Path(home) if home else _home()) / ".ncloud" / "configure"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        # A user without a home, as in some containers; never the working folder, which others may write to.
        return Path(os.sep)


class _Profile(NamedTuple):
    """A section of the file: its name, the line of its header, and its settings."""

    name: str
    line: int
    values: dict[str, str]

    @property
    def label(self) -> str:
        return f"profile '{self.name}'" if _is_shown(self.name) else f"the profile of line {self.line}"


def from_configure(path: Path, profile: str | None) -> Credentials | None:
    """The key pair of a profile in an ``ncloud configure`` file.

    Without ``profile``: DEFAULT, or the only one; None when there is no file or no key in it. Raises
    CredentialsError when the choice is not clear, the profile is not there, the file cannot be read or other
    users can change it.
    """
    shown = _shown(path)
    found = _read(path, shown)
    if found is None:
        if profile is None:
            return None
        raise CredentialsError(f"there is no {_asked_for(profile)}: {shown} does not exist")
    text, warnings = found
    profiles = _parse(text, shown)
    if profile is None and not any(key in own.values for own in profiles.values() for key in _FILE_KEYS):
        return None
    return _key_pair(_choose(profiles, profile, shown), shown, warnings)


def _key_pair(profile: _Profile, shown: str, warnings: tuple[str, ...]) -> Credentials:
    source = f"{profile.label} of {shown}"
    missing = [key for key in _FILE_KEYS if key not in profile.values]
    if missing:
        raise CredentialsError(f"{source} has no {' and no '.join(missing)}")
    access_key, secret = (clean_key(f"{key} in {source}", profile.values[key]) for key in _FILE_KEYS)
    return Credentials(access_key, Secret(secret), source, warnings=warnings)


def _choose(profiles: Mapping[str, _Profile], name: str | None, shown: str) -> _Profile:
    if name is None:
        if DEFAULT_PROFILE in profiles:
            return profiles[DEFAULT_PROFILE]
        if len(profiles) == 1:
            return next(iter(profiles.values()))
        raise CredentialsError(
            f"{shown} has several profiles and no DEFAULT: {_listed(profiles)}; choose one with --profile"
        )
    if name in profiles:
        return profiles[name]
    close = difflib.get_close_matches(name[:200], filter(_is_shown, profiles), n=1)
    hint = f", did you mean '{close[0]}'?" if close else ""
    raise CredentialsError(f"{shown} has no {_asked_for(name)}{hint} (it has: {_listed(profiles) or 'none'})")


def _is_shown(name: str) -> bool:
    """Whether the name of a profile is certainly not a key that was pasted into its place."""
    return is_plain_name(name, MAX_SHOWN_NAME)


def _asked_for(name: str) -> str:
    return f"profile '{name}'" if _is_shown(name) else "profile of the name that was asked for"


def _listed(names: Iterable[str]) -> str:
    """The names that are shown, and how many more there are."""
    found = sorted(names)
    shown = [name for name in found if _is_shown(name)][:MAX_SHOWN_NAMES]
    more = [f"{len(found) - len(shown)} more"] if len(found) > len(shown) else []
    return ", ".join(shown + more)


def _shown(path: Path) -> str:
    """``path`` for people, with ``~`` for the home folder."""
    try:
        return printable(f"~/{path.relative_to(_home()).as_posix()}")
    except ValueError:
        return printable(str(path))


def _read(path: Path, shown: str) -> tuple[str, tuple[str, ...]] | None:
    """The text of a file, and warnings; None when it is not there. CredentialsError if it is not used."""
    try:
        # Opening a pipe would wait for a writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise CredentialsError(f"{shown} is not a file")
        with path.open("rb") as file:
            warnings = _check_access(path, os.fstat(file.fileno()), shown)
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a usable path"
        raise CredentialsError(f"{shown} cannot be read: {reason}") from None
    if len(content) > MAX_FILE_BYTES:
        raise CredentialsError(
            f"{shown} is larger than {MAX_FILE_BYTES >> 20} MiB; it is not a configure file"
        )
    try:
        return content.decode("utf-8-sig"), warnings
    except UnicodeDecodeError:
        raise CredentialsError(f"{shown} is not UTF-8 text") from None


def _check_access(path: Path, file: os.stat_result, shown: str) -> tuple[str, ...]:
    """Warnings about users who can read the file; CredentialsError if others can change it, as of ssh.

    ``file`` describes the open file. With an access control list, the bits of the group are its mask.
    """
    if not _HAS_MODES:
        return ()
    links = _links(path)
    folders = {link.parent: link.parent.stat() for link in links}
    for place, found in ((path, file), *((link, link.lstat()) for link in links), *folders.items()):
        if not _is_ours(found):
            raise CredentialsError(
                f"{_shown(place)} belongs to another user, who can change the keys; change its owner"
            )
    if file.st_mode & _WRITABLE_BY_OTHERS:
        raise CredentialsError(f"other users can change {shown}; run: chmod 600 {shown}")
    for folder, found in folders.items():
        # Where the sticky bit is set, only the owner of a file can replace it.
        if found.st_mode & _WRITABLE_BY_OTHERS and not found.st_mode & stat.S_ISVTX:
            raise CredentialsError(f"other users can replace {shown}; run: chmod 700 {_shown(folder)}")
    if file.st_mode & _READABLE_BY_OTHERS:
        return (f"other users can read the keys in {shown}; run: chmod 600 {shown}",)
    return ()


def _links(path: Path) -> list[Path]:
    """``path`` and, for a symbolic link, each path that leads to the file itself."""
    found = [path]
    while found[-1].is_symlink() and len(found) <= _MAX_LINKS:
        found.append(found[-1].parent / found[-1].readlink())
    return found


def _is_ours(file: os.stat_result) -> bool:
    return file.st_uid in (0, os.geteuid())


def _parse(text: str, shown: str) -> dict[str, _Profile]:
    """The profiles by name."""
    profiles: dict[str, _Profile] = {}
    headers: set[str] = set()
    name, line_of_name = DEFAULT_PROFILE, 1
    for number, raw in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            name, line_of_name = _section(line, f"{shown}, line {number}", headers), number
        profile = profiles.setdefault(name, _Profile(name, line_of_name, {}))
        if line[0] != "[":
            _set(profile.values, line, f"{shown}, line {number}")
    return profiles


def _section(line: str, where: str, seen: set[str]) -> str:
    match = _SECTION.fullmatch(line)
    name = match[1].strip() if match else ""
    if not name:
        raise CredentialsError(f"{where}: not a section header; write [NAME]")
    if name in seen:
        what = f"second section [{name}]" if _is_shown(name) else "second section of this name"
        raise CredentialsError(f"{where}: a {what}; keep one of them")
    seen.add(name)
    return name


def _set(values: dict[str, str], line: str, where: str) -> None:
    key, equals, value = line.partition("=")
    key, value = key.strip().lower(), value.strip()
    if not equals:
        raise CredentialsError(f"{where}: neither a [section] nor a 'name = value' line")
    if key in values:
        # Half of a secret that was broken over two lines looks like a name, too.
        what = key if key in _FILE_KEYS else "setting of one name"
        raise CredentialsError(f"{where}: a second {what} in one profile; keep one of them")
    # An empty answer to 'ncloud configure' leaves an empty value: the same as none.
    if value:
        values[key] = value
