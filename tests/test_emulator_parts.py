"""The parts of the emulator: its verifier against the published vectors, its stores and seeds."""

import base64
import hashlib
import hmac
import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from pruner.emulator import DEMO_ACCESS_KEY, DEMO_SECRET_KEY, Emulator, EmulatorConfig, running_in_thread
from pruner.emulator.generated import DAY_MS, GeneratedTags
from pruner.emulator.seeds import open_seed
from pruner.emulator.signature import SignatureVerifier
from pruner.emulator.store import Tag

NOW_MS = 1_790_000_000_000
V3 = "/ncr/api/v2/repositories/my-registry/hello%2Fworld/tags/v1.0.0"
VECTORS = [
    ("GET", "/ncr/api/v2/repositories", "E1pMtSE9rJzJcSJPJSwkgGMo4dyYZRsA+eOcW8qZPUo="),
    (
        "GET",
        "/ncr/api/v2/repositories/my-registry/hello%2Fworld/tags?page=2&pagesize=100",
        "VtKHryUl5nJL9S9TIjCTz95Zs35TKD8ApLEpYJGC7gI=",
    ),
    ("DELETE", V3, "OoTQIXUO2GiiODnSBlOLJx1AAB43QUPc5uCtc4h4gcw="),
    (
        "DELETE",
        "/ncr/krs/v2/repositories/my-registry/app/tags/sha-0a1b2c3_rc.1",
        "66r90cv9MIlAUlFfO7i0J32jc4XN7Xmg08D+AZEuVtI=",
    ),
    (
        "GET",
        "/ncr/sgn-api/v2/repositories/my-registry?page=1&pagesize=100",
        "3y6HiZbb+L0JFiq1wYhOnhZuiJb5Ceam5QT2JnOwG5U=",
    ),
    (
        "DELETE",
        "/ncr/jpn-api/v2/repositories/my-registry/a%2Fb%2Fc",
        "5xai5uze9oHtc08olJna+1SoSyhKb/xSmx+skFjEfqM=",
    ),
    ("GET", "/photos/puppy.jpg?query1=&query2", "tlBJF883bpTTx8U8IU3yZipJlygKqjcuIMez6hyAohg="),
]


def problem(method: str, target: str, signature: str, **changed: str) -> str | None:
    """Ask the verifier about a request of the moment of the vectors."""
    headers = {
        "x-ncp-apigw-timestamp": "1700000000000",
        "x-ncp-iam-access-key": DEMO_ACCESS_KEY,
        "x-ncp-apigw-signature-v2": signature,
        **changed,
    }
    verifier = SignatureVerifier({DEMO_ACCESS_KEY: DEMO_SECRET_KEY}, lambda: 1_700_000_000.0)
    return verifier.problem(method, target, headers)


@pytest.mark.parametrize(("method", "target", "signature"), VECTORS)
def test_published_vector_is_accepted(method: str, target: str, signature: str) -> None:
    assert problem(method, target, signature) is None
    assert problem("PUT", target, signature) is not None


@pytest.mark.parametrize(
    "signature",
    [
        "9ARVdMwLpxN2pwE1J71rPETP9MGSZjAyx16s3CjVIdY=",
        "/F8Qzga90gwSzVmVqZCpVnMRa4ko91MNeGFeDY2kRKg=",
        "5pkqBaTy1CFETfLI6dtNiPBZL15Z+aHHcgCjEiSMILo=",
        "not base64 \u00e9",
        "",
    ],
)
def test_signature_of_a_wrongly_encoded_target_is_refused(signature: str) -> None:
    assert problem("DELETE", V3, signature) is not None


@pytest.mark.parametrize(
    "timestamp", ["", "-1", "1e12", "\u0661", "9" * 40, "1700000000000.0", "1699999699999"]
)
def test_odd_timestamp_is_refused(timestamp: str) -> None:
    assert problem("DELETE", V3, VECTORS[2][2], **{"x-ncp-apigw-timestamp": timestamp}) is not None


