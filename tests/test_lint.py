"""Warnings about policies: each where it belongs, and none where the policy is right."""

import io
from pathlib import Path

import pytest

from pruner.app.planning import indexed
from pruner.model import Tag, Target
from pruner.policy.lint import InventoryLint
from pruner.policy.loader import load_policies

POLICIES = Path(__file__).parent.parent / "policies"
DAY = 86_400_000
NOW = 20_000 * DAY


def load(text):
    return load_policies(["-"], io.BytesIO(text.encode()))


def policy(*delete, keep=(), name="p", images="**"):
    """A policy file; the first delete rule stands on line 7, the first keep rule after the last of them."""
    lines = ["version: 1", "policies:", *_policy(delete, keep, name, images)]
    return "\n".join(lines) + "\n"


def _policy(delete, keep, name, images):
    lines = [f"  - name: {name}", "    registry: acme", f"    images: ['{images}']", "    delete:"]
    lines += [f"      - {{{rule}}}" for rule in delete]
    if keep:
        lines += ["    keep:", *(f"      - {{{rule}}}" for rule in keep)]
    return lines


def warnings(text):
    return list(load(text).warnings)


OLD = "older_than: 14d"


@pytest.mark.parametrize(
    "rule",
    [
        "tags: ['pr-*'], newest: 3",
        "semver: {newest: 2}",
        "older_than: 14d, any: [{newest: 3}, {tags: [a]}]",
        "all: [{newest: 3}, {older_than: 14d}]",
    ],
)
def test_a_delete_rule_that_takes_the_newest(rule):
    [warning] = warnings(policy(rule))
    assert warning.startswith("<stdin>:7: this delete rule takes the newest tags and leaves the older ones")


def test_a_delete_rule_that_leaves_the_newest():
    assert warnings(policy("tags: ['pr-*'], not: {newest: 3}")) == []


@pytest.mark.parametrize(
    "rule",
    [
        "tags: ['pr-*']",
        "semver: {range: '<2'}",
        "newer_than: 1d",
        "pulled_within: 1d",
        "tags: ['*'], not: {tags: [latest]}",
        "any: [{older_than: 1d}, {tags: [a]}]",
        "all: [{tags: [a]}, {tags: ['?']}]",
    ],
)
def test_a_delete_rule_that_takes_new_tags(rule):
    [warning] = warnings(policy(rule))
    assert warning.startswith("<stdin>:7: this delete rule has no age or count condition")


@pytest.mark.parametrize(
    "rule",
    [
        OLD,
        "not_pulled_for: 14d",
        "tags: ['*'], not: {newest: 5}",
        "tags: ['*'], not: {newer_than: 14d}",
        "larger_than: 1GB",
        "digest_shared_with: [latest]",
        "any: [{older_than: 1d}, {not_pulled_for: 1d, tags: [a]}]",
        "all: [{tags: [a]}, {older_than: 1d}]",
        "all: [{any: [{older_than: 1d}, {larger_than: 1GB}]}]",
    ],
)
def test_a_delete_rule_with_an_age_or_a_count(rule):
    assert warnings(policy(rule)) == []


@pytest.mark.parametrize("keep", ["tags: ['pr-*'], newest: 10", "newest: 10", "semver: {newest: 10}"])
def test_a_keep_rule_of_the_newest_is_what_the_warning_asks_for(keep):
    assert warnings(policy("tags: ['pr-*']", keep=[keep])) == []


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("older_than: 14d, newer_than: 14d", "no tag is both older_than and newer_than these"),
        ("older_than: 3w, newer_than: 14d", "no tag is both older_than and newer_than these"),
        (
            "not_pulled_for: 2d, pulled_within: 1d, older_than: 1d",
            "no tag is both pulled_within and not_pulled",
        ),
        (
            "not_pulled_for: 1d, pulled_within: 24h, older_than: 1d",
            "no tag is both pulled_within and not_pulled",
        ),
    ],
)
def test_a_rule_that_never_matches(rule, said):
    [warning] = warnings(policy(rule))
    assert warning.startswith(f"<stdin>:7: {said}")


@pytest.mark.parametrize(
    "rule", ["older_than: 13d, newer_than: 14d", "not_pulled_for: 1d, pulled_within: 2d"]
)
def test_a_rule_of_a_window_matches(rule):
    assert warnings(policy(rule)) == []


