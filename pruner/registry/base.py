"""What the rest of the program needs of a registry: a reader that cannot delete, and a deleter."""

from collections.abc import Awaitable, Callable, Collection, Container, Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

from pruner.model import Tag, Target

T = TypeVar("T")


class Attempts(Protocol):
    """Runs one reading request as often as it takes: waits for the pacer, sends, classifies, retries."""

    async def run(self, send: Callable[[], Awaitable[T]]) -> T:
        """The result of ``send``; raises the error that ended the attempts."""


class Wanted(NamedTuple):
    """Which facts of an image's tags somebody will ask for, where each of them costs requests."""

    identity: bool = True
    """Digests and what refers to what; without it names are enough."""
    times: Collection[str] | None = None
    """The names of the tags whose times and sizes matter; None for all."""
    referrers: Container[str] = ()
    """The names of the tags that may go, so that what belongs to them and has no tag matters."""
    orphans: bool = True
    """Whether it matters if what a signature, say, belongs to is still there."""


EVERYTHING: Final = Wanted()
Want = Callable[[Sequence[str]], Wanted]
"""Out of the names of all tags of an image, which facts are wanted."""


def want_everything(names: Sequence[str]) -> Wanted:
    """All that a registry can tell."""
    return EVERYTHING


class TagReader(Protocol):
    """Lists a registry. Every list is complete and consistent, or an error."""

    async def registries(self) -> dict[str, tuple[str, ...]]:
        """All registries of the account by name, each with the places where its images are pulled from.

        A place is ``host`` or ``host/prefix``.
        """

    async def images(self, registry: str) -> list[str]:
        """The names of all images of a registry, sorted."""

    async def tags(self, registry: str, image: str, want: Want = want_everything) -> list[Tag] | None:
        """All tags of an image, or None if the registry says that there is no such image.

        Facts that nobody wants may be left out. Raises ListingError when the list stays inconsistent.
        """

    async def has_tag(self, target: Target) -> bool:
        """Whether the tag is there now; raises when that cannot be found out."""

    def blobs_of(self, digest: str) -> list[tuple[str, int]] | None:
        """Digests and sizes (bytes) of all that a manifest consists of, itself included.

        Only of what was listed with all its facts; None where that is not known.
        """


class Deletion(NamedTuple):
    """A DELETE that was answered with success (2xx)."""

    status: int
    confirmed: bool
    """Whether the answer is the one by which this kind of registry says that the tag is gone."""


class KeptManifest(NamedTuple):
    """One manifest, with all that is needed to put it back.

    ``children`` are the digests of the manifests that an index consists of, ``blobs`` those of the
    configuration and the layers of an image, ``subject`` is what an artifact belongs to.
    """

    digest: str
    media_type: str
    data: bytes
    children: tuple[str, ...] = ()
    blobs: tuple[str, ...] = ()
    subject: str | None = None


class ManifestDoor(Protocol):
    """Reads single manifests of a registry and puts them back, each request paced and tried again."""

    async def digest_of(self, target: Target) -> str | None:
        """What a tag points to now; None if it is not there."""

    async def read(self, image: str, digest: str) -> KeptManifest | None:
        """The manifest of ``digest``, checked against it; None if it is not there."""

    async def has(self, image: str, digest: str) -> bool:
        """Whether a manifest is there."""

    async def has_blob(self, image: str, digest: str) -> bool:
        """Whether the bytes of a layer or of a configuration are there."""

    async def put(self, image: str, reference: str, manifest: KeptManifest) -> None:
        """Put a manifest under a tag, or under its digest."""


class TagDeleter(Protocol):
    """Deletes one tag. Pacing and retrying are the caller's."""

    async def delete(self, target: Target, digest: str | None) -> Deletion:
        """Send the DELETE of a tag that had ``digest`` just before; RequestError unless it succeeds."""
