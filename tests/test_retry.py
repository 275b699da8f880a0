"""What an answer means for a DELETE and for a reading request, how long to wait, when to stop trying."""

import email.utils
import time
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pruner.engine.retry import Backoff, NextStep, RetryBudget, classify_delete, classify_read
from pruner.engine.retry_after import MAX_WAIT_SECONDS, parse_retry_after
from pruner.errors import (
    CertificateError,
    ConnectError,
    LostReplyError,
    MalformedReplyError,
    RedirectError,
    RequestError,
    ResponseError,
)
from pruner.registry.base import Deletion

NOW = 1_700_000_000.0

# (status, layer, code, verdict for a DELETE, verdict for a read)
ANSWERS = [
    (400, "gateway", 100, "FAIL", "FAIL"),
    (401, "gateway", 200, "STOP_CREDENTIALS", "STOP_CREDENTIALS"),
    (401, "gateway", 210, "STOP_REGISTRY", "STOP_REGISTRY"),
    (403, "gateway", 230, "STOP_REGISTRY", "STOP_REGISTRY"),
    (404, "gateway", 300, "STOP_ENDPOINT", "STOP_ENDPOINT"),
    (429, "gateway", 400, "STOP_QUOTA", "STOP_QUOTA"),
    (429, "gateway", 410, "THROTTLED", "THROTTLED"),
    (429, "gateway", 420, "THROTTLED", "THROTTLED"),
    (413, "gateway", 430, "FAIL", "FAIL"),
    (503, "gateway", 500, "IN_DOUBT", "RETRY"),
    (504, "gateway", 510, "IN_DOUBT", "RETRY"),
    (500, "gateway", 900, "IN_DOUBT", "RETRY"),
    # NCR itself
    (400, "ncr", 400, "FAIL", "FAIL"),
    (401, "ncr", 401, "STOP_CREDENTIALS", "STOP_CREDENTIALS"),
    (403, "ncr", 403, "STOP_REGISTRY", "STOP_REGISTRY"),
    (404, "ncr", 404, "GONE", "GONE"),
    (404, "ncr", 300, "GONE", "GONE"),
    (404, "ncr", None, "GONE", "GONE"),
    (409, "ncr", 409, "FAIL", "FAIL"),
    (429, "ncr", 400, "THROTTLED", "THROTTLED"),
    (500, "ncr", 500, "IN_DOUBT", "RETRY"),
    # neither: a proxy, or an empty body
    (400, "unknown", None, "FAIL", "FAIL"),
    (401, "unknown", None, "STOP_CREDENTIALS", "STOP_CREDENTIALS"),
    (401, "unknown", 210, "STOP_CREDENTIALS", "STOP_CREDENTIALS"),
    (403, "unknown", None, "STOP_REGISTRY", "STOP_REGISTRY"),
    (404, "unknown", None, "IN_DOUBT", "FAIL"),
    (404, "gateway", None, "STOP_ENDPOINT", "STOP_ENDPOINT"),
    (405, "unknown", None, "FAIL", "FAIL"),
    (408, "unknown", None, "IN_DOUBT", "RETRY"),
    (409, "unknown", None, "FAIL", "FAIL"),
    (413, "unknown", None, "FAIL", "FAIL"),
    (429, "gateway", None, "THROTTLED", "THROTTLED"),
    (429, "unknown", None, "THROTTLED", "THROTTLED"),
    (429, "unknown", 400, "THROTTLED", "THROTTLED"),
    (404, "oci", "MANIFEST_UNKNOWN", "GONE", "GONE"),
    (404, "oci", "NAME_UNKNOWN", "GONE", "GONE"),
    (404, "oci", "BLOB_UNKNOWN", "IN_DOUBT", "FAIL"),
    (401, "oci", "UNAUTHORIZED", "STOP_CREDENTIALS", "STOP_CREDENTIALS"),
    (403, "oci", "DENIED", "STOP_REGISTRY", "STOP_REGISTRY"),
    (405, "oci", "UNSUPPORTED", "STOP_REGISTRY", "STOP_REGISTRY"),
    (405, "unknown", None, "FAIL", "FAIL"),
    (429, "oci", "TOOMANYREQUESTS", "THROTTLED", "THROTTLED"),
    (500, "unknown", None, "IN_DOUBT", "RETRY"),
    (502, "unknown", None, "IN_DOUBT", "RETRY"),
    (503, "unknown", None, "IN_DOUBT", "RETRY"),
    (504, "unknown", None, "IN_DOUBT", "RETRY"),
    (599, "unknown", None, "IN_DOUBT", "RETRY"),
]


def answer_id(answer):
    return "-".join(map(str, answer[:3]))


@pytest.mark.parametrize("answer", ANSWERS, ids=answer_id)
def test_answers(answer):
    status, layer, code, for_delete, for_read = answer
    error = ResponseError(status, layer, code)
    assert classify_delete(error) is NextStep[for_delete]
    assert classify_read(error) is NextStep[for_read]


def test_codes_are_not_statuses():
    # Code 400 is the quota of a 429, code 200 a failed login, code 500 a 503.
    assert classify_delete(ResponseError(400, "gateway", 410)) is NextStep.FAIL
    assert classify_delete(ResponseError(401, "gateway", 400)) is NextStep.STOP_CREDENTIALS
    assert classify_delete(ResponseError(403, "gateway", 300)) is NextStep.STOP_REGISTRY
    assert classify_delete(ResponseError(503, "gateway", 400)) is NextStep.IN_DOUBT


