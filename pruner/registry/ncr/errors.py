"""Error bodies of the gateway and of NCR -> typed errors.

The gateway writes ``{"error": {"errorCode", "message"}}``, NCR ``{"returnCode", "returnMessage"}``; codes
are numbers or strings, JSON may come as text/plain, and a proxy may answer with HTML or nothing.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from pruner.errors import Layer, ResponseError
from pruner.registry.clock import server_time
from pruner.registry.ncr.protocol import CODE_WORDS, HEADER_TRACE_ID
from pruner.text import clean_text, repeats

_TRACE_ID: Final = re.compile(r"[0-9A-Za-z-]{1,40}")
"""Shorter than a signature, and without what only that has."""


def response_error(
    status: int, headers: Mapping[str, str], body: bytes, now: float, secrets: Iterable[str] = ()
) -> ResponseError:
    """The typed error of a response; ``now`` in epoch seconds.

    Nothing that repeats one of ``secrets`` is in its message.
    """
    secrets = tuple(secrets)
    layer, code, message = read_error_body(body, secrets)
    trace_id = headers.get(HEADER_TRACE_ID, "")
    there = server_time(headers)
    return ResponseError(
        status,
        layer,
        code,
        message,
        trace_id=trace_id if _TRACE_ID.fullmatch(trace_id) and not repeats(trace_id, secrets) else None,
        retry_after=headers.get("Retry-After"),
        clock_skew=None if there is None else now - there,
    )


def read_error_body(body: bytes, secrets: Iterable[str] = ()) -> tuple[Layer, int | str | None, str]:
    """Which layer wrote ``body``, its code and its message (cleaned, at most 200 characters)."""
    try:
        data = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "unknown", None, clean_text(body.decode("utf-8", "replace"), secrets)
    if not isinstance(data, dict):
        return "unknown", None, clean_text(str(data), secrets)
    gateway = data.get("error")
    if isinstance(gateway, dict) and "errorCode" in gateway:
        message = _joined(secrets, gateway.get("message"), gateway.get("details"))
        return "gateway", _code(gateway["errorCode"]), message
    inner = data.get("responseError")
    backend = inner if isinstance(inner, dict) else data
    if "returnCode" in backend:
        return "ncr", _code(backend["returnCode"]), _joined(secrets, backend.get("returnMessage"))
    own = gateway if isinstance(gateway, str) else None
    return "unknown", None, _joined(secrets, data.get("message"), own)


def _joined(secrets: Iterable[str], *parts: Any) -> str:
    return clean_text(" ".join(str(part) for part in parts if isinstance(part, str | int | float)), secrets)


def _code(value: Any) -> int | str | None:
    """A number, or one of the words by which NCR says what is in the way."""
    if isinstance(value, str) and value in CODE_WORDS:
        return value
    return _number(value)


def _number(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,9}", value) else None
