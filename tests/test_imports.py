"""Policies of other tools: what they say goes, said by the documentation, is what ours says goes.

The examples were written after those of each tool's documentation (named in ``pruner/policy/imports``); the
semantics are written down here once more, independently of the importers.
"""

import fnmatch
import io
import json
import re
import shlex
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_readme import assert_shows, sessions

from pruner.errors import InputError
from pruner.model import Action, Tag, Target
from pruner.policy.image_policies import RegistryPolicies
from pruner.policy.imports import IMPORTERS
from pruner.policy.imports.draft import Draft
from pruner.policy.loader import load_policies
from pruner.policy.retention import decide

NOW = 1_800_000_000_000
DAY = 86_400_000


def imported(kind, document, images=("web",), *, partial=False):
    text = document if isinstance(document, str) else json.dumps(document)
    draft = Draft("file.json", "acme", images, partial=partial)
    IMPORTERS[kind](draft, text)
    return draft.text()


def gone(text, inventory, image="web"):
    """The images of an inventory that a policy file deletes: those of which no tag stays.

    An inventory is a list of (tags, days since the push).
    """
    policies = load_policies(["-"], io.BytesIO(text.encode())).policies
    tags = [
        Tag(Target("acme", image, name), f"sha256:{number}", 1, None, NOW - int(days * DAY))
        for number, (names, days) in enumerate(inventory)
        for name in names
    ]
    found = decide(tags, RegistryPolicies(policies).of(image), NOW)
    staying = {item.tag.digest for item in found if item.action is Action.KEEP}
    return {number for number in range(len(inventory)) if f"sha256:{number}" not in staying}


NAMES = st.sampled_from(
    ["prod-1", "prod-2", "prod-web", "dev-1", "dev-2", "web", "latest", "v1.0", "v1.1", "pr-7"]
)


@st.composite
def inventories(draw):
    """Images with one to three tags of their own, pushed at different times."""
    names = draw(st.lists(NAMES, unique=True, min_size=1, max_size=8))
    images = []
    while names:
        count = draw(st.integers(1, 3))
        images.append(names[:count])
        names = names[count:]
    ages = draw(st.lists(st.integers(1, 60), unique=True, min_size=len(images), max_size=len(images)))
    return [(tags, age + 0.5) for tags, age in zip(images, ages, strict=True)]


# ECR


def ecr_rule(priority, status="tagged", count=("sinceImagePushed", 14), **selection):
    unit = {"countUnit": "days"} if count[0] == "sinceImagePushed" else {}
    return {
        "rulePriority": priority,
        "description": f"rule {priority}",
        "selection": {
            "tagStatus": status,
            "countType": count[0],
            "countNumber": count[1],
            **unit,
            **selection,
        },
        "action": {"type": "expire"},
    }


def ecr_matches(rule, tags):
    selection = rule["selection"]
    if selection["tagStatus"] == "any":
        return True
    patterns = selection.get("tagPatternList") or [f"{prefix}*" for prefix in selection["tagPrefixList"]]
    return all(any(fnmatch.fnmatchcase(tag, pattern) for tag in tags) for pattern in patterns)


def ecr_expires(rules, inventory):
    """Each image belongs to the first rule whose tagging requirements it meets; ranks count all that do."""
    expired = set()
    for position, rule in enumerate(sorted(rules, key=lambda rule: rule["rulePriority"])):
        earlier = sorted(rules, key=lambda rule: rule["rulePriority"])[:position]
        matching = [n for n, (tags, _) in enumerate(inventory) if ecr_matches(rule, tags)]
        matching.sort(key=lambda n: inventory[n][1])
        number = rule["selection"]["countNumber"]
        if rule["selection"]["countType"] == "imageCountMoreThan":
            over = matching[number:]
        else:
            over = [n for n in matching if inventory[n][1] > number]
        expired |= {n for n in over if not any(ecr_matches(r, inventory[n][0]) for r in earlier)}
    return expired


