"""Telling others how a run ended: a signed webhook, and whatever Apprise knows. Never changes how it ended.

Addresses may hold secrets, so nothing but a host is ever said of them.
"""

import hashlib
import hmac
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import msgspec

from pruner import __version__
from pruner.cli.talk import Talk
from pruner.errors import InputError
from pruner.references import is_loopback
from pruner.registry.clients import proxy_for

FORMAT: Final = "ncr-pruner.notification"
VERSION: Final = 1
SECRET_VARIABLE: Final = "PRUNER_WEBHOOK_SECRET"  # noqa: S105 - its name, not its value
MISSING_EXTRA: Final = "--notify needs apprise: pip install 'ncr-pruner[notify]'"
_SECONDS: Final = 10.0
_ATTEMPTS: Final = 3
_BACKOFF_SECONDS: Final = 1.0

Sleep = Callable[[float], Awaitable[None]]


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What ``X-Pruner-Signature`` says: HMAC-SHA256 (RFC 2104) over ``timestamp.body``."""
    # A key is bytes, of which the environment may have any.
    mac = hmac.new(secret.encode(errors="surrogateescape"), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={mac.hexdigest()}"


@dataclass(frozen=True, slots=True, repr=False)
class Notifier:
    """Where the end of a run is told; checked before the run begins."""

    notify: tuple[str, ...] = ()
    webhooks: tuple[str, ...] = ()
    secret: str | None = None

    @classmethod
    def of(
        cls, notify: Sequence[str], webhooks: Sequence[str], env: Mapping[str, str] = os.environ
    ) -> "Notifier":
        """InputError for an address that cannot be used."""
        for url in webhooks:
            _check_webhook(url)
        if notify:
            _apprise(notify)
        return cls(tuple(notify), tuple(webhooks), env.get(SECRET_VARIABLE) or None)

    @property
    def is_needed(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self.notify or self.webhooks)

    async def tell(self, facts: Mapping[str, Any], talk: Talk, sleep: Sleep = anyio.sleep) -> None:
        """Tell everybody; a failure is a warning."""
        body = msgspec.json.encode({"format": FORMAT, "version": VERSION, "tool": __version__, **facts})
        async with anyio.create_task_group() as group:
            for url in self.webhooks:
                group.start_soon(self._post, url, body, talk, sleep)
            if self.notify:
                group.start_soon(self._notify, facts, talk)

    async def _post(self, url: str, body: bytes, talk: Talk, sleep: Sleep) -> None:
        problem = ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                await sleep(_BACKOFF_SECONDS * float(2 ** (attempt - 1)))
            problem, is_final = await self._try_post(url, body)
            if not problem or is_final:
                break
        if problem:
            talk.warn(f"the webhook at {urlsplit(url).hostname} was not told: {problem}")

    async def _try_post(self, url: str, body: bytes) -> tuple[str, bool]:
        """What went wrong, if anything, and whether that stays so."""
        import aiohttp

        timestamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"ncr-pruner/{__version__}",
            "X-Pruner-Timestamp": timestamp,
        }
        if self.secret is not None:
            headers["X-Pruner-Signature"] = signature(self.secret, timestamp, body)
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        try:
            async with (
                # Of the environment only proxies are used, and they not for loopback; no login of ~/.netrc.
                aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
                session.post(
                    url, data=body, headers=headers, allow_redirects=False, proxy=proxy_for(url)
                ) as answer,
            ):
                if 200 <= answer.status < 300:
                    return "", True
                return f"HTTP {answer.status}", 300 <= answer.status < 500 and answer.status != 429
        except Exception as error:
            # Whatever it is, the run has ended as it has; what it says may hold the address.
            return f"no answer ({type(error).__name__})", False

    async def _notify(self, facts: Mapping[str, Any], talk: Talk) -> None:
        told: Any = False
        with anyio.move_on_after(_SECONDS * _ATTEMPTS):
            try:
                told = await _apprise(self.notify).async_notify(body=sentence(facts), title=title(facts))
            except Exception as error:
                # Whatever a service's own code raises, the run has ended as it has.
                talk.warn(f"not everybody was notified ({type(error).__name__})")
                return
        if not told:
            talk.warn("not everybody was notified")


def title(facts: Mapping[str, Any]) -> str:
    """One line on how a run ended."""
    return f"pruner: {facts['state']} (exit code {facts['exit_code']})"


def sentence(facts: Mapping[str, Any]) -> str:
    """A few lines on how a run ended."""
    counts = ", ".join(f"{count:,} {name}" for name, count in facts["counts"].items())
    lines = [f"Run {facts['run']}" if facts["run"] else "No run was begun"]
    if facts["run"]:
        lines.append(f"{facts['targets']:,} targets: {counts or 'nothing to do'}")
    if facts["message"]:
        lines.append(str(facts["message"]))
    return "\n".join(lines)


def _check_webhook(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise InputError("--webhook: write an https URL")
    if parts.scheme == "http" and not is_loopback(host):
        raise InputError(f"--webhook: the one at {host} is plain http, which everybody on the way can read")


def _apprise(urls: Sequence[str]) -> Any:
    try:
        import apprise
    except ImportError:
        raise InputError(MISSING_EXTRA) from None
    import logging

    from pruner.cli.apprise_http import restrict_requests

    restrict_requests()
    # What it logs may hold an address.
    logging.getLogger("apprise").addHandler(logging.NullHandler())
    logging.getLogger("apprise").propagate = False
    told = apprise.Apprise()
    for number, url in enumerate(urls, 1):
        if not told.add(url):
            raise InputError(f"--notify: address {number} is none that Apprise knows")
        if not all(service.verify_certificate for service in told):
            raise InputError(
                f"--notify: address {number} switches the verification of certificates off; "
                "remove verify=… from it"
            )
    return told
