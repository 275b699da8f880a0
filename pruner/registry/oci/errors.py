"""Error answers of a registry -> typed errors: ``{"errors": [{"code", "message", "detail"}]}``.

Source: the specification's "Error Codes". An answer without such a body is not the registry's own word.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from pruner.errors import MalformedReplyError, ResponseError
from pruner.registry.oci import protocol
from pruner.text import clean_text, repeats

_CODE: Final = re.compile(r"[A-Za-z_]{1,60}")
_MISSING: Final = frozenset({protocol.MANIFEST_UNKNOWN, protocol.NAME_UNKNOWN, protocol.BLOB_UNKNOWN})


class _Item(msgspec.Struct):
    code: str
    message: str | None = None


class _Body(msgspec.Struct):
    errors: list[_Item]


_decoder = msgspec.json.Decoder(_Body)


def response_error(
    status: int, headers: Mapping[str, str], body: bytes, secrets: Iterable[str] = ()
) -> ResponseError:
    """The typed error of an answer; its ``code`` is the first of the body's, in upper case.

    Nothing that repeats one of ``secrets`` is in its message.
    """
    retry_after = headers.get("Retry-After")
    try:
        items = _decoder.decode(body).errors
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        items = []
    if not items:
        text = body.decode("utf-8", "replace")
        return ResponseError(
            status,
            "unknown",
            None,
            clean_text(text, secrets),
            retry_after=retry_after,
            from_registry=protocol.HEADER_VERSION in headers and "html" not in _type_of(headers),
        )
    code = items[0].code.upper() if _CODE.fullmatch(items[0].code) else "UNKNOWN"
    code = "UNKNOWN" if repeats(code, secrets) else code
    message = clean_text(items[0].message or "", secrets)
    return ResponseError(status, "oci", code, message, retry_after=retry_after)


def _type_of(headers: Mapping[str, str]) -> str:
    return headers.get("Content-Type", "").lower()


def says_missing(error: ResponseError) -> bool:
    """Whether the registry itself says that the thing is not there; any other 404 says nothing of it."""
    return error.status == 404 and error.layer == "oci" and error.code in _MISSING


class NotARegistryError(MalformedReplyError):
    """What answers is not a registry."""
