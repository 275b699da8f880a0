"""Reading of request targets: which operation on which registry, image and tag is meant."""

from collections.abc import Collection
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qsl, unquote

import msgspec


class Operation(StrEnum):
    """What a request asks for."""

    LIST_REGISTRIES = "list_registries"
    REGISTRY_INFO = "registry_info"
    LIST_IMAGES = "list_images"
    IMAGE_DETAIL = "image_detail"
    LIST_TAGS = "list_tags"
    TAG_DETAIL = "tag_detail"
    DELETE_TAG = "delete_tag"
    DELETE_IMAGE = "delete_image"
    DELETE_REGISTRY = "delete_registry"
    UNKNOWN = "unknown"


LISTINGS: Final = frozenset({Operation.LIST_REGISTRIES, Operation.LIST_IMAGES, Operation.LIST_TAGS})
FORBIDDEN: Final = frozenset({Operation.DELETE_IMAGE, Operation.DELETE_REGISTRY})


class Call(msgspec.Struct, frozen=True, gc=False):
    """A request after its target was taken apart and every segment percent-decoded once."""

    operation: Operation
    method: str
    path: str
    """The decoded path, without the query."""
    registry: str = ""
    image: str = ""
    tag: str = ""
    page: str | None = None
    pagesize: str | None = None

    @property
    def subject(self) -> str:
        """Return what is meant as ``registry/image:tag``, or the part of it that is named."""
        if self.tag:
            return f"{self.registry}/{self.image}:{self.tag}"
        return f"{self.registry}/{self.image}" if self.image else self.registry


_BY_SHAPE: Final = {
    ("GET", 0): Operation.LIST_REGISTRIES,
    ("GET", 1): Operation.LIST_IMAGES,
    ("GET", 2): Operation.IMAGE_DETAIL,
    ("GET", 3): Operation.LIST_TAGS,
    ("GET", 4): Operation.TAG_DETAIL,
    ("DELETE", 1): Operation.DELETE_REGISTRY,
    ("DELETE", 2): Operation.DELETE_IMAGE,
    ("DELETE", 4): Operation.DELETE_TAG,
}
"""Operations by method and number of segments after ``/repositories``."""


def read_target(method: str, target: str, prefixes: Collection[str]) -> Call:
    """Take a raw request target apart.

    Segments are split at the slashes of the wire and decoded afterwards, so an encoded slash belongs to a
    name and a raw one does not. Whatever is no operation below an active prefix is ``Operation.UNKNOWN``.
    """
    path, _, query = target.partition("?")
    raw = path.split("/")
    try:
        segments = [unquote(part, errors="strict") for part in raw] if "%" in path else raw
    except UnicodeDecodeError:
        return Call(Operation.UNKNOWN, method, path)
    decoded = "/".join(segments)
    names = segments[5:]
    operation = _operation(method, segments, prefixes)
    if operation is Operation.UNKNOWN:
        return Call(operation, method, decoded)
    page, pagesize = _paging(query) if query else (None, None)
    registry, image, _, tag = (*names, "", "", "", "")[:4]
    if operation is Operation.REGISTRY_INFO:
        image = ""
    return Call(operation, method, decoded, registry, image, tag, page, pagesize)


def _operation(method: str, segments: list[str], prefixes: Collection[str]) -> Operation:
    if len(segments) < 5 or segments[4] != "repositories" or "/".join(segments[:4]) not in prefixes:
        return Operation.UNKNOWN
    names = segments[5:]
    if any(name in {"", ".", ".."} for name in names) or (len(names) > 2 and names[2] != "tags"):
        return Operation.UNKNOWN
    if method == "GET" and len(names) == 2 and names[1] == "info":
        return Operation.REGISTRY_INFO
    return _BY_SHAPE.get((method, len(names)), Operation.UNKNOWN)


def _paging(query: str) -> tuple[str | None, str | None]:
    values = dict(parse_qsl(query, keep_blank_values=True))
    return values.get("page"), values.get("pagesize")
