"""Error answers of a registry -> typed errors: ``{"errors": [{"code", "message", "detail"}]}``.

Source: the specification's "Error Codes". An answer without such a body is not the registry's own word.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from pruner.errors import MalformedReplyError, ResponseError
from pruner.registry.oci import protocol
from pruner.text import clean_text

_MISSING: Final = frozenset({protocol.MANIFEST_UNKNOWN, protocol.NAME_UNKNOWN, protocol.BLOB_UNKNOWN})


class _Item(msgspec.Struct):
    code: str
    message: str | None = None


class _Body(msgspec.Struct):
    errors: list[_Item]


_decoder = msgspec.json.Decoder(_Body)


def response_error(status: int, headers: Mapping[str, str], body: bytes) -> ResponseError:
    """The typed error of an answer; its ``code`` is the first of the body's, in upper case."""
    retry_after = headers.get("Retry-After")
    try:
        items = _decoder.decode(body).errors
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        items = []
    if not items:
        message = clean_text(body.decode("utf-8", "replace"))
        return ResponseError(status, "unknown", None, message, retry_after=retry_after)
    code = clean_text(items[0].code).upper()
    return ResponseError(status, "oci", code, clean_text(items[0].message or ""), retry_after=retry_after)


def says_missing(error: ResponseError) -> bool:
    """Whether the registry itself says that the thing is not there; any other 404 says nothing of it."""
    return error.status == 404 and error.layer == "oci" and error.code in _MISSING


class NotARegistryError(MalformedReplyError):
    """What answers is not a registry."""
