"""Deciding: what goes, what stays and why, by examples and by properties that hold for any rules."""

import io
import json
from fnmatch import fnmatchcase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruner.model import Action, ReasonKind, Tag, Target
from pruner.names import attachment_subject
from pruner.policy.image_policies import RegistryPolicies
from pruner.policy.loader import load_policies
from pruner.policy.retention import decide
from pruner.policy.verdicts import NO, UNKNOWN, YES, ImageTable, explain_all, explain_each, judge

DAY = 86_400_000
NOW = 20_000 * DAY
DIGESTS = [f"sha256:{letter * 64}" for letter in "abc"]
A, B, C = DIGESTS


def tag(name, days=30.0, digest="", *, size=None, pulled=None):
    """A tag updated so many days ago (None: unknown); every tag has a digest of its own unless told."""
    return Tag(
        Target("acme", "web", name),
        f"sha256:{name}" if digest == "" else digest,
        size,
        None,
        None if days is None else NOW - int(days * DAY),
        None if pulled is None else NOW - int(pulled * DAY),
    )


def policies(*texts, floor=None):
    """The policies of image web; each text is a policy without name and registry, in flow style."""
    items = [
        {"name": f"p{i}", "registry": "acme", **({} if "targets" in item else {"images": ["**"]}), **item}
        for i, item in enumerate(texts)
    ]
    content = json.dumps({"version": 1, "policies": items}).encode()
    loaded = load_policies(["-"], io.BytesIO(content)).policies
    return RegistryPolicies(loaded, floor).of("web")


EMPTY_OK = {"limits": {"keep_at_least": 0}}


def rules(*delete, keep=(), **more):
    """One policy of rules without a floor."""
    item = {"delete": list(delete), **EMPTY_OK, **more}
    return {**item, "keep": list(keep)} if keep else item


def decided(tags, *texts, floor=None):
    return {decision.tag.name: decision for decision in decide(tags, policies(*texts, floor=floor), NOW)}


def gone(tags, *texts, floor=None):
    found = decided(tags, *texts, floor=floor)
    return sorted(name for name, decision in found.items() if decision.action is Action.DELETE)


def why(name, tags, *texts, floor=None):
    return decided(tags, *texts, floor=floor)[name].reasons[0].kind


def named(*names, days=30.0):
    return [tag(name, days) for name in names]


ALL = {"tags": ["*"]}


def test_a_keep_rule_wins():
    tags = named("a", "b")
    assert gone(tags, rules(ALL, keep=[{"tags": ["a"]}])) == ["b"]
    assert why("a", tags, rules(ALL, keep=[{"tags": ["a"]}])) is ReasonKind.KEEP_RULE


def test_what_no_rule_selects_stays():
    assert gone(named("a", "b"), rules({"tags": ["a"]})) == ["a"]
    assert why("b", named("a", "b"), rules({"tags": ["a"]})) is ReasonKind.UNMATCHED


def test_a_tag_of_unknown_age_stays():
    tags = [tag("a", None), tag("b")]
    assert gone(tags, rules(ALL)) == ["b"]
    assert why("a", tags, rules(ALL)) is ReasonKind.UNKNOWN_AGE


@pytest.mark.parametrize("days", [-1, -0.001, -10_000], ids=["tomorrow", "in a minute", "in 27 years"])
def test_a_time_after_now_is_the_newest_possible(days):
    tags = [tag("a", days), tag("b"), tag("c", 20)]
    assert gone(tags, rules({"older_than": "1m"})) == ["b", "c"]
    assert why("a", tags, rules({"older_than": "1m"})) is ReasonKind.UNMATCHED
    assert gone(tags, rules(ALL, keep=[{"newest": 2}])) == ["b"]


def test_ages_at_the_limit():
    tags = [tag("over", 14.001), tag("at", 14), tag("under", 13.999), tag("now", 0)]
    assert gone(tags, rules({"older_than": "14d"})) == ["over"]
    assert gone(tags, rules({"newer_than": "14d"})) == ["at", "now", "under"]


def test_newest_is_a_floor_among_all_tags_that_the_other_conditions_select():
    tags = [tag(f"pr-{day}", day) for day in (1, 2, 20, 30)] + [tag("main", 0)]
    keep = [{"tags": ["pr-*"], "newest": 3}, {"tags": ["main"]}]
    assert gone(tags, rules({"older_than": "14d"}, keep=keep)) == ["pr-30"]


