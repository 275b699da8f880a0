"""Access keys: where they come from, how they are shown, and when those of a Server Role are fetched again.

Three sources: environment variables, ``~/.ncloud/configure``, the Server Role of an Ncloud server. When two
sources contradict each other nothing is guessed: with the wrong keys the tags of another account would go.
"""

import asyncio
import difflib
import ipaddress
import json
import math
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from pruner.errors import CredentialsError
from pruner.names import printable
from pruner.registry.secret import Secret

if TYPE_CHECKING:
    import aiohttp

DEFAULT_PROFILE: Final = "DEFAULT"
_HOME_VARIABLE: Final = "USERPROFILE" if os.name == "nt" else "HOME"
MAX_FILE_BYTES: Final = 1 << 20

METADATA_ENDPOINT: Final = "http://169.254.169.254"
METADATA_VARIABLE: Final = "NCLOUD_METADATA_API_ENDPOINT"
METADATA_TIMEOUT_SECONDS: Final = 3.0
MAX_METADATA_BYTES: Final = 64 * 1024

REFRESH_BEFORE_SECONDS: Final = 300.0
"""Server Role keys are fetched again when they expire within this time."""
RETRY_AFTER_SECONDS: Final = 30.0
"""The shortest time between two attempts to fetch them again."""

_ENVIRONMENT_PAIRS: Final = (
    (("NCLOUD_ACCESS_KEY_ID", "NCLOUD_ACCESS_KEY"), ("NCLOUD_SECRET_ACCESS_KEY", "NCLOUD_SECRET_KEY")),
    (("NCR_ACCESS_KEY",), ("NCR_SECRET_KEY",)),
)
_VARIABLES: Final = tuple(name for pair in _ENVIRONMENT_PAIRS for names in pair for name in names)
_FILE_KEYS: Final = ("ncloud_access_key_id", "ncloud_secret_access_key")

_KEY: Final = re.compile(r"[!-~]{1,1024}")
_KEY_RULE: Final = "a key has only printable ASCII characters, no spaces and at most 1024 of them"
_SECTION: Final = re.compile(r"\[([^\[\]]+)\]\s*(?:[#;].*)?")
_ROLE: Final = re.compile(r"[A-Za-z0-9_.+=,@-]{1,128}")
_IAM_PREFIX: Final = "ncp_iam_"
_SHOWN_HEAD: Final = 4
_SHOWN_TAIL: Final = 2

_NOT_FOUND: Final = (
    "no credentials found; give them in one of three ways:\n"
    "  environment: NCLOUD_ACCESS_KEY_ID and NCLOUD_SECRET_ACCESS_KEY\n"
    "  file: ~/.ncloud/configure, with --profile NAME if it has several profiles\n"
    "  Server Role: run on an Ncloud server that has one"
)


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """One key pair.

    ``source`` says in words where it comes from; ``expires`` is in epoch seconds, None for keys that do not
    expire by themselves (all but those of a Server Role).
    """

    access_key: str
    secret: Secret
    source: str
    expires: float | None = None

    @property
    def masked_key(self) -> str:
        """The access key for people: ``AKID…01``. Never more than half of it; a short key not at all."""
        prefix = _IAM_PREFIX if self.access_key.startswith(_IAM_PREFIX) else ""
        shown = len(prefix) + _SHOWN_HEAD + _SHOWN_TAIL
        if shown * 2 > len(self.access_key):
            return "***"
        return f"{self.access_key[: len(prefix) + _SHOWN_HEAD]}…{self.access_key[-_SHOWN_TAIL:]}"

    def __repr__(self) -> str:
        return (
            f"Credentials(access_key={self.masked_key!r}, secret={self.secret!r}, "
            f"source={self.source!r}, expires={self.expires!r})"
        )


def from_environment(env: Mapping[str, str]) -> Credentials | None:
    """The key pair of the environment, or None when no variable of one is set.

    Raises CredentialsError on half a pair, on two pairs or names that differ, and on a malformed value.
    """
    found = [pair for names in _ENVIRONMENT_PAIRS if (pair := _environment_pair(env, *names))]
    if len(found) > 1 and _keys(found[0]) != _keys(found[1]):
        raise CredentialsError(
            f"two different key pairs are set: {found[0].source} and {found[1].source}; unset one of them"
        )
    return found[0] if found else None


