"""However the tags of a registry are read, a policy decides the same: what it asks for, or everything."""

import asyncio
import io
import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oci_server import IMAGE, OciServer, serving

from pruner import api
from pruner.app.options import ConnectionOptions
from pruner.emulator import DEMO_ACCESS_KEY, DEMO_SECRET_KEY, EmulatorConfig, running_in_thread
from pruner.plan.records import Freed, FreedTotal, KeptTarget
from pruner.policy.loader import load_policies

HOUR = timedelta(hours=1)
AGES = {"old": 900 * 24 * HOUR, "older": 1000 * 24 * HOUR, "new": HOUR, "future": -1000 * HOUR}
NAMES = ["v1", "v2", "pr-1", "pr-2", "latest"]


def policies_of(chosen):
    """The policies of the image web: rules, and explicit targets."""
    items = [
        {
            "name": "rules",
            "registry": "lab",
            "images": ["**"],
            "delete": chosen["delete"],
            "limits": {"keep_at_least": chosen["floor"]},
            "shared_digest": chosen["shared"],
            "undo": chosen["undo"],
            **({"keep": chosen["keep"]} if chosen["keep"] else {}),
        }
    ]
    if chosen["targets"]:
        named = [f"web:{name}" for name in chosen["targets"]]
        items.append(
            {"name": "named", "registry": "lab", "targets": named, "shared_digest": chosen["shared"]}
        )
    document = {"version": 1, "policies": items}
    if chosen["delete_by"] is not None:
        document["registries"] = {
            "lab": {"type": "oci", "url": chosen["url"], "delete_by": chosen["delete_by"]}
        }
    return load_policies(["-"], io.BytesIO(json.dumps(document).encode()))


def chosen_policies(*, delete_by, shared, delete, keep=()):
    return st.fixed_dictionaries(
        {
            "delete": st.lists(st.sampled_from(delete), min_size=1, max_size=2, unique_by=str),
            "keep": st.sampled_from([[], [{"tags": ["latest"]}], [{"newest": 1}], *keep]),
            "floor": st.integers(0, 2),
            "shared": st.sampled_from(shared),
            "undo": st.booleans(),
            "targets": st.lists(st.sampled_from(NAMES), max_size=2, unique=True),
            "delete_by": st.sampled_from(delete_by),
        }
    )


def decided(plan):
    """What a plan says, but for when and where it was made, and for facts that no decision needs."""
    found = [plan.header.registries]
    for record in plan.records():
        if isinstance(record, Freed | FreedTotal):
            continue
        if isinstance(record, KeptTarget):
            found.append({"kept": record.tag, "reason": record.reason})
            continue
        known = msgspec.to_builtins(record)
        for name in ("check", "bytes", "size", "updated", "sha256"):
            known.pop(name, None)
        found.append(known)
    return found


async def in_every_way(policies, connection, folder):
    """What is decided by ``plan``, by ``plan --true-bytes``, by ``plan --inventory``, and by ``explain``."""
    inventory = folder / "inventory.jsonl"
    await api.list_tags(inventory, ["lab"], connection=connection)
    live = await api.plan(policies, folder / "live.jsonl", connection=connection)
    whole = await api.plan(policies, folder / "whole.jsonl", connection=connection, true_bytes=True)
    saved = await api.plan(policies, folder / "saved.jsonl", inventory=api.InventoryFile(inventory))
    explained = []
    for source in ({"connection": connection}, {"inventory": api.InventoryFile(inventory)}):
        found = []
        await api.explain(policies, found.append, **source)
        explained.append({item.target for item in found if item.action is api.Action.DELETE})
    return [decided(plan) for plan in (live, whole, saved)], explained


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("NCLOUD_ACCESS_KEY_ID", DEMO_ACCESS_KEY)
        patch.setenv("NCLOUD_SECRET_ACCESS_KEY", DEMO_SECRET_KEY)
        yield patch


def agreed(policies, connection):
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        # What one example has read of manifests is nothing to the next.
        patch.setenv("PRUNER_CACHE_DIR", str(Path(name, "cache")))
        plans, explained = asyncio.run(in_every_way(policies, connection, Path(name)))
    live, whole, saved = plans
    assert whole == live
    assert saved == live
    going = {f"lab/{item['image']}:{item['tag']}" for item in live[1:] if "seq" in item}
    assert explained == [going - missing(live)] * 2


def is_absent(item):
    return "seq" in item and item.get("missing", False)


def missing(decisions):
    """The explicit targets that are not there, of which there is nothing to explain."""
    return {f"lab/{item['image']}:{item['tag']}" for item in decisions[1:] if is_absent(item)}


# OCI


def created(age):
    if age is None:
        return None
    return (datetime.now(UTC) - AGES[age]).strftime("%Y-%m-%dT%H:%M:%SZ")