def test_delete_all_but_the_newest():
    tags = [tag(f"pr-{day}", day) for day in (1, 2, 3)]
    assert gone(tags, rules({"tags": ["pr-*"], "not": {"newest": 1}})) == ["pr-2", "pr-3"]


def test_of_equal_times_a_keep_rule_protects_both_and_a_delete_rule_selects_neither():
    tags = [tag("new", 1), tag("tie-1", 2), tag("tie-2", 2), tag("old", 3)]
    assert gone(tags, rules(ALL, keep=[{"newest": 2}])) == ["old"]
    assert gone(tags, rules({"newest": 2})) == ["new"]


def test_a_time_that_is_not_known_leaves_ranks_open():
    tags = [tag("a", 1), tag("b", 2), tag("c", 3), tag("x", None)]
    assert gone(tags, rules(ALL, keep=[{"newest": 2}])) == ["c"]
    assert gone(tags, rules({"newest": 2})) == ["a"]
    assert why("x", tags, rules(ALL, keep=[{"newest": 2}])) is ReasonKind.UNKNOWN_AGE


def test_newest_of_each_group():
    tags = [tag("x-1", 1), tag("x-2", 2), tag("y-1", 3), tag("y-2", 4), tag("z", 5)]
    keep = [{"newest": 1, "group_by": "([a-z])-.*"}]
    assert gone(tags, rules(ALL, keep=keep)) == ["x-2", "y-2", "z"]


VERSIONS = ["1.0.0", "v1.2.0", "1.2.1-rc.1", "1.3", "2.0.0", "2.0.1", "latest", "1.2.3.4"]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({}, ["1.0.0", "1.2.1-rc.1", "1.3", "2.0.0", "2.0.1", "v1.2.0"]),
        ({"range": ">=1.2 <2"}, ["1.2.1-rc.1", "1.3", "v1.2.0"]),
        ({"range": "=1.3.0"}, ["1.3"]),
        ({"prerelease": True}, ["1.2.1-rc.1"]),
        ({"prerelease": False, "range": "<=1.3"}, ["1.0.0", "1.3", "v1.2.0"]),
        ({"newest": 2}, ["2.0.0", "2.0.1"]),
        ({"newest": 1, "per": "major"}, ["1.3", "2.0.1"]),
        ({"newest": 1, "per": "minor"}, ["1.0.0", "1.2.1-rc.1", "1.3", "2.0.1"]),
        ({"newest": 1, "per": "minor", "prerelease": False}, ["1.0.0", "1.3", "2.0.1", "v1.2.0"]),
        ({"newest": 1, "range": "<2"}, ["1.3"]),
    ],
)
def test_versions(condition, expected):
    assert gone(named(*VERSIONS), rules({"semver": condition})) == expected


def test_one_version_under_two_names_is_a_tie():
    tags = named("1.2.0", "v1.2.0", "1.1.0")
    assert gone(tags, rules(ALL, keep=[{"semver": {"newest": 1}}])) == ["1.1.0"]
    assert gone(tags, rules({"semver": {"newest": 1}})) == []


def test_larger_than():
    tags = [tag("big", size=1001), tag("at", size=1000), tag("zero", size=0), tag("unknown")]
    assert gone(tags, rules({"larger_than": "1kB"})) == ["big"]
    assert why("unknown", tags, rules({"larger_than": "1kB"})) is ReasonKind.UNKNOWN_FACT
    assert gone(tags, rules(ALL, keep=[{"larger_than": "1kB"}])) == ["at", "zero"]


def test_pulls_that_are_not_known_protect():
    tags = [tag("pulled", pulled=1), tag("long ago".replace(" ", "-"), pulled=91), tag("unknown")]
    assert gone(tags, rules(ALL, keep=[{"pulled_within": "30d"}])) == ["long-ago"]
    assert gone(tags, rules({"not_pulled_for": "90d"})) == ["long-ago"]
    assert gone([*tags, tag("tomorrow", pulled=-1)], rules({"not_pulled_for": "90d"})) == ["long-ago"]


def test_digest_shared_with():
    tags = [tag("latest", digest=A), tag("v1", digest=A), tag("v2", digest=B)]
    keep = [{"digest_shared_with": ["latest"]}]
    found = decided(tags, rules({"tags": ["v*"]}, keep=keep))
    assert found["v1"].reasons[0].kind is ReasonKind.KEEP_RULE
    assert found["v2"].action is Action.DELETE