def test_rules_inside_rules_are_looked_at():
    never = "{older_than: 2d, newer_than: 1d}"
    for rule in (f"any: [{never}, {{{OLD}}}]", f"all: [{never}]", f"not: {never}, {OLD}"):
        assert "older_than and newer_than" in warnings(policy(rule))[0]


@pytest.mark.parametrize("regex", ["^pr-.*", "pr-.*$", "^pr$"])
def test_a_regular_expression_with_anchors(regex):
    [warning] = warnings(policy(f"tags: {{regex: '{regex}'}}, {OLD}"))
    assert warning.startswith(f"<stdin>:7: '{regex}': an expression always matches the whole name")


@pytest.mark.parametrize("regex", ["pr-*", "v1*"])
def test_a_regular_expression_that_is_a_glob(regex):
    [warning] = warnings(policy(f"tags: {{regex: '{regex}'}}, {OLD}"))
    assert f"'{regex}' looks like a glob; write tags: ['{regex}']" in warning


@pytest.mark.parametrize("regex", ["pr-.*", "pr-[0-9]*", r"a\$", "(a)*", "v+", "pr|x*", "a{2}", "a*b"])
def test_a_regular_expression_that_is_one(regex):
    assert warnings(policy(f"tags: {{regex: '{regex}'}}, {OLD}")) == []


@pytest.mark.parametrize("glob", ["pr-.+", ".*", ".*-rc", "v{1,2}", "(a|b)", "ci/pr-*", r"v\d", "a b", "a:b"])
def test_a_glob_that_no_tag_can_match(glob):
    [warning] = warnings(policy(f"tags: ['{glob}'], {OLD}"))
    assert f"no tag can match '{glob}'" in warning


@pytest.mark.parametrize(
    "glob", ["*", "pr-*", "!pr-1*", "[!a]*", "[^a]*", "v[0-9].*", "*.*", "_x", "A-Z", "??"]
)
def test_a_glob_that_tags_can_match(glob):
    assert warnings(policy(f"tags: ['{glob}'], {OLD}")) == []


def test_a_keep_rule_for_names_that_nothing_selects():
    [warning] = warnings(policy(f"tags: ['pr-*'], {OLD}", keep=["tags: [prod, live]"]))
    assert warning.startswith(
        "<stdin>:9: no delete rule here selects prod, live; the keep rule protects nothing"
    )


@pytest.mark.parametrize(
    ("delete", "keep"),
    [
        (f"tags: ['pr-*'], {OLD}", "tags: [pr-1]"),
        (f"tags: ['pr-*'], {OLD}", "tags: [prod, pr-1]"),
        (f"tags: ['pr-*'], {OLD}", "tags: ['prod*']"),
        (f"tags: ['pr-*'], {OLD}", "tags: [latest]"),
        (f"tags: ['pr-*'], {OLD}", "tags: {regex: prod}"),
        (f"tags: ['pr-*'], {OLD}", "newest: 5"),
        (f"tags: {{regex: 'p.*'}}, {OLD}", "tags: [prod]"),
        (OLD, "tags: [prod]"),
        (f"any: [{{tags: ['p*']}}, {{tags: [x]}}], {OLD}", "tags: [prod]"),
    ],
)
def test_a_keep_rule_that_may_protect(delete, keep):
    assert warnings(policy(delete, keep=[keep])) == []


def test_a_keep_rule_that_protects_from_another_policy():
    other = "\n".join(_policy([OLD], (), "other", "**"))
    assert warnings(policy(f"tags: ['pr-*'], {OLD}", keep=["tags: [prod]"]) + other + "\n") == []


def test_a_rule_that_stands_twice():
    [warning] = warnings(policy(OLD, "tags: [a], older_than: 1d", "older_than: 2w"))
    assert warning == "<stdin>:9: the same rule stands at <stdin>:7; remove one"
    assert len(warnings(policy(OLD, OLD, OLD))) == 2
    assert warnings(policy(OLD, "older_than: 15d", keep=["newest: 3", OLD])) == []
    assert "stands at <stdin>:9" in warnings(policy(OLD, keep=["newest: 3", "newest: 3"]))[0]