def test_vector_of_a_third_party_is_accepted() -> None:
    headers = {
        "x-ncp-apigw-timestamp": "1234567890123",
        "x-ncp-iam-access-key": "TestAccessKey",
        "x-ncp-apigw-signature-v2": "FPsYYX8fuMAgi+cue3eACOW0dNtIwu1LYWfg/megA2M=",
    }
    verifier = SignatureVerifier({"TestAccessKey": "TestSecretKey"}, lambda: 1_234_567_890.0)
    target = "/vserver/v2/getServerInstanceList?responseFormatType=json"
    assert verifier.problem("GET", target, headers) is None


def test_verifier_agrees_with_a_plain_hmac() -> None:
    message = f"GET {V3}\n1700000000000\n{DEMO_ACCESS_KEY}".encode()
    digest = hmac.new(DEMO_SECRET_KEY.encode(), message, hashlib.sha256).digest()
    assert problem("GET", V3, base64.b64encode(digest).decode()) is None


# The demonstration account


def test_demo_is_the_same_for_the_same_moment() -> None:
    stores = [open_seed("demo", NOW_MS) for _ in range(2)]
    seen = [
        {name: image.tags.page(0, 999) for name, image in store.registries["acme"].images.items()}
        for store in stores
    ]
    assert seen[0] == seen[1]
    assert 350 <= stores[0].count_tags() <= 450
    assert set(stores[0].registries) == {"acme", "sandbox"}


def test_demo_has_the_awkward_cases() -> None:
    store = open_seed("demo", NOW_MS)
    base = store.image("acme", "ci/base")
    assert base is not None
    assert (unknown := base.tags.get("unknown-age")) is not None
    assert unknown.last_updated == 0
    product = store.image("acme", "product/api")
    assert product is not None
    latest = product.tags.get("latest")
    assert latest is not None
    assert sorted(product.tags.siblings(latest)) == ["stable", "v2.3.1"]
    assert product.tags.get(f"{latest.digest.replace(':', '-')}.sig") is not None
    assert {"v1.0.0", "v2.3.0-rc.1", "release-2026.08"} <= set(store.tag_names("acme", "product/api"))
    assert store.tag_names("acme", "legacy/api")[0] == "2021-01"
    assert sorted(store.tag_names("acme", "hello/world")) == ["1.0.0", "1.0.1", "2.0.0"]


# Computed tags


def test_generated_tags_are_found_by_their_names() -> None:
    tags = GeneratedTags(3_000, "key", NOW_MS)
    listed = tags.page(0, 3_000)
    assert len({tag.name for tag in listed}) == len(listed) == len(tags) == 3_000
    assert all(tags.get(tag.name) == tag for tag in listed)
    assert listed[0].name == "latest"
    assert tags.siblings(listed[0]) == [listed[1].name]
    kinds = {re.split(r"[-\d]", tag.name)[0] for tag in listed if not tag.name.endswith(".sig")}
    assert kinds == {"latest", "pr", "sha", "v", "release", ""}
    ages = [(NOW_MS - tag.last_updated) / DAY_MS for tag in listed]
    assert ages == sorted(ages)
    assert 0 <= ages[0] < 1
    assert 399 < ages[-1] <= 400
    assert [tags.get(name) for name in ("pr-0", "pr-2999999", "v1.0.99", "sha-0000000", "", "x")] == [
        None
    ] * 6


def test_signature_of_a_generated_tag_names_its_digest() -> None:
    listed = GeneratedTags(100, "key", NOW_MS).page(0, 100)
    digests = {tag.digest for tag in listed}
    signed = [tag.name for tag in listed if tag.name.endswith(".sig")]
    assert len(signed) == 2
    assert all(f"sha256:{name[7:-4]}" in digests for name in signed)


def test_generated_tags_after_deletions_moves_and_additions() -> None:
    tags = GeneratedTags(5_000, "key", NOW_MS)
    names = [tag.name for tag in tags.page(0, 5_000)]
    for name in names[100:4_000:2]:
        assert tags.remove(name) is not None
        assert tags.get(name) is None
        assert tags.remove(name) is None
    left = names[:100] + names[101:4_000:2] + names[4_000:]
    assert [tag.name for tag in tags.page(0, 9_999)] == left
    assert [tag.name for tag in tags.page(1_700, 1_800)] == left[1_700:1_800]
    assert tags.page(len(left), len(left) + 10) == []
    assert tags.move("latest", "sha256:ff", NOW_MS)
    assert (moved := tags.get("latest")) is not None
    assert moved.digest == "sha256:ff"
    tags.add_first(Tag("new", "sha256:ff", 1, NOW_MS))
    assert [tag.name for tag in tags.page(0, 3)] == ["new", *left[:2]]
    assert [tag.name for tag in tags.page(1, 3)] == left[:2]
    assert tags.siblings(moved) == ["new"]
    assert len(tags) == len(left) + 1