@pytest.mark.parametrize(
    ("error", "for_delete", "for_read"),
    [
        (ConnectError("refused"), "RETRY", "RETRY"),
        (CertificateError("expired"), "STOP_ENDPOINT", "STOP_ENDPOINT"),
        (RedirectError("elsewhere"), "STOP_ENDPOINT", "STOP_ENDPOINT"),
        (LostReplyError("reset"), "IN_DOUBT", "RETRY"),
        (MalformedReplyError("html"), "IN_DOUBT", "RETRY"),
        (RequestError("something"), "IN_DOUBT", "FAIL"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_without_an_answer(error, for_delete, for_read):
    assert classify_delete(error) is NextStep[for_delete]
    assert classify_read(error) is NextStep[for_read]


def test_a_success_that_confirms_nothing_is_looked_at_again():
    assert classify_delete(Deletion(204, confirmed=True)) is NextStep.DONE
    assert classify_delete(Deletion(200, confirmed=False)) is NextStep.IN_DOUBT


CODES = st.none() | st.integers(-999, 9999) | st.sampled_from(["MANIFEST_UNKNOWN", "NAME_UNKNOWN", "DENIED"])


@given(st.integers(400, 999), st.sampled_from(["gateway", "ncr", "oci", "unknown"]), CODES)
def test_what_no_answer_may_ever_mean(status, layer, code):
    error = ResponseError(status, layer, code)
    verdict, read = classify_delete(error), classify_read(error)
    assert verdict is not NextStep.DONE
    assert verdict is not NextStep.RETRY, (
        "an answered DELETE is sent again only after reading, or when refused"
    )
    says_gone = layer == "ncr" or (layer == "oci" and code in ("MANIFEST_UNKNOWN", "NAME_UNKNOWN"))
    assert (verdict is NextStep.GONE) == (status == 404 and says_gone)
    assert read not in (NextStep.DONE, NextStep.IN_DOUBT)


# Waiting


@given(st.floats(0.001, 10), st.floats(0.001, 600), st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_a_delay_lies_below_the_doubled_base_and_the_cap(base, cap, failures, dice):
    delay = Backoff(base, cap).delay(failures, dice)
    assert 0 <= delay <= cap
    assert delay <= base * 2 ** min(failures - 1, 100)


def test_the_longest_delay_doubles_up_to_the_cap():
    backoff = Backoff(base=0.5, cap=30)
    assert [backoff.delay(n, 1.0) for n in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert backoff.delay(5, 0.0) == 0.0


def test_a_budget_is_spent_and_earned_again_but_never_above_its_start():
    budget = RetryBudget(2)
    budget.succeeded()
    assert [budget.spend() for _ in range(4)] == [True, True, False, False]
    budget.succeeded()
    assert [budget.spend(), budget.spend()] == [True, False]


@given(st.integers(0, 5), st.lists(st.booleans()))
def test_a_budget_is_a_counter_between_nothing_and_its_start(start, steps):
    budget, left = RetryBudget(start), start
    for spend in steps:
        if spend:
            assert budget.spend() == (left > 0)
            left = max(0, left - 1)
        else:
            budget.succeeded()
            left = min(start, left + 1)


# Retry-After


def http_date(offset):
    return email.utils.format_datetime(datetime.fromtimestamp(NOW + offset, UTC), usegmt=True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("1", 1),
        (" 7 ", 7),
        ("007", 7),
        ("120", 120),
        ("1000000000", MAX_WAIT_SECONDS),
        ("9" * 400, MAX_WAIT_SECONDS),
        (http_date(30), 30),
        (http_date(-30), 0),
        (http_date(-(10**9)), 0),
        (http_date(10**9), MAX_WAIT_SECONDS),
        ("Tuesday, 14-Nov-23 22:13:50 GMT", 30),
        ("Wed, 15 Nov 2023 07:13:50 +0900", 30),
    ],
)
def test_retry_after(value, seconds):
    assert parse_retry_after(value, NOW) == seconds


NO_NUMBERS = ["", " ", "-1", "+1", "1e9", "0x10", "nan", "inf", "-inf", "1_0", "1,2", ".", "1.2.3", "\0"]
FOREIGN_DIGITS = ["\u0661\u0662", "\u00b2", "\uff11", "1\u0660"]
NO_DATES = ["soon", "Tue, 99 Nov 2023 22:13:20 GMT", "Tue, 14 Nov"]


@pytest.mark.parametrize("value", [None, *NO_NUMBERS, *FOREIGN_DIGITS, *NO_DATES])
def test_without_a_usable_value_nothing_is_said(value):
    assert parse_retry_after(value, NOW) is None


@given(
    st.text(max_size=40) | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} -?\d+ [\d:]+ ?[-+A-Z\d]*"),
    st.floats(0, 1e11),
)
@example("Tue, 14 Nov 0001 22:13:20 GMT", NOW)
@example("Tue, 14 Nov 99999 22:13:20 GMT", NOW)
@example("Tue, 14 Nov 2023 22:13:20 +9999999", NOW)
def test_the_wait_is_always_bounded(value, now):
    wait = parse_retry_after(value, now)
    assert wait is None or 0 <= wait <= MAX_WAIT_SECONDS


@pytest.fixture
def in_seoul(monkeypatch):
    monkeypatch.setenv("TZ", "KST-9")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_seoul")
@pytest.mark.parametrize("value", ["Tue Nov 14 22:13:50 2023", "Tue, 14 Nov 2023 22:13:50 -0000"])
def test_dates_without_a_zone_are_utc(value):
    assert parse_retry_after(value, NOW) == 30