def test_warnings_stand_in_the_order_of_the_policies_and_name_their_file(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.yaml").write_text(policy("tags: [x]", name=name))
    found = load_policies([str(tmp_path)]).warnings
    assert [text.split(": ")[0] for text in found] == [str(tmp_path / "a.yaml:7"), str(tmp_path / "b.yaml:7")]


def test_the_examples_are_clean():
    assert load_policies([str(POLICIES)]).warnings == ()


# With an inventory.


def tag(name, days=30, image="web"):
    return Tag(Target("acme", image, name), f"sha256:{image}/{name}", 1, None, NOW - days * DAY)


def linted(text, images):
    loaded = load(text)
    lint = InventoryLint(loaded.policies, indexed(loaded, None), NOW)
    for image, tags in images.items():
        lint.take("acme", image, [tag(name, image=image) for name in tags])
    return list(lint.warnings())


def test_a_glob_that_matches_no_image():
    [warning] = linted(policy(OLD, images="wbe"), {"web": ["a"]})
    assert warning == "<stdin>:3: policy 'p': 'wbe' matches no image; is it right?"
    assert linted(policy(OLD, images="w*"), {"web": ["a"]}) == []


def test_an_exclusion_need_not_match():
    text = policy(OLD, images="**', '!base")
    assert linted(text, {"web": ["a"]}) == []


def test_a_glob_of_an_image_of_another_registry_does_not_match():
    loaded = load(policy(OLD))
    lint = InventoryLint(loaded.policies, indexed(loaded, None), NOW)
    lint.take("other", "web", [])
    assert len(list(lint.warnings())) == 1


def test_a_keep_rule_that_keeps_nothing():
    text = policy(OLD, keep=["tags: [a]", "tags: [z]"])
    assert linted(text, {"web": ["a", "b"]}) == ["<stdin>:10: this keep rule matches no tag; is it right?"]


def test_a_keep_rule_of_a_policy_that_selects_no_image_is_not_told():
    assert len(linted(policy(OLD, keep=["tags: [z]"], images="wbe"), {"web": ["a"]})) == 1


def test_two_policies_that_select_the_same_images():
    text = policy(OLD) + "\n".join(_policy([OLD], (), "q", "w*")) + "\n"
    [warning] = linted(text, {"api": ["a"], "web": ["a"], "www": ["a"]})
    assert warning == "policies 'p' and 'q' both select acme/web and 1 more; a keep rule of either wins"
    assert linted(text.replace("w*", "none"), {"web": ["a"]})[0].endswith(
        "'none' matches no image; is it right?"
    )


def test_the_examples_are_clean_for_check(program):
    done = program("check", POLICIES, "--strict")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "3 policies in 3 files: no errors\n"


def test_the_examples_are_clean_on_the_demo_registry(program, emulated, tmp_path):
    program = program.at(emulated())
    assert program("inventory", "-o", tmp_path / "i.jsonl").returncode == 0
    done = program("check", POLICIES, "--strict", "--inventory", tmp_path / "i.jsonl")
    assert done.returncode == 0, done.stderr


def test_check_tells_warnings_and_strict_makes_them_count(program):
    path = program.folder / "p.yaml"
    path.write_text(policy("tags: [a]"))
    done = program("check", path)
    assert done.returncode == 0
    assert done.stdout == "1 policy in 1 file: no errors, 1 warning\n"
    assert f"{path}:7: this delete rule" in done.stderr
    assert program("check", path, "--strict").returncode == 1


def test_thousands_of_rules_are_looked_at_in_time_that_grows_with_their_number():
    """To compare each keep rule with each delete rule would take minutes."""
    deletes = [f"tags: ['pr-{n}-*x?'], {OLD}" for n in range(3000)]
    keeps = [f"tags: [pr-{n}-axb, other-{n}]" for n in range(2999, 6000)]
    idle = [text for text in warnings(policy(*deletes, keep=keeps)) if "no delete rule here" in text]
    assert len(idle) == 3000
    assert "pr-3000-axb, other-3000; the keep rule protects nothing" in idle[0]


def test_with_too_many_exclusions_to_ask_no_keep_rule_is_called_idle():
    deletes = [f"tags: ['pr-*', '!pr-{n}'], {OLD}" for n in range(201)]
    assert warnings(policy(*deletes, keep=["tags: [other]"])) == []
    assert len(warnings(policy(*deletes[1:], keep=["tags: [other]"]))) == 1
