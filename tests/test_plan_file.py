"""Plan files: what is written is what is read, and whatever was done to a file in between is noticed."""

import io
import json
import re
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruner.errors import RefusedError
from pruner.model import ReasonKind, Tag, Target
from pruner.plan.build import PlanBuilder, PlanRequest
from pruner.plan.file import PlanError, PlanWriter, _signed, edits_text, open_plan
from pruner.plan.guards import Guards
from pruner.plan.inventory import ImageListing
from pruner.plan.records import FORMAT, VERSION, Entry, Footer, Header, ImageRecord, KeptTarget, RegistryFacts
from pruner.policy.image_policies import RegistryPolicies
from pruner.policy.loader import load_policies

DAY = 86_400_000
NOW = 20_000 * DAY
HEADER = Header(
    format=FORMAT,
    version=VERSION,
    tool="1.0",
    policy_fingerprint="f" * 64,
    policy_files=("p.yaml",),
    registries={"acme": RegistryFacts("https://a")},
    listed_at=NOW,
    decided_at=NOW,
    guards={},
)


def entry(image, name, **more):
    return Entry(0, "acme", image, name, "p", "p.yaml:7", ReasonKind.DELETE_RULE, "tags *", **more)


def written(images, header=HEADER, kept=()):
    """The bytes of a plan with so many entries of each image."""
    file = io.BytesIO()
    writer = PlanWriter(file, header)
    for record in kept:
        writer.kept(record)
    for image, entries in images:
        writer.listed(len(entries) + 1)
        writer.image(ImageRecord("acme", image, len(entries) + 1, len(entries), 7))
        for item in entries:
            writer.entry(item)
    writer.finish()
    return file.getvalue()


SMALL = written(
    [
        ("app", [entry("app", "a", digest="sha256:x"), entry("app", "b")]),
        ("web", [entry("web", "c", size=5)]),
    ],
    kept=[KeptTarget("acme", "app", "z", "hold app:z (p.yaml:9)")],
)
LINES = SMALL.splitlines(keepends=True)
FIRST, SECOND, THIRD = 3, 4, 6
"""Where the three deletions of the small plan stand, after header, kept target and the image."""


@pytest.fixture
def read(tmp_path):
    def opened(content, **options):
        path = tmp_path / "plan.jsonl"
        path.write_bytes(content if isinstance(content, bytes) else b"".join(content))
        return open_plan(path, **options)

    return opened


@pytest.fixture
def refused(read):
    """The message of a refusal, which allowing edits does not change."""

    def message(content, *, even_edited=True):
        with pytest.raises(PlanError) as caught:
            read(content)
        if even_edited:
            with pytest.raises(PlanError):
                read(content, allow_edited=True)
        return str(caught.value)

    return message


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.none() | st.integers(0, 2**53)
ENTRIES = st.builds(
    Entry,
    st.just(0),
    st.just("acme"),
    st.just("app"),
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    TEXT,
    TEXT,
    st.sampled_from(ReasonKind),
    TEXT,
    st.none() | TEXT,
    NUMBERS,
    NUMBERS,
    NUMBERS,
    st.booleans(),
    st.booleans(),
)
IMAGE_NAMES = st.from_regex(r"[a-z0-9]{1,5}(/[a-z0-9]{1,5})?", fullmatch=True)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(IMAGE_NAMES, st.lists(ENTRIES, min_size=1, max_size=4), max_size=4), TEXT)
def test_what_is_written_is_read(images, reason):
    placed = [
        (image, [msgspec.structs.replace(item, image=image) for item in entries])
        for image, entries in sorted(images.items())
    ]
    kept = [KeptTarget("acme", "app", name, reason) for name in ("y", "z")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.jsonl"
        path.write_bytes(written(placed, kept=kept))
        plan = open_plan(path)
        assert plan.header == HEADER
        found = list(plan.images())
        assert [record.image for record, _ in found] == sorted(images)
        plain = [[msgspec.structs.replace(item, seq=0, check="") for item in items] for _, items in found]
        assert plain == [entries for _, entries in placed]
        numbers = [item.seq for _, items in found for item in items]
        assert numbers == list(range(1, len(numbers) + 1))
        assert [msgspec.structs.replace(item, check="") for item in plan.kept_targets()] == kept
        assert plan.entries_left == plan.footer.entries == len(numbers)
        assert plan.edits.removed == ()


def test_the_footer_counts(read):
    footer = read(SMALL).footer
    assert (footer.entries, footer.images, footer.images_listed, footer.tags_listed) == (3, 2, 2, 5)
    assert (footer.bytes, footer.kept_targets) == (14, 1)


def test_a_plan_without_deletions(read):
    assert list(read(written([])).images()) == []


@pytest.mark.parametrize("lines", range(1, len(LINES)))
def test_a_plan_that_ends_at_a_line_is_refused(refused, lines):
    assert "breaks off (no footer)" in refused(LINES[:lines])


@pytest.mark.parametrize("number", range(len(LINES)))
@pytest.mark.parametrize("part", [1, 0.5, -1], ids=["first byte", "half", "all but the line end"])
def test_a_plan_that_ends_in_a_line_is_refused(refused, number, part):
    line = LINES[number]
    cut = len(line) // 2 if part == 0.5 else part
    assert "breaks off in the middle of a line" in refused([*LINES[:number], line[:cut]])


def test_an_empty_file_is_refused(refused):
    assert ":1: not a plan of pruner" in refused(b"")


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"tag":"b"', b'"tag":"z"'), (b'"seq":2', b'"seq":9'), (b'"image":"app"', b'"image":"web"')],
)
def test_an_altered_deletion_is_refused(refused, old, new):
    altered = LINES[SECOND].replace(old, new)
    assert altered != LINES[SECOND]
    text = refused([*LINES[:SECOND], altered, *LINES[SECOND + 1 :]])
    assert re.search(rf":{SECOND + 1}: 'acme/\w+:\w' was added or altered; lines may only be removed$", text)


