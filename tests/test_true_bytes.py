"""What nothing refers to any more: counted in files, the same as counted by hand."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruner.model import Action, Decision, Reason, ReasonKind, Tag, Target
from pruner.plan.true_bytes import PARTS, TrueBytes

DIGESTS = [f"sha256:{number:064x}" for number in range(8)]
BLOBS = {f"sha256:{number:02x}{'0' * 62}": 10**number for number in range(12)}
REASON = {name: Reason(ReasonKind.DELETE_RULE, "r", name, "f:1") for name in ("p", "q")}
STAYS = Reason(ReasonKind.UNMATCHED, "stays")


def decision(image, name, digest, policy, registry="lab"):
    tag = Tag(Target(registry, image, name), digest)
    if policy is None:
        return Decision(tag, Action.KEEP, (STAYS,))
    return Decision(tag, Action.DELETE, (REASON[policy],))


def counted(folder, images, consists_of, registry="lab"):
    counter = TrueBytes(folder, {registry: consists_of.get})
    for image, decisions in images:
        counter.take(registry, image, decisions)
    freed, total = counter.finish()
    assert not list(folder.iterdir())
    return {(item.registry, item.image): item.bytes for item in freed}, total


def by_hand(images, consists_of):
    staying, freed = set(), {}
    for _, decisions in images:
        kept = {item.tag.digest for item in decisions if item.action is Action.KEEP}
        staying |= {blob for digest in kept for blob, _ in consists_of[digest]}
    for image, decisions in images:
        kept = {item.tag.digest for item in decisions if item.action is Action.KEEP}
        for item in decisions:
            for blob, size in consists_of[item.tag.digest] if item.tag.digest not in kept else ():
                if blob not in staying:
                    freed.setdefault(blob, (size, image))
    return freed


@st.composite
def worlds(draw):
    consists_of = {
        digest: [
            (digest, 7),
            *((blob, BLOBS[blob]) for blob in draw(st.sets(st.sampled_from(sorted(BLOBS))))),
        ]
        for digest in DIGESTS
    }
    images = []
    for image in "abc"[: draw(st.integers(1, 3))]:
        tags = draw(
            st.lists(st.tuples(st.sampled_from(DIGESTS), st.sampled_from(["p", "q", None])), max_size=5)
        )
        images.append((image, [decision(image, f"t{n}", d, p) for n, (d, p) in enumerate(tags)]))
    return images, consists_of


@given(worlds())
def test_each_blob_counts_once_if_nothing_that_stays_refers_to_it(tmp_path_factory, world):
    images, consists_of = world
    found, total = counted(tmp_path_factory.mktemp("uses"), images, consists_of)
    expected = by_hand(images, consists_of)
    assert total.bytes == sum(size for size, _ in expected.values())
    per_image = {}
    for size, image in expected.values():
        per_image["lab", image] = per_image.get(("lab", image), 0) + size
    assert found == per_image
    assert sum(total.policies.values()) == total.bytes
    assert not total.unread


def test_a_registry_of_which_anything_is_not_known_is_not_counted(tmp_path):
    blobs = [("sha256:" + "a" * 64, 5)]
    counter = TrueBytes(tmp_path, {"a": lambda digest: None, "b": lambda digest: blobs})
    counter.take("a", "x", [decision("x", "t", DIGESTS[0], "p", "a")])
    counter.take("b", "x", [decision("x", "t", DIGESTS[0], "p", "b")])
    freed, total = counter.finish()
    assert [(item.registry, item.bytes) for item in freed] == [("b", 5)]
    assert (total.bytes, total.unread, total.policies) == (5, {"a": 1}, {"p": 5})


def test_where_nothing_is_known_nothing_is_said(tmp_path):
    found, total = counted(tmp_path, [("x", [decision("x", "t", None, "p")])], {})
    assert (found, total.bytes, total.unread) == ({}, None, {"lab": 1})


SCALE = """
import hashlib, sys, tempfile
from pathlib import Path
sys.path.insert(0, "tests")
from test_true_bytes import decision
from pruner.plan.true_bytes import TrueBytes
def blobs_of(digest):
    number = int(digest[7:], 16)
    # Half of the layers are an image's own, half are shared with its neighbours.
    names = [f"own {number} {n}" for n in range(10)] + [f"shared {number // 50} {n}" for n in range(10)]
    return [(f"sha256:{hashlib.sha256(name.encode()).hexdigest()}", 10) for name in names]
images, tags = map(int, sys.argv[1:])
with tempfile.TemporaryDirectory() as folder:
    counter = TrueBytes(Path(folder), {"lab": blobs_of})
    for image in range(images):
        name = f"i{image}"
        digests = [f"sha256:{image * tags + n:064x}" for n in range(tags)]
        counter.take("lab", name, (
            decision(name, f"t{n}", digest, "p" if n % 2 else None) for n, digest in enumerate(digests)
        ))
    counter.finish()
# Not ru_maxrss: that begins with what the process that started this one had.
[peak] = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(int(peak) // 1024)
"""


@pytest.mark.slow
def test_a_million_tags_of_twenty_layers_take_little_memory():
    done = subprocess.run(
        [sys.executable, "-c", SCALE, "1000", "1000"], capture_output=True, text=True, check=True, timeout=900
    )
    assert int(done.stdout) <= 256, f"{done.stdout} MiB with {PARTS} parts"
