"""Answers in the two dialects of NCR: the API gateway's and the registry service's own."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from pruner.registry.ncr import protocol

JSON: Final = "application/json; charset=utf-8"

_GATEWAY_MESSAGES: Final = {
    protocol.GATEWAY_BAD_REQUEST: "Bad Request Exception",
    protocol.GATEWAY_AUTHENTICATION_FAILED: "Authentication Failed",
    protocol.GATEWAY_PERMISSION_DENIED: "Permission Denied",
    protocol.GATEWAY_FORBIDDEN: "Forbidden",
    protocol.GATEWAY_NOT_FOUND: "Not Found Exception",
    protocol.GATEWAY_QUOTA_EXCEEDED: "Quota Exceeded",
    protocol.GATEWAY_THROTTLE_LIMITED: "Throttle Limited",
    protocol.GATEWAY_RATE_LIMITED: "Rate Limited",
    protocol.GATEWAY_ENTITY_TOO_LARGE: "Request Entity Too Large",
    protocol.GATEWAY_ENDPOINT_ERROR: "Endpoint Error",
    protocol.GATEWAY_ENDPOINT_TIMEOUT: "Endpoint Timeout",
    protocol.GATEWAY_UNEXPECTED_ERROR: "Unexpected Error",
}

_encode: Final = msgspec.json.Encoder().encode


class Answer(msgspec.Struct, frozen=True):
    """One HTTP answer before it is put on the wire."""

    status: int
    body: bytes = b""
    content_type: str | None = None
    headers: Mapping[str, str] | None = None


NO_CONTENT: Final = Answer(204)


def json_answer(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Answer:
    """Return a JSON answer."""
    return Answer(status, _encode(value), JSON, headers)


def gateway_error(
    status: int,
    code: int | str,
    *,
    message: str | None = None,
    details: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Return an error as the API gateway words it; a code given as a number stays a number in the JSON."""
    number = int(code) if str(code).isdigit() else -1
    error: dict[str, Any] = {
        "errorCode": code,
        "message": _GATEWAY_MESSAGES.get(number, "Unexpected Error") if message is None else message,
    }
    if details is not None:
        error["details"] = details
    return json_answer(status, {"error": error}, headers)


def registry_error(status: int, message: str, *, code: int | str | None = None) -> Answer:
    """Return an error as the registry service words it; the code is the status unless given."""
    return_code = str(status) if code is None else code
    return json_answer(status, {"returnCode": return_code, "returnMessage": message})


def url_not_found() -> Answer:
    """Return the gateway's answer to a path that it does not know."""
    return gateway_error(404, str(protocol.GATEWAY_NOT_FOUND), details="URL not found.")


def permission_denied() -> Answer:
    """Return the gateway's answer to a key without the right to do this."""
    return gateway_error(401, str(protocol.GATEWAY_PERMISSION_DENIED))


def authentication_failed(details: str) -> Answer:
    """Return the gateway's answer to a request that is not signed well."""
    return gateway_error(401, str(protocol.GATEWAY_AUTHENTICATION_FAILED), details=details)
