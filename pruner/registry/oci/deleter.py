"""Deleting one tag of an OCI registry: by its name, or with its manifest where names cannot be deleted.

Source: the specification's "Deleting tags" and "Deleting Manifests". A registry that has disabled the first
answers 400 or 405; distribution 2.8 knows only digests and answers 400. Deleting a manifest takes along
every tag that points to it, so who asks for that must have made sure that all of them are to go.
"""

import asyncio
from collections import OrderedDict, defaultdict
from enum import StrEnum
from typing import Final

from pruner.errors import MalformedReplyError, ResponseError
from pruner.model import Target
from pruner.registry.base import Deletion
from pruner.registry.oci.errors import says_missing
from pruner.registry.oci.manifest_client import ACCEPT
from pruner.registry.oci.transport import OciTransport

DIGESTS_REMEMBERED: Final = 10_000
ACCEPTED: Final = 202
"""What confirms a deletion; any other 2xx confirms nothing."""
_NO_NAMES: Final = frozenset({400, 405})


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
        self._deleted: OrderedDict[str, None] = OrderedDict()
        """Manifests that were deleted, so that their other tags are not said to have been gone before."""

    async def delete(self, target: Target, digest: str | None) -> Deletion:
        """Delete one tag. Raises RequestError unless a DELETE succeeds."""
        if self._by is DeleteBy.TAG:
            return await self._send(target, target.tag)
        if self._by is DeleteBy.AUTO and not self._has_no_names:
            return await self._try_name(target, digest)
        return await self._with_manifest(target, digest)

    async def _try_name(self, target: Target, digest: str | None) -> Deletion:
        """Delete by name; with the manifest if the registry itself says that it has no such thing."""
        if self._has_names:
            return await self._name_or_manifest(target, digest)
        # Until one was deleted, one at a time: all the others would only find out the same.
        async with self._finding_out:
            return await self._name_or_manifest(target, digest)

    async def _name_or_manifest(self, target: Target, digest: str | None) -> Deletion:
        if not self._has_no_names:
            try:
                deletion = await self._send(target, target.tag)
            except ResponseError as error:
                if error.status not in _NO_NAMES or error.layer != "oci":
                    raise
            else:
                self._has_names = self._has_names or deletion.confirmed
                return deletion
        deletion = await self._with_manifest(target, digest)
        self._has_no_names = self._has_no_names or deletion.confirmed
        return deletion

    async def _with_manifest(self, target: Target, digest: str | None) -> Deletion:
        if digest is None:
            raise MalformedReplyError("its digest is not known, and this registry deletes nothing else")
        key = f"{target.image}@{digest}"
        try:
            async with self._deleting[key]:
                if key in self._deleted and await self._is_gone(target):
                    return Deletion(ACCEPTED, confirmed=True)
                deletion = await self._send(target, digest)
                if deletion.confirmed:
                    self._remember(key)
                return deletion
        finally:
            self._deleting.pop(key, None)

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
        self._deleted[key] = None
        if len(self._deleted) > DIGESTS_REMEMBERED:
            self._deleted.popitem(last=False)
