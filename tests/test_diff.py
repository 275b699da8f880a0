"""Comparing plans: what newly goes and newly stays, as text and as Markdown that nothing can break."""

import re

import msgspec
import pytest
from conftest import policy_text, seed
from hypothesis import given, settings
from hypothesis import strategies as st
from test_plan_file import HEADER, entry, written

from pruner.plan.file import open_plan
from pruner.plan.records import RegistryFacts
from pruner.report.diff import Change, compare_plans, diff_markdown, diff_text, same_places
from pruner.report.markdown import MAX_ROWS


def plan(folder, name, going, header=HEADER, **more):
    images = [
        (image, [entry(image, tag, **more) for tag in sorted(tags)]) for image, tags in sorted(going.items())
    ]
    path = folder / name
    path.write_bytes(written(images, header))
    return open_plan(path)


@pytest.fixture
def diff(tmp_path):
    def changes(old, new):
        return list(compare_plans(plan(tmp_path, "old", old), plan(tmp_path, "new", new)))

    return changes


def shown(changes):
    return [(change.fate, f"{change.entry.image}:{change.entry.tag}") for change in changes]


def test_what_newly_goes_and_newly_stays(diff):
    old = {"app": ["a", "b"], "web": ["a"]}
    new = {"app": ["b", "c"], "new": ["a"]}
    assert shown(diff(old, new)) == [
        ("stays", "app:a"),
        ("goes", "app:c"),
        ("goes", "new:a"),
        ("stays", "web:a"),
    ]


def test_equal_plans_do_not_differ(diff):
    assert diff({"app": ["a"]}, {"app": ["a"]}) == []
    assert diff({}, {}) == []
    assert list(diff_text([])) == ["0 would newly go, 0 would newly stay"]


NAMES = st.sampled_from(["a", "b", "c", "Z", "_x", "1", "a.b", "a-b"])
IMAGES = st.sampled_from(["app", "app-a", "app/a", "app.a", "web"])
GOING = st.dictionaries(IMAGES, st.sets(NAMES, min_size=1))


@settings(max_examples=60, deadline=None)
@given(GOING, GOING)
def test_any_two_plans(tmp_path_factory, old, new):
    folder = tmp_path_factory.mktemp("plans")
    changes = list(compare_plans(plan(folder, "old", old), plan(folder, "new", new)))
    before = {(image, tag) for image, tags in old.items() for tag in tags}
    after = {(image, tag) for image, tags in new.items() for tag in tags}
    places = {
        fate: {(c.entry.image, c.entry.tag) for c in changes if c.fate == fate} for fate in ("goes", "stays")
    }
    assert places == {"goes": after - before, "stays": before - after}
    assert len(changes) == len(before ^ after)
    assert [c.entry.target for c in changes] == sorted(c.entry.target for c in changes)


def test_targets_that_are_not_there_are_no_difference(tmp_path):
    missing = plan(tmp_path, "new", {"app": ["a"]}, missing=True)
    assert list(compare_plans(plan(tmp_path, "old", {}), missing)) == []


def test_the_text_says_what_and_why(diff):
    assert list(diff_text(diff({"app": ["a"]}, {"app": ["b"]}))) == [
        "- acme/app:a  tags * (p.yaml:7)",
        "+ acme/app:b  tags * (p.yaml:7)",
        "1 would newly go, 1 would newly stay",
    ]


def change(**facts):
    return Change("goes", msgspec.structs.replace(entry("app", "a"), **facts))


@pytest.mark.parametrize(
    "text",
    [
        "a|b",
        "a\nb",
        "`x`",
        "<img src=x>",
        "[a](http://b)",
        "**bold**",
        "@someone",
        "a\\|b",
        "| --- |",
        "<!-- x",
    ],
)
def test_markdown_cannot_be_broken(text):
    found = diff_markdown([change(reason=text, source=f"{text}.yaml:1")])
    lines = found.splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    assert len(rows) == 1
    assert len(lines) == 6
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", rows[0])) == 4
    assert "<" not in found
    assert not re.search(r"(?<!\\)[*\[]", rows[0])


def test_markdown_has_a_bounded_length():
    changes = [change(tag=f"t{n}", reason="x" * 240) for n in range(5000)]
    changes += [Change("stays", item.entry) for item in changes]
    found = diff_markdown(changes)
    assert found.startswith("## pruner diff: 5000 would newly go, 5000 would newly stay\n")
    assert found.count("\n| `") == 2 * MAX_ROWS
    assert found.count("… and 4,950 more.") == 2
    assert len(found) < 60_000


