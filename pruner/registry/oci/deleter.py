"""Deleting one tag of an OCI registry: by its name, or with its manifest where names cannot be deleted.

Source: the specification's "Deleting tags" and "Deleting Manifests". A registry that has disabled the first
answers UNSUPPORTED; distribution 2.8 knows only digests and answers DIGEST_INVALID. Deleting a manifest
deletes every tag that points to it, so the caller must have made sure that all of them are to be deleted.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Final
from weakref import WeakValueDictionary

from pruner.errors import MalformedReplyError, NamesNotDeletedError, ResponseError
from pruner.model import Target
from pruner.registry.base import Deletion
from pruner.registry.oci.protocol import DIGEST_INVALID, UNSUPPORTED
from pruner.registry.oci.transport import OciTransport

DIGESTS_REMEMBERED: Final = 100_000
ACCEPTED: Final = 202
"""The specification's success: the request was taken. Any other 2xx says even less."""
_NO_NAMES: Final = frozenset({DIGEST_INVALID, UNSUPPORTED})


class DeleteBy(StrEnum):
    """What a DELETE names. ``AUTO`` tries the tag, and finds out with the first deletion."""

    AUTO = "auto"
    TAG = "tag"
    DIGEST = "digest"


class OciDeleter:
    """Deletes single tags. There is no method here, or anywhere, that deletes a repository or a blob."""

    looks_at_each: Final = True
    """A look costs one small request, and a manifest may be deleted with all its tags."""

    def __init__(self, transport: OciTransport, by: DeleteBy = DeleteBy.AUTO) -> None:
        self._transport = transport
        self._by = by
        """``AUTO`` as long as it is not known what the registry deletes."""
        self._finding_out = asyncio.Lock()
        self._deleting: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._sent: OrderedDict[str, int] = OrderedDict()
        """How many DELETEs of a manifest were sent and not refused, so that its other tags are not said to
        have been gone before."""

    @property
    def takes_siblings(self) -> bool:
        """Whether the registry is known to delete manifests only."""
        return self._by is DeleteBy.DIGEST

    @asynccontextmanager
    async def turn(self, target: Target, digest: str | None) -> AsyncIterator[None]:
        """While it is not known what the registry deletes, one tag at a time; then one of each manifest."""
        if self._by is DeleteBy.AUTO:
            async with self._finding_out:
                if self._by is DeleteBy.AUTO:
                    yield
                    return
        if self._by is DeleteBy.TAG:
            yield
            return
        async with self._deleting.setdefault(f"{target.image}@{digest}", asyncio.Lock()):
            yield

    def may_have_deleted(self, image: str, digest: str | None) -> bool:
        """Whether the DELETE of a manifest was sent, which deletes all its tags."""
        return f"{image}@{digest}" in self._sent

    def was_refused(self, image: str, digest: str | None) -> None:
        """The last DELETE of a manifest was not carried out; another one may have been."""
        key = f"{image}@{digest}"
        left = self._sent.get(key, 0) - 1
        if left > 0:
            self._sent[key] = left
        else:
            self._sent.pop(key, None)

    async def delete(self, target: Target, digest: str | None) -> Deletion:
        """Send one DELETE. Raises RequestError unless it succeeds.

        NamesNotDeletedError where the registry itself says that it deletes no names: then the next DELETE of
        any tag names its manifest.
        """
        if self._by is DeleteBy.DIGEST:
            if digest is None:
                raise MalformedReplyError("its digest is not known, and this registry deletes only by digest")
            # Whatever the answer: it may have been carried out, unless that is said to be certain.
            self._remember(f"{target.image}@{digest}")
            return await self._send(target, digest)
        try:
            deletion = await self._send(target, target.tag)
        except ResponseError as error:
            # Any other refusal may be of this tag, which may be protected, and not of names.
            if self._by is DeleteBy.AUTO and error.layer == "oci" and error.code in _NO_NAMES:
                self._by = DeleteBy.DIGEST
                raise NamesNotDeletedError(str(error)) from None
            raise
        if deletion.accepted:
            self._by = DeleteBy.TAG
        return deletion

    async def _send(self, target: Target, reference: str) -> Deletion:
        location = self._transport.location
        path = location.path(target.image, f"manifests/{reference}")
        answer = await self._transport.send("DELETE", path, location.scope(target.image, "pull,delete"))
        return Deletion(answer.status, confirmed=False, accepted=answer.status == ACCEPTED)

    def _remember(self, key: str) -> None:
        self._sent[key] = self._sent.get(key, 0) + 1
        if len(self._sent) > DIGESTS_REMEMBERED:
            self._sent.popitem(last=False)