CONTENT = st.fixed_dictionaries(
    {
        "images": st.lists(st.sampled_from([*AGES, None, "no time"]), min_size=1, max_size=3),
        # An index of images by their number; the last one was never pushed.
        "indexes": st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=2, unique=True), max_size=2),
        # What a tag points to, by its number: an image or an index.
        "tags": st.dictionaries(st.sampled_from(NAMES), st.integers(0, 4), min_size=1),
        # What belongs to which, and the tag that it has, if any.
        "referrers": st.lists(
            st.tuples(st.integers(0, 5), st.sampled_from([None, "sbom", "pr-3"])), max_size=2
        ),
        "signatures": st.lists(st.integers(0, 5), max_size=2, unique=True),
        "has_referrers": st.booleans(),
    }
)
ABSENT = {"digest": f"sha256:{'e' * 64}", "size": 5, "mediaType": IMAGE}


def fill(server, content):
    """An image as ``content`` says."""
    found = []
    for number, age in enumerate(content["images"]):
        when = "yesterday, perhaps" if age == "no time" else created(age)
        found.append(server.image("team/web", None, when, f"image {number}"))
    for number, children in enumerate(content["indexes"]):
        parts = [found[child] if child < len(found) else ABSENT for child in children]
        found.append(server.index("team/web", None, parts) | {"number": number})
    tags = server.repository("team/web").tags

    def what(number):
        return found[number] if number < len(found) else ABSENT

    for name, number in content["tags"].items():
        tags[name] = found[number % len(found)]["digest"]
    for number, (subject, name) in enumerate(content["referrers"]):
        own = {key: what(subject)[key] for key in ("digest", "size", "mediaType")}
        server.image("team/web", name, None, f"referrer {number}", own)
    for number in content["signatures"]:
        digest = what(number)["digest"]
        server.image("team/web", f"{digest.replace(':', '-')}.sig", None, f"signature of {digest}")
    server.has_referrers = content["has_referrers"]


OF_OLD = {"delete": [{"older_than": "14d"}], "keep": [], "floor": 0, "shared": "keep", "targets": []}
UNTAGGED = {
    "images": ["old"],
    "indexes": [],
    "tags": {"v1": 0},
    "referrers": [(0, None)],
    "signatures": [],
    "has_referrers": True,
}


@settings(max_examples=30)
@example(UNTAGGED, OF_OLD | {"delete_by": None, "undo": False})
@example(UNTAGGED, OF_OLD | {"delete_by": "tag", "undo": True})
@given(
    CONTENT,
    chosen_policies(
        delete_by=[None, "auto", "tag", "digest"],
        shared=["keep"],
        delete=[
            {"older_than": "14d"},
            {"tags": ["pr-*", "v*"]},
            {"tags": ["v*", "sha256-*", "sbom"], "older_than": "7d"},
            {"tags": ["sha256-*", "sbom"], "orphaned": True},
            {"tags": ["*"], "not": {"newest": 2}},
        ],
    ),
)
def test_an_oci_registry_is_decided_alike_however_it_is_read(content, chosen):
    with serving(OciServer()) as server:
        fill(server, content)
        policies = policies_of({**chosen, "url": f"{server.url}/team"})
        agreed(policies, ConnectionOptions(oci=(f"lab={server.url}/team",)))


# NCR

SEED_TAG = st.tuples(
    st.sampled_from([*NAMES, f"sha256-{'a' * 64}.sig", f"sha256-{'f' * 64}.sig"]),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from([1, 30, 40, None, -5]),
    st.sampled_from([None, 1, 100]),
    st.booleans(),
)


def seed_of(tags):
    now = datetime.now(UTC)
    entries = []
    for name, letter, age, pulled, has_platforms in tags:
        entry = {"name": name, "digest": f"sha256:{letter * 64}"}
        entry |= {} if age is None else {"age_days": age}
        entry |= {} if pulled is None else {"last_pulled": (now - timedelta(days=pulled)).isoformat()}
        if has_platforms:
            arm = {"architecture": "arm64", "digest": f"sha256:{'b' * 64}"}
            entry |= {"platforms": [{"digest": f"sha256:{letter * 64}"}, arm]}
        entries.append(entry)
    return {"registries": {"lab": {"images": {"web": entries}}}}


@settings(max_examples=20)
@given(
    st.lists(SEED_TAG, max_size=6, unique_by=lambda item: item[0]),
    chosen_policies(
        delete_by=[None],
        shared=["keep", "delete"],
        delete=[
            {"older_than": "14d"},
            {"tags": ["pr-*", "v*", "sha256-*"]},
            {"tags": ["*"], "not_pulled_for": "30d"},
            {"tags": ["*"], "not": {"newest": 2}},
        ],
        keep=[[{"pulled_within": "7d"}]],
    ),
)
def test_an_ncr_registry_is_decided_alike_however_it_is_read(tags, chosen):
    with running_in_thread(EmulatorConfig(seed=seed_of(tags))) as emulator:
        agreed(policies_of(chosen), ConnectionOptions(endpoint=emulator.endpoint))
