"""Inventory files: what a listing saw, saved for deciding without the registry.

JSON Lines, gzipped when the name ends in ``.gz``: a header, for each image a line and one line per tag, a
footer with counts and a SHA-256 over all lines before it. Format version 1.
"""

import gzip
import hashlib
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Final, cast

import msgspec

from pruner import __version__, names
from pruner.errors import InputError
from pruner.files import open_regular
from pruner.model import Links, Tag, Target
from pruner.plan.inventory import ImageListing, Take
from pruner.plan.records import RegistryFacts
from pruner.policy.image_policies import RegistryPolicies

FORMAT: Final = "ncr-pruner.inventory"
VERSION: Final = 1
_MAX_LINE_BYTES: Final = 1024 * 1024
MAX_BYTES: Final = 64 * 1024**3
"""How large an inventory may be, once it is decompressed."""
MAX_TAGS: Final = 2_000_000
"""How many tags an image of an inventory may have: they are decided, and so held, together."""


class InventoryHeader(msgspec.Struct, frozen=True, tag="header", tag_field="type"):
    """The first line. ``listed_at`` in epoch milliseconds."""

    format: str
    version: int
    tool: str
    listed_at: int
    registries: dict[str, RegistryFacts]


class _ImageLine(msgspec.Struct, frozen=True, tag="image", tag_field="type"):
    registry: str
    image: str
    tags: int


class _TagLine(msgspec.Struct, frozen=True, tag="tag", tag_field="type", omit_defaults=True, gc=False):
    registry: str
    image: str
    name: str
    digest: str | None = None
    size: int | None = None
    created: int | None = None
    updated: int | None = None
    last_pulled: int | None = None
    links: Links | None = None
    platforms: tuple[str, ...] | None = None
    manifest: str | None = None


class _Footer(msgspec.Struct, frozen=True, tag="footer", tag_field="type"):
    images: int
    tags: int
    sha256: str


_Line = InventoryHeader | _ImageLine | _TagLine | _Footer
_decoder: msgspec.json.Decoder[_Line] = msgspec.json.Decoder(_Line)
_encode = msgspec.json.Encoder().encode


class InventoryWriter:
    """Writes listed images to an open binary file."""

    def __init__(self, file: IO[bytes], registries: Mapping[str, RegistryFacts], listed_at: int) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.images = 0
        self.tags = 0
        header = InventoryHeader(FORMAT, VERSION, __version__, listed_at, dict(sorted(registries.items())))
        self._write(header)

    def _write(self, *lines: _Line) -> None:
        data = b"".join([_encode(line) + b"\n" for line in lines])
        self._digest.update(data)
        self._file.write(data)

    def take(self, listing: ImageListing) -> None:
        """Write one image with its tags, sorted by name."""
        tags = sorted(listing.tags or (), key=lambda tag: tag.target.tag)
        self.images += 1
        self.tags += len(tags)
        self._write(
            _ImageLine(listing.registry, listing.image, len(tags)),
            *(
                _TagLine(
                    listing.registry,
                    listing.image,
                    tag.target.tag,
                    tag.digest,
                    tag.size,
                    tag.created,
                    tag.updated,
                    tag.last_pulled,
                    tag.links,
                    tag.platforms,
                    tag.manifest,
                )
                for tag in tags
            ),
        )

    def finish(self) -> None:
        """Write the footer."""
        self._file.write(_encode(_Footer(self.images, self.tags, self._digest.hexdigest())) + b"\n")


@contextmanager
def compressed(file: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    """``file`` itself, or a gzip stream into it when ``path`` ends in ``.gz``; the same bytes every time."""
    if path.suffix != ".gz":
        yield file
        return
    with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0, compresslevel=6) as stream:
        yield cast(IO[bytes], stream)


