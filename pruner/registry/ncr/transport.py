"""One signed request to NCR: signed at the moment of sending, bounded in time and size, errors typed."""

import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from pruner.errors import LostReplyError, RedirectError
from pruner.registry.deadline import Deadlines
from pruner.registry.endpoint import Endpoint
from pruner.registry.exchange import Answer, HttpClient
from pruner.registry.ncr.credentials import CredentialSource
from pruner.registry.ncr.errors import response_error
from pruner.registry.ncr.signing import Signer
from pruner.text import shown_origin

REQUEST_TIMEOUT_SECONDS: Final = 30.0


class Reply(NamedTuple):
    """A successful answer (2xx); ``sent`` is when its request was, in epoch seconds."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    sent: float


class Transport:
    """Sends requests to one endpoint with one account.

    ``clock`` gives epoch seconds; ``timeout`` bounds one attempt from connecting to the last byte.
    """

    def __init__(
        self,
        client: HttpClient,
        endpoint: Endpoint,
        credentials: CredentialSource,
        *,
        timeout: float = REQUEST_TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.endpoint = endpoint
        self.client = client
        self._credentials = credentials
        self._signed_with = credentials.current
        self._signer = Signer(self._signed_with)
        self._deadlines = Deadlines(timeout)
        self._clock = clock
        self.requests_sent = 0

    def now(self) -> float:
        """The local time in epoch seconds."""
        return self._clock()

    async def send(self, method: str, path: str) -> Reply:
        """Send ``method`` to ``path`` (below the endpoint, encoded, with its query).

        Raises RequestError: ResponseError for a status outside 2xx, ConnectError when the request did not
        leave, LostReplyError when it may have, RedirectError, MalformedReplyError for an endless body.
        """
        if self._credentials.current.expires is not None:
            await self._credentials.refresh_if_needed()
        if self._credentials.current is not self._signed_with:
            self._signed_with = self._credentials.current
            self._signer = Signer(self._signed_with)
        target = self.endpoint.prefix + path
        sent = self._clock()
        headers = self._signer.headers(method, target, str(int(sent * 1000)))
        self.requests_sent += 1
        try:
            with self._deadlines.limit():
                answer = await self.client.exchange(method, target, headers)
        except TimeoutError:
            raise LostReplyError(f"no answer within {self._deadlines.seconds:g} seconds") from None
        if 200 <= answer.status < 300:
            return Reply(answer.status, answer.body, answer.headers, sent)
        raise self._refusal(answer)

    def _refusal(self, answer: Answer) -> Exception:
        if 300 <= answer.status < 400:
            where = shown_origin(answer.headers.get("Location", ""), self.secrets())
            return RedirectError(
                f"HTTP {answer.status} redirects to {where}; a signed request is never sent elsewhere"
            )
        return response_error(answer.status, answer.headers, answer.body, self._clock(), self.secrets())

    def secrets(self) -> tuple[str, ...]:
        """What no message may repeat. A signature is longer than any word that is shown."""
        return self._signed_with.secret.reveal(), self._signed_with.access_key
