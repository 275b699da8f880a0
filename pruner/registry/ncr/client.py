"""NCR as a registry: a reader without a way to delete, and a deleter of single tags."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final, TypeVar

from pruner import names
from pruner.errors import InputError, ListingError, MalformedReplyError, ResponseError
from pruner.model import Tag, Target
from pruner.registry.base import Attempts, Deletion, Want, want_everything
from pruner.registry.clock import check_clock, check_fresh
from pruner.registry.ncr import paths, replies
from pruner.registry.ncr.transport import Transport
from pruner.registry.paging import Page, PageMissingError, collect
from pruner.registry.scrubbing import scrubbed
from pruner.room import Room

T = TypeVar("T")

PAGE_SIZE: Final = 100
TAGS_AT_ONCE: Final = 10_000
"""Items of lists with several pages that are being read at the same time; a longer one is read alone."""


def says_missing(error: ResponseError) -> bool:
    """Whether NCR itself says that the thing is not there; a gateway's 404 means a wrong URL."""
    return error.status == 404 and error.layer == "ncr"


_NO_TURN: Final = nullcontext()
_UNCLEAR: Final = Tag(Target("unclear", "unclear", "unclear"))
"""Stands for an answer that says neither what a tag is nor that it is missing."""


class NcrReader:
    """Lists registries, images and tags, each request through ``attempts``; ``room`` bounds the memory."""

    def __init__(self, transport: Transport, attempts: Attempts, room: Room | None = None) -> None:
        self._transport = transport
        self._attempts = attempts
        self._room = room or Room(TAGS_AT_ONCE)
        self._page_size: int | None = PAGE_SIZE

    @property
    def always_reads_times(self) -> bool:
        """Lists tell the times of tags."""
        return True

    async def registries(self) -> dict[str, tuple[str, ...]]:
        """All registries of the account, sorted, each with its public and its private host."""
        with scrubbed(self._transport.secrets):
            items = await self._list("registries", paths.registries_path(), replies.read_name_page, _name)
            _checked(items, names.check_registry, "registries")
        return {item.name: replies.hosts_of(item) for item in sorted(items, key=_name)}

    async def images(self, registry: str) -> list[str]:
        """The names of all images of ``registry``, sorted."""
        with scrubbed(self._transport.secrets):
            return await self._read_images(registry)

    async def _read_images(self, registry: str) -> list[str]:
        what = f"the images of {registry}"
        items = await self._list(what, paths.images_path(registry), replies.read_name_page, _name)
        return _checked(items, names.check_image, what)

    async def tags(self, registry: str, image: str, want: Want = want_everything) -> list[Tag] | None:
        """All tags of an image with all their facts; None when NCR says that there is no such image."""
        with scrubbed(self._transport.secrets):
            return await self._read_tags(registry, image)

    async def _read_tags(self, registry: str, image: str) -> list[Tag] | None:
        what = f"the tags of {registry}/{image}"

        def read(body: bytes) -> Page[Tag]:
            # Tags at once: of a million there is no room for what their pages say as well.
            return replies.read_tag_page(body, registry, image)

        try:
            return await self._list(what, paths.tags_path(registry, image), read, _tag_name)
        except ResponseError as error:
            if says_missing(error):
                return None
            raise
        except InputError as error:
            raise ListingError(f"{what}: a name that cannot be: {error}") from None

    async def tag(self, target: Target) -> Tag | None:
        """What the tag is now, by its detail or, where that is no clear answer, by the list."""
        answer = await self._attempts.run(lambda: self._detail(target))
        if answer is None:
            # A single answer may be a passing fault of what stores the tags.
            answer = await self._attempts.run(lambda: self._detail(target))
        if answer is not _UNCLEAR:
            return answer
        tags = await self.tags(target.registry, target.image)
        return next((tag for tag in tags or () if tag.target == target), None)

    def blobs_of(self, digest: str) -> list[tuple[str, int]] | None:
        """The tag API does not tell what an image consists of."""
        return None

    async def _detail(self, target: Target) -> Tag | None:
        """The tag, None if NCR says that it is not there, or ``_UNCLEAR``."""
        try:
            reply = await self._transport.send("GET", paths.tag_path(target))
        except ResponseError as error:
            if says_missing(error):
                return None
            if error.status == 500 or (error.status == 404 and error.layer == "unknown"):
                return _UNCLEAR
            raise
        check_fresh(reply.headers)
        item = replies.read_tag_detail(reply.body)
        return replies.to_tag(target.registry, target.image, item) if item.name == target.tag else _UNCLEAR

    async def _list(
        self, what: str, path: str, read: Callable[[bytes], Page[T]], name_of: Callable[[T], str]
    ) -> list[T]:
        async def fetch(number: int) -> Page[T]:
            try:
                return await self._attempts.run(lambda: self._page(path, number, read))
            except ResponseError as error:
                if number > 1 and (error.status == 400 or says_missing(error)):
                    # Page 1 was there, and only that says whether there is a list.
                    raise PageMissingError(f"page {number} is missing: {error}") from None
                raise

        try:
            return await collect(what, fetch, name_of, self._room)
        except MalformedReplyError as error:
            raise ListingError(f"{what}: {error}") from None

    async def _page(self, path: str, number: int, read: Callable[[bytes], Page[T]]) -> Page[T]:
        size = self._page_size
        query = f"?page={number}" if size is None else f"?page={number}&pagesize={size}"
        try:
            reply = await self._transport.send("GET", path + query)
        except ResponseError as error:
            if error.status == 400 and size is not None and number == 1:
                # The largest page size is not documented: let the server choose.
                self._page_size = None
                return await self._page(path, number, read)
            raise
        if reply.status != 200:
            raise MalformedReplyError(f"HTTP {reply.status} instead of 200")
        check_clock(reply.headers, reply.sent, self._transport.now())
        check_fresh(reply.headers)
        return read(reply.body)


class NcrDeleter:
    """Deletes single tags. There is no method here, or anywhere, that deletes an image or a registry."""

    looks_at_each: Final = False
    """Lists tell everything that can be looked at."""
    takes_siblings: Final = False

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def turn(self, target: Target, digest: str | None) -> AbstractAsyncContextManager[None]:
        """Tags are deleted side by side."""
        return _NO_TURN

    def may_have_deleted(self, image: str, digest: str | None) -> bool:
        """A DELETE of one tag is not expected to delete others."""
        return False

    def was_refused(self, image: str, digest: str | None) -> None:
        """Nothing is remembered of a DELETE."""

    async def delete(self, target: Target, digest: str | None) -> Deletion:
        """Send one DELETE of one tag, by its name. Raises RequestError for a status other than 2xx."""
        status = (await self._transport.send("DELETE", paths.tag_path(target))).status
        # 204 is the documented success; any other 2xx confirms nothing.
        return Deletion(status, status == 204)


def _checked(items: list[replies.NameItem], check: Callable[[str], None], what: str) -> list[str]:
    try:
        return replies.checked_names(items, check, what)
    except MalformedReplyError as error:
        raise ListingError(str(error)) from None


def _name(item: replies.NameItem) -> str:
    return item.name


def _tag_name(tag: Tag) -> str:
    return tag.target.tag