def _keys(credentials: Credentials) -> tuple[str, Secret]:
    return credentials.access_key, credentials.secret


def _environment_pair(
    env: Mapping[str, str], access_names: tuple[str, ...], secret_names: tuple[str, ...]
) -> Credentials | None:
    access_name, access_key = _variable(env, access_names)
    secret_name, secret = _variable(env, secret_names)
    if not access_key and not secret:
        return None
    if not access_key or not secret:
        there, missing = (access_name, secret_names) if access_key else (secret_name, access_names)
        raise CredentialsError(f"{there} is set but {' or '.join(missing)} is not; set both or neither")
    return Credentials(access_key, Secret(secret), f"environment ({access_name}, {secret_name})")


def _variable(env: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, str]:
    """Name and value of the first of ``names`` that is set; an empty value counts as not set."""
    found = [(name, _clean(name, env[name])) for name in names if env.get(name, "").strip()]
    if len({value for _, value in found}) > 1:
        raise CredentialsError(f"{' and '.join(names)} are both set and differ; unset one of them")
    return found[0] if found else (names[0], "")


def _clean(what: str, value: str) -> str:
    """``value`` without the space around it; CredentialsError, without the value, unless it can be a key."""
    value = value.strip()
    if _KEY.fullmatch(value) is None:
        raise CredentialsError(f"{what} is malformed: {_KEY_RULE}")
    return value


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


def from_configure(path: Path, profile: str | None) -> Credentials | None:
    """The key pair of a profile in an ``ncloud configure`` file.

    Without ``profile``: DEFAULT, or the only one; None when there is no file or no key in it. Raises
    CredentialsError when the choice is not clear, the profile is not there or the file cannot be read.
    """
    shown = _shown(path)
    text = _read(path, shown)
    if text is None:
        if profile is None:
            return None
        raise CredentialsError(f"there is no profile '{printable(profile, 60)}': {shown} does not exist")
    profiles = _parse(text, shown)
    if profile is None and not any(key in values for values in profiles.values() for key in _FILE_KEYS):
        return None
    name = _choose(profiles, profile, shown)
    return _profile_pair(profiles[name], f"profile '{printable(name, 60)}' of {shown}")


def _profile_pair(values: Mapping[str, str], source: str) -> Credentials:
    missing = [key for key in _FILE_KEYS if key not in values]
    if missing:
        raise CredentialsError(f"{source} has no {' and no '.join(missing)}")
    access_key, secret = (_clean(f"{key} in {source}", values[key]) for key in _FILE_KEYS)
    return Credentials(access_key, Secret(secret), source)


def _choose(profiles: Mapping[str, object], profile: str | None, shown: str) -> str:
    if profile is None:
        if DEFAULT_PROFILE in profiles:
            return DEFAULT_PROFILE
        if len(profiles) == 1:
            return next(iter(profiles))
        raise CredentialsError(
            f"{shown} has several profiles and no DEFAULT: {_listed(profiles)}; choose one with --profile"
        )
    if profile in profiles:
        return profile
    close = difflib.get_close_matches(profile[:200], profiles, n=1)
    hint = f", did you mean '{printable(close[0], 60)}'?" if close else ""
    raise CredentialsError(
        f"{shown} has no profile '{printable(profile, 60)}'{hint} (it has: {_listed(profiles) or 'none'})"
    )


def _listed(names: Iterable[str]) -> str:
    return printable(", ".join(sorted(names)), 500)


def _shown(path: Path) -> str:
    """``path`` for people, with ``~`` for the home folder."""
    try:
        return printable(f"~/{path.relative_to(_home()).as_posix()}")
    except ValueError:
        return printable(str(path))


def _read(path: Path, shown: str) -> str | None:
    """The text of a file of bounded size, None when it is not there; CredentialsError otherwise."""
    try:
        # Looked at before opening: opening a pipe would wait for a writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise CredentialsError(f"{shown} is not a file")
        with path.open("rb") as file:
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
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CredentialsError(f"{shown} is not UTF-8 text") from None


def _parse(text: str, shown: str) -> dict[str, dict[str, str]]:
    """The settings of each profile. Errors name the line and never show its content: it may be a secret."""
    profiles: dict[str, dict[str, str]] = {}
    headers: set[str] = set()
    name = DEFAULT_PROFILE
    for number, raw in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            name = _section(line, f"{shown}, line {number}", headers)
            profiles.setdefault(name, {})
        else:
            _set(profiles.setdefault(name, {}), line, f"{shown}, line {number}")
    return profiles