COUNTS = st.tuples(st.just("sinceImagePushed"), st.integers(1, 40)) | st.tuples(
    st.just("imageCountMoreThan"), st.integers(1, 4)
)
PATTERNS = st.lists(
    st.sampled_from(["prod*", "dev-*", "*web", "v1.*", "latest", "*"]), min_size=1, max_size=2
)


@st.composite
def ecr_policies(draw):
    rules = [
        ecr_rule(priority, "tagged", draw(COUNTS), tagPatternList=draw(PATTERNS))
        for priority in range(1, draw(st.integers(1, 3)) + 1)
    ]
    if draw(st.booleans()):
        rules.append(ecr_rule(9, "any", draw(COUNTS)))
    return draw(st.permutations(rules))


@settings(max_examples=300)
@given(ecr_policies(), inventories())
def test_ecr_says_the_same(rules, inventory):
    assert gone(imported("ecr", {"rules": rules}), inventory) == ecr_expires(rules, inventory)


def test_ecr_by_age():
    text = imported("ecr", {"rules": [ecr_rule(1, tagPatternList=["prod*"])]})
    assert gone(text, [(["prod-1"], 15), (["prod-2"], 13), (["dev"], 99)]) == {0}
    assert "# rule 1: rule 1" in text


def test_ecr_by_count_with_higher_rules():
    rules = [
        ecr_rule(1, count=("imageCountMoreThan", 1), tagPrefixList=["prod"]),
        ecr_rule(2, count=("imageCountMoreThan", 1), tagPrefixList=["beta"]),
        ecr_rule(3, "any", ("sinceImagePushed", 2)),
    ]
    inventory = [(["prod-1", "beta-1"], 9), (["beta-2"], 8), (["prod-2"], 7), (["beta-3"], 6), (["x"], 5)]
    assert gone(imported("ecr", {"rules": rules}), inventory) == {0, 1, 4}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (ecr_rule(1, "untagged"), "images without a tag"),
        (ecr_rule(1, count=("sinceImagePulled", 3), tagPatternList=["*"]), "'sinceImagePulled' with '3'"),
        ({**ecr_rule(1, tagPatternList=["*"]), "action": {"type": "transition"}}, "only what expires"),
        (ecr_rule(1, tagPatternList=["*"], storageClass="archive"), "standard storage class"),
    ],
)
def test_what_ecr_deletes_and_we_cannot_say(rule, said):
    with pytest.raises(InputError, match=said):
        imported("ecr", {"rules": [rule, ecr_rule(2, tagPatternList=["dev*"])]})
    text = imported("ecr", {"rules": [rule, ecr_rule(2, tagPatternList=["dev*"])]}, partial=True)
    assert "# Left out: rule 1: " in text


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("<html>", "not JSON"),
        ([], "no list of 'rules'"),
        ({"rules": []}, "no list of 'rules'"),
        ({"rules": [{"rulePriority": "1"}]}, "whole number as 'rulePriority'"),
        ({"rules": [{**ecr_rule(1, tagPatternList=["*"]), "more": 1}]}, "not what ECR documents"),
        ({"rules": [ecr_rule(1, tagPatternList=["[a]"])]}, "no pattern of ECR"),
        ({"rules": [ecr_rule(1)]}, "not what ECR documents"),
    ],
)
def test_what_is_no_lifecycle_policy(document, said):
    for partial in (False, True):
        with pytest.raises(InputError, match=said):
            imported("ecr", document, partial=partial)


def test_a_lifecycle_policy_needs_its_images():
    with pytest.raises(InputError, match="name its images with --images"):
        imported("ecr", {"rules": [ecr_rule(1, tagPatternList=["*"])]}, ())


# Artifact Registry


def gar(name, kind, **what):
    return {"name": name, "action": {"type": kind}, **what}


