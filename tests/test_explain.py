"""Explaining: it agrees with deciding, and shows where each rule stands and what was compared."""

import json

import pytest
from conftest import policy_text, seed
from hypothesis import given, settings
from hypothesis import strategies as st
from test_retention import (
    ALL,
    DAY,
    FLOORS,
    KEEPS,
    NAMES,
    NOW,
    RULES,
    SIGNATURES,
    TAGS_AND_SIGNATURES,
    A,
    attached,
    named,
    policies,
    rules,
    tag,
)

from pruner.model import ReasonKind
from pruner.policy.explain import explain_image
from pruner.policy.retention import decide


def explained(tags, *texts, wanted=None):
    return {
        item.target.partition(":")[2]: item for item in explain_image(tags, policies(*texts), NOW, wanted)
    }


@settings(max_examples=80, deadline=None)
@given(
    TAGS_AND_SIGNATURES,
    RULES,
    KEEPS,
    FLOORS,
    st.lists(st.sampled_from(NAMES + SIGNATURES), max_size=2, unique=True),
    st.lists(st.sampled_from(NAMES + SIGNATURES), max_size=2, unique=True),
)
def test_explaining_agrees_with_deciding(tags, delete, keep, floor, targets, holds):
    texts = [
        rules(*delete, keep=keep, limits={"keep_at_least": floor}, hold=[f"web:{name}" for name in holds])
    ]
    if not holds:
        del texts[0]["hold"]
    if targets:
        texts.append({"targets": [f"web:{name}" for name in targets]})
    found = policies(*texts)
    decisions = decide(tags, found, NOW)
    explanations = list(explain_image(tags, found, NOW))
    assert [item.target for item in explanations] == [str(decision.tag.target) for decision in decisions]
    for item, decision in zip(explanations, decisions, strict=True):
        reason = decision.reasons[0]
        assert item.action is decision.action
        assert (item.because, item.kind) == (reason.text, reason.kind)
        assert (item.policy, item.source) == (reason.policy, reason.source)
        assert item.change.strip()
        if item.rules and item.kind is ReasonKind.DELETE_RULE:
            assert any(rule.kind == "delete" and rule.selects == "yes" for rule in item.rules)
            assert not any(rule.kind == "keep" and rule.selects != "no" for rule in item.rules)
        if item.rules and item.kind is ReasonKind.KEEP_RULE:
            assert any(rule.kind == "keep" and rule.selects != "no" for rule in item.rules)
        if item.kind is ReasonKind.UNMATCHED and item.target.partition(":")[2] not in SIGNATURES:
            assert not any(rule.kind == "delete" and rule.selects != "no" for rule in item.rules)


@settings(max_examples=30, deadline=None)
@given(TAGS_AND_SIGNATURES, RULES, KEEPS, st.sets(st.sampled_from(NAMES + SIGNATURES)))
def test_those_wanted_are_explained_as_among_all(tags, delete, keep, wanted):
    everything = explained(tags, rules(*delete, keep=keep))
    some = explained(tags, rules(*delete, keep=keep), wanted=frozenset(wanted))
    assert some == {name: item for name, item in everything.items() if name in wanted}


def test_each_condition_shows_the_values_compared():
    tags = [tag("pr-1", 30, size=2000), tag("pr-2", 5), tag("v1.2.3", None)]
    rule = {"tags": ["pr-*"], "older_than": "14d", "larger_than": "1kB"}
    found = explained(tags, rules(rule, keep=[{"newest": 1}]))
    keep, delete = found["pr-1"].rules
    assert (keep.kind, keep.selects, delete.kind, delete.selects) == ("keep", "no", "delete", "yes")
    assert delete.source == "<stdin>:1"
    assert [(fact.condition, fact.holds) for fact in delete.conditions] == [
        ("tags pr-*", "yes"),
        ("older_than 14d", "yes"),
        ("larger_than 1kB", "yes"),
    ]
    because = [fact.because for fact in delete.conditions]
    assert because == ["'pr-1' matches", "last updated 2024-09-04, 30 days ago", "size is 2000 bytes"]
    assert keep.conditions[0].because == "between number 2 and 3 of 3, newest first"
    assert found["v1.2.3"].rules[1].conditions[1].because == "when it was last updated is not known"


