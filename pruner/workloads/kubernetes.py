"""Reading which images a Kubernetes cluster uses, through its API. Sends nothing but GET.

Lists come in pages (API Concepts, "Retrieving large results sets in chunks"); a list that lacks a page is not
used. Whatever the API says may repeat the login, so no text of it is shown: reasons consist of sentences from
this module, HTTP statuses and documented words.
"""

import asyncio
import os
import re
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import aiohttp

from pruner import names
from pruner.references import is_loopback
from pruner.workloads.kubeconfig import Cluster, library, login, problem_of
from pruner.workloads.objects import KINDS, Kind, NotAsDocumentedError, Usage, read_page, status_reason

PAGE_SIZE: Final = 500
ATTEMPTS: Final = 4
MAX_PAGES: Final = 5_000
"""Pages of one list. A list that is longer is refused, as by each of the following limits."""
MAX_OBJECTS: Final = 1_000_000
"""Objects of one list."""
MAX_PAGE_BYTES: Final = 64 * 1024 * 1024
"""Size of one page, uncompressed."""
MAX_LIST_BYTES: Final = 4 * 1024 * 1024 * 1024
"""Size of all pages of one list together, uncompressed."""
_MAX_REFUSAL_BYTES: Final = 64 * 1024
_BACKOFF_SECONDS: Final = 0.5
_MOST_RETRY_AFTER_SECONDS: Final = 30.0
_RETRIED: Final = frozenset({408, 429, 500, 502, 503, 504})
_MEANINGS: Final = {
    401: "the login is not accepted",
    403: "the login does not have the permission to list",
}
_OPENSSL_TEXT: Final = re.compile(r"[A-Za-z -]{1,60}")
_MIN_SECRET_LENGTH: Final = 16
"""Shorter tokens may be part of an ordinary name."""


class ClusterError(Exception):
    """A part of a cluster that could not be read, in a sentence without anything secret."""


class _AnswerError(Exception):
    def __init__(self, status: int, reason: str | None = None, retry_after: str | None = None) -> None:
        self.status = status
        self.reason = reason
        self.retry_after = retry_after

    def __str__(self) -> str:
        reason = "" if self.reason is None else f" ({self.reason})"
        meaning = f": {_MEANINGS[self.status]}" if self.status in _MEANINGS else ""
        return f"HTTP {self.status}{reason}{meaning}"


async def read_cluster(
    cluster: Cluster,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    proxy_for: Callable[[str], str | None] = lambda origin: None,
) -> tuple[list[Usage], list[str]]:
    """What a cluster uses, and what could not be read of it, in sentences.

    ``proxy_for`` gives the proxy for an address where the kubeconfig file names none.
    """
    client = library().client
    try:
        async with asyncio.timeout(cluster.timeout):
            configuration = await login(cluster)
    except TimeoutError:
        return [], [f"no way to log in within {cluster.timeout:g} s"]
    except Exception as error:
        return [], [f"no way to log in: {problem_of(error)}"]
    if (doubt := _doubt(configuration)) is not None:
        return [], [doubt]
    proxy = configuration.proxy or proxy_for(configuration.host)
    try:
        api = client.ApiClient(configuration)
    except (OSError, ValueError) as error:
        return [], [f"its certificates and keys cannot be used: {problem_of(error)}"]
    async with api, _session(api) as session:
        reader = _Reader(api, session, proxy, cluster.timeout, sleep)
        found = await asyncio.gather(*(reader.read(kind) for kind in KINDS), return_exceptions=True)
    return _without_login(configuration, *_together(found))


def _session(api: Any) -> aiohttp.ClientSession:
    """A session with the TLS of the library's, but without its logins and proxies from the environment."""
    return aiohttp.ClientSession(
        connector=api.rest_client.pool_manager.connector,
        connector_owner=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )


def _together(found: Sequence[list[Usage] | BaseException]) -> tuple[list[Usage], list[str]]:
    """All usages, and what is missing: each reason once."""
    usages: list[Usage] = []
    reasons: dict[str, list[str]] = {}
    for kind, result in zip(KINDS, found, strict=True):
        if isinstance(result, Exception):
            text = str(result) if isinstance(result, ClusterError) else type(result).__name__
            reasons.setdefault(names.printable(text, 400), []).append(kind.resource)
        elif isinstance(result, BaseException):
            raise result
        else:
            usages += result
    if not usages and not reasons:
        return [], ["nothing there uses any image; is it the right cluster?"]
    return usages, [
        reason if len(kinds) == len(KINDS) else f"{', '.join(kinds)}: {reason}"
        for reason, kinds in reasons.items()
    ]


def _without_login(
    configuration: Any, usages: list[Usage], missing: list[str]
) -> tuple[list[Usage], list[str]]:
    """The arguments, unless objects contain the login: what they use is written to a file."""
    words = [word for value in configuration.api_key.values() for word in str(value).split()]
    secrets = [word for word in words if len(word) >= _MIN_SECRET_LENGTH]
    if any(secret in text for usage in usages for text in usage[:2] for secret in secrets):
        return [], [*missing, "an object has the login of this cluster in its name or image"]
    return usages, missing