def gar_matches(condition, tags, days):
    prefixes = condition.get("tagPrefixes")
    return (
        (not prefixes or any(tag.startswith(tuple(prefixes)) for tag in tags))
        and ("olderThan" not in condition or days > int(condition["olderThan"][:-1]))
        and ("newerThan" not in condition or days <= int(condition["newerThan"][:-1]))
    )


def gar_deletes(policies, inventory):
    deleted, kept = set(), set()
    for policy in policies:
        if "mostRecentVersions" in policy:
            newest = sorted(range(len(inventory)), key=lambda n: inventory[n][1])
            kept |= set(newest[: policy["mostRecentVersions"]["keepCount"]])
            continue
        found = {n for n, image in enumerate(inventory) if gar_matches(policy["condition"], *image)}
        if policy["action"]["type"] == "Delete":
            deleted |= found
        else:
            kept |= found
    return deleted - kept


CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "tagPrefixes": st.lists(st.sampled_from(["prod", "dev-", "v1", "l"]), min_size=1, max_size=2),
        "olderThan": st.integers(1, 50).map(lambda n: f"{n}d"),
        "newerThan": st.integers(1, 50).map(lambda n: f"{n}d"),
        "tagState": st.sampled_from(["any", "tagged"]),
    },
)
GAR = st.lists(
    st.builds(lambda c: gar("d", "Delete", condition=c), CONDITIONS)
    | st.builds(lambda c: gar("k", "Keep", condition=c), CONDITIONS)
    | st.builds(lambda n: gar("m", "Keep", mostRecentVersions={"keepCount": n}), st.integers(1, 4)),
    min_size=1,
    max_size=4,
)


@settings(max_examples=300)
@given(GAR, inventories())
def test_artifact_registry_says_the_same(policies, inventory):
    policies = [{**policy, "name": f"{policy['name']}-{n}"} for n, policy in enumerate(policies)]
    assume(any(policy["action"]["type"] == "Delete" for policy in policies))
    assert gone(imported("gar", policies), inventory) == gar_deletes(policies, inventory)


def test_artifact_registry_by_package():
    policies = [
        gar("old", "Delete", condition={"olderThan": "2592000s", "packageNamePrefixes": ["we"]}),
        gar("floor", "Keep", mostRecentVersions={"keepCount": 1, "packageNamePrefixes": ["web"]}),
    ]
    text = imported("gar", policies, ())
    inventory = [(["a"], 40), (["b"], 50)]
    assert gone(text, inventory) == {1}
    assert gone(text, inventory, "other") == set()
    assert gone(text, inventory, "west/x") == {0, 1}


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ({"tagState": "untagged"}, "images without a tag"),
        ({"versionNamePrefixes": ["sha256:1"]}, "'versionNamePrefixes' cannot be said"),
        ({"olderThan": "90s"}, "whole number of minutes"),
        ({"olderThan": "1.5d"}, "whole number of minutes"),
    ],
)
def test_what_artifact_registry_has_and_we_cannot_say(condition, said):
    other = gar("old", "Delete", condition={"olderThan": "30d"})
    with pytest.raises(InputError, match=said):
        imported("gar", [gar("x", "Delete", condition=condition), other])
    assert "# Left out: policy 'x'" in imported(
        "gar", [gar("x", "Delete", condition=condition), other], partial=True
    )
    # What keeps is never left out.
    with pytest.raises(InputError, match=said):
        imported("gar", [gar("x", "Keep", condition=condition), other], partial=True)


# Harbor


def harbor(template, params, pattern="**", repositories="**", **more):
    return {
        "action": "retain",
        "template": template,
        "params": params,
        "tag_selectors": [{"kind": "doublestar", "decoration": "matches", "pattern": pattern}],
        "scope_selectors": {
            "repository": [{"kind": "doublestar", "decoration": "repoMatches", "pattern": repositories}]
        },
        **more,
    }