def test_digest_shared_with_a_tag_of_unknown_digest_protects():
    tags = [tag("latest", digest=None), tag("v1"), tag("old")]
    keep = [{"tags": ["v*"], "digest_shared_with": ["latest"]}]
    assert why("v1", tags, rules(ALL, keep=keep)) is ReasonKind.KEEP_RULE
    assert gone([tag("latest"), tag("v1")], rules(ALL, keep=[{"digest_shared_with": ["latest"]}])) == [
        "latest",
        "v1",
    ]


def test_any_all_not():
    tags = [tag("a1", 1), tag("a9", 9), tag("b1", 1), tag("b9", 9)]
    old = {"older_than": "5d"}
    assert gone(tags, rules({"any": [{"tags": ["a*"]}, old]})) == ["a1", "a9", "b9"]
    assert gone(tags, rules({"all": [{"tags": ["a*"]}, old]})) == ["a9"]
    assert gone(tags, rules({"not": {"tags": ["a*"], **old}})) == ["a1", "b1", "b9"]
    assert gone(tags, rules({"tags": ["b*"], "not": {"any": [{"tags": ["a*"]}, old]}})) == ["b1"]


def test_not_of_an_unknown_fact_is_unknown():
    tags = [tag("a"), tag("b", pulled=1)]
    rule = {"not": {"pulled_within": "30d"}}
    assert gone(tags, rules(rule)) == []
    assert why("a", tags, rules(rule)) is ReasonKind.UNKNOWN_FACT
    assert gone(tags, rules(ALL, keep=[rule])) == ["b"]


def test_a_digest_that_a_kept_tag_has_stays():
    tags = [tag("a", digest=A), tag("keep", digest=A), tag("b", digest=B)]
    assert gone(tags, rules({"tags": ["?"]})) == ["b"]
    assert why("a", tags, rules({"tags": ["?"]})) is ReasonKind.SHARED_DIGEST


def test_a_digest_that_only_going_tags_have_goes():
    assert gone([tag("a", digest=A), tag("b", digest=A), tag("keep")], rules({"tags": ["?"]})) == ["a", "b"]


def test_shared_digest_delete_lets_it_go():
    tags = [tag("a", digest=A), tag("keep", digest=A), tag("b", digest=None)]
    assert gone(tags, rules({"tags": ["?"]}, shared_digest="delete")) == ["a", "b"]
    assert decided(tags, rules({"tags": ["?"]}, shared_digest="delete"))["a"].delete_shared


def test_a_tag_of_unknown_digest_stays_while_others_stay():
    tags = [tag("a", digest=None), tag("b"), tag("keep")]
    assert why("a", tags, rules({"tags": ["a"]})) is ReasonKind.UNKNOWN_DIGEST
    assert gone([tag("a", digest=None), tag("b")], rules(ALL)) == ["a", "b"]


def test_a_kept_tag_of_unknown_digest_may_be_any_other():
    tags = [tag("a"), tag("keep", digest=None)]
    assert why("a", tags, rules({"tags": ["a"]})) is ReasonKind.UNKNOWN_DIGEST


def test_a_candidate_that_stays_for_its_unknown_digest_is_a_kept_tag_of_unknown_digest():
    tags = [tag("a", digest=None), tag("b"), tag("keep")]
    assert gone(tags, rules({"tags": ["?"]})) == []


@pytest.mark.parametrize(
    ("limits", "floor", "expected"),
    [
        ({}, None, 1),
        ({"keep_at_least": 0}, None, 0),
        ({"keep_at_least": 3}, None, 3),
        ({"keep_at_least": 9}, None, 5),
        ({"keep_at_least": 3}, 2, 3),
        ({"keep_at_least": 3}, 4, 4),
        ({"keep_at_least": 0}, 2, 2),
        ({}, 0, 1),
    ],
)
def test_the_newest_tags_stay_at_least(limits, floor, expected):
    tags = [tag(f"t{day}", day) for day in range(1, 6)]
    stay = [f"t{day}" for day in range(1, expected + 1)]
    found = decided(tags, {"delete": [ALL], "limits": limits}, floor=floor)
    assert [name for name, decision in found.items() if decision.action is Action.KEEP] == stay
    assert all(found[name].reasons[0].kind is ReasonKind.KEEP_AT_LEAST for name in stay)


