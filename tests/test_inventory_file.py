"""Inventory files: what is written is what is read, and nothing that was cut or altered is believed."""

import contextlib
import gzip
import io
import json
import tempfile
from pathlib import Path

import anyio
import pytest
from conftest import policy_text
from hypothesis import given, settings
from hypothesis import strategies as st

from pruner.emulator import EmulatorConfig, running_in_thread
from pruner.errors import InputError
from pruner.model import Tag, Target
from pruner.plan import inventory_file
from pruner.plan.inventory import ImageListing, list_everything, list_images
from pruner.plan.inventory_file import InventoryFile, InventoryWriter, compressed, replay
from pruner.plan.records import RegistryFacts
from pruner.policy.image_policies import RegistryPolicies
from pruner.policy.loader import load_policies

NOW = 1_790_000_000_000
REGISTRIES = {"acme": RegistryFacts("https://a", "KR"), "beta": RegistryFacts("https://a")}


def tag(image, name, registry="acme", **facts):
    return Tag(Target(registry, image, name), **facts)


SMALL = [
    ImageListing("acme", "app", [tag("app", "a", digest="sha256:x", size=5, updated=7), tag("app", "b")]),
    ImageListing("acme", "empty", []),
    ImageListing("beta", "web", [tag("web", "c", "beta", created=1, updated=2, last_pulled=3)]),
]


def save(path, listings=SMALL, registries=REGISTRIES):
    with path.open("wb") as file, compressed(file, path) as stream:
        writer = InventoryWriter(stream, registries, NOW)
        for listing in listings:
            writer.take(listing)
        writer.finish()
    return path


@pytest.fixture(params=["inventory.jsonl", "inventory.jsonl.gz"])
def path(request, tmp_path):
    return tmp_path / request.param


@pytest.fixture
def read(tmp_path):
    def found(content, name="inventory.jsonl"):
        target = tmp_path / name
        target.write_bytes(content if isinstance(content, bytes) else b"".join(content))
        return list(InventoryFile(target).images())

    return found


@pytest.fixture
def refused(read):
    def message(content, name="inventory.jsonl"):
        with pytest.raises(InputError) as caught:
            read(content, name)
        return str(caught.value)

    return message


def lines_of(listings=SMALL, registries=REGISTRIES):
    file = io.BytesIO()
    writer = InventoryWriter(file, registries, NOW)
    for listing in listings:
        writer.take(listing)
    writer.finish()
    return file.getvalue().splitlines(keepends=True)


LINES = lines_of()


def test_what_is_written_is_read(path):
    inventory = InventoryFile(save(path))
    assert list(inventory.images()) == SMALL
    assert list(inventory.images()) == SMALL
    assert (inventory.header.listed_at, inventory.header.registries) == (NOW, REGISTRIES)


NUMBERS = st.none() | st.integers(0, 2**53)
NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,9}", fullmatch=True)
FACTS = st.tuples(st.none() | st.text(st.characters(exclude_categories=["Cs"])), *[NUMBERS] * 4)
IMAGES = st.from_regex(r"[a-z0-9]{1,3}(/[a-z0-9]{1,3})?", fullmatch=True)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(IMAGES, st.dictionaries(NAMES, FACTS, max_size=4), max_size=4), st.booleans())
def test_anything_that_is_written_is_read(images, zipped):
    listings = [
        ImageListing(
            "acme", image, [Tag(Target("acme", image, name), *facts) for name, facts in sorted(of.items())]
        )
        for image, of in sorted(images.items())
    ]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / ("i.jsonl.gz" if zipped else "i.jsonl")
        assert list(InventoryFile(save(target, listings)).images()) == listings


def test_the_same_listing_is_the_same_bytes(tmp_path, path):
    again = tmp_path / "again" / path.name
    again.parent.mkdir()
    mixed = [listing._replace(tags=list(reversed(listing.tags))) for listing in SMALL]
    registries = dict(reversed(REGISTRIES.items()))
    assert save(path).read_bytes() == save(again, mixed, registries).read_bytes()


