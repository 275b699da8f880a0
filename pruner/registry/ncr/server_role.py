"""The keys of a Server Role, from the metadata service of an Ncloud server.

What the service answers may be keys in an unexpected place, so no text of it is shown.
"""

import ipaddress
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from pruner.errors import CredentialsError
from pruner.plain_names import is_plain_name
from pruner.registry.ncr.key_pair import KEY, Credentials, clean_key
from pruner.registry.secret import Secret

if TYPE_CHECKING:
    import aiohttp

METADATA_ENDPOINT: Final = "http://169.254.169.254"
METADATA_VARIABLE: Final = "NCLOUD_METADATA_API_ENDPOINT"
METADATA_TIMEOUT_SECONDS: Final = 3.0
MAX_METADATA_BYTES: Final = 64 * 1024
_ROLE: Final = re.compile(r"[A-Za-z0-9_.+=,@-]{1,128}")
_MAX_CODE: Final = 40


class NoRoleError(CredentialsError):
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
            raise NoRoleError(f"no metadata service answers ({type(error).__name__})") from None
        try:
            return body.decode("utf-8")
        except UnicodeDecodeError:
            raise CredentialsError("the metadata service answers with something other than text") from None


def _refusal(status: int) -> CredentialsError:
    if 400 <= status < 500:
        return NoRoleError(f"the metadata service knows no Server Role (HTTP {status})")
    return CredentialsError(f"the metadata service answers HTTP {status}")


def _metadata_base(endpoint: str) -> str:
    problem = _endpoint_problem(endpoint)
    if problem:
        # A login may be part of it.
        raise CredentialsError(f"{METADATA_VARIABLE} cannot be used: {problem}")
    return endpoint.rstrip("/")


def _endpoint_problem(endpoint: str) -> str | None:
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "it is not a URL"
    if parts.scheme not in ("http", "https") or not host or KEY.fullmatch(endpoint) is None:
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
        raise NoRoleError("the metadata service knows no Server Role")
    if _ROLE.fullmatch(name) is None:
        raise CredentialsError("the metadata service answers with something other than a role name")
    return name


def _role_credentials(role: str, body: str) -> Credentials:
    source = f"Server Role {role}" if is_plain_name(role) else "Server Role"
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise CredentialsError(f"{source}: the metadata service answers with something other than keys")
    if answer.get("Token"):
        # Other clouds serve the same path at the same address; Ncloud's answer has no session token.
        raise NoRoleError(f"{source}: these are the keys of another cloud (with a session token)")
    return Credentials(
        _role_key(answer, "AccessKeyId", source),
        Secret(_role_key(answer, "SecretAccessKey", source)),
        source,
        _expiration(answer.get("Expiration"), source),
    )


def _role_key(answer: Mapping[str, Any], name: str, source: str) -> str:
    value = answer.get(name)
    if isinstance(value, str) and value.strip():
        return clean_key(f"{source}: {name}", value)
    code = answer.get("Code")
    is_shown = isinstance(code, str) and is_plain_name(code, _MAX_CODE)
    raise CredentialsError(f"{source} has no {name}{f' (code {code})' if is_shown else ''}")


def _expiration(value: object, source: str) -> float:
    """Epoch seconds of an ISO 8601 time; one without a zone is UTC."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is not None:
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        pass
    raise CredentialsError(f"{source}: the metadata service does not say when the keys expire")