def harbor_retains(rule, inventory):
    [selector] = rule["tag_selectors"]
    matching = [
        n
        for n, (tags, _) in enumerate(inventory)
        if any(fnmatch.fnmatchcase(tag, selector["pattern"].replace("**", "*")) for tag in tags)
    ]
    template, number = rule["template"], rule["params"].get(rule["template"])
    if template == "always":
        return set(matching)
    if template == "latestPushedK":
        return set(sorted(matching, key=lambda n: inventory[n][1])[:number])
    if template == "nDaysSinceLastPush":
        return {n for n in matching if inventory[n][1] <= number}
    return set()


HARBOR = st.lists(
    st.builds(
        lambda rule, pattern: harbor(*rule, pattern),
        st.just(("always", {}))
        | st.just(("nothing", {}))
        | st.integers(1, 4).map(lambda n: ("latestPushedK", {"latestPushedK": n}))
        | st.integers(1, 40).map(lambda n: ("nDaysSinceLastPush", {"nDaysSinceLastPush": n})),
        st.sampled_from(["**", "prod*", "*web", "v1.*"]),
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=300)
@given(HARBOR, inventories())
def test_harbor_says_the_same(rules, inventory):
    text = imported("harbor", {"algorithm": "or", "rules": rules}, ())
    retained = set().union(*(harbor_retains(rule, inventory) for rule in rules))
    assert gone(text, inventory) == set(range(len(inventory))) - retained


def test_harbor_covers_only_its_repositories():
    rules = [harbor("latestPushedK", {"latestPushedK": 1}, repositories="{web,app}")]
    text = imported("harbor", {"rules": rules}, ())
    inventory = [(["a"], 1), (["b"], 2)]
    assert [gone(text, inventory, image) for image in ("web", "app", "other")] == [{1}, {1}, set()]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (harbor("latestPulledN", {"latestPulledN": 3}), "cannot be said"),
        (harbor("latestActiveK", {"latestActiveK": 3}), "cannot be said"),
        (harbor("latestPushedK", {}), "cannot be said"),
        ({**harbor("always", {}), "action": "delete"}, "only the action 'retain'"),
        (
            harbor(
                "always", {}, tag_selectors=[{"kind": "doublestar", "decoration": "excludes", "pattern": "x"}]
            ),
            "one selector",
        ),
        (harbor("always", {}, repositories="{a"), "repositories that match"),
    ],
)
def test_what_harbor_retains_and_we_cannot_say_is_never_left_out(rule, said):
    with pytest.raises(InputError, match=said):
        imported("harbor", {"rules": [rule]}, (), partial=True)


def test_a_disabled_rule_does_nothing():
    rules = [harbor("always", {}, disabled=True), harbor("latestPushedK", {"latestPushedK": 1})]
    assert gone(imported("harbor", {"rules": rules}, ()), [(["a"], 1), (["b"], 2)]) == {1}


# acr purge


def acr_purges(expression, days, keep, inventory):
    """By tags, not by images: the newest of those that are old enough stay."""
    eligible = [
        (age, tag) for tags, age in inventory for tag in tags if re.search(expression, tag) and age > days
    ]
    return {tag for _, tag in sorted(eligible)[keep:]}


@settings(max_examples=200)
@given(
    st.sampled_from([".*", "^prod", "web$", "v1\\.", "dev|pr", "^latest$"]),
    st.integers(0, 40),
    st.integers(0, 3),
    inventories(),
)
def test_acr_says_the_same(expression, days, keep, inventory):
    # One tag for each image: there a tag and an image are the same.
    inventory = [([tags[0]], age) for tags, age in inventory]
    command = f"acr purge --filter 'web:{expression}' --ago {days}d --keep {keep}"
    found = gone(imported("acr", command, ()), inventory)
    assert {inventory[n][0][0] for n in found} == acr_purges(expression, days, keep, inventory)