def test_markdown_without_differences():
    assert diff_markdown([]) == "## pruner diff: 0 would newly go, 0 would newly stay\n\n"


@pytest.mark.parametrize(
    ("registries", "same"),
    [
        ({"acme": RegistryFacts("https://a")}, True),
        ({"acme": RegistryFacts("https://a", "KR", "work")}, True),
        ({"acme": RegistryFacts("https://b")}, False),
        ({"other": RegistryFacts("https://a")}, True),
        ({"acme": RegistryFacts("https://a"), "other": RegistryFacts("https://a")}, True),
        ({}, True),
    ],
)
def test_plans_of_different_registries(tmp_path, registries, same):
    other = plan(tmp_path, "new", {}, msgspec.structs.replace(HEADER, registries=registries))
    assert same_places(plan(tmp_path, "old", {}), other) is same
    assert same_places(other, plan(tmp_path, "old", {})) is same


# The command.


@pytest.fixture
def offline(program, emulated):
    """A program without a network and a saved inventory."""
    online = program.at(emulated(seed=seed({"web": ["pr-1", "pr-2", "main", "v1"]})))
    assert online("inventory", "-o", program.folder / "i.jsonl").returncode == 0
    for name, globs in (("a", "pr-*"), ("b", "*1")):
        text = policy_text(delete=f"[{{tags: ['{globs}'], older_than: 1d}}]")
        (program.folder / f"{name}.yaml").write_text(text)
    return program


def test_two_policies_over_an_inventory(offline):
    done = offline("diff", "a.yaml", "b.yaml", "--inventory", "i.jsonl")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "- acme/web:pr-2  tags pr-*, older_than 1d (a.yaml:6)",
        "+ acme/web:v1  tags *1, older_than 1d (b.yaml:6)",
        "1 would newly go, 1 would newly stay",
    ]


def test_two_plans_and_a_policy_with_a_plan(offline):
    for name in "ab":
        assert offline("plan", f"{name}.yaml", "--inventory", "i.jsonl", "-o", f"{name}.plan").returncode == 0
    done = offline("diff", "a.plan", "b.plan")
    assert done.returncode == 0, done.stderr
    assert done.stdout == offline("diff", "a.yaml", "b.plan", "--inventory", "i.jsonl").stdout
    assert "1 would newly go, 1 would newly stay" in done.stdout
    markdown = offline("diff", "a.plan", "b.plan", "--format", "markdown").stdout
    assert "| `acme/web:v1` | tags \\*1, older\\_than 1d | b.yaml:6 |" in markdown


def test_an_edited_plan_is_compared_as_edited(offline):
    assert offline("plan", "a.yaml", "--inventory", "i.jsonl", "-o", "a.plan").returncode == 0
    lines = (offline.folder / "a.plan").read_text().splitlines(keepends=True)
    edited = [line for line in lines if '"tag":"pr-1"' not in line]
    (offline.folder / "edited.plan").write_text("".join(edited))
    done = offline("diff", "a.plan", "edited.plan")
    assert done.stdout.splitlines()[0].startswith("- acme/web:pr-1  ")


def test_different_registries_are_refused(offline):
    (offline.folder / "a.plan").write_bytes(written([]))
    header = msgspec.structs.replace(HEADER, registries={"acme": RegistryFacts("https://b")})
    (offline.folder / "b.plan").write_bytes(written([], header))
    done = offline("diff", "a.plan", "b.plan")
    assert done.returncode == 2
    assert "a.plan and b.plan are about registries at different endpoints" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a.yaml", "b.yaml"), "give --inventory FILE"),
        (("nope.yaml", "b.yaml", "--inventory", "i.jsonl"), "nope.yaml: cannot be read"),
        (("a.yaml", "b.yaml", "--inventory", "nope"), "nope: cannot be read"),
    ],
)
def test_what_cannot_be_compared_exits_2(offline, arguments, said):
    done = offline("diff", *arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_an_altered_plan_is_refused(offline):
    content = written([("app", [entry("app", "a")])])
    (offline.folder / "a.plan").write_bytes(content)
    (offline.folder / "b.plan").write_bytes(content.replace(b'"tag":"a"', b'"tag":"b"'))
    done = offline("diff", "a.plan", "b.plan")
    assert done.returncode == 2
    assert "was added or altered" in done.stderr