def test_tags_that_stay_anyway_count_for_the_floor():
    tags = [tag("a", 1), tag("b", 2), tag("keep", 90)]
    assert gone(tags, {"delete": [{"tags": ["?"]}]}) == ["a", "b"]
    assert gone(tags, {"delete": [{"tags": ["?"]}], "limits": {"keep_at_least": 2}}) == ["b"]


def test_names_of_the_digest_that_the_floor_keeps_stay():
    tags = [tag("a", 1, A), tag("b", 2, A), tag("c", 3, C)]
    found = decided(tags, {"delete": [ALL]})
    assert found["b"].reasons[0].kind is ReasonKind.SHARED_DIGEST
    assert found["c"].action is Action.DELETE


def test_explicit_targets_are_exempt_from_the_floor():
    assert gone(named("a"), {"targets": ["web:a"]}) == ["a"]
    assert gone(named("a"), {"targets": ["web:a"]}, floor=5) == ["a"]
    assert why("a", named("a"), {"targets": ["web:a"]}) is ReasonKind.EXPLICIT_TARGET


def test_explicit_targets_go_whatever_their_age():
    assert gone([tag("a", None)], {"targets": ["web:a"]}) == ["a"]


def test_explicit_targets_of_another_image_are_not_these():
    assert gone(named("a"), {"targets": ["other:a"]}) == []


def test_a_hold_is_stronger_than_an_explicit_target():
    for hold in ("web:a", "*:a", "**:*", "web:?"):
        tags = named("a", "bb")
        assert why("a", tags, {"targets": ["web:a"], "hold": [hold]}) is ReasonKind.HOLD
        assert gone(tags, {"targets": ["web:a"]}, rules({"tags": ["none"]}, hold=[hold])) == []


def test_a_hold_of_another_image_or_tag_holds_nothing():
    assert gone(named("a"), {"targets": ["web:a"], "hold": ["api:a", "web:b", "x/*:a"]}) == ["a"]


def test_a_hold_is_stronger_than_rules_and_named_as_the_reason():
    found = decided(named("a", "b"), rules(ALL, hold=["web:a*"]))
    reason = found["a"].reasons[0]
    assert (reason.kind, reason.policy, reason.text) == (ReasonKind.HOLD, "p0", "hold web:a*")
    assert reason.source == "<stdin>:1"
    assert found["b"].action is Action.DELETE


def test_a_keep_rule_of_another_policy_protects_an_explicit_target():
    other = rules({"tags": ["none"]}, keep=[{"tags": ["a"]}])
    assert gone(named("a", "b"), {"targets": ["web:a", "web:b"]}, other) == ["b"]


def test_a_shared_digest_protects_an_explicit_target():
    tags = [tag("a", digest=A), tag("b", digest=A)]
    assert why("a", tags, {"targets": ["web:a"]}) is ReasonKind.SHARED_DIGEST
    assert gone(tags, {"targets": ["web:a"], "shared_digest": "delete"}) == ["a"]


def test_several_policies_on_one_image():
    one, two = rules({"tags": ["a*"]}, keep=[{"tags": ["*1"]}]), rules({"tags": ["b*"]})
    assert gone(named("a1", "a2", "b1", "b2", "c1"), one, two) == ["a2", "b2"]


def test_of_several_floors_the_highest_holds():
    tags = [tag(f"t{day}", day) for day in range(1, 6)]
    high = {"delete": [{"tags": ["none"]}], "limits": {"keep_at_least": 2}}
    assert gone(tags, rules(ALL), high) == ["t3", "t4", "t5"]


def test_the_first_policy_that_selects_a_tag_is_its_reason():
    found = decided(named("a"), rules(ALL), rules({"tags": ["a"]}))
    assert [(r.policy, r.text) for r in found["a"].reasons] == [("p0", "tags *")]


def test_a_policy_of_another_image_says_nothing():
    loaded = RegistryPolicies(load_policies(["-"], io.BytesIO(_two_images())).policies)
    assert loaded.selects("web")
    assert loaded.selects("api")
    assert not loaded.selects("base")
    assert loaded.explicit_images == ["api"]
    assert not loaded.of("base").delete
    assert loaded.of("api").keep_at_least == 0