@pytest.mark.parametrize("size", [0, 1, 2, 21, 22])
def test_small_generated_images(size: int) -> None:
    tags = GeneratedTags(size, "key", NOW_MS)
    listed = tags.page(0, 100)
    assert len(listed) == size
    assert all(tags.remove(tag.name) for tag in listed)
    assert tags.page(0, 100) == []


def test_a_million_generated_tags_need_little_memory() -> None:
    tracemalloc.start()
    try:
        store = open_seed("generate:10x10x10000,seed=4", NOW_MS)
        image = store.image("gen-3", "team-1/app-1")
        assert image is not None
        for tag in image.tags.page(5_000, 6_000):
            image.tags.remove(tag.name)
        assert store.count_tags() == 1_000_000 - 1_000
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("seed", ["generate:1x2", "generate:1x1x999999999999", "generate:axbxc"])
def test_bad_generated_seed_is_refused(seed: str) -> None:
    with pytest.raises(ValueError, match=r"seed must be|cannot have more"):
        open_seed(seed, NOW_MS)


# Seeds in files


def test_json_and_json_lines_give_the_same_tags(tmp_path: Path) -> None:
    entry: dict[str, Any] = {
        "name": "pr-1",
        "digest": "sha256:aa",
        "size": 123,
        "updated": "2026-10-01T00:00:00Z",
        "last_pulled": 1_790_000_000_001,
        "platforms": [{"architecture": "arm64", "os": "linux", "digest": "sha256:bb", "size": 9}],
    }
    document = tmp_path / "seed.json"
    document.write_text(json.dumps({"registries": {"acme": {"images": {"ci/web": [entry]}}}}))
    lines = tmp_path / "seed.jsonl"
    lines.write_text(json.dumps({"registry": "acme", "image": "ci/web", **entry}) + "\n\n")
    found = []
    for path in (document, lines):
        image = open_seed(str(path), NOW_MS).image("acme", "ci/web")
        assert image is not None
        found.append(image.tags.page(0, 9))
    assert found[0] == found[1]
    (tag,) = found[0]
    assert (tag.last_updated, tag.latest_pulled, tag.size) == (1_790_812_800_000, 1_790_000_000_001, 123)
    assert tag.platforms[0].architecture == "arm64"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", "{", "not JSON"),
        ("a.json", "[]", "expected form"),
        ("a.json", "{}", "expected form"),
        ("a.jsonl", '{"registry":"a","image":"b","name":"c"}\n{"registry":"a"}', "line 2"),
        ("a.jsonl", "nonsense", "line 1"),
    ],
)
def test_bad_seed_file_is_refused(tmp_path: Path, name: str, content: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match=said):
        open_seed(str(path), NOW_MS)


# Setting up


async def test_emulator_runs_in_the_loop_of_its_caller() -> None:
    async with Emulator(EmulatorConfig(seed={"registries": {}})) as emulator:
        assert emulator.endpoint == f"{emulator.origin}/ncr/api/v2"
        assert emulator.endpoint_for("gov-KR") == f"{emulator.origin}/ncr/kr/v2"


def test_port_in_use_is_reported_to_the_caller() -> None:
    with running_in_thread() as first:
        port = int(first.origin.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"), running_in_thread(EmulatorConfig(port=port)):
            pass


@pytest.mark.parametrize(
    "settings", [{"regions": ("USWN",)}, {"page_size_default": 0}, {"host": "0.0.0.0"}, {"page_size_max": 5}]
)
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"regions|page_size|loopback"):
        EmulatorConfig(**settings)


def test_secret_key_is_not_in_the_repr() -> None:
    assert DEMO_SECRET_KEY not in repr(EmulatorConfig())