def test_acr_names_repositories():
    text = imported(
        "acr",
        "purge --filter 'team/.*:.*' --filter 'web:x' --ago 1d12h --untagged --dry-run",
        (),
        partial=True,
    )
    assert gone(text, [(["a"], 2)], "team/app") == {0}
    assert gone(text, [(["a"], 2)], "web") == set()
    assert gone(text, [(["a"], 1)], "team/app") == set()
    assert "Left out: --untagged" in text


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("acr purge --ago 1d", "required: --filter"),
        ("acr purge --filter 'a:b'", "required: --ago"),
        ("acr purge --filter 'a:b' --ago soon", "is not days, hours and minutes"),
        ("acr purge --filter 'a:b' --ago 1d --what", "unrecognized arguments"),
        ("acr purge --filter '[ab]:c' --ago 1d", "only repositories by their name"),
        ("acr purge --filter 'a:(?=b)' --ago 1d", "--filter 'a:"),
        ("acr purge --filter 'a:b' --ago 1d --untagged", "without a tag"),
        ("acr 'purge", "not a command line"),
    ],
)
def test_what_is_no_command_line_of_acr(command, said):
    with pytest.raises(InputError, match=said):
        imported("acr", command, ())


# The command


def test_an_imported_policy_is_used(program):
    (program.folder / "ecr.json").write_text(json.dumps({"rules": [ecr_rule(1, tagPatternList=["pr-*"])]}))
    done = program("import", "ecr", "ecr.json", "--registry", "acme", "--images", "ci/**", "-o", "p.yaml")
    assert done.returncode == 0, done.stderr
    assert program("check", "p.yaml").returncode == 0
    done = program("import", "ecr", "nowhere.json", "--images", "x")
    assert done.returncode == 2
    assert "nowhere.json: cannot be read" in done.stderr
    done = program("import", "harbor", "-", input="{")
    assert done.returncode == 2
    assert "standard input: not JSON" in done.stderr


def test_the_page_shows_what_is_written(program):
    """docs/import.md: its command, on a policy like the one it names."""
    root = Path(__file__).parent.parent
    [block] = re.findall(r"```console\n(.*?)```", (root / "docs/import.md").read_text(), re.DOTALL)
    rules = [ecr_rule(1, tagPatternList=["pr-*"]) | {"description": "Old pull requests"}]
    (program.folder / "ecr.json").write_text(json.dumps({"rules": rules}))
    [(command, shown)] = sessions(block)
    done = program(*shlex.split(command)[1:])
    assert_shows(shown, done.stdout.splitlines())


# What is not as documented


def _said(kind, document, images=()):
    draft = Draft("f.json", "acme", images)

    def imported_text():
        IMPORTERS[kind](draft, json.dumps(document))
        return draft.text()

    with pytest.raises(InputError) as caught:
        imported_text()
    return str(caught.value)


@pytest.mark.parametrize("value", ["pr-", 5, True, {"a": 1}, {}, 0, "", [5], [None]])
@pytest.mark.parametrize("key", ["tagPrefixes", "packageNamePrefixes"])
def test_prefixes_of_gar_that_are_no_list_of_texts_are_an_error(key, value):
    """Taken letter by letter, 'pr-' would delete whatever begins with a p."""
    condition = {"tagState": "ANY", "olderThan": "30d", key: value}
    said = _said("gar", [{"name": "n", "action": {"type": "Delete"}, "condition": condition}])
    assert f"'{key}' must be a list of texts" in said


@pytest.mark.parametrize("state", [None, 0, "", [], {}])
def test_a_tag_state_of_gar_that_is_no_text_is_an_error(state):
    condition = {"tagState": state, "olderThan": "30d"}
    assert "the unknown tagState" in _said(
        "gar", [{"name": "n", "action": {"type": "Delete"}, "condition": condition}]
    )