def _two_images():
    web = {"name": "w", "registry": "acme", "images": ["w*"], "delete": [ALL]}
    api = {"name": "a", "registry": "acme", "targets": ["api:1"]}
    return json.dumps({"version": 1, "policies": [web, api]}).encode()


# Signatures, attestations and bills of materials.


def attached(subject, kind="sig", days=30.0, digest=""):
    return tag(f"{subject.replace(':', '-')}.{kind}", days, digest)


@pytest.mark.parametrize("kind", ["sig", "att", "sbom"])
def test_what_is_attached_goes_with_its_image(kind):
    tags = [tag("a", digest=A), tag("keep"), attached(A, kind)]
    found = decided(tags, rules({"tags": ["a"]}))
    decision = found[attached(A, kind).name]
    assert decision.action is Action.DELETE
    assert decision.reasons[0].kind is ReasonKind.COSIGN
    assert (decision.reasons[0].policy, decision.reasons[0].text) == (
        "p0",
        "attached to 'a', which is deleted",
    )


def test_what_is_attached_stays_with_its_image_whatever_rules_select_it():
    tags = [tag("a", digest=A), tag("b"), attached(A)]
    assert gone(tags, rules({"tags": ["b", "sha256-*"]})) == ["b"]
    assert why(attached(A).name, tags, rules({"tags": ["b"]})) is ReasonKind.COSIGN


def test_what_is_attached_to_nothing_stays():
    tags = [tag("a"), tag("b"), attached(C)]
    assert gone(tags, rules(ALL)) == ["a", "b"]
    assert why(attached(C).name, tags, rules(ALL)) is ReasonKind.COSIGN


def test_what_is_attached_and_held_stays():
    tags = [tag("a", digest=A), tag("keep"), attached(A)]
    assert gone(tags, rules({"tags": ["a"]}, hold=["web:*.sig"])) == ["a"]


def test_what_is_attached_and_held_has_the_hold_as_its_reason():
    tags = [tag("a"), tag("keep"), attached(C)]
    assert why(attached(C).name, tags, rules({"tags": ["a"]}, hold=["web:*.sig"])) is ReasonKind.HOLD


def test_what_is_attached_stays_when_only_one_of_two_names_goes():
    tags = [tag("a", digest=A), tag("b", digest=A), attached(A)]
    assert gone(tags, rules({"tags": ["a"]}, shared_digest="delete")) == ["a"]


def test_what_is_attached_stays_beside_an_explicit_target():
    tags = [tag("a", digest=A), tag("keep"), attached(A)]
    assert gone(tags, {"targets": ["web:a"]}) == ["a"]
    assert gone(tags, {"targets": ["web:a", f"web:{attached(A).name}"]}) == ["a", attached(A).name]


def test_what_is_attached_of_unknown_age_stays():
    tags = [tag("a", digest=A), tag("keep"), attached(A, days=None)]
    assert gone(tags, rules({"tags": ["a"]})) == ["a"]


def test_what_is_attached_does_not_count_for_the_floor():
    tags = [tag("a", 1, A), tag("b", 2, B), attached(A), attached(B)]
    assert gone(tags, {"delete": [ALL]}) == sorted(["b", attached(B).name])


def test_a_name_that_only_looks_attached_is_an_ordinary_tag():
    names = ["sha256-abc.sig", f"sha256-{'a' * 64}.txt", f"sha256-{'A' * 64}.sig", f"sha256-{'a' * 64}"]
    assert gone(named(*names), rules(ALL)) == sorted(names)


def test_what_is_attached_stays_when_a_kept_tag_has_its_digest():
    # Two images built from the same sources have the same bill of materials: one manifest, two names.
    tags = [
        tag("a", digest=A),
        tag("b", digest=B),
        attached(A, "sbom", digest=C),
        attached(B, "sbom", digest=C),
    ]
    assert gone(tags, rules({"tags": ["a"]})) == ["a"]


def test_what_is_attached_and_of_unknown_digest_stays():
    tags = [tag("a", digest=A), tag("b", digest=B), attached(A, digest=None)]
    assert attached(A).name not in gone(tags, rules({"tags": ["a"]}))


