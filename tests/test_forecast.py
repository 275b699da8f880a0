"""Forecasting: what goes day by day is what daily runs would delete."""

import json

from conftest import policy_text, seed
from hypothesis import given, settings
from test_retention import (
    ALL,
    DAY,
    FLOORS,
    KEEPS,
    NOW,
    RULES,
    TAGS_AND_SIGNATURES,
    A,
    attached,
    of,
    policies,
    rules,
    tag,
)

from pruner.model import Action
from pruner.policy.forecast import forecast_image
from pruner.policy.retention import decide


def forecast(tags, text, days=30):
    return [(day, item.tag.name) for day, item in forecast_image(tags, policies(text), NOW, days)]


def test_a_tag_goes_on_the_day_that_it_is_old_enough():
    tags = [tag("old", 15), tag("at", 14), tag("young", 10.5), tag("new", 0)]
    found = forecast(tags, rules({"older_than": "14d"}), 10)
    assert found == [(0, "old"), (1, "at"), (4, "young")]


def test_the_last_day_counts():
    assert forecast([tag("a", 10)], rules({"older_than": "14d"}), 4) == []
    assert forecast([tag("a", 10)], rules({"older_than": "14d"}), 5) == [(5, "a")]


def test_what_is_kept_by_rank_or_floor_never_goes():
    tags = [tag(f"t{day}", day) for day in range(5)]
    assert forecast(tags, rules({"older_than": "2d"}, keep=[{"newest": 2}]), 90) == [
        (0, "t3"),
        (0, "t4"),
        (1, "t2"),
    ]
    assert {name for _, name in forecast(tags, {"delete": [{"older_than": "2d"}]}, 90)} == {
        "t1",
        "t2",
        "t3",
        "t4",
    }


def test_a_keep_rule_of_an_age_ends():
    assert forecast([tag("a", 3), tag("b", 90)], rules(ALL, keep=[{"newer_than": "7d"}])) == [
        (0, "b"),
        (5, "a"),
    ]


def test_a_signature_goes_with_its_image():
    tags = [tag("a", 10, A), attached(A, days=1), tag("b", 0)]
    assert forecast(tags, rules({"tags": ["a"], "older_than": "14d"}), 9) == [(5, "a"), (5, attached(A).name)]


@settings(max_examples=40, deadline=None)
@given(TAGS_AND_SIGNATURES, RULES, KEEPS, FLOORS)
def test_a_forecast_is_what_daily_runs_would_delete(tags, delete, keep, floor):
    found = of(delete, keep, floor)
    left, expected = list(tags), []
    for day in range(17):
        gone = [d for d in decide(left, found, NOW + day * DAY) if d.action is Action.DELETE]
        expected += [(day, decision) for decision in gone]
        left = [item for item in left if item not in [decision.tag for decision in gone]]
    forecasted = list(forecast_image(tags, found, NOW, 16))
    assert forecasted == expected
    names = [item.tag.name for _, item in forecasted]
    assert len(names) == len(set(names))


def test_the_command_shows_dates_sums_and_json(program, emulated):
    emulator = emulated(
        seed=seed(
            {"web": [{"name": f"t{age}", "age_days": age, "size": 1_000_000} for age in (1, 13, 20, 21)]}
        )
    )
    program = program.at(emulator)
    path = program.folder / "p.yaml"
    path.write_text(policy_text(delete="[{older_than: 14d}]"))
    done = program("forecast", path, "--days", "5", "--format", "json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["tags"] for row in rows] == [2, 1, 0, 0, 0, 0]
    assert rows[0]["bytes"] == 2_000_000
    table = program("forecast", path, "--days", "5").stdout.splitlines()
    assert len(table) == 7
    assert table[0].startswith(rows[0]["date"])
    assert table[0].endswith("now")
    assert table[-1] == "in all 3 tags that refer to 3.0 MB"
    assert emulator.counters.deleted == 0


def test_the_command_needs_no_network_with_an_inventory(program, emulated):
    online = program.at(emulated(seed=seed({"web": ["a", "b"]})))
    path = program.folder / "p.yaml"
    path.write_text(policy_text(delete="[{older_than: 14d}]"))
    assert online("inventory", "-o", program.folder / "i.jsonl").returncode == 0
    options = ("--inventory", program.folder / "i.jsonl", "--format", "json")
    done = program("forecast", path, *options)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert (len(rows), rows[0]["tags"]) == (31, 1)
    early = json.loads(program("forecast", path, *options, "--now", "2000-01-01").stdout)
    assert sum(row["tags"] for row in early) == 0
