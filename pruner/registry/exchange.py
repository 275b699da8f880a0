"""What a registry client needs of HTTP: one request sent once, one answer or one typed error."""

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from pruner import __version__
from pruner.text import clean_text

CONNECT_TIMEOUT_SECONDS: Final = 10.0
KEEPALIVE_SECONDS: Final = 30.0
"""A connection that was idle for longer is not used again."""
DNS_SECONDS: Final = 300.0
"""So long are the addresses of a host remembered."""
MAX_BODY_BYTES: Final = 32 * 1024 * 1024
MAX_ERROR_BODY_BYTES: Final = 64 * 1024
USER_AGENT: Final = f"ncr-pruner/{__version__}"
JSON_HEADERS: Final = {
    "Accept": "application/json",
    "Content-Type": "application/json",
    "User-Agent": USER_AGENT,
}
"""Of every request to a server that speaks nothing but JSON."""


class Answer(NamedTuple):
    """An answer of any status. ``headers`` are looked up in any case; the body of a redirect is not read,

    that of an error only as far as it can matter.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient(Protocol):
    """Sends requests to one origin. Nothing automatic: no redirect, no cookie, no second sending.

    A DELETE that is sent again after the server carried it out would come back as 404.
    """

    async def exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Answer:
        """Send one request once, with ``headers`` and those of all; ``target`` (path and query) as it is.

        Raises ConnectError when it did not leave, CertificateError when the server cannot be trusted,
        LostReplyError when it may have left and no whole answer came, MalformedReplyError for a body that
        is too large. Whoever cancels it closes its connection.
        """

    async def close(self) -> None:
        """Close all connections."""


def reason(error: BaseException) -> str:
    """A foreign exception in a few words."""
    text = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
    return clean_text(str(text)) or type(error).__name__