class InventoryFile:
    """A saved inventory. Reading it in full also verifies it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._name = names.shown_path(path)
        with self._opened() as file:
            self.header = self._header(next(self._lines(file), b""))

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        try:
            with open_regular(self.path) as raw:
                if self.path.suffix == ".gz":
                    with gzip.open(raw, "rb") as file:
                        yield cast(IO[bytes], file)
                else:
                    yield raw
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise InputError(
                f"{self._name}: the inventory breaks off or is no gzip file; save it anew"
            ) from None
        except OSError as error:
            raise InputError(f"{self._name}: cannot be read: {error.strerror or error}") from None

    def _lines(self, file: IO[bytes]) -> Iterator[bytes]:
        """The lines, none of them longer and all of them together no larger than an inventory is."""
        total = 0
        for number in count(1):
            line = file.readline(_MAX_LINE_BYTES + 1)
            total += len(line)
            if len(line) > _MAX_LINE_BYTES:
                raise InputError(f"{self._name}:{number}: the line is too long for an inventory")
            if total > MAX_BYTES:
                raise InputError(f"{self._name}: larger than {MAX_BYTES // 1024**3} GiB when decompressed")
            if not line:
                return
            yield line

    def _header(self, line: bytes) -> InventoryHeader:
        header = self._decode(line, 1)
        if not isinstance(header, InventoryHeader) or header.format != FORMAT:
            raise InputError(f"{self._name}: not an inventory of pruner")
        if header.version != VERSION:
            raise InputError(
                f"{self._name}: inventory version {header.version}, this program knows {VERSION}"
            )
        return header

    def _decode(self, line: bytes, number: int) -> _Line:
        try:
            return _decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            problem = names.printable(str(error))
            raise InputError(f"{self._name}:{number}: not a line of an inventory: {problem}") from None

    def images(self) -> Iterator[ImageListing]:
        """All images with their tags, in the order saved; InputError at the end if anything was changed."""
        digest = hashlib.sha256()
        image: _ImageLine | None = None
        tags: list[Tag] = []
        with self._opened() as file:
            for number, line in enumerate(self._lines(file), 1):
                record = self._decode(line, number)
                if isinstance(record, _TagLine):
                    tags.append(self._tag(record, image, number))
                    if len(tags) > MAX_TAGS:
                        raise InputError(f"{self._name}:{number}: more than {MAX_TAGS:,} tags of one image")
                elif image is not None:
                    yield self._listing(image, tags)
                    image, tags = None, []
                if isinstance(record, _Footer):
                    self._check(record, digest.hexdigest())
                    if file.read(1):
                        raise InputError(f"{self._name}:{number + 1}: something stands after the footer")
                    return
                if isinstance(record, _ImageLine):
                    image = record
                digest.update(line)
        raise InputError(f"{self._name}: the inventory breaks off; save it anew")

    def _check(self, footer: _Footer, sha256: str) -> None:
        if footer.sha256 != sha256:
            raise InputError(f"{self._name}: the inventory was changed after it was saved; save it anew")

    def _listing(self, image: _ImageLine, tags: list[Tag]) -> ImageListing:
        if image.tags != len(tags):
            raise InputError(
                f"{self._name}: {image.registry}/{image.image} is not whole; save the inventory anew"
            )
        return ImageListing(image.registry, image.image, tags)

    def _tag(self, line: _TagLine, image: _ImageLine | None, number: int) -> Tag:
        if image is None or (line.registry, line.image) != (image.registry, image.image):
            raise InputError(f"{self._name}:{number}: a tag outside of its image")
        try:
            target = Target(line.registry, line.image, line.name)
        except InputError as error:
            raise InputError(f"{self._name}:{number}: {error}") from None
        times = line.created, line.updated, line.last_pulled
        return Tag(target, line.digest, line.size, *times, line.links, line.platforms, line.manifest)


def replay(inventory: InventoryFile, policies: Mapping[str, RegistryPolicies], take: Take) -> None:
    """Give ``take`` what a live listing for ``policies`` would have given, from a saved inventory.

    InputError if the inventory does not cover a registry of the policies.
    """
    for registry in policies:
        if registry not in inventory.header.registries:
            name = names.shown_path(inventory.path)
            covered = names.printable(", ".join(sorted(inventory.header.registries)) or "nothing")
            raise InputError(f"{name}: does not cover registry '{registry}' (it covers {covered})")
    waiting = [(r, image) for r in sorted(policies) for image in policies[r].explicit_images]
    position = 0
    for listing in inventory.images():
        of_registry = policies.get(listing.registry)
        if of_registry is None or not of_registry.selects(listing.image):
            continue
        here = (listing.registry, listing.image)
        while position < len(waiting) and waiting[position] < here:
            take(ImageListing(*waiting[position], None))
            position += 1
        if position < len(waiting) and waiting[position] == here:
            position += 1
        take(listing)
    for registry, image in waiting[position:]:
        take(ImageListing(registry, image, None))
