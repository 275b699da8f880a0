"""What a DELETE costs must not creep up: calls are counted, so that no machine is too slow or too fast."""

import json

import pytest

from benchmarks import calls, harness

HINT = "if that is meant: python -m benchmarks --update-calls"


@pytest.fixture(scope="module")
def counted():
    return calls.calls_per_delete()


@pytest.fixture(scope="module")
def stored():
    return json.loads(calls.STORED.read_bytes())


def test_a_delete_makes_as_many_calls_of_our_own_as_stored(counted, stored):
    assert counted["own"] == pytest.approx(stored["own"], rel=calls.TOLERANCE), HINT


def test_a_delete_makes_as_many_calls_in_all_as_stored(counted, stored):
    if stored["versions"] != calls.versions():
        pytest.skip("stored with other versions of Python or of libraries")
    assert counted["all"] == pytest.approx(stored["all"], rel=calls.TOLERANCE), HINT


def test_counting_twice_gives_the_same(counted):
    assert calls.calls_per_delete() == pytest.approx(counted, rel=0.03)


def test_measurements_are_interleaved_and_compared_with_their_neighbours():
    order = []
    ours, theirs = iter([2.0, 20.0, 6.0]), iter([1.0, 10.0, 2.0])
    cases = {
        "ours": lambda: order.append("o") or next(ours),
        "theirs": lambda: order.append("t") or next(theirs),
    }
    found = harness.interleaved(cases, 3)
    assert "".join(order) == "otototot"[:6]
    figure = harness.compare("a / b", found["ours"], found["theirs"], at_least=2.0)
    assert (figure.value, figure.low, figure.high) == (2.0, 2.0, 2.5)
    assert figure.met


def test_every_way_of_the_end_to_end_benchmark_deletes_all_tags(tmp_path):
    """The sink counts: a way that deleted less would look fast."""
    from benchmarks import end_to_end, work
    from benchmarks.sink import delayed_sink, deletes_of

    with delayed_sink(0.0, images=2) as sink:
        end_to_end.pruner(tmp_path, sink.port, 2 * work.TAGS_PER_IMAGE)
        assert deletes_of(sink) == 2 * work.TAGS_PER_IMAGE
        binary = end_to_end.build_go(tmp_path)
        if binary is not None:
            end_to_end.spend([binary, str(sink.port), "8", tmp_path / "journal"], tmp_path)
            assert deletes_of(sink) == 4 * work.TAGS_PER_IMAGE
            assert len((tmp_path / "journal").read_text().splitlines()) == 4 * work.TAGS_PER_IMAGE