@pytest.mark.parametrize("explicit", [False, True])
def test_a_keep_rule_wins_for_what_is_attached(explicit):
    tags = [tag("a", digest=A), tag("keep"), attached(A)]
    keep = [{"tags": ["*.sig"]}]
    targets = [{"targets": [f"web:{attached(A).name}"]}] if explicit else []
    assert attached(A).name not in gone(tags, rules({"tags": ["a"]}, keep=keep), *targets)


def test_what_is_attached_does_not_use_up_the_newest():
    tags = [tag("v1", 4, A), attached(A, days=3), tag("v2", 2, B), attached(B, days=1)]
    assert gone(tags, rules(ALL, keep=[{"newest": 2}])) == []


def test_what_is_attached_goes_in_spite_of_a_keep_rule_of_the_newest():
    tags = [tag("a", 9, A), tag("b", 1, B), attached(A, days=0)]
    assert gone(tags, rules(ALL, keep=[{"newest": 1}])) == ["a", attached(A).name]


@pytest.mark.parametrize(
    "keep",
    [
        {"any": [{"tags": ["latest"]}, {"newest": 1}]},
        {"all": [{"newer_than": "100d"}, {"newest": 1}]},
        {"not": {"not": {"newest": 1}}},
    ],
    ids=["any", "all", "not"],
)
def test_what_is_attached_goes_in_spite_of_a_nested_keep_rule_of_the_newest(keep):
    tags = [tag("a", 9, A), tag("b", 1, B), attached(A, days=0)]
    assert gone(tags, rules(ALL, keep=[keep])) == ["a", attached(A).name]


# Properties.

NAMES = [f"{kind}-{number}" for kind in ("pr", "sha") for number in range(4)]
NAMES += ["latest", "v1.0.0", "v1.1.0", "1.1.0", "v2.0.0-rc.1"]
TIMES = st.sampled_from([None, -1, 0, 1, 2, 13, 14, 15, 40])
SIGNATURES = [attached(digest, kind).name for digest in DIGESTS for kind in ("sig", "sbom")]


def _tag_lists(names, digests):
    def build(chosen, facts):
        return [
            tag(name, days, digest, size=size, pulled=pulled)
            for name, (days, digest, size, pulled) in zip(chosen, facts, strict=True)
        ]

    facts = st.tuples(TIMES, digests, st.sampled_from([None, 1, 1000, 9999]), TIMES)
    lists = st.lists(st.sampled_from(names), unique=True, max_size=9)
    return lists.flatmap(
        lambda chosen: st.lists(facts, min_size=len(chosen), max_size=len(chosen)).map(
            lambda found: build(chosen, found)
        )
    )


TAGS = _tag_lists(NAMES, st.sampled_from([None, *DIGESTS]))
TAGS_AND_SIGNATURES = _tag_lists(NAMES + SIGNATURES, st.sampled_from([None, *DIGESTS]))
DISTINCT_TAGS = _tag_lists(NAMES, st.just(""))

GLOBS = st.lists(
    st.sampled_from(["*", "pr-*", "sha-*", "*-[12]", "v*", "latest", "!pr-1"]), min_size=1, max_size=2
)
LEAVES = st.fixed_dictionaries(
    {},
    optional={
        "tags": GLOBS | st.just({"regex": r"(pr|v)\W?\d.*"}),
        "older_than": st.sampled_from(["1d", "14d"]),
        "newer_than": st.sampled_from(["1d", "14d"]),
        "pulled_within": st.just("14d"),
        "not_pulled_for": st.just("14d"),
        "newest": st.integers(1, 4),
        "larger_than": st.just("1kB"),
        "digest_shared_with": GLOBS,
    },
)
GROUPED = st.fixed_dictionaries(
    {"newest": st.integers(1, 2), "group_by": st.just("([a-z]*)-.*")}, optional={"tags": GLOBS}
)
SEMVERS = st.builds(
    lambda semver: {"semver": semver},
    st.sampled_from(
        [
            {},
            {"range": ">=1.1 <2"},
            {"prerelease": True},
            {"prerelease": False, "newest": 1},
            {"newest": 1, "per": "major"},
            {"newest": 2, "per": "minor"},
        ]
    ),
)
SIMPLE = LEAVES.filter(bool) | GROUPED | SEMVERS
RULE = st.recursive(
    SIMPLE,
    lambda inner: st.builds(
        lambda outer, nested: {**outer, **nested},
        LEAVES | SIMPLE,
        st.builds(lambda a, b: {"any": [a, b]}, inner, inner)
        | st.builds(lambda a, b: {"all": [a, b]}, inner, inner)
        | st.builds(lambda a: {"not": a}, inner),
    ),
    max_leaves=3,
)
RULES = st.lists(RULE, min_size=1, max_size=2)
KEEPS = st.lists(RULE, max_size=2)
FLOORS = st.integers(0, 4)
EXAMPLES = settings(max_examples=40, deadline=None)