def _section(line: str, where: str, seen: set[str]) -> str:
    match = _SECTION.fullmatch(line)
    name = match[1].strip() if match else ""
    if not name:
        raise CredentialsError(f"{where}: not a section header; write [NAME]")
    if name in seen:
        raise CredentialsError(f"{where}: a second section [{printable(name, 60)}]; keep one of them")
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


class _NoRoleError(CredentialsError):
    """There is no Server Role here: not an Ncloud server, or one without a role."""


class ServerRole:
    """The keys that the metadata service of an Ncloud server gives to the server's role.

    ``endpoint`` is the base URL of the service. Raises CredentialsError when it is not one that keys may be
    fetched from: over plain http only a link-local or loopback address.
    """

    _PATH: Final = "/latest/meta-data/iam/security-credentials/"

    def __init__(self, endpoint: str = METADATA_ENDPOINT) -> None:
        self._base = _metadata_base(endpoint)

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> "ServerRole":
        """The metadata service that NCLOUD_METADATA_API_ENDPOINT names, else the usual one."""
        return cls(env.get(METADATA_VARIABLE, "").strip() or METADATA_ENDPOINT)

    async def fetch(self) -> Credentials:
        """The role's current keys. Every failure is a CredentialsError of one sentence."""
        import aiohttp

        # No environment proxy and no cookies: this is one hop to the host, or it is not the service.
        session = aiohttp.ClientSession(
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=METADATA_TIMEOUT_SECONDS),
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
        )
        async with session:
            role = _role_name(await self._get(session, ""))
            return _role_credentials(role, await self._get(session, role))

    async def _get(self, session: "aiohttp.ClientSession", role: str) -> str:
        import aiohttp
        from yarl import URL

        url = URL(f"{self._base}{self._PATH}{role}", encoded=True)
        try:
            async with session.get(url, allow_redirects=False) as response:
                if response.status != 200:
                    raise _refusal(response.status)
                body = bytearray()
                async for chunk in response.content.iter_chunked(8192):
                    body += chunk
                    if len(body) > MAX_METADATA_BYTES:
                        raise CredentialsError("the metadata service answers more than 64 KiB")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _NoRoleError(f"no metadata service answers ({type(error).__name__})") from None
        try:
            return body.decode("utf-8")
        except UnicodeDecodeError:
            raise CredentialsError("the metadata service answers with something other than text") from None


def _refusal(status: int) -> CredentialsError:
    if 400 <= status < 500:
        return _NoRoleError(f"the metadata service knows no Server Role (HTTP {status})")
    return CredentialsError(f"the metadata service answers HTTP {status}")


def _metadata_base(endpoint: str) -> str:
    problem = _endpoint_problem(endpoint)
    if problem:
        raise CredentialsError(f"{METADATA_VARIABLE} '{printable(endpoint)}' cannot be used: {problem}")
    return endpoint.rstrip("/")


def _endpoint_problem(endpoint: str) -> str | None:
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "it is not a URL"
    if parts.scheme not in ("http", "https") or not host or _KEY.fullmatch(endpoint) is None:
        return "it is not an http or https URL"
    if "@" in parts.netloc or "?" in endpoint or "#" in endpoint:
        return "write it without user, query and fragment"
    if parts.scheme == "http" and not _is_this_host(host):
        return "plain http is only for a link-local (169.254.0.0/16) or loopback host; use https"
    return None


def _is_this_host(host: str) -> bool:
    """Whether ``host`` is the server itself or its hypervisor: nobody on the way can read along."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or (address.version == 4 and address.is_link_local)


def _role_name(body: str) -> str:
    name = body.strip().partition("\n")[0].strip()
    if not name:
        raise _NoRoleError("the metadata service knows no Server Role")
    if _ROLE.fullmatch(name) is None:
        raise CredentialsError(f"the metadata service answers with '{printable(name, 60)}', not a role name")
    return name


def _role_credentials(role: str, body: str) -> Credentials:
    source = f"Server Role {role}"
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise CredentialsError(f"{source}: the metadata service answers with something other than keys")
    if answer.get("Token"):
        # Other clouds serve the same path at the same address; Ncloud's answer has no session token.
        raise _NoRoleError(f"{source}: these are the keys of another cloud (with a session token)")
    return Credentials(
        _role_key(answer, "AccessKeyId", source),
        Secret(_role_key(answer, "SecretAccessKey", source)),
        source,
        _expiration(answer.get("Expiration"), source),
    )


def _role_key(answer: Mapping[str, Any], name: str, source: str) -> str:
    value = answer.get(name)
    if isinstance(value, str) and value.strip():
        return _clean(f"{source}: {name}", value)
    said = " ".join(text for key in ("Code", "Message") if isinstance(text := answer.get(key), str) and text)
    said = f" (the metadata service says: {printable(said)})" if said else ""
    raise CredentialsError(f"{source} has no {name}{said}")


def _expiration(value: object, source: str) -> float:
    """Epoch seconds of an ISO 8601 time; one without a zone is UTC."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is not None:
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        pass
    raise CredentialsError(f"{source}: the metadata service does not say when the keys expire")


