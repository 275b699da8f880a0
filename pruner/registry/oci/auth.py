"""Proving who asks: basic authentication, or a token that a token server gives out for each scope.

Source: distribution's "Token Authentication Specification" and "Docker Registry v2 authentication using
OAuth2". A token is only ever asked for over https, on loopback, or where the registry itself is.
"""

import asyncio
import base64
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlencode, urlsplit

import msgspec

from pruner.errors import (
    CertificateError,
    ConnectError,
    HostNameError,
    InputError,
    RequestError,
    ResponseError,
)
from pruner.registry.endpoint import parse_endpoint, request_target
from pruner.registry.exchange import Answer, HttpClient
from pruner.registry.oci.challenge import Challenge, challenges
from pruner.registry.oci.elsewhere import Elsewhere
from pruner.registry.oci.errors import response_error
from pruner.registry.oci.login import Login
from pruner.registry.oci.protocol import UNAUTHORIZED
from pruner.text import repeats, shown_origin

TOKENS_KEPT: Final = 256
_DEFAULT_SECONDS: Final = 60
_LONGEST_SECONDS: Final = 3600
_MARGIN: Final = 0.8
"""Of its life: then a token is fetched again."""
_MAX_TOKEN: Final = 64 * 1024


class _Token(NamedTuple):
    header: str
    until: float


class _Reply(msgspec.Struct):
    token: str | None = None
    access_token: str | None = None
    expires_in: int | float | str | None = None


_decoder = msgspec.json.Decoder(_Reply)


class Authorizer:
    """Makes the ``Authorization`` of requests to one registry.

    ``elsewhere`` has the clients of token servers; ``timeout`` (seconds) is for one request to them.
    ``clock`` is monotonic seconds.
    """

    def __init__(
        self,
        elsewhere: Elsewhere,
        login: Login | None,
        *,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout = timeout
        self._elsewhere = elsewhere
        self._login = login
        self._clock = clock
        self._challenge: Challenge | None = None
        self._tokens: OrderedDict[str, _Token] = OrderedDict()
        self._asking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def header(self, scope: str) -> str | None:
        """What to send for ``scope``, as far as the registry has said how it wants to be asked.

        Raises ConnectError if there is no token to be had just now, ResponseError if it is refused.
        """
        if self._challenge is None:
            return None
        if self._challenge.scheme == "basic":
            return self._basic()
        return await self._token(scope, None)

    async def answer(self, scope: str, sent: str | None, offered: str) -> str | None:
        """What to send instead of ``sent``, which got a 401 with ``offered``; None if there is nothing."""
        found = {challenge.scheme: challenge for challenge in reversed(challenges(offered))}
        self._challenge = found.get("bearer") or found.get("basic") or self._challenge
        if self._challenge is None:
            return None
        if self._challenge.scheme == "basic":
            fresh = self._basic()
            return None if fresh == sent else fresh
        return await self._token(scope, sent, self._challenge.parameters.get("scope"))

    def secrets(self) -> list[str]:
        """The texts that no message may repeat."""
        found = [token.header.removeprefix("Bearer ") for token in self._tokens.values()]
        if self._login is not None:
            found += [self._login.password.reveal(), (self._basic() or "").removeprefix("Basic ")]
        return [text for text in found if text]

    def _basic(self) -> str | None:
        if self._login is None or self._login.is_identity_token:
            return None
        pair = f"{self._login.username}:{self._login.password.reveal()}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"

    async def _token(self, scope: str, refused: str | None, named: str | None = None) -> str:
        """A token for ``scope``, which the registry may have ``named`` otherwise; not the ``refused`` one."""
        try:
            async with self._asking[scope]:
                known = self._tokens.get(scope)
                if known is None or known.header == refused or known.until <= self._clock():
                    known = self._tokens[scope] = await self._fetch(named or scope)
                self._tokens.move_to_end(scope)
                while len(self._tokens) > TOKENS_KEPT:
                    self._tokens.popitem(last=False)
                return known.header
        finally:
            if not self._asking[scope].locked():
                del self._asking[scope]

    async def _fetch(self, scope: str) -> _Token:
        assert self._challenge is not None
        parameters = self._challenge.parameters
        client, target = await self._server(parameters.get("realm", ""))
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._ask(client, target, parameters.get("service"), scope)
        except TimeoutError:
            raise ConnectError(f"the token server {self._server_name(parameters)} does not answer") from None
        except (CertificateError, HostNameError) as error:
            raise type(error)(f"the token server {self._server_name(parameters)}: {error}") from None
        except RequestError as error:
            # Nothing was sent to the registry itself.
            raise ConnectError(f"the token server {self._server_name(parameters)}: {error}") from None
        if answer.status in (400, 401, 403):
            refusal = response_error(answer.status, answer.headers, answer.body, self.secrets())
            raise ResponseError(401, "oci", UNAUTHORIZED, f"from the token server: {refusal}")
        if answer.status != 200:
            raise ConnectError(
                f"the token server {self._server_name(parameters)} answers HTTP {answer.status}"
            )
        return self._read(answer.body, parameters)

    async def _ask(self, client: HttpClient, target: str, service: str | None, scope: str) -> Answer:
        fields = {"scope": scope} | ({"service": service} if service else {})
        headers = {"Accept": "application/json"}
        if self._login is not None and self._login.is_identity_token:
            fields |= {"grant_type": "refresh_token", "client_id": "ncr-pruner"}
            fields["refresh_token"] = self._login.password.reveal()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            return await client.exchange("POST", target, headers, urlencode(fields).encode())
        if basic := self._basic():
            headers["Authorization"] = basic
        separator = "&" if "?" in target else "?"
        return await client.exchange("GET", f"{target}{separator}{urlencode(fields)}", headers)

    async def _server(self, realm: str) -> tuple[HttpClient, str]:
        """The client of a token server, and the path there. ConnectError for one that is not trusted."""
        shown = shown_origin(realm, self.secrets())
        try:
            parts = urlsplit(realm)
            origin = f"{parts.scheme}://{parts.netloc}"
            if repeats(origin, self.secrets()):
                raise ValueError("a secret")
            if origin != self._elsewhere.origin:
                parse_endpoint(origin)
                self._elsewhere.allow(origin)
        except (ValueError, InputError):
            raise ConnectError(
                f"the registry asks for a login at {shown}, which is neither https nor on loopback"
            ) from None
        try:
            target = request_target(parts)
        except ValueError:
            raise ConnectError(f"the registry asks for a login at {shown}, and not at a URL") from None
        return await self._elsewhere.client(origin), target

    def _server_name(self, parameters: Mapping[str, str]) -> str:
        """The token server, for people."""
        return shown_origin(parameters.get("realm", ""), self.secrets())

    def _read(self, body: bytes, parameters: Mapping[str, str]) -> _Token:
        try:
            reply = _decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            reply = _Reply()
        token = reply.token or reply.access_token
        if not token or len(token) > _MAX_TOKEN or not token.isascii() or not token.isprintable():
            raise ConnectError(f"the token server {self._server_name(parameters)} answers without a token")
        return _Token(f"Bearer {token}", self._clock() + _seconds(reply.expires_in) * _MARGIN)


def _seconds(expires_in: float | str | None) -> float:
    """How long a token is good for; a short time where that is not said."""
    try:
        seconds = float(expires_in or _DEFAULT_SECONDS)
    except ValueError:
        return _DEFAULT_SECONDS
    return min(seconds, _LONGEST_SECONDS)
