"""The local clock against the time that servers tell."""

import time
from email.utils import formatdate

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from oci_server import OciServer, serving
from test_oci_client import OLD, transport_to

from pruner.errors import ClockError, ExitCode
from pruner.registry.clock import LIMIT_SECONDS, check_clock, server_time

NOW = 1_800_000_000.0


def dated(seconds, **more):
    return {"Date": formatdate(seconds, usegmt=True), **more}


@given(st.floats(-1e6, 1e6), st.floats(0, 1e4))
def test_five_minutes_beside_the_time_of_a_request_are_too_much(off, took):
    """The server's time lies between sending and receiving, so only what is outside of that counts."""
    there = float(int(NOW + off))
    sent, received = NOW, NOW + took
    outside = max(sent - there, there - received, 0.0)
    if outside > LIMIT_SECONDS:
        with pytest.raises(ClockError) as raised:
            check_clock(dated(there), sent, received)
        assert raised.value.exit_code == ExitCode.CREDENTIALS
        assert ("ahead of" in str(raised.value)) == (there < sent)
    else:
        check_clock(dated(there), sent, received)


def test_a_slow_answer_is_no_wrong_clock():
    check_clock(dated(NOW), NOW, NOW + 3600)
    check_clock(dated(NOW + 3600), NOW, NOW + 3600)


@pytest.mark.parametrize("date", [None, "", "yesterday", "Thu, 99 Foo 2026 00:00:00 GMT", "9" * 100])
def test_without_a_time_nothing_is_said(date):
    headers = {} if date is None else {"Date": date}
    assert server_time(headers) is None
    check_clock(headers, NOW, NOW)


def test_what_a_cache_has_kept_is_as_old_as_it_says():
    check_clock(dated(NOW - 3600, Age="3600"), NOW, NOW)
    with pytest.raises(ClockError, match="60 minutes ahead of"):
        check_clock(dated(NOW - 3600, Age="nonsense"), NOW, NOW)


@pytest.mark.parametrize("path", ["/v2/team/web/tags/list", "/v2/team/web/manifests/v1", "/v2/_catalog"])
async def test_each_answer_of_an_oci_registry_that_is_read_tells_the_time(path):
    with serving(OciServer()) as server:
        server.image("team/web", "v1", OLD)
        hour_ago = formatdate(time.time() - 3600, usegmt=True)
        server.before = lambda request: web.json_response({}, headers={"Date": hour_ago})
        async with transport_to(server) as transport:
            with pytest.raises(ClockError, match="60 minutes ahead of"):
                await transport.send("GET", path, "repository:team/web:pull")
