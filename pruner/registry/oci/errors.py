"""Error answers of a registry -> typed errors: ``{"errors": [{"code", "message", "detail"}]}``.

Source: the specification's "Error Codes". An answer without such a body is not the registry's own word.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote_plus

import msgspec

from pruner.errors import MalformedReplyError, ResponseError
from pruner.registry.oci import protocol
from pruner.text import clean_text

_CODE: Final = re.compile(r"[A-Za-z_]{1,60}")
_MISSING: Final = frozenset({protocol.MANIFEST_UNKNOWN, protocol.NAME_UNKNOWN, protocol.BLOB_UNKNOWN})


class _Item(msgspec.Struct):
    code: str
    message: str | None = None


class _Body(msgspec.Struct):
    errors: list[_Item]


_decoder = msgspec.json.Decoder(_Body)


def response_error(
    status: int, headers: Mapping[str, str], body: bytes, hidden: Iterable[str] = ()
) -> ResponseError:
    """The typed error of an answer; its ``code`` is the first of the body's, in upper case.

    The texts of ``hidden``, which a server may send back, are not in its message.
    """
    retry_after = headers.get("Retry-After")
    try:
        items = _decoder.decode(body).errors
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        items = []
    if not items:
        message = clean_text(without(body.decode("utf-8", "replace"), hidden))
        return ResponseError(status, "unknown", None, message, retry_after=retry_after)
    code = items[0].code.upper() if _CODE.fullmatch(items[0].code) else "UNKNOWN"
    message = clean_text(without(items[0].message or "", hidden))
    return ResponseError(status, "oci", code, message, retry_after=retry_after)


def without(text: str, hidden: Iterable[str]) -> str:
    """``text`` without the texts of ``hidden``, also as they stand in a form or in JSON."""
    for secret in filter(None, hidden):
        for form in (secret, quote_plus(secret), json.dumps(secret)[1:-1]):
            text = text.replace(form, "[hidden]")
    return text


def says_missing(error: ResponseError) -> bool:
    """Whether the registry itself says that the thing is not there; any other 404 says nothing of it."""
    return error.status == 404 and error.layer == "oci" and error.code in _MISSING


class NotARegistryError(MalformedReplyError):
    """What answers is not a registry."""
