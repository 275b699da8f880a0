"""Error bodies of the gateway and of NCR -> typed errors.

The gateway writes ``{"error": {"errorCode", "message"}}``, NCR ``{"returnCode", "returnMessage"}``; codes
are numbers or strings, JSON may come as text/plain, and a proxy may answer with HTML or nothing.
"""

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from pruner.errors import Layer, ResponseError
from pruner.registry.ncr.protocol import HEADER_TRACE_ID
from pruner.text import clean_text


def response_error(status: int, headers: Mapping[str, str], body: bytes, now: float) -> ResponseError:
    """The typed error of a response; ``now`` in epoch seconds."""
    layer, code, message = read_error_body(body)
    return ResponseError(
        status,
        layer,
        code,
        message,
        trace_id=clean_text(headers.get(HEADER_TRACE_ID, "")) or None,
        retry_after=headers.get("Retry-After"),
        clock_skew=_clock_skew(headers.get("Date"), now),
    )


def read_error_body(body: bytes) -> tuple[Layer, int | None, str]:
    """Which layer wrote ``body``, its code and its message (cleaned, at most 200 characters)."""
    try:
        data = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "unknown", None, clean_text(body.decode("utf-8", "replace"))
    if not isinstance(data, dict):
        return "unknown", None, clean_text(str(data))
    gateway = data.get("error")
    if isinstance(gateway, dict) and "errorCode" in gateway:
        message = _joined(gateway.get("message"), gateway.get("details"))
        return "gateway", _number(gateway["errorCode"]), message
    inner = data.get("responseError")
    backend = inner if isinstance(inner, dict) else data
    if "returnCode" in backend:
        return "ncr", _number(backend["returnCode"]), _joined(backend.get("returnMessage"))
    return "unknown", None, _joined(data.get("message"), gateway if isinstance(gateway, str) else None)


def _joined(*parts: Any) -> str:
    return clean_text(" ".join(str(part) for part in parts if isinstance(part, str | int | float)))


def _number(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,9}", value) else None


def _clock_skew(date: str | None, now: float) -> float | None:
    try:
        moment = parsedate_to_datetime(date) if date else None
        if moment is None:
            return None
        return now - (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
