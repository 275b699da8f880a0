"""Deleting one tag of an OCI registry: by its name, or with its manifest where names cannot be deleted.

Source: the specification's "Deleting tags" and "Deleting Manifests". A registry that has disabled the first
answers UNSUPPORTED; distribution 2.8 knows only digests and answers DIGEST_INVALID. Deleting a manifest takes
along every tag that points to it, so who asks for that must have made sure that all of them are to go.
"""

import asyncio
from collections import OrderedDict, defaultdict
from enum import StrEnum
from typing import Final

from pruner.errors import MalformedReplyError, ResponseError, TagMovedError
from pruner.model import Target
from pruner.registry.base import Deletion
from pruner.registry.oci.errors import says_missing
from pruner.registry.oci.manifest_client import ACCEPT
from pruner.registry.oci.protocol import DIGEST_INVALID, HEADER_DIGEST, UNSUPPORTED
from pruner.registry.oci.transport import OciTransport

DIGESTS_REMEMBERED: Final = 10_000
ACCEPTED: Final = 202
"""What confirms a deletion; any other 2xx confirms nothing."""
_NO_NAMES: Final = frozenset({DIGEST_INVALID, UNSUPPORTED})


class DeleteBy(StrEnum):
    """What a DELETE names. ``AUTO`` tries the tag, and finds out with the first deletion."""

    AUTO = "auto"
    TAG = "tag"
    DIGEST = "digest"


class OciDeleter:
    """Deletes single tags. There is no method here, or anywhere, that deletes a repository or a blob."""

    def __init__(self, transport: OciTransport, by: DeleteBy = DeleteBy.AUTO) -> None:
        self._transport = transport
        self._by = by
        self._has_names = self._has_no_names = False
        """Whether the registry deletes tags by name, or not, as far as that was found out."""
        self._finding_out = asyncio.Lock()
        self._deleting: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._sent: OrderedDict[str, None] = OrderedDict()
        """Manifests whose DELETE was sent, so that their other tags are not said to have been gone before."""

    async def delete(self, target: Target, digest: str | None) -> Deletion:
        """Delete one tag, if it still has ``digest``. Raises RequestError unless a DELETE succeeds.

        TagMovedError if the tag points elsewhere now: between looking at an image and its last DELETE, others
        push.
        """
        if self._by is DeleteBy.TAG:
            return await self._by_name(target, digest)
        if self._by is DeleteBy.AUTO and not self._has_no_names:
            return await self._try_name(target, digest)
        return await self._with_manifest(target, digest)

    async def _try_name(self, target: Target, digest: str | None) -> Deletion:
        """Delete by name; with the manifest if the registry itself says that it has no such thing."""
        if self._has_names:
            return await self._by_name(target, digest)
        # Until one was deleted, one at a time: all the others would only find out the same.
        async with self._finding_out:
            return await self._name_or_manifest(target, digest)

    async def _name_or_manifest(self, target: Target, digest: str | None) -> Deletion:
        if self._has_names:
            return await self._by_name(target, digest)
        if not self._has_no_names:
            try:
                deletion = await self._by_name(target, digest)
            except ResponseError as error:
                # Any other refusal may be of this tag, which may be protected, and not of names.
                if error.layer != "oci" or error.code not in _NO_NAMES:
                    raise
            else:
                self._has_names = deletion.confirmed
                return deletion
        deletion = await self._with_manifest(target, digest)
        self._has_no_names = self._has_no_names or deletion.confirmed
        return deletion

    async def _by_name(self, target: Target, digest: str | None) -> Deletion:
        await self._check_unmoved(target, digest)
        return await self._send(target, target.tag)

    async def _with_manifest(self, target: Target, digest: str | None) -> Deletion:
        if digest is None:
            raise MalformedReplyError("its digest is not known, and this registry deletes nothing else")
        key = f"{target.image}@{digest}"
        try:
            async with self._deleting[key]:
                if key in self._sent and await self._is_gone(target):
                    return Deletion(ACCEPTED, confirmed=True)
                await self._check_unmoved(target, digest)
                # Whatever the answer: it may have been carried out.
                self._remember(key)
                return await self._send(target, digest)
        finally:
            self._deleting.pop(key, None)

    async def _check_unmoved(self, target: Target, digest: str | None) -> None:
        if digest is None:
            return
        scope = self._transport.location.scope(target.image, "pull,delete")
        try:
            answer = await self._transport.send("HEAD", self._place(target, target.tag), scope, ACCEPT)
        except ResponseError as error:
            # What is not there any more is said by the DELETE's own answer.
            if error.status == 404:
                return
            raise
        now = answer.headers.get(HEADER_DIGEST, digest)
        if now != digest:
            raise TagMovedError(f"points to {now} now: it was pushed again")

    async def _is_gone(self, target: Target) -> bool:
        """Whether a tag went with the manifest that it pointed to."""
        path, scope = self._place(target, target.tag), self._transport.location.scope(target.image)
        try:
            await self._transport.send("GET", path, scope, ACCEPT)
        except ResponseError as error:
            if says_missing(error):
                return True
            raise
        return False

    async def _send(self, target: Target, reference: str) -> Deletion:
        scope = self._transport.location.scope(target.image, "pull,delete")
        answer = await self._transport.send("DELETE", self._place(target, reference), scope)
        return Deletion(answer.status, answer.status == ACCEPTED)

    def _place(self, target: Target, reference: str) -> str:
        return self._transport.location.path(target.image, f"manifests/{reference}")

    def _remember(self, key: str) -> None:
        self._sent[key] = None
        if len(self._sent) > DIGESTS_REMEMBERED:
            self._sent.popitem(last=False)
