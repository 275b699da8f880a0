"""Putting back side by side: what several tags have in common is put by one at a time."""

import asyncio
import hashlib
from collections import Counter

from pruner.engine.manifest_store import ManifestStore
from pruner.engine.undo import PUTS, Restored, Undoer
from pruner.errors import TryAgainError
from pruner.model import Target
from pruner.registry.base import KeptManifest


def manifest(text, children=()):
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    return KeptManifest(digest, "application/json", text.encode(), tuple(child.digest for child in children))


class Door:
    """A registry that takes a manifest for broken while it, or a part of it, is put by somebody else."""

    def __init__(self):
        self.there = {}
        self.putting = Counter()
        self.puts = Counter()

    async def digest_of(self, target):
        return self.there.get(target.tag)

    async def has(self, image, digest):
        await asyncio.sleep(0)
        return digest in self.there.values()

    async def has_blob(self, image, digest):
        return True

    async def put(self, image, reference, kept, *, once=False):
        self.putting[kept.digest] += 1
        assert self.putting[kept.digest] == 1, "two at once"
        assert not any(self.putting[child] for child in kept.children), "a part is being put"
        await asyncio.sleep(0)
        assert not any(self.putting[child] for child in kept.children), "a part is being put"
        self.putting[kept.digest] -= 1
        self.puts[kept.digest] += 1
        self.there[reference] = kept.digest


async def test_what_tags_have_in_common_is_put_by_one_at_a_time(tmp_path):
    part = manifest("part")
    wholes = [manifest(f"index {number}", [part]) for number in range(5)]
    store = ManifestStore.create(tmp_path / "manifests.sqlite3", ["lab"])
    await store.add([part, *wholes])
    door = Door()
    undoer = Undoer({"lab": door}, store)
    # The part has tags of its own, between those of the wholes.
    names = [
        (one, f"t{number}-{name}")
        for number, whole in enumerate(wholes)
        for one, name in [(whole, "a"), (part, "b"), (whole, "c")]
    ]
    tags = [(Target("lab", "multi", name), whole.digest) for whole, name in names]
    outcomes = await asyncio.gather(*(undoer.restore(target, digest) for target, digest in tags))
    store.close()
    assert {outcome.status for outcome in outcomes} == {Restored.RESTORED}
    assert door.puts[part.digest] <= len(wholes) + 1
    assert all(door.there[target.tag] == digest for target, digest in tags)


class Busy(Door):
    """A registry that refuses to take a tag at first; ``meanwhile`` is what the tag points to by then."""

    def __init__(self, refusals, meanwhile=None):
        super().__init__()
        self._refusals = refusals
        self._meanwhile = meanwhile

    async def put(self, image, reference, kept, *, once=False):
        if not once or self._refusals == 0:
            await super().put(image, reference, kept)
            return
        self._refusals -= 1
        if self._meanwhile is not None:
            self.there[reference] = self._meanwhile
        raise TryAgainError("HTTP 503")


async def put_back(tmp_path, door):
    kept = manifest("web")
    store = ManifestStore.create(tmp_path / "manifests", ["lab"])
    await store.add([kept])
    outcome = await Undoer({"lab": door}, store).restore(Target("lab", "web", "v1"), kept.digest)
    store.close()
    return outcome.status, door.there.get("v1") == kept.digest


async def test_a_tag_that_is_pushed_between_two_attempts_is_left_alone(tmp_path):
    pushed = manifest("pushed").digest
    assert await put_back(tmp_path, Busy(1, pushed)) == (Restored.CONFLICT, False)


async def test_an_attempt_that_was_carried_out_without_an_answer_is_restored(tmp_path):
    assert await put_back(tmp_path, Busy(1, manifest("web").digest)) == (Restored.RESTORED, True)


async def test_putting_back_is_tried_again_so_often(tmp_path):
    assert await put_back(tmp_path, Busy(PUTS - 1)) == (Restored.RESTORED, True)
    (tmp_path / "other").mkdir()
    assert await put_back(tmp_path / "other", Busy(PUTS)) == (Restored.FAILED, False)