@pytest.mark.parametrize(
    "more",
    [
        {"tagStatus": "tagged", "tagPatternList": "pr-*"},
        {"tagStatus": "tagged", "tagPrefixList": "pr-"},
        {"tagStatus": "tagged", "tagPatternList": 5},
        {"tagStatus": "tagged", "tagPatternList": 0, "tagPrefixList": ["pr-"]},
        {"tagStatus": "tagged", "tagPatternList": ["a*"], "tagPrefixList": ["pr-"]},
        {"tagStatus": "any", "tagPrefixList": ["pr-"]},
    ],
)
def test_a_selection_of_ecr_that_is_not_as_documented_is_an_error(more):
    selection = {"countType": "imageCountMoreThan", "countNumber": 3, **more}
    rule = {"rulePriority": 1, "selection": selection, "action": {"type": "expire"}}
    assert "rule 1: it is not what ECR documents" in _said("ecr", {"rules": [rule]}, ["app"])


def test_a_command_line_of_very_many_filters_is_an_error():
    with pytest.raises(InputError, match="f: more than 1,000 words; import it in parts"):
        IMPORTERS["acr"](Draft("f", "acme", []), f"acr purge {'--filter a:b ' * 5000} --ago 30d")


def test_a_very_long_command_line_is_an_error():
    with pytest.raises(InputError, match="f: longer than 100,000 characters; import it in parts"):
        IMPORTERS["acr"](Draft("f", "acme", []), f"acr purge --filter '{'a' * 500_000}:b' --ago 30d")


def test_a_policy_that_would_be_too_large_to_read_is_an_error(monkeypatch):
    monkeypatch.setattr("pruner.policy.imports.draft.MAX_BYTES", 1024 * 1024)
    prefixes = [f"a{number}" for number in range(60)]
    selection = {"tagStatus": "tagged", "tagPrefixList": prefixes, "countType": "imageCountMoreThan"}
    rule = {"selection": {**selection, "countNumber": 3}, "action": {"type": "expire"}}
    rules = [{"rulePriority": number, **rule} for number in range(1, 101)]
    assert "the policy would be larger than 1 MiB" in _said("ecr", {"rules": rules}, ["app"])


def test_more_rules_than_ecr_has_are_an_error():
    assert "more than 100 rules" in _said("ecr", {"rules": [{"rulePriority": 1}] * 101}, ["app"])


def _harbor(**more):
    selector = {"kind": "doublestar", "pattern": "**"}
    return {
        "rules": [
            {
                "template": "always",
                "action": "retain",
                "tag_selectors": [{**selector, "decoration": "matches"}],
                "scope_selectors": {"repository": [{**selector, "decoration": "repoMatches"}]},
                **more,
            }
        ]
    }


@pytest.mark.parametrize(
    "more",
    [
        {"disabled": "false"},
        {"disabled": 0},
        {"scope_selectors": 5},
        {"scope_selectors": {"repository": True}},
        {"scope_selectors": {"repository": [[]]}},
        {"tag_selectors": True},
        {"tag_selectors": ["a"]},
        {"tag_selectors": {}},
        {"tag_selectors": [{"kind": "doublestar", "decoration": "matches", "pattern": "{a,b}" * 100_000}]},
    ],
    ids=lambda more: json.dumps(more)[:40],
)
def test_a_rule_of_harbor_that_is_not_as_documented_is_an_error(more):
    assert "f.json: rule 1" in _said("harbor", _harbor(**more))


@pytest.mark.parametrize("name", ["123", "true", "1.5", "no", "2026-01-01", "plain"])
def test_a_name_that_yaml_would_read_as_something_else_stays_text(name):
    draft = Draft("f", "123", [])
    rule = {"name": name, "action": {"type": "Delete"}, "condition": {"tagState": "ANY", "olderThan": "30d"}}
    IMPORTERS["gar"](draft, json.dumps([rule]))
    [policy] = load_policies(["-"], io.BytesIO(draft.text().encode())).policies
    assert (policy.name, policy.registry) == (name, "123")