def test_an_altered_digest_or_reason_is_refused(refused):
    for old, new in ((b"sha256:x", b"sha256:y"), (b"tags *", b"tags a"), (b"p.yaml:7", b"p.yaml:8")):
        assert "was added or altered" in refused(SMALL.replace(old, new, 1))


def test_a_deletion_of_another_plan_is_refused(refused):
    other = written([("app", [entry("app", "x")])], msgspec.structs.replace(HEADER, listed_at=1)).splitlines(
        True
    )
    assert "was added or altered" in refused([*LINES[:FIRST], other[2], *LINES[FIRST:]])


def test_a_deletion_that_stands_twice_is_refused(refused):
    text = refused([*LINES[: FIRST + 1], LINES[FIRST], *LINES[FIRST + 1 :]])
    assert f":{FIRST + 2}: this line stands twice or in another place" in text


def test_deletions_in_another_order_are_refused(refused):
    lines = [*LINES[:FIRST], LINES[SECOND], LINES[FIRST], *LINES[SECOND + 1 :]]
    assert "stands twice or in another place" in refused(lines)


def test_a_deletion_under_another_image_is_refused(refused):
    assert "does not belong to the image above it" in refused([*LINES[: THIRD - 1], *LINES[THIRD:]])
    assert "does not belong to the image above it" in refused([LINES[0], *LINES[FIRST:]])


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ({FIRST}, "1 removed: number 1"),
        ({SECOND}, "1 removed: number 2"),
        ({THIRD}, "1 removed: number 3"),
        ({FIRST, THIRD}, "2 removed: number 1, 3"),
        ({SECOND, THIRD}, "2 removed: number 2 to 3"),
        ({FIRST, SECOND, THIRD}, "3 removed: number 1 to 3"),
    ],
)
def test_removed_deletions_are_refused_unless_allowed(read, refused, out, said):
    numbers = {FIRST: 1, SECOND: 2, THIRD: 3}
    removed = {numbers[line] for line in out}
    lines = [line for number, line in enumerate(LINES) if number not in out]
    text = refused(lines, even_edited=False)
    assert f" ({said}); write it anew" in text
    assert "--allow-edited" in text
    plan = read(lines, allow_edited=True)
    assert edits_text(plan.edits) == said
    assert {seq for gone in plan.edits.removed for seq in gone} == removed
    assert plan.edits.count == len(removed)
    assert plan.entries_left == 3 - len(removed)
    left = [item.seq for _, entries in plan.images() for item in entries]
    assert left == [number for number in (1, 2, 3) if number not in removed]


