"""One connection: a request at a time, and the answer that comes after it."""

import asyncio
from collections.abc import Callable
from typing import Final, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from pruner.errors import LostReplyError, MalformedReplyError, RequestError
from pruner.registry.exchange import MAX_ERROR_BODY_BYTES, Answer, Headers, reason

_MOST_SILENCE_BYTES: Final = 64 * 1024
"""Received without a head, a chunk or a part of a body becoming whole."""
_LONGEST_LINE_BYTES: Final = 8190
"""Of a status line's text, and of one field of the head."""
_MOST_INTERIM: Final = 10
"""Interim answers (1xx) before the one that counts."""
_EMPTY: Final = frozenset({204, 304})
_NO_CONTENT: Final = Answer(204, {}, b"")


class Connection(asyncio.Protocol):
    """``ask`` begins an exchange; ``drop`` ends everything. ``lost`` is told when the connection is gone."""

    def __init__(self, max_body: int, lost: Callable[["Connection"], None]) -> None:
        self.is_usable = False
        """Whether it is open and nothing speaks against another request."""
        self._loop = asyncio.get_running_loop()
        self.idle_since = 0.0
        """Loop time at which the last answer was whole."""
        self._max_body = max_body
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        self._answer: asyncio.Future[Answer] | None = None
        self._interim = 0
        self._silence = 0
        self._progress = False
        self._bodiless = False
        self._parser_waits = False
        """For the body that a head announces and that an answer to HEAD does not have."""
        self._clear()

    def _clear(self) -> None:
        """Before each answer."""
        self._status: int | None = None
        self._fields: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []
        self._size = 0
        self._limit = self._max_body

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio: it is open."""
        self._transport = cast(asyncio.Transport, transport)
        self.is_usable = True

    def ask(self, request: bytes, *, bodiless: bool = False) -> "asyncio.Future[Answer]":
        """Write a request; the answer to come, of which only the head counts where it is ``bodiless`` (HEAD).

        Only while ``is_usable`` and no answer is awaited.
        """
        assert self.is_usable
        assert self._answer is None
        assert self._transport is not None
        self._clear()
        self._interim = self._silence = 0
        self._bodiless = bodiless
        self._answer = answer = self._loop.create_future()
        self._transport.write(request)
        return answer

    def drop(self) -> None:
        """Close at once, whatever is under way."""
        self.is_usable = False
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Asyncio: bytes came."""
        if self._answer is None:
            self.drop()
            return
        self._progress = False
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._fail(LostReplyError("the connection broke: the server wants another protocol"))
        except HttpParserError as error:
            self._fail(LostReplyError(f"the connection broke: not HTTP: {reason(error)}"))
        if self._parser_waits:
            self._parser_waits = False
            self._parser = HttpResponseParser(self)
        self._silence = 0 if self._progress else self._silence + len(data)
        if self._silence > _MOST_SILENCE_BYTES:
            self._fail(LostReplyError("the connection broke: an endless head"))

    def eof_received(self) -> None:
        """Asyncio: the server will send no more; the connection is closed then."""
        self.is_usable = False

    def connection_lost(self, error: Exception | None) -> None:
        """Asyncio: it is closed."""
        self.is_usable = False
        self._lost(self)
        if self._answer is None:
            return
        if self._status is None:
            why = reason(error) if error else "closed by the server"
            self._fail(LostReplyError(f"the connection broke: {why}"))
        elif self._status >= 400 or (error is None and self._ends_with_connection()):
            self._deliver()
        else:
            self._fail(LostReplyError("the answer broke off"))

    def on_message_begin(self) -> None:
        """The parser: another answer begins; none is expected after the one that was asked for."""
        if self._answer is None:
            self.drop()

    def on_status(self, text: bytes) -> None:
        """The parser: what the server calls the status."""
        if len(text) > _LONGEST_LINE_BYTES:
            self._fail(LostReplyError("the connection broke: not HTTP: a line without an end"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser: a field of the head, or of the trailers, which nobody wants."""
        if self._status is None:
            self._fields.append((name, value))
            if len(value) > _LONGEST_LINE_BYTES:
                self.on_status(value)

    def on_headers_complete(self) -> None:
        """The parser: the head is whole."""
        self._progress = True
        status = self._parser.get_status_code()
        if self._answer is None or status < 200:
            return
        self._status = status
        if self._bodiless:
            self._parser_waits = True
            self._complete()
        elif 300 <= status < 400:
            self._deliver()
            self.drop()
        elif status >= 400:
            self._limit = MAX_ERROR_BODY_BYTES

    def on_chunk_header(self) -> None:
        """The parser: another chunk."""
        self._progress = True

    def on_body(self, data: bytes) -> None:
        """The parser: a part of the body."""
        self._progress = True
        if self._answer is None:
            self.drop()
            return
        self._chunks.append(data)
        self._size += len(data)
        if self._size <= self._limit:
            return
        if self._status is not None and self._status >= 400:
            self._deliver()
            self.drop()
        else:
            self._fail(MalformedReplyError(f"the answer is larger than {self._limit // 2**20} MiB"))

    def on_message_complete(self) -> None:
        """The parser: an answer is whole."""
        if self._answer is None:
            return
        if self._status is not None:
            self._complete()
            return
        self._interim += 1
        self._clear()
        if self._interim > _MOST_INTERIM:
            self._fail(LostReplyError("the connection broke: endless interim answers"))

    def _complete(self) -> None:
        """Nothing more belongs to this answer."""
        self._deliver()
        if not self._parser.should_keep_alive():
            self.drop()

    def _ends_with_connection(self) -> bool:
        """Whether the body of this answer goes on until the connection is closed."""
        named = {name.lower() for name, _ in self._fields}
        return self._status not in _EMPTY and not named & {b"content-length", b"transfer-encoding"}

    def _deliver(self) -> None:
        """The answer is whole, or as whole as it has to be."""
        answer, self._answer = self._answer, None
        if answer is None or answer.done() or self._status is None:
            return
        self.idle_since = self._loop.time()
        if self._status == 204:
            answer.set_result(_NO_CONTENT)
        else:
            answer.set_result(Answer(self._status, Headers(self._fields), b"".join(self._chunks)))

    def _fail(self, error: RequestError) -> None:
        """There will be no answer."""
        answer, self._answer = self._answer, None
        self.drop()
        if answer is not None and not answer.done():
            answer.set_exception(error)
