"""What a run remembers of a server's rate for the next one."""

import pytest

from pruner.engine.hints import rate_hint, save_rate
from pruner.engine.pacer import Hint
from pruner.engine.pacing import AdaptivePacer

WHERE = ("https://ncr.example", "AKID")


def test_the_next_run_starts_just_below_a_limit(tmp_path):
    save_rate(tmp_path, *WHERE, 200.0, limit=True)
    hint = rate_hint(tmp_path, *WHERE)
    assert hint == Hint(pytest.approx(194.0), is_limit=True)
    pacer = AdaptivePacer(hint=hint)
    assert 170 < pacer.rate < 194
    assert pacer.estimate == pytest.approx(194.0)


def test_it_starts_at_half_of_what_passed_without_a_limit(tmp_path):
    save_rate(tmp_path, *WHERE, 2000.0, limit=False)
    hint = rate_hint(tmp_path, *WHERE)
    assert hint == Hint(1000.0, is_limit=False)
    pacer = AdaptivePacer(hint=hint)
    assert (pacer.rate, pacer.estimate) == (1000.0, None)


def test_a_ceiling_holds_against_a_hint():
    assert AdaptivePacer(50.0, hint=Hint(1000.0, is_limit=True)).rate <= 50
    assert AdaptivePacer(50.0, hint=Hint(1000.0, is_limit=False)).rate <= 50


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"x": 200.0}', b'{"x": {"rate": "fast", "limit": true}}']
)
def test_a_file_that_cannot_be_read_is_no_hint(tmp_path, content):
    (tmp_path / "rates.json").write_bytes(content)
    assert rate_hint(tmp_path, *WHERE) is None
    save_rate(tmp_path, *WHERE, 100.0, limit=True)
    assert rate_hint(tmp_path, *WHERE) is not None


@pytest.mark.parametrize("rate", [0.0, -1.0, 1e7])
def test_an_absurd_rate_is_no_hint(tmp_path, rate):
    save_rate(tmp_path, *WHERE, rate, limit=True)
    assert rate_hint(tmp_path, *WHERE) is None


def test_other_endpoints_and_accounts_have_hints_of_their_own(tmp_path):
    save_rate(tmp_path, *WHERE, 200.0, limit=True)
    assert rate_hint(tmp_path, WHERE[0], "OTHER") is None
    assert rate_hint(tmp_path, "https://other.example", WHERE[1]) is None
    assert "AKID" not in (tmp_path / "rates.json").read_text()
