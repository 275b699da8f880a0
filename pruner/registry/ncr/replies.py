"""Successful NCR answers -> lists of names and tags. Unknown fields are ignored, wrong types are errors."""

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from pruner import names
from pruner.errors import InputError, MalformedReplyError
from pruner.model import Tag, Target
from pruner.references import normal_place
from pruner.registry.paging import Page
from pruner.registry.times import epoch_ms

T = TypeVar("T")


class _Platform(msgspec.Struct, gc=False):
    digest: Any = None
    created: Any = None
    updated: Any = None
    latest_pulled: Any = None


class TagItem(msgspec.Struct, gc=False):
    """One entry of a tag list; also the body of a tag's detail."""

    name: str
    digest: str | None = None
    full_size: int | float | str | None = None
    last_updated: Any = None
    images: list[_Platform] | None = None


class NameItem(msgspec.Struct, gc=False):
    """One entry of a registry or image list; the hosts are those of a registry."""

    name: str
    end_point: Any = None
    private_end_point: Any = None


class _Envelope(msgspec.Struct):
    """``results`` and ``count`` have no default: a page without them is not an empty page."""

    results: msgspec.Raw
    count: int | str
    next: int | str | None = None


_envelope = msgspec.json.Decoder(_Envelope)
_tags = msgspec.json.Decoder(list[TagItem])
_names = msgspec.json.Decoder(list[NameItem])
_tag = msgspec.json.Decoder(TagItem)


def read_tag_page(body: bytes, registry: str, image: str) -> Page[Tag]:
    """One page of an image's tag list.

    MalformedReplyError if it is not one, InputError for an impossible name.
    """
    items, total, following = _page(body, _tags.decode)
    return Page([to_tag(registry, image, item) for item in items], total, following)


def read_name_page(body: bytes) -> Page[NameItem]:
    """One page of a registry or image list; MalformedReplyError if it is not one."""
    return _page(body, _names.decode)


def read_tag_detail(body: bytes) -> TagItem:
    """A tag's detail; MalformedReplyError if it is not one."""
    return _decoded(body, _tag.decode)


def _page(body: bytes, decode: Callable[[msgspec.Raw], list[T]]) -> Page[T]:
    envelope = _decoded(body, _envelope.decode)
    items = _decoded(envelope.results, decode)
    count = _whole(envelope.count, "count")
    following = None if envelope.next in (None, "") else _whole(envelope.next, "next")
    return Page(items, count, following or None)


def _decoded(data: Any, decode: Callable[[Any], T]) -> T:
    try:
        return decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedReplyError(f"the answer is not what the API documents: {error}") from None


def _whole(value: int | str | None, field: str) -> int:
    text = str(value)
    if not text.isascii() or not text.isdecimal() or len(text) > 12:
        raise MalformedReplyError(f"'{field}' of a page is {names.printable(text, 40)!r}, not a number")
    return int(text)


def to_tag(registry: str, image: str, item: TagItem) -> Tag:
    """The facts of a listed tag; InputError for an impossible name.

    A tag is as new as the newest of its platforms. If the time of the tag itself, or of any platform, cannot
    be read, its age is unknown: a platform's ``created`` is when it was built, which may be long before the
    push, so it only ever makes a tag newer.
    """
    updated = epoch_ms(item.last_updated)
    created = pulled = None
    for platform in item.images or ():
        built, changed = epoch_ms(platform.created), epoch_ms(platform.updated)
        created = built if created is None else max(created, built or 0)
        last_pull = epoch_ms(platform.latest_pulled)
        if last_pull is not None and (pulled is None or last_pull > pulled):
            pulled = last_pull
        if built is None and changed is None:
            updated = None
        elif updated is not None:
            updated = max(updated, built or 0, changed or 0)
    digest = _digest(item.digest)
    return Tag(
        Target(registry, image, item.name),
        digest,
        _size(item),
        created,
        updated,
        pulled,
        platforms=_platforms(item.images, digest) if item.images else None,
    )


def _platforms(items: list[_Platform], own: str | None) -> tuple[str, ...] | None:
    """The digests of all platforms but the tag's own; None if one is not known."""
    found = []
    for item in items:
        if own is None or item.digest != own:
            if (digest := _digest(item.digest)) is None:
                return None
            found.append(digest)
    return tuple(found)


def _digest(digest: Any) -> str | None:
    if not isinstance(digest, str) or not 0 < len(digest) <= 200:
        return None
    return digest if digest.isascii() and digest.isprintable() else None


def _size(item: TagItem) -> int | None:
    size = item.full_size
    if isinstance(size, str):
        size = int(size) if size.isascii() and size.isdecimal() and len(size) <= 18 else None
    return int(size) if size is not None and 1 <= size < 1e18 else None


def hosts_of(item: NameItem) -> tuple[str, ...]:
    """The hosts that a registry's images are pulled from, those that can be hosts."""
    found = []
    for host in (item.end_point, item.private_end_point):
        if isinstance(host, str) and "/" not in host:
            with contextlib.suppress(InputError):
                found.append(normal_place(host))
    return tuple(found)


def checked_names(items: list[NameItem], check: Callable[[str], None], what: str) -> list[str]:
    """The names of ``items``, sorted; MalformedReplyError if one is not a name that can exist."""
    for item in items:
        try:
            check(item.name)
        except InputError as error:
            raise MalformedReplyError(f"the list of {what} holds a name that cannot be: {error}") from None
    return sorted(item.name for item in items)