def test_an_image_removed_with_its_deletions(read):
    plan = read([*LINES[:2], *LINES[5:]], allow_edited=True)
    assert [(record.image, len(entries)) for record, entries in plan.images()] == [("web", 1)]


def test_an_image_that_deletions_were_removed_from_is_named(read):
    for out, expected in (
        ({SECOND}, [("app", 1)]),
        ({THIRD}, [("web", 0)]),
        ({3, 4, 6}, [("app", 0), ("web", 0)]),
        (set(), []),
    ):
        plan = read([line for number, line in enumerate(LINES) if number not in out], allow_edited=True)
        assert [(record.image, left) for record, left in plan.edited_images()] == expected


def test_deletions_removed_with_the_line_of_their_image_are_counted(read):
    plan = read([*LINES[:2], *LINES[5:]], allow_edited=True)
    assert list(plan.edited_images()) == []
    assert edits_text(plan.edits) == "2 removed: number 1 to 2"


def test_many_removed_deletions_are_folded(read, refused):
    lines = written([("app", [entry("app", f"t{n}") for n in range(30)])]).splitlines(keepends=True)
    text = refused([*lines[:2], *lines[2:-1:2], lines[-1]], even_edited=False)
    assert "(15 removed: number 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, …)" in text
    assert read([*lines[:2], lines[-1]], allow_edited=True).edits.removed == (range(1, 31),)


def test_a_removed_image_or_kept_line_alone_is_noticed(refused, read):
    for out in (1, 5):
        lines = [line for number, line in enumerate(LINES) if number not in ({out, 6} if out == 5 else {out})]
        assert "was changed after it was written" in refused(lines, even_edited=False)
        assert read(lines, allow_edited=True).entries_left in (2, 3)


@pytest.mark.parametrize(
    "content",
    [
        SMALL.replace(b'"tags":3', b'"tags":900', 1),
        b"".join([*LINES[:SECOND], LINES[2], *LINES[SECOND:]]),
        b"".join([*LINES[:2], LINES[1], *LINES[2:]]),
        SMALL.replace(b"hold app:z", b"hold app:y", 1),
        SMALL.replace(b'"tags_listed":5', b'"tags_listed":50', 1),
    ],
    ids=["image altered", "image twice", "kept twice", "kept altered", "footer altered"],
)
def test_altered_and_added_records_are_refused_however_edited(refused, content):
    assert "lines may only be removed" in refused(content)


@pytest.mark.parametrize(
    "content",
    [b"{}\n", b"[]\n", b"null\n", b'"plan"\n', b"\n", b"hello\n", b"\xff\xfe\n", b'{"type":"elephant"}\n'],
)
def test_something_else_is_refused(refused, content):
    assert ":1: not a " in refused(content)
    assert f":{SECOND + 1}: not a line of a plan" in refused([*LINES[:SECOND], content, *LINES[SECOND:]])


def test_a_journal_or_a_plan_of_another_program_is_refused(refused):
    other = json.loads(LINES[0]) | {"format": "terraform.plan"}
    assert ":1: not a plan of pruner" in refused([json.dumps(other).encode() + b"\n", *LINES[1:]])


@pytest.mark.parametrize("version", [0, 2])
def test_another_version_is_refused(refused, version):
    text = refused(written([], msgspec.structs.replace(HEADER, version=version)))
    assert f"plan version {version}; this program knows version 1" in text


def test_a_plan_without_its_header_is_refused(refused):
    assert ":1: not a plan of pruner" in refused(LINES[1:])


def test_another_header_unbinds_the_deletions(refused):
    text = refused(SMALL.replace(b'"listed_at":', b'"listed_at":1', 1))
    assert "was added or altered" in text


def test_a_second_header_is_refused(refused):
    assert ":3: a second header" in refused([*LINES[:2], LINES[0], *LINES[2:]])


@pytest.mark.parametrize("more", [LINES[-1], LINES[FIRST], LINES[0]])
def test_something_after_the_footer_is_refused(refused, more):
    assert f":{len(LINES) + 1}: something stands after the footer" in refused(SMALL + more)


@pytest.mark.parametrize("number", [0, SECOND, len(LINES) - 1])
def test_a_long_line_is_refused(refused, number):
    long = LINES[number].rstrip(b"}\n") + b" " * 1_050_000 + b"}\n"
    assert f":{number + 1}: the line is too long for a plan" in refused([*LINES[:number], long])


