"""Guards: each limit of policies and of the command line, at the limit and one above, all told at once."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruner.errors import ExitCode, RefusedError
from pruner.plan.guards import SHOWN_VIOLATIONS, GuardCounter, Guards, check_growth
from pruner.policy.policy import Limits, Policy


def _any(image):
    return True


def policy(name="p", registry="acme", **limits):
    return Policy(name, registry, "p.yaml:3", selects=_any, limits=Limits(**limits))


def refusal(guards, policies, *images):
    """The lines of the refusal after counting ``(registry, image, tags, {policy: deletions})``, or []."""
    counter = GuardCounter.of(guards, policies)
    for registry, image, tags, deletions in images:
        of_policy = (name for name, count in deletions.items() for _ in range(count))
        rules = [item for item in policies if item.registry == registry]
        counter.image(registry, image, tags, of_policy, rules)
    if not would_refuse(counter):
        counter.check()
        return []
    with pytest.raises(RefusedError) as caught:
        counter.check()
    assert caught.value.exit_code is ExitCode.REFUSED
    first, *lines = str(caught.value).splitlines()
    assert first == "refused, nothing was deleted:"
    return [line.removeprefix("  ") for line in lines]


def would_refuse(counter):
    """Whether a copy of ``counter`` refuses: checking adds to its violations."""
    try:
        copy.deepcopy(counter).check()
    except RefusedError:
        return True
    return False


def web(count, tags=100):
    return ("acme", "web", tags, {"p": count})


def test_without_limits_anything_goes():
    assert refusal(Guards(), [policy()], web(100)) == []


@pytest.mark.parametrize(
    ("guards", "limits", "said"),
    [
        (Guards(max_deletions=10), {}, "11 deletions in all, --max-deletions allows 10"),
        (Guards(), {"max_deletions": 10}, "policy 'p': 11 deletions, its max_deletions allows 10"),
        (
            Guards(),
            {"max_deletions_per_image": 10},
            "acme/web: 11 deletions, policy 'p' allows 10 per image",
        ),
        (
            Guards(),
            {"max_deletions_per_registry": 10},
            "registry 'acme': 11 deletions, policy 'p' allows 10 per registry",
        ),
        (
            Guards(max_share=0.1),
            {},
            "acme/web: 11 of 100 tags (11.0%) would go, --max-share allows 10%",
        ),
        (
            Guards(),
            {"max_share": 0.1},
            "acme/web: 11 of 100 tags (11.0%) would go, policy 'p' allows 10%",
        ),
    ],
)
def test_a_limit_allows_itself_and_refuses_one_more(guards, limits, said):
    assert refusal(guards, [policy(**limits)], web(10)) == []
    assert refusal(guards, [policy(**limits)], web(11)) == [said]


@pytest.mark.parametrize("limit", ["max_deletions", "max_deletions_per_image", "max_deletions_per_registry"])
def test_a_limit_of_0_refuses_any_deletion(limit):
    assert refusal(Guards(), [policy(**{limit: 0})], web(0)) == []
    assert len(refusal(Guards(), [policy(**{limit: 0})], web(1))) == 1


def test_a_command_line_limit_of_0_refuses_any_deletion():
    assert refusal(Guards(max_deletions=0), [policy()], web(0)) == []
    assert len(refusal(Guards(max_deletions=0), [policy()], web(1))) == 1


def test_a_share_of_all_never_refuses():
    assert refusal(Guards(max_share=1.0), [policy(max_share=1.0)], web(100)) == []


def test_exactly_the_share_is_allowed_for_every_percentage():
    refused = []
    for percent in range(1, 101):
        for hundreds in (1, 2, 5):
            limits = policy(max_share=percent / 100)
            if refusal(Guards(), [limits], web(percent * hundreds, 100 * hundreds)):
                refused.append(percent)
    assert refused == []


@given(st.integers(1, 100), st.integers(1, 100_000))
def test_a_deletion_above_the_share_is_refused(percent, tags):
    above = tags * percent // 100 + 1
    counter = GuardCounter.of(Guards(max_share=percent / 100), [policy()])
    counter.image("acme", "web", tags, ["p"] * min(above, 2), [])
    if above <= 2:
        assert (len(counter.violations) == 1) is (above * 100 > percent * tags)


def test_a_share_just_above_its_limit_is_told_so_that_it_shows():
    [line] = refusal(Guards(), [policy(max_share=0.6)], web(601, 1000))
    assert "(60%) would go, policy 'p' allows 60%" not in line


def test_deletions_add_up_over_images_and_registries():
    images = [("acme", "web", 100, {"p": 6}), ("acme", "api", 100, {"p": 5}), ("other", "web", 9, {"q": 4})]
    policies = [policy(max_deletions=10, max_deletions_per_image=6), policy("q", "other", max_deletions=4)]
    assert refusal(Guards(max_deletions=15), policies, *images) == [
        "policy 'p': 11 deletions, its max_deletions allows 10"
    ]
    assert refusal(Guards(max_deletions=14), policies, *images)[0].startswith("15 deletions in all")


def test_the_limit_of_a_registry_counts_the_deletions_of_all_policies_in_it_only():
    images = [("acme", "web", 9, {"p": 2, "q": 2}), ("other", "web", 9, {"r": 5})]
    policies = [policy(max_deletions_per_registry=3), policy("q"), policy("r", "other")]
    assert refusal(Guards(), policies, *images) == [
        "registry 'acme': 4 deletions, policy 'p' allows 3 per registry"
    ]


def test_the_limit_of_an_image_counts_the_deletions_of_all_policies_on_it():
    policies = [policy(max_deletions_per_image=3), policy("q")]
    assert refusal(Guards(), policies, ("acme", "web", 9, {"q": 4})) == [
        "acme/web: 4 deletions, policy 'p' allows 3 per image"
    ]


def test_an_image_that_nothing_leaves_violates_nothing():
    assert refusal(Guards(max_share=0.01), [policy(max_deletions_per_image=0)], ("acme", "web", 0, {})) == []


def test_explicit_targets_count_too():
    explicit = Policy("t", "acme", "p.yaml:9", limits=Limits(max_deletions=1, max_share=0.5))
    assert refusal(Guards(max_deletions=1), [explicit], ("acme", "web", 3, {"t": 2})) == [
        "2 deletions in all, --max-deletions allows 1",
        "policy 't': 2 deletions, its max_deletions allows 1",
        "acme/web: 2 of 3 tags (66.7%) would go, policy 't' allows 50%",
    ]


def test_all_violations_are_listed_at_once():
    limits = dict.fromkeys(("max_deletions", "max_deletions_per_image", "max_deletions_per_registry"), 1)
    found = refusal(Guards(1, 0.5), [policy(**limits, max_share=0.5)], web(2, 3))
    assert found == [
        "2 deletions in all, --max-deletions allows 1",
        "policy 'p': 2 deletions, its max_deletions allows 1",
        "registry 'acme': 2 deletions, policy 'p' allows 1 per registry",
        "acme/web: 2 deletions, policy 'p' allows 1 per image",
        "acme/web: 2 of 3 tags (66.7%) would go, --max-share allows 50%",
        "acme/web: 2 of 3 tags (66.7%) would go, policy 'p' allows 50%",
    ]


@pytest.mark.parametrize(
    ("planned", "before", "factor", "refused"),
    [
        (10_000, [], 2.0, False),
        (10_000, [1], None, False),
        (20, [0, 0], 2.0, False),
        (21, [0, 0], 2.0, True),
        (200, [100, 3], 2.0, False),
        (201, [3, 100], 2.0, True),
        (151, [100], 1.5, True),
    ],
)
def test_growth_beyond_the_largest_of_the_last_runs(planned, before, factor, refused):
    if not refused:
        check_growth(planned, before, factor)
        return
    with pytest.raises(
        RefusedError, match=f"{planned} deletions, but the last {len(before)} runs had at most"
    ):
        check_growth(planned, before, factor)


@pytest.mark.parametrize(("images", "hidden"), [(20, 0), (21, 1), (50, 30)])
def test_many_violations_are_folded(images, hidden):
    found = refusal(
        Guards(max_share=0.1), [policy()], *[("acme", f"i{n}", 9, {"p": 2}) for n in range(images)]
    )
    assert len(found) == SHOWN_VIOLATIONS + bool(hidden)
    assert found[0].startswith("acme/i0: ")
    if hidden:
        assert found[-1] == f"… and {hidden} more"


def test_the_limits_of_the_whole_run_are_never_folded():
    images = [("acme", f"i{n}", 9, {"p": 2}) for n in range(30)]
    found = refusal(Guards(max_deletions=10, max_share=0.1), [policy()], *images)
    assert found[0] == "60 deletions in all, --max-deletions allows 10"
    assert found[-1] == "… and 10 more"


def test_the_guards_that_are_set_are_described():
    assert Guards().described() == {}
    assert Guards(5, 0.5, 0).described() == {"max_deletions": 5, "max_share": 0.5, "keep_at_least": 0}