def _doubt(configuration: Any) -> str | None:
    """Why what a cluster says proves nothing: another host may say it."""
    try:
        parts = urlsplit(str(configuration.host))
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        return "its address is missing or not a URL"
    if parts.scheme != "https" and (configuration.proxy or not is_loopback(host)):
        return "its address is plain http; any host on the way can answer for it"
    if not configuration.verify_ssl:
        return "its certificate is not verified (insecure-skip-tls-verify); any host can answer for it"
    return None


class _Reader:
    def __init__(
        self,
        api: Any,
        session: aiohttp.ClientSession,
        proxy: str | None,
        timeout: float,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._api = api
        self._session = session
        self._proxy = proxy
        self._timeout = timeout
        self._sleep = sleep

    async def read(self, kind: Kind) -> list[Usage]:
        """What all objects of a kind use; ClusterError unless the list is whole."""
        for _ in range(ATTEMPTS):
            try:
                return list(kind.usages(await self._list(kind)))
            except NotAsDocumentedError as error:
                raise ClusterError(str(error)) from None
            except _AnswerError as error:
                # With 410 the continue token is too old: what comes now belongs to another list.
                if error.status != 410:
                    raise ClusterError(str(error)) from None
        raise ClusterError(f"the list expired in each of {ATTEMPTS} attempts (HTTP 410)")

    async def _list(self, kind: Kind) -> list[Any]:
        items: list[Any] = []
        size = 0
        token: str | None = None
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            body = await self._page(kind, token)
            size += len(body)
            page = read_page(body, kind)
            items += page.items
            token = page.following
            if token is None:
                return items
            if token in seen:
                raise ClusterError("the list goes round in a circle")
            if len(items) > MAX_OBJECTS or size > MAX_LIST_BYTES:
                break
            seen.add(token)
        raise ClusterError(
            f"the list is too long: the limits are {MAX_PAGES:,} pages, {MAX_OBJECTS:,} objects and "
            f"{MAX_LIST_BYTES >> 30} GiB"
        )

    async def _page(self, kind: Kind, token: str | None) -> bytes:
        """One page, tried again where that may help."""
        failures = 0
        while True:
            try:
                return await self._get(kind.path, token)
            except _AnswerError as error:
                failures += 1
                if error.status not in _RETRIED or failures == ATTEMPTS:
                    raise
                await self._sleep(_wait(failures, error.retry_after))
            except (TimeoutError, aiohttp.ClientError, OSError, ssl.SSLError) as error:
                failures += 1
                is_final = isinstance(error, aiohttp.ClientConnectorDNSError | aiohttp.ClientSSLError)
                if is_final or failures == ATTEMPTS:
                    raise ClusterError(_reason(error, self._timeout)) from None
                await self._sleep(_wait(failures, None))

    async def _get(self, path: str, token: str | None) -> bytes:
        query = {"limit": str(PAGE_SIZE)} | ({} if token is None else {"continue": token})
        headers = {"Accept": "application/json", "User-Agent": "ncr-pruner"}
        configuration = self._api.configuration
        pending = self._api.update_params_for_auth(headers, [], ["BearerToken"])
        if pending is not None:  # In older versions of the library it is not a coroutine.
            await pending
        async with self._session.get(
            f"{configuration.host}{path}?{urlencode(query)}",
            headers=headers,
            allow_redirects=False,
            proxy=self._proxy,
            server_hostname=configuration.tls_server_name or None,
            timeout=aiohttp.ClientTimeout(total=self._timeout),
        ) as answer:
            if 300 <= answer.status < 400:
                raise ClusterError(f"it redirects, which is not followed (HTTP {answer.status})")
            if answer.status != 200:
                reason = status_reason(await _body(answer, _MAX_REFUSAL_BYTES) or b"")
                raise _AnswerError(answer.status, reason, answer.headers.get("Retry-After"))
            if (body := await _body(answer, MAX_PAGE_BYTES)) is None:
                raise ClusterError(f"a page of the list is larger than {MAX_PAGE_BYTES >> 20} MiB")
            return body


async def _body(answer: aiohttp.ClientResponse, limit: int) -> bytes | None:
    """The body of an answer, or None if it is longer than ``limit``."""
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > limit:
            return None
    return bytes(body)


def _wait(failures: int, retry_after: str | None) -> float:
    """Seconds before the next attempt."""
    own = _BACKOFF_SECONDS * float(2 ** (failures - 1))
    if (
        retry_after is None
        or not retry_after.isascii()
        or not retry_after.isdecimal()
        or len(retry_after) > 5
    ):
        return own
    return min(float(retry_after), _MOST_RETRY_AFTER_SECONDS)


def _reason(error: BaseException, timeout: float) -> str:
    """Why there is no answer. The texts of errors quote addresses and answers, so they are not shown."""
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its host name cannot be resolved"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = str(getattr(error.certificate_error, "verify_message", "")).partition(",")[0]
        return f"its certificate cannot be verified{f': {why}' if _OPENSSL_TEXT.fullmatch(why) else ''}"
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError):
        return f"no connection: {os.strerror(error.errno) if error.errno else type(error).__name__}"
    return f"the connection failed ({type(error).__name__})"
