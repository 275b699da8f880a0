"""Comparing a plan with what is there now: what is ready, what is gone, and what is left alone."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruner.engine.final_check import CONFIRMED_BY_READING, Before, compare
from pruner.model import ReasonKind, Status, Tag, Target
from pruner.plan.records import Entry, ImageRecord

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")


def entry(seq, name, digest=A, updated=1000, **more):
    source = ("p", "p.yaml:7", ReasonKind.DELETE_RULE, "tags *")
    return Entry(seq, "acme", "web", name, *source, digest, 50, updated, **more)


def tag(name, digest=A, updated=1000):
    return Tag(Target("acme", "web", name), digest, 50, None, updated)


def compared(entries, tags, claimed=(), **record):
    """The names that are ready, and the outcome of each that is not."""
    record = ImageRecord("acme", "web", 0, len(entries), **record)
    checked = compare(record, entries, tags, before=Before(claimed))
    assert len(checked.ready) + len(checked.ended) == len(entries)
    ended = {item.tag: outcome for item, outcome in checked.ended}
    return [item.tag for item in checked.ready], ended


def changed(entries, tags, name):
    ready, ended = compared(entries, tags)
    assert name not in ready
    assert ended[name].status is Status.CHANGED
    return ended[name].error


def test_what_is_as_planned_is_ready_in_the_order_of_the_plan():
    ready, ended = compared([entry(1, "b"), entry(2, "a", B)], [tag("a", B), tag("b")])
    assert ready == ["b", "a"]
    assert ended == {}


@pytest.mark.parametrize("tags", [None, [], [tag("other")]], ids=["no image", "empty", "others"])
def test_what_is_not_there_is_gone(tags):
    ready, ended = compared([entry(1, "a")], tags)
    outcome = ended["a"]
    assert ready == []
    assert (outcome.status, outcome.error, outcome.attempts) == (Status.GONE, None, 0)
    assert (outcome.target, outcome.policy, outcome.size) == (Target("acme", "web", "a"), "p", 50)


def test_what_an_earlier_session_claimed_and_is_not_there_was_deleted():
    _, ended = compared([entry(1, "a"), entry(2, "b")], [], claimed={2})
    assert ended["a"].status is Status.GONE
    assert (ended["b"].status, ended["b"].error) == (Status.DELETED, CONFIRMED_BY_READING)


def test_what_an_earlier_session_claimed_and_is_still_there_is_compared_like_any_other():
    ready, ended = compared([entry(1, "a"), entry(2, "b")], [tag("a"), tag("b", C)], claimed={1, 2})
    assert ready == ["a"]
    assert ended["b"].status is Status.CHANGED


@pytest.mark.parametrize(("planned", "now"), [(A, B), (A, None), (None, A)])
def test_another_digest_is_left_alone(planned, now):
    assert "its digest is not the planned one" in changed([entry(1, "a", planned)], [tag("a", now)], "a")


@pytest.mark.parametrize(("planned", "now"), [(1000, 1001), (None, 1000)])
def test_a_later_update_is_left_alone(planned, now):
    assert (
        changed([entry(1, "a", A, planned)], [tag("a", A, now)], "a") == "was updated after the plan was made"
    )


@pytest.mark.parametrize(
    ("planned", "now", "stays"), [(5, 6, True), (None, 6, True), (5, None, True), (5, 5, False)]
)
def test_a_later_pull_is_left_alone_where_a_rule_asks_for_pulls(planned, now, stays):
    pulled = msgspec.structs.replace(tag("a"), last_pulled=now)
    planned = [entry(1, "a", last_pulled=planned)]
    ready, ended = compared(planned, [pulled], pulls=True)
    assert (ready == []) is stays
    assert not stays or "pulled" in ended["a"].error
    assert compared(planned, [pulled])[0] == ["a"]


def test_the_newest_stay_when_those_that_were_to_stay_are_gone():
    entries = [entry(1, "a", A, 3), entry(2, "b", B, 2), entry(3, "c", C, 1)]
    there = [tag("a", A, 3), tag("b", B, 2), tag("c", C, 1)]
    assert compared(entries, there, keep_at_least=0)[0] == ["a", "b", "c"]
    ready, ended = compared(entries, there, keep_at_least=2)
    assert ready == ["c"]
    assert ended["a"].status is ended["b"].status is Status.CHANGED
    assert "2 newest tags that stay at least" in ended["b"].error
    assert compared(entries, [*there, tag("new", "sha256:new")], keep_at_least=1)[0] == ["a", "b", "c"]


def test_a_signature_stays_with_the_tag_it_belongs_to():
    name = f"{A.replace(':', '-')}.sig"
    entries = [entry(1, "a", A, delete_shared=True), entry(2, name, C, delete_shared=True)]
    assert compared(entries, [tag("a"), tag(name, C)])[0] == ["a", name]
    for there in ([tag("a", A, 2000), tag(name, C)], [tag("a"), tag(name, C), tag("new", A, 2000)]):
        ready, ended = compared(entries[1:], there)
        assert ready == []
        assert "attached to" in ended[name].error
    assert compared(entries, [tag("a", B), tag(name, C)])[0] == [name]
    explicit = msgspec.structs.replace(entries[1], kind=ReasonKind.EXPLICIT_TARGET)
    assert compared([entries[0], explicit], [tag("a", A, 2000), tag(name, C)])[0] == [name]


def test_explicit_targets_and_attachments_are_no_tags_to_stay():
    explicit = msgspec.structs.replace(entry(1, "a", A, 3), kind=ReasonKind.EXPLICIT_TARGET)
    signature = f"{A.replace(':', '-')}.sig"
    entries = [explicit, entry(2, "b", B, 2), entry(3, signature, C, 9)]
    there = [tag("a", A, 3), tag("b", B, 2), tag(signature, C, 9)]
    ready, ended = compared(entries, there, keep_at_least=1)
    assert ready == ["a", signature]
    assert list(ended) == ["b"]


def test_a_time_that_is_not_known_any_more_is_left_alone_where_lists_tell_times():
    planned, there = [entry(1, "a", A, 1000)], [tag("a", A, None)]
    assert "is not known now" in changed(planned, there, "a")
    record = ImageRecord("acme", "web", 1, 1)
    assert compare(record, planned, there, times_were_read=False).ready == planned


def test_other_platforms_are_another_image():
    planned = [msgspec.structs.replace(entry(1, "a", A), platforms=(B,))]
    same, other = (msgspec.structs.replace(tag("a"), platforms=found) for found in ((B,), (B, C)))
    assert compared(planned, [same])[0] == ["a"]
    for now in (other, tag("a")):
        assert "pushed again" in changed(planned, [now], "a")
    assert "pushed again" in changed([entry(1, "a")], [same], "a")


def test_another_manifest_is_another_image():
    planned = [msgspec.structs.replace(entry(1, "a", A), manifest=B)]
    for manifest, ready in ((B, ["a"]), (C, []), (None, [])):
        assert compared(planned, [msgspec.structs.replace(tag("a"), manifest=manifest)])[0] == ready


@pytest.mark.parametrize(("planned", "now"), [(1000, 1000), (1000, 999), (None, None)])
def test_no_later_update_is_ready(planned, now):
    assert compared([entry(1, "a", A, planned)], [tag("a", A, now)])[0] == ["a"]


def test_what_was_missing_and_still_is_gone():
    assert compared([entry(1, "a", None, None, missing=True)], [])[1]["a"].status is Status.GONE


@pytest.mark.parametrize("digest", [A, None])
def test_what_was_missing_and_is_there_now_is_left_alone(digest):
    error = changed([entry(1, "a", None, None, missing=True)], [tag("a", digest, None)], "a")
    assert error == "was not there when the plan was made, and is now"


def test_a_digest_that_a_tag_outside_the_plan_has_is_left_alone():
    error = changed([entry(1, "a")], [tag("a"), tag("prod")], "a")
    assert error == "has the same digest as 'prod', which is kept"


def test_a_tag_of_unknown_digest_outside_the_plan_may_be_any():
    assert "no known digest" in changed([entry(1, "a")], [tag("a"), tag("prod", None)], "a")
    assert "is not known" in changed([entry(1, "a", None)], [tag("a", None), tag("prod", None)], "a")


def test_a_digest_that_another_planned_tag_has_is_ready():
    assert compared([entry(1, "a"), entry(2, "b")], [tag("a"), tag("b")])[0] == ["a", "b"]


def test_a_digest_of_a_planned_tag_that_ended_in_an_earlier_session_and_is_there_is_left_alone():
    # 'done' was deleted (or left alone) by an earlier session; it is there, and this session leaves it.
    ready, _ = compared([entry(2, "a")], [tag("done", A, 2000), tag("a")])
    assert ready == []


@pytest.mark.parametrize("other", [A, None])
def test_a_policy_of_delete_shared_does_not_mind(other):
    assert compared([entry(1, "a", delete_shared=True)], [tag("a"), tag("prod", other)])[0] == ["a"]


def test_a_policy_of_delete_shared_minds_everything_else():
    assert changed([entry(1, "a", delete_shared=True)], [tag("a", B)], "a")
    assert changed([entry(1, "a", delete_shared=True)], [tag("a", A, 2000)], "a")


def test_an_unknown_digest_that_stays_unknown_is_ready_when_nothing_is_outside():
    assert compared([entry(1, "a", None)], [tag("a", None)])[0] == ["a"]


def test_an_unknown_digest_is_left_alone_beside_a_tag_outside_the_plan():
    # Deciding keeps such a tag as soon as any other stays; 'new' came after the plan.
    assert "is not known" in changed([entry(1, "a", None)], [tag("a", None), tag("new", B)], "a")


@pytest.mark.parametrize("moved", [entry(1, "moved", C), entry(1, "moved", None, None, missing=True)])
def test_a_digest_that_a_planned_tag_left_alone_has_now_is_left_alone(moved):
    # 'moved' was pushed again and stays; it is the image of 'a' now, and would go together with it.
    entries, tags = [moved, entry(2, "a", B)], [tag("moved", B, 2000), tag("a", B)]
    assert changed(entries, tags, "moved")
    assert changed(entries, tags, "a")


def test_an_unknown_digest_of_a_planned_tag_left_alone_may_be_any():
    entries, tags = [entry(1, "moved", C), entry(2, "a", B)], [tag("moved", None), tag("a", B)]
    assert changed(entries, tags, "a")


def test_what_is_left_alone_for_its_unknown_digest_stays_for_others_too():
    # 'b' stays beside 'new', and may be the same image as 'a'.
    entries = [entry(1, "a", B), entry(2, "b", None)]
    ready, ended = compared(entries, [tag("a", B), tag("b", None), tag("new", C)])
    assert ready == []
    assert "no known digest" in ended["a"].error


def test_leaving_one_alone_goes_on_along_shared_digests():
    entries = [entry(1, "a", A, delete_shared=True), entry(2, "b"), entry(3, "c", B), entry(4, "d", C)]
    tags = [tag("a", A, 2000), tag("b"), tag("c", B), tag("d", C)]
    ready, ended = compared(entries, tags)
    assert ready == ["c", "d"]
    assert sorted(ended) == ["a", "b"]


DIGESTS = st.sampled_from([A, B, C, None])
NAMES = st.sampled_from("abcdefgh")
ENTRIES = st.dictionaries(NAMES, st.tuples(DIGESTS, st.booleans(), st.booleans()), max_size=6)
PRESENT = st.dictionaries(NAMES, st.tuples(DIGESTS, st.sampled_from([None, 999, 1000, 1001])), max_size=8)


@settings(max_examples=300, deadline=None)
@given(ENTRIES, PRESENT, st.sets(st.integers(1, 6)), st.booleans())
def test_no_ready_entry_may_take_along_what_stays(planned, present, claimed, likely):
    if likely:
        # Mostly as planned, so that something is ready.
        present = {**present, **{name: (digest, 1000) for name, (digest, _, _) in planned.items()}}
        planned = {name: (digest, shared, False) for name, (digest, shared, _) in planned.items()}
    entries = [
        entry(seq, name, digest, delete_shared=shared, missing=missing)
        for seq, (name, (digest, shared, missing)) in enumerate(planned.items(), 1)
    ]
    tags = [tag(name, digest, updated) for name, (digest, updated) in present.items()]
    ready, ended = compared(entries, tags, claimed)
    staying = {item.digest for item in tags if item.name not in ready}
    for item in entries:
        if item.tag in ready:
            assert present[item.tag][0] == item.digest
            assert not item.missing
            if not item.delete_shared and staying:
                assert item.digest is not None
                assert item.digest not in staying
                assert None not in staying
        elif item.tag not in present:
            assert ended[item.tag].status is (Status.DELETED if item.seq in claimed else Status.GONE)
        else:
            assert ended[item.tag].status is Status.CHANGED
    assert ready == [item.tag for item in entries if item.tag in ready]


@settings(max_examples=100, deadline=None)
@given(ENTRIES, PRESENT, st.randoms(use_true_random=False))
def test_what_is_ready_depends_on_no_order(planned, present, random):
    entries = [
        entry(seq, name, digest, delete_shared=shared)
        for seq, (name, (digest, shared, _)) in enumerate(planned.items(), 1)
    ]
    tags = [tag(name, digest, updated) for name, (digest, updated) in present.items()]
    first = compared(entries, tags)[0]
    again = compared(random.sample(entries, len(entries)), random.sample(tags, len(tags)))[0]
    assert sorted(first) == sorted(again)