def _forged(**changes):
    """The small plan with one deletion altered and every check and digest computed again."""
    plain = msgspec.structs.replace(msgspec.json.decode(LINES[FIRST], type=Entry), check="", **changes)
    signed = _signed(LINES[0], plain)
    return [*LINES[:FIRST], msgspec.json.encode(signed) + b"\n", *LINES[FIRST + 1 :]]


@pytest.mark.parametrize("name", ["..", "", "a/b", "a%2Fb", "a\r\nb", "a?b", "x" * 129])
def test_a_name_that_cannot_be_is_refused_even_with_its_check(refused, name):
    assert f":{FIRST + 1}: " in refused(_forged(tag=name))
    assert "is not a tag name" in refused(_forged(tag=name))


def test_an_image_that_cannot_be_is_refused_even_with_its_check(refused):
    lines = _forged(image="../app")
    record = msgspec.structs.replace(msgspec.json.decode(LINES[2], type=ImageRecord), image="../app")
    lines[2] = msgspec.json.encode(_signed(LINES[0], record)) + b"\n"
    assert "is not an image name" in refused(lines)


def test_a_file_that_is_not_there_or_not_a_file(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(PlanError, match="cannot be read"):
            open_plan(path)


def test_a_footer_that_counts_too_many_is_refused(refused):
    assert "this footer was added or altered" in refused(
        SMALL.replace(b'"entries":3', b'"entries":1000000000000')
    )


def test_a_signed_footer_that_counts_too_many_costs_no_memory(read):
    footer = msgspec.structs.replace(msgspec.json.decode(LINES[-1], type=Footer), entries=10**12)
    lines = [*LINES[:-1], msgspec.json.encode(_signed(LINES[0], footer)) + b"\n"]
    assert read(lines, allow_edited=True).edits.removed == (range(4, 10**12 + 1),)


def test_a_signed_footer_that_counts_too_few_is_refused(refused):
    footer = msgspec.structs.replace(msgspec.json.decode(LINES[-1], type=Footer), entries=2)
    lines = [*LINES[:-1], msgspec.json.encode(_signed(LINES[0], footer)) + b"\n"]
    assert "more deletions than the footer counts" in refused(lines)


def test_a_plan_of_many_policy_files_is_read(read):
    files = tuple(f"policies/team-{number}/retention-of-images.yaml" for number in range(1500))
    assert read(written([], msgspec.structs.replace(HEADER, policy_files=files))).header.policy_files == files


# Building.


def tag(name, days=30, digest=None, image="app", size=10):
    return Tag(Target("acme", image, name), digest or f"sha256:{name}", size, None, NOW - days * DAY)


def built(listings, *items, guards=None):
    """The records of the plan that listings and policies make, and its bytes."""
    content = json.dumps({"version": 1, "policies": list(items)}).encode()
    policies = load_policies(["-"], io.BytesIO(content))
    request = PlanRequest(policies, HEADER.registries, guards or Guards(), listed_at=NOW - 1, now=lambda: NOW)
    file = io.BytesIO()
    builder = PlanBuilder(request, {"acme": RegistryPolicies(policies.policies)}, file)
    for listing in listings:
        builder.take(listing)
    builder.finish()
    kinds = Header | ImageRecord | Entry | KeptTarget | Footer
    return [msgspec.json.decode(line, type=kinds) for line in file.getvalue().splitlines()], file.getvalue()


RULES = {
    "name": "r",
    "registry": "acme",
    "images": ["**"],
    "delete": [{"tags": ["pr-*"], "older_than": "14d"}],
}


def targets(*names, **more):
    return {"name": "t", "registry": "acme", "targets": list(names), **more}


def of(records, kind):
    return [record for record in records if isinstance(record, kind)]


def test_a_plan_says_what_goes_and_why():
    tags = [tag("pr-2", size=5), tag("main"), tag("pr-1")]
    records, _ = built([ImageListing("acme", "app", tags)], RULES)
    header, image, first, second, footer = records
    assert (header.format, header.version, header.policy_files) == (FORMAT, VERSION, ("<stdin>",))
    assert msgspec.structs.replace(image, check="") == ImageRecord("acme", "app", 3, 2, 15, keep_at_least=1)
    assert [(first.seq, first.tag), (second.seq, second.tag)] == [(1, "pr-1"), (2, "pr-2")]
    assert (first.policy, first.kind, first.reason) == (
        "r",
        ReasonKind.DELETE_RULE,
        "tags pr-*, older_than 14d",
    )
    assert (first.digest, first.size, first.updated) == ("sha256:pr-1", 10, NOW - 30 * DAY)
    assert (footer.entries, footer.images, footer.bytes, footer.kept_targets) == (2, 1, 15, 0)


def test_images_that_nothing_leaves_are_counted_and_not_written():
    listings = [ImageListing("acme", name, [tag("main", image=name)]) for name in ("a", "b")]
    records, _ = built([*listings, ImageListing("acme", "c", [])], RULES)
    assert of(records, ImageRecord) == []
    assert (records[-1].images_listed, records[-1].tags_listed, records[-1].images) == (3, 2, 0)


def test_the_targets_of_a_missing_image_stay_in_the_plan():
    records, _ = built([ImageListing("acme", "app", None)], targets("app:b", "app:a"))
    [image] = of(records, ImageRecord)
    assert msgspec.structs.replace(image, check="") == ImageRecord("acme", "app", 0, 2, 0, True)
    entries = of(records, Entry)
    assert [(item.tag, item.missing, item.digest) for item in entries] == [
        ("a", True, None),
        ("b", True, None),
    ]
    assert entries[0].reason == "explicit target, no such image"
    assert (records[-1].entries, records[-1].tags_listed) == (2, 0)


def test_missing_targets_stand_among_the_others_in_order():
    records, _ = built(
        [ImageListing("acme", "app", [tag("b"), tag("x")])], targets("app:c", "app:b", "app:a")
    )
    found = [(item.tag, item.missing) for item in of(records, Entry)]
    assert found == [("a", True), ("b", False), ("c", True)]
    assert of(records, Entry)[0].reason == "explicit target, not there"
    assert of(records, ImageRecord)[0].entries == 3


def test_targets_that_stay_are_recorded_with_the_reason():
    policy = targets("app:a", "app:b", hold=["app:a"])
    records, _ = built([ImageListing("acme", "app", [tag("a"), tag("b"), tag("c")])], policy)
    [kept] = of(records, KeptTarget)
    assert (kept.registry, kept.image, kept.tag, kept.reason) == (
        "acme",
        "app",
        "a",
        "hold app:a (<stdin>:1)",
    )
    assert [item.tag for item in of(records, Entry)] == ["b"]
    assert records[-1].kept_targets == 1


def test_targets_that_all_stay_need_no_image():
    records, _ = built([ImageListing("acme", "app", [tag("a")])], targets("app:a", hold=["app:a"]))
    assert of(records, ImageRecord) == []
    assert len(of(records, KeptTarget)) == 1


def test_delete_shared_is_written():
    tags = [tag("a", digest="sha256:x"), tag("b", digest="sha256:x")]
    records, _ = built([ImageListing("acme", "app", tags)], targets("app:a", shared_digest="delete"))
    assert of(records, Entry)[0].delete_shared


@settings(max_examples=30, deadline=None)
@given(st.permutations([tag(f"pr-{n}", days=20 + n % 3) for n in range(6)] + [tag("z")]))
def test_the_order_of_the_tags_does_not_change_a_byte(tags):
    _, content = built([ImageListing("acme", "app", tags)], RULES, targets("app:z", "app:y"))
    _, again = built([ImageListing("acme", "app", sorted(tags, key=str))], RULES, targets("app:z", "app:y"))
    assert content == again


def test_a_guard_refuses_the_plan_and_no_footer_is_written():
    with pytest.raises(RefusedError, match="2 deletions in all, --max-deletions allows 1"):
        built([ImageListing("acme", "app", [tag("pr-1"), tag("pr-2"), tag("x")])], RULES, guards=Guards(1))


def test_missing_targets_do_not_count_for_guards():
    listing = ImageListing("acme", "app", [tag("a"), tag("x")])
    records, _ = built([listing], targets("app:a", "app:b", "app:c"), guards=Guards(max_deletions=1))
    assert records[-1].entries == 3


def test_guards_are_described_in_the_header():
    records, _ = built([], RULES, guards=Guards(5, 0.5))
    assert (records[0].listed_at, records[0].decided_at) == (NOW - 1, NOW)
    assert records[0].guards == {"max_deletions": 5, "max_share": 0.5}
