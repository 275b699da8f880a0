"""What a registry client needs of HTTP: one request sent once, one answer or one typed error."""

from collections.abc import Iterator, Mapping, Sequence
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


class Headers(Mapping[str, str]):
    """The header fields of an answer, looked up in any case.

    A server may send a field in several lines. Their values are joined by a comma, so that no line is lost
    (RFC 9110, section 5.3).
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> str:
        wanted = name.lower().encode("latin-1")
        values = [value for key, value in self._fields if key.lower() == wanted]
        if not values:
            raise KeyError(name)
        return b", ".join(values).decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key.decode("latin-1").lower() for key, _ in self._fields))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Answer(NamedTuple):
    """An answer of any status.

    The body of a redirect is not read, and that of an error only as far as it can matter.
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
