"""What hangs together: indexes and their platforms, artifacts and what they belong to, orphans. Pure."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_retention import ALL, NOW, decided, gone, policies, rules, tag, why

from pruner.engine.final_check import compare
from pruner.errors import PolicyError
from pruner.model import Action, Links, ReasonKind, Status
from pruner.plan.records import Entry, ImageRecord
from pruner.policy.retention import decide
from pruner.policy.verdicts import NO, UNKNOWN, YES, ImageTable, judge

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")
OLD = {"older_than": "14d"}


def linked(name, digest, days=30.0, **links):
    return msgspec.structs.replace(tag(name, days, digest), links=Links(**links))


def orphan(name, **more):
    return msgspec.structs.replace(linked(name, f"sha256:{name}", None, subject=A, orphaned=True), **more)


def test_a_platform_of_an_index_that_stays_stays():
    tags = [linked("v1", A, 1, children=(B,)), tag("v1-amd64", 30, B), tag("v0", 30, C)]
    assert gone(tags, rules(OLD)) == ["v0"]
    assert why("v1-amd64", tags, rules(OLD)) is ReasonKind.LINKED


def test_an_index_goes_without_its_platforms():
    tags = [linked("v1", A, 30, children=(B,)), tag("v1-amd64", 1, B)]
    assert gone(tags, rules(OLD)) == ["v1"]


def test_index_and_platforms_go_together():
    tags = [linked("v1", A, 30, children=(B,)), tag("v1-amd64", 30, B)]
    assert gone(tags, rules(OLD)) == ["v1", "v1-amd64"]


def test_not_even_shared_digests_let_a_platform_go():
    tags = [linked("v1", A, 1, children=(B,)), tag("v1-amd64", 30, B)]
    assert gone(tags, rules(OLD, shared_digest="delete")) == []
    assert gone(tags, {"targets": ["web:v1-amd64"], "shared_digest": "delete"}) == []


def with_platforms(name, digest, days, *platforms):
    return msgspec.structs.replace(tag(name, days, digest), platforms=platforms)


def test_a_platform_that_a_listing_tells_stays_with_its_index_unless_a_policy_says_otherwise():
    tags = [with_platforms("v1", A, 1, B), tag("v1-amd64", 30, B), tag("v0", 30, C)]
    assert gone(tags, rules(OLD)) == ["v0"]
    assert why("v1-amd64", tags, rules(OLD)) is ReasonKind.SHARED_DIGEST
    assert gone(tags, rules(OLD, shared_digest="delete")) == ["v0", "v1-amd64"]
    assert gone([with_platforms("v1", A, 30, B), tag("v1-amd64", 30, B)], rules(OLD)) == ["v1", "v1-amd64"]


def test_looking_again_a_platform_stays_with_an_index_that_stays():
    index, platform = with_platforms("v1", A, 1, B), tag("v1-amd64", 30, B)
    [entry] = entries_of([platform], {"v1-amd64"})
    own_names = msgspec.structs.replace(RECORD, takes_siblings=False)
    [(_, outcome)] = compare(own_names, [entry], [index, platform]).ended
    assert (outcome.status, outcome.error) == (
        Status.CHANGED,
        f"{B[:19]} is part of 'v1', which is kept",
    )
    entry = msgspec.structs.replace(entry, delete_shared=True)
    assert compare(own_names, [entry], [index, platform]).ready


def test_an_artifact_goes_and_stays_with_its_subject():
    tags = [tag("old", 30, A), linked("sbom-old", "sha256:1", 30, subject=A)]
    tags += [tag("new", 1, B), linked("sbom-new", "sha256:2", 30, subject=B)]
    assert gone(tags, rules(OLD)) == ["old", "sbom-old"]
    assert why("sbom-new", tags, rules(OLD)) is ReasonKind.COSIGN


def test_an_artifact_that_is_kept_keeps_its_subject():
    tags = [tag("old", 30, A), linked("sbom", "sha256:1", 30, subject=A), tag("x", 30, C)]
    assert gone(tags, rules(OLD, keep=[{"tags": ["sbom"]}])) == ["x"]
    found = decided(tags, rules(OLD, keep=[{"tags": ["sbom"]}]))["old"].reasons[0]
    assert found.text == f"'sbom', which is kept, belongs to {A[:19]}"


def test_an_artifact_of_unknown_age_keeps_its_subject_unless_that_is_dated():
    tags = [tag("old", 30, A), linked("sbom", "sha256:1", None, subject=A)]
    assert gone(tags, rules(OLD)) == []


def test_a_dependent_without_a_tag_keeps_what_it_belongs_to_where_manifests_are_deleted():
    tags = [linked("old", A, 30, untagged_referrers=(B,)), tag("x", 30, C)]
    by_manifest = replace(policies(rules(OLD)), takes_siblings=True)
    old, other = decide(tags, by_manifest, NOW)
    assert (old.action, old.reasons[0].kind) == (Action.KEEP, ReasonKind.LINKED)
    assert other.action is Action.DELETE
    # Where a tag is deleted by its name, its manifest stays, and what depends on it.
    assert gone(tags, rules(OLD)) == ["old", "x"]


def test_orphans_go_whatever_their_age():
    tags = [orphan("sbom-1"), orphan("sbom-2"), tag("v1", 1, B), linked("sbom-b", C, None, subject=B)]
    rule = {"tags": ["sbom-*"], "orphaned": True}
    assert gone(tags, rules(rule)) == ["sbom-1", "sbom-2"]
    assert gone(tags, rules(rule, keep=[{"tags": ["sbom-2"]}])) == ["sbom-1"]
    assert gone(tags, rules({**rule, **OLD})) == []
    assert gone([orphan("sbom-1", updated=NOW - 30 * 86_400_000)], rules({**rule, **OLD})) == ["sbom-1"]


def test_nothing_else_is_an_orphan():
    unknown = msgspec.structs.replace(tag("sha256-" + "a" * 64 + ".sig", None, B), links=None)
    assert gone([unknown, tag("v1", 30, C)], rules({"orphaned": True})) == []
    assert gone([linked("v1", C, 30)], rules({"orphaned": True})) == []


def test_orphans_are_no_others_rules_matter():
    assert gone([orphan("sbom-1"), tag("v1", 30, C)], rules(ALL)) == ["v1"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (rules({"orphaned": True, "newest": 3}), "cannot be ranked"),
        (rules({"not": {"orphaned": True}}), "belongs to the rule itself"),
        (rules({"any": [{"orphaned": True}]}), "belongs to the rule itself"),
        (rules(ALL, keep=[{"orphaned": True}]), "is for delete rules"),
        (rules({"orphaned": False}), "orphaned"),
    ],
)
def test_where_it_cannot_be_asked(text, said):
    with pytest.raises(PolicyError, match=said):
        policies(text)


DIGESTS = st.sampled_from([A, B, C, "sha256:d", "sha256:e"])
LINKS = st.builds(
    Links,
    st.lists(DIGESTS, max_size=2).map(tuple),
    st.none() | DIGESTS,
    st.just(()) | st.just(("sha256:u",)),
)
TAGS = st.lists(
    st.tuples(
        st.sampled_from("abcdefgh"),
        DIGESTS,
        st.sampled_from([1, 30]),
        st.none() | LINKS,
        st.none() | st.lists(DIGESTS, max_size=2).map(tuple),
    ),
    unique_by=lambda item: item[0],
    max_size=7,
).map(
    lambda items: [
        msgspec.structs.replace(tag(name, days, digest), links=links, platforms=platforms)
        for name, digest, days, links, platforms in items
    ]
)


def endangered(tags, going, *, by_platform=True):
    """Each tag that goes although something that stays needs it, or belongs to it."""
    staying = [item for item in tags if item.name not in going]
    children = {child for item in staying if item.links for child in item.links.children}
    if by_platform:
        children |= {platform for item in staying for platform in item.platforms or ()}
    subjects = {item.links.subject for item in staying if item.links}
    digests = {item.digest for item in staying}
    return [
        item.name
        for item in tags
        if item.name in going
        and (item.digest in children | subjects | digests or (item.links and item.links.untagged_referrers))
    ]


@given(TAGS, st.sampled_from(["keep", "delete"]))
def test_nothing_goes_that_something_which_stays_hangs_on(tags, shared):
    # A policy cannot let shared digests go where manifests are deleted.
    chosen = replace(policies(rules(OLD, shared_digest=shared)), takes_siblings=shared == "keep")
    found = decide(tags, chosen, NOW)
    going = {item.tag.name for item in found if item.action is Action.DELETE}
    problems = endangered(tags, going, by_platform=shared == "keep")
    if shared == "delete":
        digests = {item.digest for item in tags if item.name not in going}
        linked_ones = {child for t in tags if t.name not in going and t.links for child in t.links.children}
        linked_ones |= {t.links.subject for t in tags if t.name not in going and t.links}
        problems = [t.name for t in tags if t.name in going and t.digest in linked_ones - digests]
    assert problems == []


RECORD = ImageRecord("acme", "web", 9, 9, takes_siblings=True)


def entries_of(tags, going, kind=ReasonKind.DELETE_RULE):
    return [
        Entry(number, "acme", "web", item.name, "p", "f:1", kind, "r", item.digest, updated=item.updated)
        for number, item in enumerate(tags, 1)
        if item.name in going
    ]


@given(TAGS, st.data())
def test_looking_again_leaves_alone_what_hangs_together(tags, data):
    going = data.draw(st.sets(st.sampled_from([t.name for t in tags] or ["a"])))
    checked = compare(RECORD, entries_of(tags, going, ReasonKind.EXPLICIT_TARGET), tags)
    assert endangered(tags, {entry.tag for entry in checked.ready}) == []


def test_looking_again_an_orphan_whose_image_is_back_stays():
    before, now = orphan("sbom"), linked("sbom", "sha256:sbom", None, subject=A)
    [entry] = entries_of([before], {"sbom"})
    entry = msgspec.structs.replace(entry, orphan=True)
    checked = compare(RECORD, [entry], [now])
    [(_, outcome)] = checked.ended
    assert (outcome.status, outcome.error) == (
        Status.CHANGED,
        f"{A[:19]}, which it belongs to, is there now",
    )
    assert compare(RECORD, [entry], [before]).ready


def test_where_siblings_go_along_a_policy_cannot_let_them():
    tags = [tag("a", 30, A), tag("b", 30, A)]
    [entry] = entries_of(tags, {"a"})
    entry = msgspec.structs.replace(entry, delete_shared=True)
    assert not compare(RECORD, [entry], tags).ready
    alone = msgspec.structs.replace(RECORD, takes_siblings=False)
    assert compare(alone, [entry], tags).ready


def newest_digests(count, tags, now=NOW):
    """Reference: the tags of the ``count`` digests whose newest tag is the newest."""
    newest = {}
    for item in tags:
        newest[item.digest] = max(item.updated, newest.get(item.digest, 0))
    ranked = sorted(newest, key=lambda digest: -newest[digest])
    return {item.name for item in tags if item.digest in ranked[:count]}


DATED = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), DIGESTS, st.integers(1, 90)),
    unique_by=(lambda item: item[0], lambda item: item[2]),
    min_size=1,
    max_size=7,
).map(lambda items: [tag(name, days, digest) for name, digest, days in items])


def verdicts_of(tags, count):
    rule = policies(rules({"newest": count, "count_by": "digest"})).delete[0][0]
    return dict(zip([t.name for t in tags], judge(rule.conditions, ImageTable(tags, NOW)), strict=True))


@given(DATED, st.integers(1, 4))
def test_digests_are_counted_once(tags, count):
    found = verdicts_of(tags, count)
    assert {name for name, verdict in found.items() if verdict == YES} == newest_digests(count, tags)
    assert UNKNOWN not in found.values()


@given(DATED, st.integers(1, 4), st.data())
def test_counting_digests_never_claims_what_is_not_known(tags, count, data):
    """What is hidden of some tags may turn out to be anything; what is said without it stays true."""
    hidden = data.draw(st.sets(st.sampled_from([item.name for item in tags])))
    known = [
        item
        if item.name not in hidden
        else msgspec.structs.replace(
            item, **data.draw(st.sampled_from([{"digest": None}, {"updated": None}]))
        )
        for item in tags
    ]
    said, truth = verdicts_of(known, count), newest_digests(count, tags)
    assert {name for name, verdict in said.items() if verdict == YES} <= truth
    assert not {name for name, verdict in said.items() if verdict == NO} & truth
