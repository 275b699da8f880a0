"""Single manifests of one registry: read and checked against their digest, looked for, and put back."""

from typing import Final, NamedTuple

from pruner.errors import (
    ConnectError,
    MalformedReplyError,
    RedirectError,
    RequestError,
    ResponseError,
    TryAgainError,
    UnreachableError,
)
from pruner.model import Target
from pruner.registry.base import Attempts, KeptManifest
from pruner.registry.clock import check_fresh
from pruner.registry.exchange import Answer
from pruner.registry.oci import manifests, protocol
from pruner.registry.oci.errors import says_missing
from pruner.registry.oci.transport import OciTransport
from pruner.registry.scrubbing import scrubbed

ACCEPT: Final = {"Accept": ", ".join(protocol.MANIFESTS)}


class Content(NamedTuple):
    """The bytes of a manifest, and the media type that they came with."""

    data: bytes
    media_type: str


class Head(NamedTuple):
    """What a tag points to; its ``content`` as well if the server did not tell the digest."""

    digest: str
    content: Content | None = None


class ManifestClient:
    """Each request goes through ``attempts``."""

    def __init__(self, transport: OciTransport, attempts: Attempts) -> None:
        self._transport = transport
        self._attempts = attempts

    async def check_reachable(self) -> None:
        """Raise UnreachableError unless something answers; one request, which is not repeated."""
        try:
            await self._transport.send("GET", "/v2/", "")
        except ConnectError as error:
            raise UnreachableError(f"manifests cannot be read there: {error}") from None
        except RequestError:
            # Whether the login suffices is for the first manifest to say.
            return

    async def head(self, image: str, reference: str) -> Head | None:
        """What a tag points to; None if the registry itself says that it is not there."""
        answer = await self._attempts.run(lambda: self._ask("HEAD", image, reference))
        if answer is not None:
            digest = answer.headers.get(protocol.HEADER_DIGEST, "")
            if manifests.is_digest(digest):
                return Head(digest)
        answer = await self._attempts.run(lambda: self._ask("GET", image, reference))
        if answer is None:
            return None
        content = Content(answer.body, answer.headers.get("Content-Type", ""))
        return Head(manifests.digest_of(content.data), content)

    async def content(self, image: str, digest: str) -> Content:
        """The bytes of ``digest``. ResponseError if they are not there, MalformedReplyError if others are."""
        answer = await self._attempts.run(lambda: self._send("GET", image, digest))
        if len(answer.body) > manifests.MAX_BYTES:
            raise MalformedReplyError(f"a manifest of {len(answer.body):,} bytes")
        if manifests.digest_of(answer.body) != digest:
            raise MalformedReplyError(f"the bytes of {digest} are others than its digest says")
        return Content(answer.body, answer.headers.get("Content-Type", ""))

    async def digest_of(self, target: Target) -> str | None:
        """What a tag points to now; None if it is not there."""
        head = await self.head(target.image, target.tag)
        return None if head is None else head.digest

    async def read(self, image: str, digest: str) -> KeptManifest | None:
        """A manifest with all that is needed to put it back; None if it is not there."""
        try:
            content = await self.content(image, digest)
        except ResponseError as error:
            if says_missing(error):
                return None
            raise
        with scrubbed(self._transport.secrets):
            manifest = manifests.read_manifest(content.data, content.media_type)
        return KeptManifest(
            digest,
            manifest.media_type,
            content.data,
            tuple(child.digest for child in manifest.children),
            tuple(blob.digest for blob in manifest.blobs),
            manifest.subject,
        )

    async def has(self, image: str, digest: str) -> bool:
        """Whether a manifest is there."""
        return await self.head(image, digest) is not None

    async def has_blob(self, image: str, digest: str) -> bool:
        """Whether the bytes of a layer or of a configuration are there."""
        path, scope = self._path(image, f"blobs/{digest}"), self._scope(image)

        async def ask() -> bool:
            try:
                await self._transport.send("HEAD", path, scope)
            except ResponseError as error:
                if error.status == 404:
                    return False
                raise
            except RedirectError:
                # Its bytes are kept elsewhere, which is said only of those that are there.
                return True
            return True

        return await self._attempts.run(ask)

    async def put(self, image: str, reference: str, manifest: KeptManifest, *, once: bool = False) -> None:
        """Put the same bytes under a tag or their digest. RequestError unless the registry takes them.

        With ``once`` TryAgainError instead of a second attempt.
        """
        path, scope = self._path(image, f"manifests/{reference}"), self._scope(image, "pull,push")
        headers = {"Content-Type": manifest.media_type}
        failed: RequestError | None = None

        async def send() -> None:
            nonlocal failed
            if once and failed is not None:
                raise TryAgainError(str(failed))
            try:
                await self._transport.send("PUT", path, scope, headers, manifest.data)
            except RequestError as error:
                failed = error
                raise

        await self._attempts.run(send)

    def _path(self, image: str, rest: str) -> str:
        return self._transport.location.path(image, rest)

    def _scope(self, image: str, actions: str = "pull") -> str:
        return self._transport.location.scope(image, actions)

    async def _ask(self, method: str, image: str, reference: str) -> Answer | None:
        """As ``_send``; None if the manifest is not there."""
        try:
            answer = await self._send(method, image, reference)
        except ResponseError as error:
            # An answer to HEAD has no body that could say whose 404 it is.
            if error.status == 404 and (method == "HEAD" or says_missing(error)):
                return None
            raise
        if not manifests.is_digest(reference):
            # A name may be moved, while a digest never stands for anything else.
            check_fresh(answer.headers)
        return answer

    async def _send(self, method: str, image: str, reference: str) -> Answer:
        path = self._path(image, f"manifests/{reference}")
        return await self._transport.send(method, path, self._scope(image), ACCEPT)