def of(delete, keep=(), floor=0, **more):
    return policies(rules(*delete, keep=list(keep), limits={"keep_at_least": floor}, **more))


def going(tags, policies):
    return {d.tag.name for d in decide(tags, policies, NOW) if d.action is Action.DELETE}


def ordinary(tags):
    """The table of all tags that rules judge and rank."""
    return ImageTable(sorted((t for t in tags if t.name not in SIGNATURES), key=lambda t: t.name), NOW)


@EXAMPLES
@given(TAGS_AND_SIGNATURES, RULES, RULES, FLOORS)
def test_keep_beats_delete_for_any_rules(tags, delete, keep, floor):
    found = of(delete, keep, floor)
    table = ordinary(tags)
    gone_names = going(tags, found)
    for rule in found.keep:
        for name, verdict in zip(table.names, judge(rule.conditions, table), strict=True):
            assert verdict == NO or name not in gone_names


@EXAMPLES
@given(TAGS_AND_SIGNATURES, RULES, KEEPS, st.sampled_from(["*", "*.sig", "sha256-*", *SIGNATURES]))
def test_a_keep_rule_of_names_keeps_what_is_attached(tags, delete, keep, glob):
    kept = {t.name for t in tags if t.name in SIGNATURES and fnmatchcase(t.name, glob)}
    assert not kept & going(tags, of(delete, [*keep, {"tags": [glob]}]))


@EXAMPLES
@given(TAGS_AND_SIGNATURES, RULES, KEEPS, RULE)
def test_one_more_keep_rule_deletes_nothing_more(tags, delete, keep, more):
    assert going(tags, of(delete, [*keep, more])) <= going(tags, of(delete, keep))


@EXAMPLES
@given(DISTINCT_TAGS, RULES, KEEPS, RULE, FLOORS)
def test_one_more_keep_rule_deletes_no_larger_number_above_a_floor(tags, delete, keep, more, floor):
    # Of distinct digests only: a floor that keeps one name keeps all names of its digest.
    assert len(going(tags, of(delete, [*keep, more], floor))) <= len(going(tags, of(delete, keep, floor)))


@EXAMPLES
@given(TAGS_AND_SIGNATURES, RULES, KEEPS, RULE)
def test_one_more_delete_rule_keeps_nothing_more(tags, delete, keep, more):
    assert going(tags, of(delete, keep)) <= going(tags, of([*delete, more], keep))


@EXAMPLES
@given(TAGS_AND_SIGNATURES, RULES, KEEPS, FLOORS, st.randoms(use_true_random=False))
def test_the_order_of_the_tags_does_not_matter(tags, delete, keep, floor, random):
    found = of(delete, keep, floor)
    shuffled = random.sample(tags, len(tags))
    decisions = decide(tags, found, NOW)
    assert decisions == decide(shuffled, found, NOW)
    assert [decision.tag.name for decision in decisions] == sorted(item.name for item in tags)


@EXAMPLES
@given(TAGS_AND_SIGNATURES, RULES, KEEPS, FLOORS, st.lists(st.sampled_from(NAMES + SIGNATURES), max_size=2))
def test_every_decision_has_a_reason_with_a_text(tags, delete, keep, floor, targets):
    more = [{"targets": [f"web:{name}" for name in targets]}] if targets else []
    found = policies(rules(*delete, keep=keep, limits={"keep_at_least": floor}), *more)
    for decision in decide(tags, found, NOW):
        assert decision.reasons
        assert all(reason.text.strip() for reason in decision.reasons)
        if decision.action is Action.DELETE:
            assert decision.reasons[0].policy
            assert decision.reasons[0].source


