"""Reading which images a Kubernetes cluster uses, through its API. Sends nothing but GET.

Lists come in pages (API Concepts, "Retrieving large results sets in chunks"); a list of which a page is
missing is no list. Needs ``kubernetes-asyncio``, which knows kubeconfig files and ways to log in.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from pruner import names
from pruner.errors import InputError
from pruner.references import is_loopback
from pruner.workloads.objects import KINDS, Kind, Usage, read_page, status_message

PAGE_SIZE: Final = 500
ATTEMPTS: Final = 4
_BACKOFF_SECONDS: Final = 0.5
_MOST_RETRY_AFTER_SECONDS: Final = 30.0
_RETRIED: Final = frozenset({408, 429, 500, 502, 503, 504})
MISSING_EXTRA: Final = "reading clusters needs kubernetes-asyncio: pip install 'ncr-pruner[kubernetes]'"


class ClusterError(Exception):
    """A part of a cluster that could not be read, in a sentence."""


class _AnswerError(Exception):
    def __init__(self, status: int, body: bytes, retry_after: str | None) -> None:
        self.status = status
        self.body = body
        self.retry_after = retry_after

    def __str__(self) -> str:
        message = names.printable(status_message(self.body), 300)
        return f"HTTP {self.status}: {message}" if message else f"HTTP {self.status}"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where a cluster is: a context of a kubeconfig file, or the one that this process runs in.

    ``timeout`` in seconds, of one request.
    """

    name: str
    kubeconfig: Path | None = None
    context: str | None = None
    in_cluster: bool = False
    timeout: float = 30.0


def contexts_of(kubeconfig: Path | None) -> tuple[list[str], str | None]:
    """The names of a kubeconfig file's contexts, and of the current one.

    By default it is the file of KUBECONFIG, or ~/.kube/config. InputError if it cannot be read.
    """
    config = _library().config
    where = str(kubeconfig) if kubeconfig is not None else "the kubeconfig file"
    try:
        found, current = config.list_kube_config_contexts(None if kubeconfig is None else str(kubeconfig))
        return [str(item["name"]) for item in found], None if current is None else str(current["name"])
    except Exception as error:
        # The library lets through whatever YAML, files and its own checks raise.
        raise InputError(f"{where} cannot be used: {names.printable(str(error), 300)}") from None


async def read_cluster(
    cluster: Cluster, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> tuple[list[Usage], list[str]]:
    """What a cluster uses, and what could not be read of it, in sentences."""
    client = _library().client
    try:
        async with asyncio.timeout(cluster.timeout):
            configuration = await _configured(cluster)
    except TimeoutError:
        return [], [f"no way to log in within {cluster.timeout:g} s"]
    except Exception as error:
        return [], [f"no way to log in: {names.printable(str(error) or type(error).__name__, 300)}"]
    if (doubt := _doubt(configuration)) is not None:
        return [], [doubt]
    try:
        async with client.ApiClient(configuration) as api:
            reader = _Reader(api, cluster.timeout, sleep)
            found = await asyncio.gather(*(reader.read(kind) for kind in KINDS), return_exceptions=True)
    except (OSError, ValueError) as error:
        # What a kubeconfig file names as certificates and keys is none.
        return [], [f"the connection cannot be made: {names.printable(str(error), 300)}"]
    return _together(found)


def _together(found: Sequence[list[Usage] | BaseException]) -> tuple[list[Usage], list[str]]:
    """All usages, and what is missing: each reason once."""
    usages: list[Usage] = []
    reasons: dict[str, list[str]] = {}
    for kind, result in zip(KINDS, found, strict=True):
        if isinstance(result, Exception):
            text = str(result) if isinstance(result, ClusterError) else f"{type(result).__name__}: {result}"
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


def _library() -> Any:
    try:
        import kubernetes_asyncio
        import kubernetes_asyncio.client
        import kubernetes_asyncio.config
    except ImportError:
        raise InputError(MISSING_EXTRA) from None
    # What it logs, plugins' output included, is said in a sentence of ours.
    logger = logging.getLogger("kubernetes_asyncio")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return kubernetes_asyncio


async def _configured(cluster: Cluster) -> Any:
    library = _library()
    configuration = library.client.Configuration()
    if cluster.in_cluster:
        library.config.load_incluster_config(client_configuration=configuration)
    else:
        await library.config.load_kube_config(
            config_file=None if cluster.kubeconfig is None else str(cluster.kubeconfig),
            context=cluster.context,
            client_configuration=configuration,
            persist_config=False,
        )
    return configuration


def _doubt(configuration: Any) -> str | None:
    """Why what a cluster says proves nothing: somebody else may say it."""
    parts = urlsplit(configuration.host)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        return "its address is plain http, so that anybody on the way can answer for it"
    if not configuration.verify_ssl:
        return "its certificate is not verified (insecure-skip-tls-verify), so that anybody can answer for it"
    return None


class _Reader:
    def __init__(self, api: Any, timeout: float, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._api = api
        self._timeout = timeout
        self._sleep = sleep

    async def read(self, kind: Kind) -> list[Usage]:
        """What all objects of a kind use; ClusterError unless the list is whole."""
        for _ in range(ATTEMPTS):
            try:
                items = await self._list(kind)
            except _AnswerError as error:
                if error.status == 410:
                    # The continue token is too old: what comes now belongs to another list.
                    continue
                raise ClusterError(str(error)) from None
            try:
                return kind.read(items)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise ClusterError(f"an object is not as documented: {names.printable(str(error))}") from None
        raise ClusterError(f"the list did not hold still in {ATTEMPTS} attempts (HTTP 410)")

    async def _list(self, kind: Kind) -> Sequence[msgspec.Raw]:
        items: list[msgspec.Raw] = []
        token: str | None = None
        seen: set[str] = set()
        while True:
            body = await self._page(kind, token)
            try:
                page = read_page(body, kind)
            except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                raise ClusterError(f"the answer is not a list: {names.printable(str(error))}") from None
            items += page.items
            token = page.following
            if token is None:
                return items
            if token in seen:
                raise ClusterError("the list goes round in a circle")
            seen.add(token)

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
        query = [("limit", str(PAGE_SIZE)), *([("continue", token)] if token is not None else [])]
        headers = {"Accept": "application/json", "User-Agent": "ncr-pruner"}
        answer = await self._api.call_api(
            path,
            "GET",
            query_params=query,
            header_params=headers,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _return_http_data_only=True,
            _request_timeout=self._timeout,
        )
        body: bytes = await answer.read()
        if answer.status != 200:
            raise _AnswerError(answer.status, body, answer.headers.get("Retry-After"))
        return body


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
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    return names.printable(str(error) or type(error).__name__, 300)