@pytest.mark.parametrize(
    ("tags", "texts", "name", "change"),
    [
        (
            named("a", "b"),
            [rules({"tags": ["a"], "older_than": "9d"})],
            "b",
            "by <stdin>:1 if this held: tags a",
        ),
        (
            named("a", "b"),
            [rules({"tags": ["b"]}, keep=[{"tags": ["a"]}])],
            "a",
            "if this held: tags b, and no keep rule selected it (now: <stdin>:1)",
        ),
        (named("a"), [{"targets": ["web:b"]}], "a", "no policy has a delete rule for this image"),
        (
            named("a", "b"),
            [rules(ALL, keep=[{"tags": ["a"]}])],
            "a",
            "no keep rule selects it any more (now: <stdin>:1)",
        ),
        (named("a", "b"), [rules(ALL, hold=["web:a"])], "a", "only removing the hold"),
        (named("a", "b"), [rules(ALL)], "a", "a keep rule that selects it, or a hold"),
        (named("a", "b"), [{"targets": ["web:a"]}], "a", "taking it off the targets"),
        (named("a"), [{"delete": [ALL]}], "a", "a lower keep_at_least"),
        (
            [tag("a", digest=A), tag("b", digest=A)],
            [rules({"tags": ["a"]})],
            "a",
            "it goes when the other tag goes",
        ),
        (
            [tag("a", digest=None), tag("b")],
            [rules({"tags": ["a"]})],
            "a",
            "'shared_digest: delete' ignores it",
        ),
        ([tag("a", None), tag("b")], [rules(ALL)], "a", "a new push gives it a time"),
        ([tag("a"), tag("b")], [rules({"larger_than": "1kB"})], "a", "if this held: larger_than 1kB"),
        (
            [tag("a", digest=A), attached(A), tag("b")],
            [rules({"tags": ["a"]})],
            attached(A).name,
            "goes and stays with",
        ),
    ],
)
def test_what_would_change_it(tags, texts, name, change):
    assert change in explained(tags, *texts)[name].change


def test_the_delete_rule_that_lacks_the_least_is_named():
    rule_a = {"tags": ["x*"], "older_than": "90d", "larger_than": "1kB"}
    found = explained(
        [tag("xa", 30, size=5000), tag("b")], rules(rule_a, {"tags": ["b"], "older_than": "90d"})
    )
    assert found["xa"].change.endswith("if this held: older_than 90d")


def test_the_keep_rule_of_what_is_attached_is_named():
    tags = [tag("a", digest=A), attached(A), tag("b")]
    targets = {"targets": [f"web:{attached(A).name}"]}
    item = explained(tags, rules({"tags": ["a"]}, keep=[{"tags": ["*.sig"]}]), targets)[attached(A).name]
    assert item.kind is ReasonKind.KEEP_RULE
    assert "<stdin>:1" in item.change


def test_what_is_attached_is_not_said_to_be_without_rules():
    tags = [tag("a", digest=A), attached(A, days=None), tag("b")]
    item = explained(tags, rules({"tags": ["a"]}))[attached(A).name]
    assert item.kind is ReasonKind.UNKNOWN_AGE
    assert "no policy has a delete rule" not in item.change


# The command.


@pytest.fixture
def there(program, emulated):
    emulator = emulated(
        seed=seed({"web": [{"name": "pr-1", "age_days": 90}, {"name": "pr-2", "age_days": 1}, "main"]}),
        now_ms=NOW + DAY,
    )
    path = program.folder / "p.yaml"
    path.write_text(policy_text(delete="[{tags: ['pr-*'], older_than: 14d}]"))
    program = program.at(emulator)
    assert program("inventory", "-o", program.folder / "i.jsonl").returncode == 0
    return program, path, emulator


def test_the_text_names_file_and_line_and_the_values_compared(there):
    program, path, emulator = there
    offline = ("--inventory", program.folder / "i.jsonl", "--now", "2024-10-05")
    done = program("explain", path, "acme/web:pr-1", "acme/web:pr-2", *offline)
    assert done.returncode == 0, done.stderr
    assert f"acme/web:pr-1 goes: tags pr-*, older_than 14d ({path}:6)" in done.stdout
    assert "acme/web:pr-2 stays: no delete rule selects it" in done.stdout
    assert f"  delete rule {path}:6 (p) does not select it" in done.stdout
    assert "    yes     older_than 14d: last updated 2024-07-07, 90 days ago" in done.stdout
    assert f"what would change it: it would go by {path}:6 if this held: older_than 14d" in done.stdout
    assert "main" not in done.stdout
    assert emulator.counters.deleted == 0


def test_all_tags_as_json(there):
    program, path, _ = there
    done = program("explain", path, "--all", "--format", "json")
    items = {item["target"]: item for item in map(json.loads, done.stdout.splitlines())}
    assert set(items) == {"acme/web:main", "acme/web:pr-1", "acme/web:pr-2"}
    assert items["acme/web:pr-1"]["action"] == "delete"
    assert items["acme/web:pr-1"]["source"] == f"{path}:6"


def test_explaining_is_planning(there):
    program, path, _ = there
    offline = ("--inventory", program.folder / "i.jsonl", "--now", "2024-10-05", "--format", "json")
    items = map(json.loads, program("explain", path, "--all", *offline).stdout.splitlines())
    plan = json.loads(program("plan", path, *offline).stdout)
    planned = {f"acme/web:{entry['tag']}" for image in plan["images"] for entry in image["entries"]}
    assert {item["target"] for item in items if item["action"] == "delete"} == planned == {"acme/web:pr-1"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "explain what? Name tags as registry/image:tag, or say --all"),
        (("acme/web:nope",), "not there, or of an image that no policy concerns: acme/web:nope"),
        (("acme/other:a", "acme/web:main"), "acme/other:a"),
        (("acme/web",), "'acme/web' is not a reference"),
        (("missing.yaml", "acme/web:main"), "'missing.yaml' is not a reference"),
    ],
)
def test_what_cannot_be_explained_exits_2(there, arguments, said):
    program, path, _ = there
    done = program("explain", path, *arguments, "--inventory", program.folder / "i.jsonl")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
