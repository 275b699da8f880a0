"""One request to a registry: authorised, bounded in time and size, errors typed.

A request that was refused for want of a token (401) was not carried out, so it is sent again with one.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urljoin, urlsplit

from pruner.clock import running_clock
from pruner.errors import ConnectError, InputError, LostReplyError, RedirectError, ResponseError
from pruner.registry.clock import check_clock
from pruner.registry.deadline import Deadlines
from pruner.registry.endpoint import parse_endpoint, request_target
from pruner.registry.exchange import USER_AGENT, Answer, HttpClient
from pruner.registry.oci.auth import Authorizer
from pruner.registry.oci.elsewhere import Elsewhere
from pruner.registry.oci.errors import response_error
from pruner.registry.oci.location import OciLocation
from pruner.registry.oci.protocol import DENIED
from pruner.text import shown_origin

COMMON_HEADERS: Final = {"User-Agent": USER_AGENT}
LONGEST_LOGIN_SECONDS: Final = 10.0
"""A change whose token takes longer is not sent: its tag was looked at before."""
_READS: Final = frozenset({"GET", "HEAD"})
_MOST_REDIRECTS: Final = 3
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


def _check_waited(method: str, began: float) -> None:
    """Raise ConnectError for a change that has waited too long for a token, which is there the next time."""
    if method not in _READS and (waited := running_clock() - began) > LONGEST_LOGIN_SECONDS:
        raise ConnectError(f"a token was {waited:.0f} seconds in coming, and the tag may be another by now")


class OciTransport:
    """Sends requests to one registry with one login.

    ``timeout`` bounds one attempt in seconds; ``elsewhere`` has the clients of other origins, to which the
    bytes of a blob may be redirected; ``clock`` gives epoch seconds.
    """

    def __init__(
        self,
        client: HttpClient,
        location: OciLocation,
        authorizer: Authorizer,
        elsewhere: Elsewhere,
        *,
        timeout: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.location = location
        self._clock = clock
        self._client = client
        self._authorizer = authorizer
        self._deadlines = Deadlines(timeout)
        self._elsewhere = elsewhere
        self.requests_sent = 0

    def secrets(self) -> list[str]:
        """The texts that no message may repeat."""
        return self._authorizer.secrets()

    async def close(self) -> None:
        """Close the connections to everywhere."""
        await self._client.close()
        await self._elsewhere.close()

    async def send(
        self, method: str, path: str, scope: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Send ``method`` to ``path`` (from the root, encoded, with its query); an answer of status 2xx.

        Raises RequestError: ResponseError for a status outside 2xx, ConnectError when the request did not
        leave or there was no token for it, LostReplyError when it may have left, RedirectError. ClockError
        if what is read tells a time that is far from the local one.
        """
        sent = self._clock()
        answer = await self._authorised(method, path, scope, headers or {}, body)
        if 200 <= answer.status < 300:
            if method == "GET":
                check_clock(answer.headers, sent, self._clock())
            return answer
        raise self._refusal(answer)

    async def blob(self, path: str, scope: str) -> bytes:
        """The bytes of a blob, from wherever the registry says that they are. Raises RequestError.

        The login is never sent elsewhere, and plain http is followed only on loopback.
        """
        answer = await self._authorised("GET", path, scope, {}, b"")
        origin, target = self.location.origin, path
        for _ in range(_MOST_REDIRECTS):
            if answer.status not in _REDIRECTS:
                break
            origin, target = self._followed(origin, target, answer)
            client = self._client if origin == self.location.origin else await self._elsewhere.client(origin)
            answer = await self._limited(client, "GET", target, {}, b"")
        if answer.status != 200:
            raise self._refusal(answer)
        return answer.body

    async def _authorised(
        self, method: str, path: str, scope: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        began = running_clock()
        authorization = await self._authorizer.header(scope)
        _check_waited(method, began)
        answer = await self._with(authorization, method, path, headers, body)
        if answer.status != 401:
            return answer
        fresh = await self._authorizer.answer(
            scope, authorization, answer.headers.get("WWW-Authenticate", "")
        )
        if fresh is None:
            return answer
        _check_waited(method, began)
        answer = await self._with(fresh, method, path, headers, body)
        if answer.status == 401 and fresh.startswith("Bearer "):
            # The token server knows the login, and gave a token that does not suffice here.
            raise ResponseError(403, "oci", DENIED, "the login has no access to this repository")
        return answer

    async def _with(
        self, authorization: str | None, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        if authorization is not None:
            headers = {**headers, "Authorization": authorization}
        return await self._limited(self._client, method, path, headers, body)

    async def _limited(
        self, client: HttpClient, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        self.requests_sent += 1
        try:
            with self._deadlines.limit():
                return await client.exchange(method, path, headers, body)
        except TimeoutError:
            raise LostReplyError(f"no answer within {self._deadlines.seconds:g} seconds") from None

    def _followed(self, origin: str, target: str, answer: Answer) -> tuple[str, str]:
        """Where a redirected blob is."""
        where = answer.headers.get("Location", "")
        try:
            parts = urlsplit(urljoin(origin + target, where))
            new = f"{parts.scheme}://{parts.netloc}"
            parse_endpoint(new, allow_plain_http=new == self.location.origin)
        except (ValueError, InputError):
            raise RedirectError(f"a blob is said to be at {self._shown(where)}") from None
        try:
            return new, request_target(parts)
        except ValueError:
            raise RedirectError("a blob is said to be at what is no URL") from None

    def _refusal(self, answer: Answer) -> Exception:
        if 300 <= answer.status < 400:
            where = self._shown(answer.headers.get("Location", ""))
            return RedirectError(f"HTTP {answer.status} redirects to {where}, which is not followed")
        return response_error(answer.status, answer.headers, answer.body, self._authorizer.secrets())

    def _shown(self, where: str) -> str:
        return shown_origin(where, self._authorizer.secrets())
