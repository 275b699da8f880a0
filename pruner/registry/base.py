"""What the rest of the program needs of a registry: a reader that cannot delete, and a deleter."""

from collections.abc import Awaitable, Callable, Collection, Container, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple, Protocol, TypeVar

from pruner.model import Tag, Target

T = TypeVar("T")


class Attempts(Protocol):
    """Runs one reading request as often as it takes: waits for the pacer, sends, classifies, retries."""

    async def run(self, send: Callable[[], Awaitable[T]]) -> T:
        """The result of ``send``; raises the error that ended the attempts."""


class Wanted(NamedTuple):
    """Which facts of an image's tags are needed, where each of them costs requests. By default all."""

    identity: bool = True
    """Digests and what refers to what; without it names are enough."""
    times: Collection[str] | None = None
    """The names of the tags whose times and sizes matter; None for all."""
    referrers: Container[str] | None = None
    """The names of the tags whose dependents without a tag matter; None for all."""
    orphans: bool = True
    """Whether it matters if what a signature, say, belongs to is still there."""

    def needs_referrers(self, tag: Tag) -> bool:
        """Whether the dependents of a tag matter that have no tag themselves.

        What belongs to an image is deleted with it, whatever its own name is.
        """
        if self.referrers is None or tag.name in self.referrers:
            return True
        return tag.subject is not None and self.referrers != ()


EVERYTHING: Final = Wanted()
Want = Callable[[Sequence[str]], Wanted]
"""Out of the names of all tags of an image, which facts are wanted."""


def want_everything(names: Sequence[str]) -> Wanted:
    """All that a registry can tell."""
    return EVERYTHING


class TagReader(Protocol):
    """Lists a registry. Every list is complete and consistent, or an error."""

    @property
    def always_reads_times(self) -> bool:
        """Whether tags have their times even where they are not wanted.

        Where they have not, a tag's time is that of its content, which its digest stands for.
        """

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

    async def tag(self, target: Target) -> Tag | None:
        """What one tag is now, with the facts that tell whether it was moved; None if it is not there.

        Raises when that cannot be found out.
        """

    def blobs_of(self, digest: str) -> list[tuple[str, int]] | None:
        """Digests and sizes (bytes) of all that a manifest consists of, itself included.

        Only of what was listed with all its facts; None where that is not known.
        """


class Deletion(NamedTuple):
    """A DELETE that was answered with success (2xx)."""

    status: int
    confirmed: bool
    """Whether the answer is the one by which this kind of registry says that the tag is gone."""
    accepted: bool = False
    """Whether it says that the registry has taken the request, and not that it has carried it out."""


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

    async def put(self, image: str, reference: str, manifest: KeptManifest, *, once: bool = False) -> None:
        """Put a manifest under a tag, or under its digest.

        With ``once`` TryAgainError instead of a second attempt, which may be made when it is raised.
        """


class TagDeleter(Protocol):
    """Deletes single tags. Pacing, retrying and looking at the tag before are the caller's."""

    @property
    def looks_at_each(self) -> bool:
        """Whether each tag has to be looked at right before its DELETE, however new the final check is."""

    def turn(self, target: Target, digest: str | None) -> AbstractAsyncContextManager[None]:
        """Wait for a turn with a tag, so that two DELETEs do not get in each other's way."""

    async def delete(self, target: Target, digest: str | None) -> Deletion:
        """Send one request, the DELETE of a tag that had ``digest`` just before.

        RequestError unless it succeeds.
        """

    def may_have_deleted(self, image: str, digest: str | None) -> bool:
        """Whether a DELETE that was sent for another tag may have deleted all tags of ``digest``."""

    def was_refused(self, image: str, digest: str | None) -> None:
        """Note that the last DELETE of a tag of ``digest`` was certainly not carried out."""

    @property
    def takes_siblings(self) -> bool:
        """Whether the next DELETE deletes all tags of a digest, whatever their names are."""