@pytest.mark.parametrize("lines", range(len(LINES)))
def test_an_inventory_that_ends_at_a_line_is_refused(refused, lines):
    text = refused(LINES[:lines])
    assert "breaks off" in text or lines == 0
    assert "inventory.jsonl" in text


@pytest.mark.parametrize("number", range(len(LINES)))
def test_an_inventory_that_ends_in_a_line_is_refused(refused, number):
    assert f":{number + 1}: not a line of an inventory" in refused([*LINES[:number], LINES[number][:20]])


def test_a_cut_gzip_is_refused_or_whole(read):
    content = gzip.compress(b"".join(LINES), mtime=0)
    whole = []
    for length in range(len(content)):
        with contextlib.suppress(InputError):
            assert read(content[:length], "i.jsonl.gz") == SMALL
            whole.append(length)
    assert all(length >= len(content) - 10 for length in whole)


def test_what_is_no_gzip_is_refused(refused):
    assert "breaks off or is no gzip file" in refused(b"".join(LINES), "i.jsonl.gz")
    assert ":1: not a line of an inventory" in refused(gzip.compress(b"".join(LINES)), "i.jsonl")


def test_a_broken_gzip_is_refused(refused):
    content = bytearray(gzip.compress(b"".join(lines_of([SMALL[0]] * 40)), mtime=0))
    content[len(content) // 2] ^= 0xFF
    assert "i.jsonl.gz" in refused(bytes(content), "i.jsonl.gz")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"size":5', b'"size":6'),
        (b'"digest":"sha256:x"', b'"digest":"sha256:y"'),
        (b'"updated":7', b'"updated":8'),
        (b'"name":"b"', b'"name":"z"'),
        (b'"listed_at":179', b'"listed_at":178'),
        (b"https://a", b"https://b"),
    ],
)
def test_an_altered_inventory_is_refused(refused, old, new):
    content = b"".join(LINES)
    assert old in content
    assert "was changed after it was saved" in refused(content.replace(old, new, 1))


@pytest.mark.parametrize("number", range(1, len(LINES) - 1))
def test_a_removed_or_repeated_line_is_refused(refused, number):
    assert refused([*LINES[:number], *LINES[number + 1 :]])
    assert refused([*LINES[: number + 1], *LINES[number:]])


def test_a_tag_outside_of_its_image_is_refused(refused):
    assert ":4: a tag outside of its image" in refused([*LINES[:3], LINES[6], *LINES[3:]])
    assert ":2: a tag outside of its image" in refused([LINES[0], *LINES[2:]])


def test_a_tag_that_cannot_be_is_refused(refused):
    assert ":3: '..' is not a tag name" in refused(
        [*LINES[:2], LINES[2].replace(b'"a"', b'".."'), *LINES[3:]]
    )


@pytest.mark.parametrize("version", [0, 2])
def test_another_version_is_refused(refused, version):
    header = json.dumps(json.loads(LINES[0]) | {"version": version}).encode() + b"\n"
    assert f"inventory version {version}, this program knows 1" in refused([header, *LINES[1:]])


@pytest.mark.parametrize("content", [b"", b"{}\n", b"hello\n", b"\xff\n", b"[]\n", LINES[1], LINES[-1]])
def test_something_else_is_refused(refused, content):
    assert "not " in refused(content)


def test_a_plan_is_no_inventory(refused):
    header = json.dumps(json.loads(LINES[0]) | {"format": "ncr-pruner.plan"}).encode() + b"\n"
    assert "not an inventory of pruner" in refused([header, *LINES[1:]])


