"""Who logs in to a registry: from the environment, Docker's configuration, NCR's keys, or nobody.

Sources of the formats: Docker's "docker login" (``config.json``) and docker-credential-helpers.
"""

import base64
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
import msgspec

from pruner.errors import CredentialsError
from pruner.files import read_bytes
from pruner.names import printable
from pruner.registry.oci.location import OciLocation
from pruner.registry.secret import Secret

USERNAME: Final = "PRUNER_OCI_USERNAME"
PASSWORD: Final = "PRUNER_OCI_PASSWORD"  # noqa: S105 - a name, not a password
HELPER_SECONDS: Final = 30.0
_MAX_FILE_BYTES: Final = 1 << 20
_TOKEN_USER: Final = "<token>"  # noqa: S105 - a user name
"""By this user name a helper says that its secret is an identity token."""
_NCR: Final = re.compile(r"\.ncr\.(?:ntruss|gov-ntruss|fin-ntruss)\.com$")
_HELPER: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_DOCKER_HUB: Final = "https://index.docker.io/v1/"


@dataclass(frozen=True, slots=True)
class Login:
    """A user and a password; or an identity token, for which a token server gives out others."""

    username: str
    password: Secret
    source: str
    is_identity_token: bool = False


async def find_login(
    location: OciLocation, names: list[str], env: Mapping[str, str] = os.environ
) -> Login | None:
    """The login for the registry that policies call ``names``; None where nobody gave one.

    Raises CredentialsError for one that cannot be used.
    """
    for name in names:
        suffix = f"_{name.upper().replace('-', '_')}"
        if (login := _from_environment(env, USERNAME + suffix, PASSWORD + suffix)) is not None:
            return login
    login = _from_environment(env, USERNAME, PASSWORD) or await _from_docker(location, env)
    if login is None and _NCR.search(location.host) and location.origin.startswith("https:"):
        # NCR's Docker Registry API takes the keys of its other one.
        login = _from_environment(env, "NCLOUD_ACCESS_KEY_ID", "NCLOUD_SECRET_ACCESS_KEY")
    return login


def _from_environment(env: Mapping[str, str], username: str, password: str) -> Login | None:
    user, word = env.get(username, ""), env.get(password, "")
    if not user and not word:
        return None
    if not user or not word:
        missing, given = (username, password) if word else (password, username)
        raise CredentialsError(f"{given} is set, but {missing} is not")
    return _checked(Login(user, Secret(word), f"environment ({username}, {password})"))


async def _from_docker(location: OciLocation, env: Mapping[str, str]) -> Login | None:
    folder = Path(env.get("DOCKER_CONFIG") or Path(env.get("HOME") or "/", ".docker"))
    path = folder / "config.json"
    config = _read(path)
    hosts = _names_of(location.host)
    helpers = config.get("credHelpers")
    for host in hosts:
        helper = helpers.get(host) if isinstance(helpers, dict) else None
        if isinstance(helper, str):
            return await _from_helper(helper, host, path, env)
    store = config.get("credsStore")
    if isinstance(store, str) and store:
        for host in hosts:
            if (login := await _from_helper(store, host, path, env)) is not None:
                return login
    auths = config.get("auths")
    for host in hosts:
        entry = auths.get(host) if isinstance(auths, dict) else None
        if isinstance(entry, dict) and (login := _from_entry(entry, host, path)) is not None:
            return login
    return None


def _names_of(host: str) -> list[str]:
    """The names that Docker files a registry under."""
    found = [host, f"https://{host}", f"https://{host}/", f"https://{host}/v2/", f"http://{host}"]
    return [*found, _DOCKER_HUB] if host in ("registry-1.docker.io", "docker.io") else found


def _read(path: Path) -> dict[str, Any]:
    try:
        text = read_bytes(str(path), _MAX_FILE_BYTES)
        if len(text) > _MAX_FILE_BYTES:
            raise CredentialsError(f"{path} is larger than 1 MiB")
        data = msgspec.json.decode(text)
    except FileNotFoundError:
        return {}
    except NotADirectoryError:
        return {}
    except OSError as error:
        raise CredentialsError(f"{path} cannot be read: {error.strerror or error}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise CredentialsError(f"{path} is not JSON; log in again with 'docker login'") from None
    if not isinstance(data, dict):
        raise CredentialsError(f"{path} is not a JSON object; log in again with 'docker login'")
    return data


def _from_entry(entry: dict[str, Any], host: str, path: Path) -> Login | None:
    source = f"{path} ({host})"
    token = entry.get("identitytoken")
    if isinstance(token, str) and token:
        return _checked(Login(_TOKEN_USER, Secret(token), source, is_identity_token=True))
    auth, user, word = entry.get("auth"), entry.get("username"), entry.get("password")
    if isinstance(auth, str) and auth:
        try:
            user, colon, word = base64.b64decode(auth, validate=True).decode("utf-8").partition(":")
        except ValueError:
            colon = ""
        if not colon:
            raise CredentialsError(f"'auth' of {source} is not base64 of user:password; log in again")
    if not isinstance(user, str) or not isinstance(word, str) or not user:
        return None
    return _checked(Login(user, Secret(word.rstrip("\0")), source))


async def _from_helper(helper: str, host: str, path: Path, env: Mapping[str, str]) -> Login | None:
    if not _HELPER.fullmatch(helper):
        raise CredentialsError(f"{path}: '{printable(helper, 60)}' is not the name of a credential helper")
    program = f"docker-credential-{helper}"

    def ask() -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(  # noqa: S603 - the name was checked, and Docker runs it as well
            [program, "get"],
            input=host.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(env),
            timeout=HELPER_SECONDS,
            check=False,
        )

    try:
        done = await anyio.to_thread.run_sync(ask)
    except FileNotFoundError:
        raise CredentialsError(f"{path} names {program}, which is not installed") from None
    except subprocess.TimeoutExpired:
        raise CredentialsError(f"{program} did not answer within {HELPER_SECONDS:.0f} seconds") from None
    except OSError as error:
        raise CredentialsError(f"{program} cannot be run: {error.strerror or error}") from None
    if done.returncode != 0:
        if b"credentials not found" in done.stdout:
            return None
        # What a helper prints may be anything, also a secret.
        raise CredentialsError(f"{program} failed for {host} (exit code {done.returncode})")
    return _from_answer(done.stdout, program, host)


def _from_answer(answer: bytes, program: str, host: str) -> Login:
    try:
        data = msgspec.json.decode(answer)
        user, word = data["Username"], data["Secret"]
        if not isinstance(user, str) or not isinstance(word, str):
            raise TypeError
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
        raise CredentialsError(f"{program} answered something that is no login for {host}") from None
    return _checked(Login(user, Secret(word), f"{program} ({host})", user == _TOKEN_USER))


def _checked(login: Login) -> Login:
    """A login whose parts can stand in a header."""
    text = login.username + login.password.reveal()
    try:
        text.encode()
    except UnicodeEncodeError:
        raise CredentialsError(f"the login of {login.source} is not valid text") from None
    if not login.password or ":" in login.username or any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise CredentialsError(f"the login of {login.source} has characters that no login has, or is empty")
    return login
