"""Versions: the order of SemVer 2.0.0, item 11, and ranges."""

import functools
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruner.policy.semver import Version, parse_range, parse_version

# The examples of semver.org, item 11.2 and 11.4, each below the next.
ORDERED = [
    "0.9.9",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.1",
    "1.9.0",
    "1.10.0",
    "2.0.0",
    "2.1.0",
    "2.1.1",
]


def version(text: str) -> Version:
    found = parse_version(text)
    assert found is not None, text
    return found


def test_order_of_the_specification() -> None:
    for lower, higher in itertools.combinations(ORDERED, 2):
        assert version(lower) < version(higher), (lower, higher)


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        ("1.0.0-9", "1.0.0-10"),
        ("1.0.0-999999999999999999999999", "1.0.0-a"),
        ("1.0.0-1", "1.0.0--"),
        ("1.0.0-A", "1.0.0-a"),
        ("1.0.0-a", "1.0.0-a.0"),
        ("1.0.0-a.0", "1.0.0-a.a"),
        ("1.0.0-0", "1.0.0"),
        ("999999999999999998.0.0", "999999999999999999.0.0"),
    ],
)
def test_order(lower: str, higher: str) -> None:
    assert version(lower) < version(higher)
    assert not version(higher) < version(lower)
    assert version(lower) != version(higher)


@pytest.mark.parametrize("text", ["1.4", "v1.4", "v1.4.0", "1.4.0"])
def test_a_leading_v_and_a_missing_patch(text: str) -> None:
    assert version(text) == version("1.4.0")
    assert version(text).final


@pytest.mark.parametrize("text", ["1.4.0-rc.1", "v1.4.0-rc.1", "1.4-rc.1"])
def test_prerelease(text: str) -> None:
    found = version(text)
    assert not found.final
    assert (found.major, found.minor, found.patch) == (1, 4, 0)
    assert found == version("1.4.0-rc.1")


