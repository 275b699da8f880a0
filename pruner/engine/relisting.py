"""An image that has lost all its tags at once: one answer is not believed against what was seen before."""

from collections.abc import Awaitable, Callable
from typing import Final

from pruner.errors import ListingError
from pruner.model import Tag
from pruner.plan.records import ImageRecord
from pruner.registry.base import TagReader, Want

ASKED_AGAIN_SECONDS: Final = 1.0
"""Before a list is asked for again that is missing, or empty, and should not be."""


async def list_again(
    reader: TagReader,
    record: ImageRecord,
    want: Want,
    sleep: Callable[[float], Awaitable[object]],
    *,
    may_be_empty: bool = False,
) -> list[Tag] | None:
    """All tags of an image that had some when the plan was made; None if there is no such image any more.

    That it has none is believed only when it is said twice and, unless it ``may_be_empty`` since all its tags
    were to go, the list of images does not speak against it. ListingError if that does.
    """
    tags = await reader.tags(record.registry, record.image, want)
    if tags or record.missing or not record.tags:
        return tags
    if not may_be_empty:
        await sleep(ASKED_AGAIN_SECONDS)
    tags = await reader.tags(record.registry, record.image, want)
    if tags is not None or may_be_empty:
        return tags
    if record.image in await reader.images(record.registry):
        raise ListingError(
            f"the registry says that it has no image '{record.image}', which had {record.tags:,} tags "
            f"when the plan was made, and yet lists it among its images; nothing is deleted on "
            f"contradictory answers"
        )
    return None