class CredentialSource:
    """The key pair of a run, kept fresh when it comes from a Server Role.

    Made by ``find``. ``clock`` gives epoch seconds; ``role`` is where expiring keys are fetched again.
    """

    __slots__ = ("_clock", "_current", "_failure", "_lock", "_role", "_tried_at")

    def __init__(
        self, current: Credentials, role: ServerRole | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._current = current
        self._role = role
        self._clock = clock
        self._lock = asyncio.Lock()
        self._tried_at: float | None = None
        self._failure = ""

    @classmethod
    async def find(
        cls,
        env: Mapping[str, str],
        configure_path: Path,
        profile: str | None,
        clock: Callable[[], float] = time.time,
        metadata: ServerRole | None = None,
    ) -> "CredentialSource":
        """Look for credentials; CredentialsError when there are none, or when it is not clear which to use.

        A ``profile`` asked for wins over everything. Otherwise the environment, then the file, then the
        Server Role.
        """
        lasting = _lasting(env, configure_path, profile)
        if lasting is not None:
            return cls(lasting, None, clock)
        role = metadata or ServerRole.from_environment(env)
        try:
            source = cls(await role.fetch(), role, clock)
        except _NoRoleError as error:
            raise CredentialsError(f"{_NOT_FOUND} (here: {error})") from None
        source._refuse_expired("the metadata service gives no others; check the clock of this server")
        return source

    def __repr__(self) -> str:
        return f"CredentialSource({self._current!r})"

    @property
    def current(self) -> Credentials:
        """The key pair to sign the next request with."""
        return self._current

    async def refresh_if_needed(self) -> bool:
        """Fetch the keys of a Server Role again when they expire soon; True when they changed meanwhile.

        Concurrent calls fetch once. A failure before the keys expire is tolerated and tried again half a
        minute later; once they have expired it is a CredentialsError.
        """
        before = self._current
        if self._role is None or self._remaining() >= REFRESH_BEFORE_SECONDS:
            return False
        async with self._lock:
            if self._current is before:
                await self._try_fetch(self._role)
                self._refuse_expired(f"no others could be fetched: {self._failure}")
        return self._current is not before

    def _remaining(self) -> float:
        expires = self._current.expires
        return math.inf if expires is None else expires - self._clock()

    async def _try_fetch(self, role: ServerRole) -> None:
        now = self._clock()
        # A clock set back since the last try does not hold the next one up.
        if self._tried_at is not None and 0 <= now - self._tried_at < RETRY_AFTER_SECONDS:
            return
        try:
            fetched = await role.fetch()
        except CredentialsError as error:
            self._failure = str(error)
        else:
            self._failure = "the metadata service gives none that last longer"
            # Keys that outlive the present ones, or a different pair that is valid now.
            if fetched != self._current and (fetched.expires or math.inf) > now:
                self._current = fetched
        self._tried_at = now

    def _refuse_expired(self, reason: str) -> None:
        if self._remaining() <= 0:
            raise CredentialsError(f"the keys of the {self._current.source} have expired; {reason}")


def _lasting(env: Mapping[str, str], path: Path, profile: str | None) -> Credentials | None:
    """The credentials that do not expire: those of the profile asked for, the environment or the file."""
    if profile is None:
        return from_environment(env) or from_configure(path, None)
    chosen = from_configure(path, profile)
    if chosen is None or not any(env.get(name, "").strip() for name in _VARIABLES):
        return chosen
    return replace(chosen, source=f"{chosen.source}, asked for instead of the keys in the environment")