@EXAMPLES
@given(TAGS_AND_SIGNATURES, RULES, KEEPS, FLOORS, st.sampled_from(NAMES + SIGNATURES), st.booleans())
def test_a_held_tag_never_goes(tags, delete, keep, floor, held, explicit):
    more = [{"targets": [f"web:{held}"], "shared_digest": "delete"}] if explicit else []
    rule_policy = rules(*delete, keep=keep, limits={"keep_at_least": floor}, hold=[f"web:{held}"])
    assert held not in going(tags, policies(rule_policy, *more))


def _digest_of_a_kept_tag(tags, names):
    kept = {item.digest for item in tags if item.name not in names} - {None}
    return [item.name for item in tags if item.name in names and item.digest in kept]


@EXAMPLES
@given(TAGS_AND_SIGNATURES, RULES, KEEPS, FLOORS, st.lists(st.sampled_from(NAMES + SIGNATURES), max_size=2))
def test_no_digest_of_a_kept_tag_goes(tags, delete, keep, floor, targets):
    more = [{"targets": [f"web:{name}" for name in targets]}] if targets else []
    found = policies(rules(*delete, keep=keep, limits={"keep_at_least": floor}), *more)
    assert _digest_of_a_kept_tag(tags, going(tags, found)) == []


@EXAMPLES
@given(TAGS_AND_SIGNATURES, RULES, KEEPS, FLOORS)
def test_at_least_so_many_ordinary_tags_stay(tags, delete, keep, floor):
    names = going(tags, of(delete, keep, floor))
    ordinary = {item.name for item in tags if item.name not in SIGNATURES}
    assert len(ordinary - names) >= min(floor, len(ordinary))


@EXAMPLES
@given(TAGS_AND_SIGNATURES, RULES, KEEPS, FLOORS, st.sampled_from(["keep", "delete"]))
def test_a_tag_of_unknown_age_never_goes_by_rule(tags, delete, keep, floor, shared):
    names = going(tags, of(delete, keep, floor, shared_digest=shared))
    assert not [item for item in tags if item.name in names and item.updated is None]


@EXAMPLES
@given(TAGS_AND_SIGNATURES, RULES, KEEPS, FLOORS)
def test_no_tag_of_unknown_digest_goes_beside_a_kept_one_and_none_goes_beside_a_kept_unknown(
    tags, delete, keep, floor
):
    names = going(tags, of(delete, keep, floor))
    if names and len(names) < len(tags):
        assert None not in {item.digest for item in tags}


@EXAMPLES
@given(TAGS_AND_SIGNATURES, RULES, KEEPS, FLOORS)
def test_only_tags_that_a_delete_rule_certainly_selects_go_with_what_is_attached(tags, delete, keep, floor):
    found = of(delete, keep, floor)
    table = ordinary(tags)
    selected = set()
    for rule, _ in found.delete:
        verdicts = judge(rule.conditions, table)
        selected |= {name for name, verdict in zip(table.names, verdicts, strict=True) if verdict == YES}
    names = going(tags, found)
    assert names - set(SIGNATURES) <= selected
    for name in names & set(SIGNATURES):
        owners = {item.name for item in tags if item.digest == attachment_subject(name)}
        assert owners
        assert owners <= names


@EXAMPLES
@given(TAGS_AND_SIGNATURES, RULES, KEEPS, FLOORS)
def test_what_is_attached_changes_nothing_for_ordinary_tags_of_other_digests(tags, delete, keep, floor):
    # Its own digest is that of nothing else here, so that only its name could matter.
    tags = [tag(t.name, 1, "") if t.name in SIGNATURES else t for t in tags]
    found = of(delete, keep, floor)
    alone = going([t for t in tags if t.name not in SIGNATURES], found)
    together = going(tags, found) - set(SIGNATURES)
    if len(alone) < len(ordinary(tags)):
        assert together == alone


@settings(max_examples=100, deadline=None)
@given(TAGS, RULE)
def test_explaining_agrees_with_judging(tags, rule):
    table = ImageTable(sorted(tags, key=lambda item: item.name), NOW)
    conditions = of([rule]).delete[0][0].conditions
    verdicts = judge(conditions, table)
    for index in range(len(table)):
        found = explain_each(conditions, table, index)
        assert [label for label, _, _ in found] == [condition.label for condition in conditions]
        assert all(verdict in (NO, UNKNOWN, YES) and text for _, verdict, text in found)
        assert min(verdict for _, verdict, _ in found) == verdicts[index]
        assert explain_all(conditions, table, index)[0] == verdicts[index]