@pytest.mark.parametrize("text", ["1.0.0-0a", "1.0.0-x.7.z.92", "1.0.0-x-y-z.-", "1.0.0---1", "1.0.0-00a"])
def test_prerelease_identifiers(text: str) -> None:
    assert not version(text).final


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "v1",
        "latest",
        "1.2.3.4",
        "01.2.3",
        "1.02.3",
        "1.2.03",
        "1.2.3-",
        "1.2.3-a..b",
        "1.2.3-.a",
        "1.2.3-01",
        "1.2.3-a.00",
        "1.2.3-a_b",
        "1.2.3+build",
        "1.2.3-rc+build",
        "V1.2.3",
        "vv1.2.3",
        "1.2.3 ",
        "1.2.3\n",
        "\n1.2.3",
        "-1.2.3",
        "1..3",
        "1.2.x",
        "\u0661.\u0662.\u0663",
        "1.2.\u0663",
        "release-1.2.3",
        "1000000000000000000.0.0",
        "1.0.0-" + "9" * 5000,
        "1.0.0-" + "a-" * 5_000_000,
        "1." * 5_000_000,
    ],
    ids=lambda text: text[:20],
)
def test_not_a_version(text: str) -> None:
    assert parse_version(text) is None


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (">=1.2 <2.0.0", ["1.2.0", "1.2", "1.9.9", "2.0.0-rc.1"], ["1.1.9", "1.2.0-rc.1", "2.0.0"]),
        (">1.2.0", ["1.2.1", "2.0.0"], ["1.2.0", "1.2.0-rc.1"]),
        ("<=1.2.0", ["1.2.0", "1.2.0-rc.1", "0.1.0"], ["1.2.1"]),
        ("=1.2", ["1.2.0", "v1.2"], ["1.2.1", "1.2.0-rc.1"]),
        ("<2", ["1.99.99", "2.0.0-alpha"], ["2.0.0"]),
        (">= v1.2  <  2", ["1.2.0"], ["2.0.0"]),
        ("  >=1.0.0-rc.1\t", ["1.0.0-rc.1", "1.0.0-rc.2", "1.0.0"], ["1.0.0-beta"]),
        (">=1 <1", [], ["0.9.0", "1.0.0"]),
    ],
)
def test_ranges(text: str, inside: list[str], outside: list[str]) -> None:
    holds = parse_range(text)
    assert [tag for tag in inside if not holds(version(tag))] == []
    assert [tag for tag in outside if holds(version(tag))] == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty range"),
        (" \n", "empty range"),
        ("1.2", "no operator"),
        ("1.2 - 2.0", "no operator"),
        ("^1.2", "no operator"),
        ("~1.2", "no operator"),
        (">=1.2 || <1", "no operator"),
        (">=1.2 <", "no operator"),
        ("*", "no operator"),
        (">=1.x", "not a version"),
        (">=latest", "not a version"),
        (">=1.2,<2", "not a version"),
        ("==1.2", "not a version"),
        (">=", "not a version"),
        (">=01.2", "not a version"),
        (">=1.2.3+build", "not a version"),
        (">=1.2.3-" + "9" * 5000, "not a version"),
    ],
    ids=lambda text: text[:20],
)
def test_refused_ranges(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as error:
        parse_range(text)
    assert len(str(error.value)) < 300


numbers = st.integers(0, 12).map(str)
identifiers = st.one_of(numbers, st.from_regex(r"[A-Za-z-][0-9A-Za-z-]{0,3}", fullmatch=True))
versions = st.builds(
    lambda core, pre: ".".join(core) + ("-" + ".".join(pre) if pre else ""),
    st.tuples(numbers, numbers, numbers),
    st.lists(identifiers, max_size=3),
)


def compare(left: str, right: str) -> int:
    """Item 11 of the specification, step by step: negative, zero or positive."""
    left_core, _, left_pre = left.partition("-")
    right_core, _, right_pre = right.partition("-")
    for one, other in zip(left_core.split("."), right_core.split("."), strict=True):
        if one != other:
            return int(one) - int(other)
    if not left_pre or not right_pre:
        return bool(right_pre) - bool(left_pre)
    for one, other in itertools.zip_longest(left_pre.split("."), right_pre.split(".")):
        if one == other:
            continue
        if one is None or other is None:
            return -1 if one is None else 1
        if one.isdecimal() and other.isdecimal():
            return int(one) - int(other)
        if one.isdecimal() or other.isdecimal():
            return -1 if one.isdecimal() else 1
        return -1 if one < other else 1
    return 0


@given(versions, versions)
def test_order_agrees_with_the_specification(left: str, right: str) -> None:
    expected = compare(left, right)
    one, other = version(left), version(right)
    assert (one > other) - (one < other) == (expected > 0) - (expected < 0)
    # Exactly one of the three holds: the order is total.
    assert [one < other, one == other, one > other].count(True) == 1


@given(versions, versions, versions)
def test_order_is_transitive(first: str, second: str, third: str) -> None:
    low, middle, high = sorted(map(version, (first, second, third)))
    assert low <= middle <= high
    assert low <= high


@settings(deadline=None)
@given(st.lists(versions, max_size=30), st.randoms(use_true_random=False))
def test_sorting_does_not_depend_on_the_order_of_arrival(tags: list[str], random: object) -> None:
    shuffled = list(tags)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    by_rule = sorted(tags, key=functools.cmp_to_key(compare))
    assert sorted(map(version, shuffled)) == [version(tag) for tag in by_rule]


@given(versions, versions)
def test_ranges_follow_the_order(tag: str, bound: str) -> None:
    below, equal, above = (parse_range(f"{operator}{bound}")(version(tag)) for operator in ("<", "=", ">"))
    assert [below, equal, above].count(True) == 1
    assert parse_range(f"<={bound}")(version(tag)) == (below or equal)
    assert parse_range(f">={bound}")(version(tag)) == (above or equal)


@given(st.text(max_size=30))
def test_any_text_is_a_version_or_not(text: str) -> None:
    parse_version(text)
