"""What the rest of the program needs of a registry: a reader that cannot delete, and a deleter."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from pruner.model import Tag, Target

T = TypeVar("T")


class Attempts(Protocol):
    """Runs one reading request as often as it takes: waits for the pacer, sends, classifies, retries."""

    async def run(self, send: Callable[[], Awaitable[T]]) -> T:
        """The result of ``send``; raises the error that ended the attempts."""


class TagReader(Protocol):
    """Lists a registry. Every list is complete and consistent, or an error."""

    async def registries(self) -> list[str]:
        """The names of all registries of the account."""

    async def images(self, registry: str) -> list[str]:
        """The names of all images of a registry, sorted."""

    async def tags(self, registry: str, image: str) -> list[Tag] | None:
        """All tags of an image, or None if the registry says that there is no such image.

        Raises ListingError when the list stays inconsistent.
        """

    async def has_tag(self, target: Target) -> bool:
        """Whether the tag is there now; raises when that cannot be found out."""


class TagDeleter(Protocol):
    """Deletes one tag with one request. Pacing and retrying are the caller's."""

    async def delete(self, target: Target) -> int:
        """Send one DELETE; the HTTP status of a success (2xx). Raises RequestError for anything else."""
