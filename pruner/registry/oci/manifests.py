"""What a manifest says: its children or its layers, and what it is attached to. Pure.

Sources: the OCI Image specification 1.1 (``manifest.md``, ``image-index.md``) and distribution's "Image
Manifest Version 2, Schema 2". A manifest is known by the SHA-256 of its bytes, which is checked here.
"""

import hashlib
import re
from typing import Any, Final

import msgspec

from pruner import names
from pruner.errors import MalformedReplyError
from pruner.registry.oci import protocol

MAX_BYTES: Final = 4 * 1024 * 1024
"""Of a manifest, as the specification has it."""
MOST_CHILDREN: Final = 10_000
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


class UnknownManifestError(MalformedReplyError):
    """A manifest of which it cannot be known what it refers to."""


class SchemaOneError(UnknownManifestError):
    """A manifest of Docker's first schema, which names neither its children nor a digest of its own."""


class Blob(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Something that a manifest refers to; ``size`` in bytes, ``media_type`` of other manifests only.

    ``attests`` is the digest of another manifest of the same index that it describes: it is no platform.
    """

    digest: str
    size: int
    media_type: str = ""
    attests: str | None = None


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The facts of one manifest. An index has ``children``, an image ``config`` and ``layers``."""

    media_type: str
    size: int
    """Of the manifest itself, in bytes."""
    children: tuple[Blob, ...] = ()
    config: Blob | None = None
    layers: tuple[Blob, ...] = ()
    subject: str | None = None

    @property
    def is_index(self) -> bool:
        """Whether it is a list of other manifests."""
        return self.media_type in protocol.INDEXES

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """What an image is made of: its configuration and its layers."""
        return self.layers if self.config is None else (self.config, *self.layers)


class _Descriptor(msgspec.Struct, rename="camel", gc=False):
    digest: str
    size: int
    media_type: str | None = None
    urls: list[str] | None = None
    annotations: dict[str, Any] | None = None


class _Document(msgspec.Struct, rename="camel"):
    schema_version: int
    media_type: str | None = None
    manifests: list[_Descriptor] | None = None
    config: _Descriptor | None = None
    layers: list[_Descriptor] | None = None
    subject: _Descriptor | None = None


_decoder = msgspec.json.Decoder(_Document)


def is_digest(text: str) -> bool:
    """Whether ``text`` is a SHA-256 digest, the only kind that is used."""
    return _DIGEST.fullmatch(text) is not None


def digest_of(content: bytes) -> str:
    """The digest of some bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def read_manifest(content: bytes, media_type: str) -> Manifest:
    """The facts of a manifest that came with ``media_type``; MalformedReplyError if its type is not known."""
    kind = media_type.partition(";")[0].strip().lower()
    document = _decoded(content, kind)
    if document.schema_version == 1 or kind in protocol.DOCKER_SCHEMA_1:
        raise SchemaOneError("a manifest of schema 1, which is not supported: push the image again")
    kind = document.media_type or kind
    if kind not in protocol.MANIFESTS or document.schema_version != 2:
        raise UnknownManifestError(f"a manifest of the unknown type '{names.printable(kind, 100)}'")
    if (kind in protocol.INDEXES) is (document.manifests is None):
        raise MalformedReplyError("a manifest that is not what its type says")
    if len(document.manifests or ()) > MOST_CHILDREN:
        raise MalformedReplyError(f"an index of {len(document.manifests or ()):,} manifests")
    # A child that is named many times is one child, and a platform if it is that anywhere.
    found: dict[str, Blob] = {}
    for child in map(_child, document.manifests or ()):
        if child.attests is None or child.digest not in found:
            found[child.digest] = child
    children = tuple(found.values())
    config = None if document.config is None else _blob(document.config)
    layers = tuple(_blob(layer) for layer in document.layers or () if not layer.urls)
    subject = None if document.subject is None else _blob(document.subject).digest
    return Manifest(kind, len(content), children, config, layers, subject)


def _decoded(content: bytes, kind: str) -> _Document:
    try:
        return _decoder.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        if kind in protocol.DOCKER_SCHEMA_1:
            raise SchemaOneError("a manifest of schema 1, which is not supported") from None
        raise MalformedReplyError(f"not a manifest: {names.printable(str(error))}") from None


def _blob(descriptor: _Descriptor, media_type: str = "") -> Blob:
    if not is_digest(descriptor.digest):
        raise MalformedReplyError(f"a digest that is none: '{names.printable(descriptor.digest, 100)}'")
    if descriptor.size < 0:
        raise MalformedReplyError("a size below zero")
    return Blob(descriptor.digest, descriptor.size, media_type)


def _child(descriptor: _Descriptor) -> Blob:
    """A child of an index. BuildKit adds attestations as children, which have no time of their own."""
    blob = _blob(descriptor, descriptor.media_type or "")
    annotations = descriptor.annotations or {}
    subject = annotations.get(protocol.ATTESTED)
    if annotations.get(protocol.REFERENCE_TYPE) != protocol.ATTESTATION or not isinstance(subject, str):
        return blob
    return msgspec.structs.replace(blob, attests=subject)


class _Config(msgspec.Struct):
    created: Any = None


_config_decoder = msgspec.json.Decoder(_Config)


def created_of(config: bytes) -> str | None:
    """When an image says that it was made (RFC 3339), out of its configuration; None if it does not."""
    try:
        created = _config_decoder.decode(config).created
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # An artifact's configuration may be anything.
        return None
    return created if isinstance(created, str) else None
