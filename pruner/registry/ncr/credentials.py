"""Access keys: where they come from, and when those of a Server Role are fetched again.

Three sources: environment variables, ``~/.ncloud/configure``, the Server Role of an Ncloud server. When two
sources contradict each other nothing is guessed: with the wrong keys the tags of another account would go.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from pruner.errors import CredentialsError
from pruner.registry.ncr.configure_file import default_configure_path, from_configure
from pruner.registry.ncr.key_pair import Credentials, clean_key
from pruner.registry.ncr.server_role import NoRoleError, ServerRole
from pruner.registry.secret import Secret

__all__ = ["CredentialSource", "Credentials", "default_configure_path", "from_environment"]

REFRESH_BEFORE_SECONDS: Final = 300.0
"""Server Role keys are fetched again when they expire within this time."""
RETRY_AFTER_SECONDS: Final = 30.0
"""The shortest time between two attempts to fetch them again."""

_ENVIRONMENT_PAIRS: Final = (
    (("NCLOUD_ACCESS_KEY_ID", "NCLOUD_ACCESS_KEY"), ("NCLOUD_SECRET_ACCESS_KEY", "NCLOUD_SECRET_KEY")),
    (("NCR_ACCESS_KEY",), ("NCR_SECRET_KEY",)),
)
_VARIABLES: Final = tuple(name for pair in _ENVIRONMENT_PAIRS for names in pair for name in names)

_NOT_FOUND: Final = (
    "no credentials found; give them in one of three ways:\n"
    "  environment: NCLOUD_ACCESS_KEY_ID and NCLOUD_SECRET_ACCESS_KEY\n"
    "  file: ~/.ncloud/configure, with --profile NAME if it has several profiles\n"
    "  Server Role: run on an Ncloud server that has one"
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
    found = [(name, clean_key(name, env[name])) for name in names if env.get(name, "").strip()]
    if len({value for _, value in found}) > 1:
        raise CredentialsError(f"{' and '.join(names)} are both set and differ; unset one of them")
    return found[0] if found else (names[0], "")


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
        except NoRoleError as error:
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
