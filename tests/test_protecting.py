"""The one rule of protection: deciding and the final check keep the same tags."""

from dataclasses import replace

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from test_retention import NOW, policies, rules, tag

from pruner.engine.final_check import compare
from pruner.model import Action, Links
from pruner.plan.build import _entry
from pruner.plan.records import ImageRecord
from pruner.policy.protecting import Terms, protect
from pruner.policy.retention import decide

A, B, C, D = (f"sha256:{letter * 64}" for letter in "abcd")
DIGESTS = st.sampled_from([A, B, C, D, None])
KNOWN = st.sampled_from([A, B, C, D])
LINKS = st.builds(
    Links,
    st.lists(KNOWN, max_size=2).map(tuple),
    st.none() | KNOWN,
    st.just(()) | st.just(("sha256:u",)),
    st.booleans(),
)
SIGNATURES = [f"{digest.replace(':', '-')}.sig" for digest in (A, B)]
NAMES = ["v1", "v2", "pr-1", "pr-2", "pr-3", "latest", *SIGNATURES]
TAGS = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        DIGESTS,
        st.sampled_from([1, 30, 40, None, -5]),
        st.none() | LINKS,
        st.none() | st.lists(KNOWN, max_size=2).map(tuple),
        st.none() | KNOWN,
    ),
    unique_by=lambda item: item[0],
    max_size=8,
).map(
    lambda items: [
        msgspec.structs.replace(
            tag(name, days, digest), links=links, platforms=platforms, manifest=manifest, last_pulled=None
        )
        for name, digest, days, links, platforms, manifest in items
    ]
)
POLICIES = st.builds(
    lambda delete, keep, floor, shared, targets: [
        rules(delete, keep=keep, limits={"keep_at_least": floor}, shared_digest=shared),
        *([{"targets": targets, "shared_digest": shared}] if targets else []),
    ],
    st.sampled_from(
        [
            {"older_than": "14d"},
            {"tags": ["pr-*", "v*"]},
            {"tags": ["pr-*", "v*", "sha256-*"], "older_than": "7d"},
            {"tags": ["sha256-*"], "orphaned": True},
        ]
    ),
    st.sampled_from([[], [{"tags": ["latest"]}], [{"newest": 1}], [{"tags": ["sha256-*"]}]]),
    st.integers(0, 3),
    st.sampled_from(["keep", "delete"]),
    st.lists(st.sampled_from([f"web:{name}" for name in NAMES]), max_size=2, unique=True),
)


def planned(tags, chosen, *, by_manifest):
    """The record and the entries of the plan that a listing makes."""
    found = policies(*chosen)
    if by_manifest:
        # There a policy cannot let shared digests go.
        found = _by_manifest(found)
    decisions = decide(tags, found, NOW)
    going = [decision for decision in decisions if decision.action is Action.DELETE]
    entries = [msgspec.structs.replace(_entry(item), seq=number) for number, item in enumerate(going, 1)]
    record = ImageRecord(
        "acme",
        "web",
        len(tags),
        len(entries),
        keep_at_least=found.keep_at_least,
        pulls=found.asks_for_pulls,
        takes_siblings=found.takes_siblings,
    )
    return record, entries


def _by_manifest(found):
    return replace(
        found,
        takes_siblings=True,
        delete=tuple((rule, False) for rule, _ in found.delete),
        targets={name: (item, False) for name, (item, _) in found.targets.items()},
    )


@settings(max_examples=500, deadline=None)
@given(TAGS, POLICIES, st.booleans())
def test_a_plan_compared_with_the_listing_that_it_was_made_from_changes_nothing(tags, chosen, by_manifest):
    record, entries = planned(tags, chosen, by_manifest=by_manifest)
    checked = compare(record, entries, tags)
    assert checked.ended == []
    assert checked.ready == entries


@settings(max_examples=500, deadline=None)
@given(TAGS, TAGS, POLICIES, st.booleans())
def test_with_any_later_listing_the_final_check_only_ever_deletes_less(tags, later, chosen, by_manifest):
    record, entries = planned(tags, chosen, by_manifest=by_manifest)
    checked = compare(record, entries, later)
    assert [entry for entry in entries if entry in checked.ready] == checked.ready
    assert len(checked.ready) + len(checked.ended) == len(entries)
    # What it lets go, the rule of protection lets go as well, with the tags that are there then.
    index_of = {item.name: index for index, item in enumerate(later)}
    ready = {index_of[entry.tag]: entry for entry in checked.ready}
    terms = Terms(record.keep_at_least, record.takes_siblings)
    updated = [item.updated for item in later]
    candidates = {index: _Candidate(entry) for index, entry in ready.items()}
    assert protect(later, candidates, updated, terms) == {}


class _Candidate:
    def __init__(self, entry):
        self.explicit = entry.kind == "explicit_target"
        self.delete_shared = entry.delete_shared


def test_keep_at_least_does_not_count_what_is_attached():
    tags = [tag("v1", 30, A), tag("v2", 40, B), tag(SIGNATURES[1], 30, A)]
    chosen = [
        rules(
            {"tags": ["v*"]},
            limits={"keep_at_least": 2},
            shared_digest="delete",
        ),
        {"targets": [f"web:{SIGNATURES[1]}"], "shared_digest": "delete"},
    ]
    _, entries = planned(tags, chosen, by_manifest=False)
    assert [entry.tag for entry in entries if entry.tag.startswith("v")] == []


def test_of_several_ordinary_tags_the_newest_stay_whoever_asks():
    tags = [tag("a", 30, A), tag("b", 20, B), tag("c", 40, C)]
    record, entries = planned(tags, [rules({"tags": ["*"]}, limits={"keep_at_least": 2})], by_manifest=False)
    assert [entry.tag for entry in entries] == ["c"]
    gone = [item for item in tags if item.name != "b"]
    assert [entry.tag for entry, _ in compare(record, entries, gone).ended] == ["c"]
