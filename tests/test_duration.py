"""Durations: exact, bounded, nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruner.policy.duration import MAX_MILLISECONDS, format_age, format_duration, parse_duration

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
SIZES = {"m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1m", MINUTE),
        ("90m", 90 * MINUTE),
        ("36h", 36 * HOUR),
        ("14d", 14 * DAY),
        ("6w", 42 * DAY),
        ("007d", 7 * DAY),
        ("36525d", MAX_MILLISECONDS),
        ("52596000m", MAX_MILLISECONDS),
    ],
)
def test_parse(text: str, milliseconds: int) -> None:
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "14",
        "d",
        "14 d",
        " 14d",
        "14d ",
        "14d\n",
        "14D",
        "14days",
        "1d12h",
        "-14d",
        "+14d",
        "1.5d",
        "1e3d",
        "1_000d",
        "0x1d",
        "14s",
        "14y",
        "14M",
        "1\u0664d",
        "\uff11\uff14d",
        "999999999d",
        "9" * 100_000 + "d",
        "14d\u202e",
        "\x1b[31m",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; write a whole number and a unit") as error:
        parse_duration(text)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("text", ["0m", "0d", "00000000w"])
def test_no_time_at_all(text: str) -> None:
    with pytest.raises(ValueError, match="no time at all"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["36526d", "5218w", "52596001m", "99999999w"])
def test_more_than_a_century(text: str) -> None:
    with pytest.raises(ValueError, match="longer than 100 years"):
        parse_duration(text)


@given(st.integers(1, 5217), st.sampled_from("mhdw"))
def test_value_is_count_times_unit(count: int, unit: str) -> None:
    assert parse_duration(f"{count}{unit}") == count * SIZES[unit]


@given(st.integers(1, MAX_MILLISECONDS // MINUTE))
def test_what_is_formatted_can_be_read_again(minutes: int) -> None:
    assert parse_duration(format_duration(minutes * MINUTE)) == minutes * MINUTE


@given(st.text(alphabet="0123456789mhdw -+.\n", max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert 0 < parse_duration(text) <= MAX_MILLISECONDS
    except ValueError:
        pass
    else:
        assert text[:-1].isdecimal()


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "under a minute"),
        (MINUTE - 1, "under a minute"),
        (-DAY, "under a minute"),
        (MINUTE, "1 minute"),
        (12 * MINUTE + 59_999, "12 minutes"),
        (HOUR, "1 hour"),
        (7 * HOUR, "7 hours"),
        (DAY, "24 hours"),
        (2 * DAY - 1, "47 hours"),
        (2 * DAY, "2 days"),
        (53 * DAY + 1, "53 days"),
    ],
)
def test_format_age(milliseconds: int, text: str) -> None:
    assert format_age(milliseconds) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(90 * MINUTE, "90m"), (36 * HOUR, "36h"), (14 * DAY, "14d"), (42 * DAY, "42d")],
)
def test_format_duration(milliseconds: int, text: str) -> None:
    assert format_duration(milliseconds) == text
