"""NCR as a registry: a reader without a way to delete, and a deleter of single tags."""

from collections.abc import Callable
from typing import Final, TypeVar

from pruner import names
from pruner.errors import InputError, ListingError, MalformedReplyError, ResponseError
from pruner.model import Tag, Target
from pruner.registry.base import Attempts, Deletion, Want, want_everything
from pruner.registry.ncr import paths, replies
from pruner.registry.ncr.transport import Transport
from pruner.registry.paging import Page, PageMissingError, collect
from pruner.room import Room

T = TypeVar("T")

PAGE_SIZE: Final = 100
TAGS_AT_ONCE: Final = 10_000
"""Items of lists with several pages that are being read at the same time; a longer one is read alone."""


def says_missing(error: ResponseError) -> bool:
    """Whether NCR itself says that the thing is not there; a gateway's 404 means a wrong URL."""
    return error.status == 404 and error.layer == "ncr"


class NcrReader:
    """Lists registries, images and tags, each request through ``attempts``; ``room`` bounds the memory."""

    def __init__(self, transport: Transport, attempts: Attempts, room: Room | None = None) -> None:
        self._transport = transport
        self._attempts = attempts
        self._room = room or Room(TAGS_AT_ONCE)
        self._page_size: int | None = PAGE_SIZE

    async def registries(self) -> dict[str, tuple[str, ...]]:
        """All registries of the account, sorted, each with its public and its private host."""
        items = await self._list("registries", paths.registries_path(), replies.read_name_page, _name)
        _checked(items, names.check_registry, "registries")
        return {item.name: replies.hosts_of(item) for item in sorted(items, key=_name)}

    async def images(self, registry: str) -> list[str]:
        """The names of all images of ``registry``, sorted."""
        what = f"the images of {registry}"
        items = await self._list(what, paths.images_path(registry), replies.read_name_page, _name)
        return _checked(items, names.check_image, what)

    async def tags(self, registry: str, image: str, want: Want = want_everything) -> list[Tag] | None:
        """All tags of an image with all their facts; None when NCR says that there is no such image."""
        what = f"the tags of {registry}/{image}"
        now = self._transport.now_ms()

        def read(body: bytes) -> Page[Tag]:
            # Tags at once: of a million there is no room for what their pages say as well.
            return replies.read_tag_page(body, registry, image, now)

        try:
            return await self._list(what, paths.tags_path(registry, image), read, _tag_name)
        except ResponseError as error:
            if says_missing(error):
                return None
            raise
        except InputError as error:
            raise ListingError(f"{what}: a name that cannot be: {error}") from None

    async def has_tag(self, target: Target) -> bool:
        """Whether the tag is there now, by its detail or, where that is no clear answer, by the list."""
        answer = await self._attempts.run(lambda: self._detail(target))
        if answer is not None:
            return answer
        tags = await self.tags(target.registry, target.image)
        return tags is not None and any(tag.target == target for tag in tags)

    def blobs_of(self, digest: str) -> list[tuple[str, int]] | None:
        """The tag API does not tell what an image consists of."""
        return None

    async def _detail(self, target: Target) -> bool | None:
        try:
            reply = await self._transport.send("GET", paths.tag_path(target))
        except ResponseError as error:
            if says_missing(error):
                return False
            if error.status == 500 or (error.status == 404 and error.layer == "unknown"):
                return None
            raise
        return replies.read_tag_detail(reply.body).name == target.tag or None

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
        return read(reply.body)


class NcrDeleter:
    """Deletes single tags. There is no method here, or anywhere, that deletes an image or a registry."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

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