def test_a_file_that_is_not_there_or_not_a_file(tmp_path):
    for target in (tmp_path / "missing", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            InventoryFile(target)


@pytest.mark.parametrize("more", [LINES[1], b"{}\n"])
def test_something_after_the_footer_is_refused(refused, more):
    assert refused([*LINES, more])


def test_an_inventory_of_many_registries_is_read(path):
    many = {
        f"registry-{number}": RegistryFacts("https://ncr.apigw.ntruss.com/ncr/api/v2")
        for number in range(1500)
    }
    assert len(InventoryFile(save(path, [], many)).header.registries) == 1500


class Reader:
    """A registry in memory."""

    def __init__(self, contents):
        self.contents = contents

    async def images(self, registry):
        return sorted(self.contents[registry])

    async def tags(self, registry, image, want):
        names = self.contents[registry].get(image)
        return None if names is None else [tag(image, name, registry, updated=1) for name in names]


def _policies(rules, targets):
    """Policies of two registries, of rules or explicit targets."""
    items = []
    for registry in ("acme", "beta"):
        if rules.get(registry):
            delete = [{"tags": ["*"]}]
            items.append(
                {"name": f"r-{registry}", "registry": registry, "images": rules[registry], "delete": delete}
            )
        if targets.get(registry):
            items.append({"name": f"t-{registry}", "registry": registry, "targets": targets[registry]})
    content = json.dumps({"version": 1, "policies": items}).encode()
    loaded = load_policies(["-"], io.BytesIO(content))
    return {name: RegistryPolicies(loaded.in_registry(name)) for name in loaded.registry_names}


SOME = st.sampled_from(["a", "b", "ci/a", "ci/b", "z"])
CONTENTS = st.dictionaries(SOME, st.lists(st.sampled_from(["1", "2"]), unique=True).map(sorted))
TARGETS = st.lists(SOME.map(lambda image: f"{image}:1"), max_size=3, unique=True)
RULES = st.sampled_from([None, ["**"], ["ci/**"], ["a", "z"]])


@settings(max_examples=60, deadline=None)
@given(CONTENTS, CONTENTS, RULES, RULES, TARGETS, TARGETS)
def test_replaying_is_what_a_live_listing_would_be(acme, beta, rules_a, rules_b, targets_a, targets_b):
    if not (rules_a or rules_b or targets_a or targets_b):
        return
    reader = Reader({"acme": acme, "beta": beta})
    readers = {"acme": reader, "beta": reader}
    policies = _policies({"acme": rules_a, "beta": rules_b}, {"acme": targets_a, "beta": targets_b})
    everything, live, replayed = [], [], []
    anyio.run(list_everything, readers, everything.append)
    anyio.run(list_images, readers, policies, live.append)
    with tempfile.TemporaryDirectory() as folder:
        replay(InventoryFile(save(Path(folder) / "i.jsonl", everything)), policies, replayed.append)
    assert replayed == live


def test_missing_explicit_images_are_replayed_in_order(path):
    policies = _policies({"beta": ["web"]}, {"acme": ["aaa:1", "app:a", "zzz:1"], "beta": ["a:1"]})
    found = []
    replay(InventoryFile(save(path)), policies, found.append)
    assert [(item.registry, item.image, item.tags is None) for item in found] == [
        ("acme", "aaa", True),
        ("acme", "app", False),
        ("acme", "zzz", True),
        ("beta", "a", True),
        ("beta", "web", False),
    ]


def test_a_registry_that_the_inventory_does_not_cover_is_an_error(path):
    save(path, [], {"acme": RegistryFacts("https://a")})
    with pytest.raises(InputError, match=r"does not cover registry 'beta' \(it covers acme\)"):
        replay(InventoryFile(path), _policies({"beta": ["**"]}, {}), lambda _: None)


def test_replaying_an_altered_inventory_is_an_error_at_the_end(path):
    content = b"".join(LINES).replace(b'"size":5', b'"size":6')
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    with pytest.raises(InputError, match="was changed after it was saved"):
        replay(InventoryFile(path), _policies({"acme": ["**"]}, {}), lambda _: None)


def test_the_emulator_serves_a_saved_inventory(path):
    save(path)
    with running_in_thread(EmulatorConfig(seed=str(path))) as emulator:
        assert set(emulator.store.registries) == {"acme", "beta"}
        assert sorted(emulator.store.tag_names("acme", "app")) == ["a", "b"]
        assert emulator.store.image("acme", "empty") is not None
        assert emulator.store.tag_names("beta", "web") == ["c"]


def test_saving_what_is_served_from_a_saved_inventory_saves_the_same(program, emulated, tmp_path):
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl.gz"
    done = program.at(emulated())("inventory", "-o", first)
    assert done.returncode == 0, done.stderr
    done = program.at(emulated(seed=str(first)))("inventory", "-o", second)
    assert done.returncode == 0, done.stderr
    one, two = (
        [
            (item.registry, item.image, [(t.name, t.digest, t.updated) for t in item.tags])
            for item in file.images()
        ]
        for file in map(InventoryFile, (first, second))
    )
    assert one == two


def test_a_policy_that_asks_for_manifests_is_refused_on_an_inventory_without(program, emulated, tmp_path):
    program = program.at(emulated())
    assert program("inventory", "acme", "-o", tmp_path / "i.jsonl").returncode == 0
    policy = tmp_path / "p.yaml"
    text = policy_text(delete="[{tags: ['*'], older_than: 30d}]")
    policy.write_text(text.replace("policies:", "registries:\n  acme: {graph: true}\npolicies:"))
    for command in (["plan"], ["explain", "--all"], ["forecast"]):
        done = program(*command, policy, "--inventory", tmp_path / "i.jsonl", PRUNER_ENDPOINT="")
        assert done.returncode == 2, done.stdout
        assert "'graph: true' of registry 'acme' reads manifests, which the inventory does not have" in (
            done.stderr
        )


def test_hosts_that_are_not_of_ncr_are_warned_of(program, tmp_path):
    policy = tmp_path / "p.yaml"
    other = "registries:\n  acme: {endpoint: 'https://a.example/x', v2_url: 'https://b.example'}\npolicies:"
    policy.write_text(policy_text().replace("policies:", other))
    done = program("check", policy)
    assert done.returncode == 0
    assert "requests of registry 'acme' go to https://a.example/x, which is not NCR" in done.stderr
    assert "v2_url of registry 'acme' is not a host of NCR" in done.stderr
    assert program("check", policy, "--strict").returncode == 1


def test_a_policy_decides_alike_on_an_inventory_and_live(program, emulated, tmp_path):
    program = program.at(emulated())
    policy = tmp_path / "p.yaml"
    policy.write_text(policy_text(delete="[{tags: ['*'], older_than: 30d}]"))
    assert program("inventory", "acme", "-o", tmp_path / "i.jsonl.gz").returncode == 0
    live = program("plan", policy, "--format", "csv")
    offline = program(
        "plan", policy, "--inventory", tmp_path / "i.jsonl.gz", "--format", "csv", PRUNER_ENDPOINT=""
    )
    assert offline.returncode == 0, offline.stderr
    assert offline.stdout == live.stdout
    assert offline.stdout.count("\n") > 10


# Bounds


def test_a_line_that_never_ends_is_refused_before_it_is_decompressed(refused):
    bomb = gzip.compress(lines_of()[0] + b" " * 50_000_000)
    assert len(bomb) < 100_000
    assert refused(bomb, "i.jsonl.gz").endswith("i.jsonl.gz:2: the line is too long for an inventory")


def test_what_decompresses_to_too_much_is_refused(refused, monkeypatch):
    monkeypatch.setattr(inventory_file, "MAX_BYTES", 500)
    lines = lines_of()
    empty = b'{"type":"image","registry":"acme","image":"a","tags":0}\n'
    bomb = gzip.compress(lines[0] + empty * 1000)
    assert refused(bomb, "i.jsonl.gz").endswith("larger than 0 GiB when decompressed")


def test_an_image_with_too_many_tags_is_refused_before_its_last(refused, monkeypatch):
    monkeypatch.setattr(inventory_file, "MAX_TAGS", 1)
    assert "i.jsonl:4: more than 1 tags of one image" in refused(lines_of(), "i.jsonl")


def test_the_bounds_are_those_that_are_documented():
    assert inventory_file.MAX_BYTES == 64 * 1024**3
    assert inventory_file.MAX_TAGS == 2_000_000
