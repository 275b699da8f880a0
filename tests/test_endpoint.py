"""Regions by name, and which URLs are taken as an endpoint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruner.errors import ExitCode, InputError
from pruner.registry.endpoint import Endpoint, parse_endpoint
from pruner.registry.ncr.endpoint import EXPERIMENTAL_REGIONS, region_endpoint
from pruner.registry.ncr.protocol import REGION_PREFIXES

REGIONS = {
    "KR": "https://ncr.apigw.ntruss.com/ncr/api/v2",
    "SGN": "https://ncr.apigw.ntruss.com/ncr/sgn-api/v2",
    "JPN": "https://ncr.apigw.ntruss.com/ncr/jpn-api/v2",
    "gov-KR": "https://gov-ncr.apigw.gov-ntruss.com/ncr/kr/v2",
    "gov-KRS": "https://gov-ncr.apigw.gov-ntruss.com/ncr/krs/v2",
    "fin-KR": "https://ncr.apigw.fin-ntruss.com/ncr/api/v2",
}


@pytest.mark.parametrize(("region", "url"), REGIONS.items())
def test_regions(region, url):
    assert str(region_endpoint(region)) == url


def test_every_region_with_a_prefix_is_tested_here():
    assert set(REGION_PREFIXES) == set(REGIONS) >= EXPERIMENTAL_REGIONS


@pytest.mark.parametrize("region", REGIONS)
def test_the_url_of_a_region_is_an_endpoint_by_hand(region):
    endpoint = region_endpoint(region)
    assert parse_endpoint(str(endpoint)) == endpoint
    assert not endpoint.is_plain_http


@pytest.mark.parametrize("region", ["USWN", "DEN", "uswn"])
def test_regions_without_ncr_are_refused_by_name(region):
    with pytest.raises(InputError, match=f"'{region}' has no NCR endpoint.*known are KR, SGN.*URL"):
        region_endpoint(region)


@pytest.mark.parametrize("region", ["", "kr", "KRS", "Seoul", "KR ", "KR\n", "gov", "../KR", "\u202eRK"])
def test_nonsense_regions_are_refused_with_those_known(region):
    with pytest.raises(InputError, match="not known; known are KR, SGN, JPN") as caught:
        region_endpoint(region)
    assert str(caught.value).isprintable()
    assert caught.value.exit_code is ExitCode.BAD_INPUT


@pytest.mark.parametrize(
    ("url", "origin", "prefix"),
    [
        ("https://host/ncr/api/v2", "https://host", "/ncr/api/v2"),
        ("https://host/ncr/api/v2/", "https://host", "/ncr/api/v2"),
        ("https://host/ncr/api/v2///", "https://host", "/ncr/api/v2"),
        ("https://host", "https://host", ""),
        ("https://host/", "https://host", ""),
        ("https://host:8443/p", "https://host:8443", "/p"),
        ("HTTPS://HOST.Example/Path", "https://host.example", "/Path"),
        ("https://host/a.b_c~d-e/repositories-x", "https://host", "/a.b_c~d-e/repositories-x"),
        ("https://[2001:db8::1]:8443/p", "https://[2001:db8::1]:8443", "/p"),
        ("http://localhost:8080/ncr/api/v2", "http://localhost:8080", "/ncr/api/v2"),
        ("http://127.0.0.1:1/p", "http://127.0.0.1:1", "/p"),
        ("http://127.8.9.10/p", "http://127.8.9.10", "/p"),
        ("http://[::1]:8080/p", "http://[::1]:8080", "/p"),
    ],
)
def test_endpoints(url, origin, prefix):
    assert parse_endpoint(url) == Endpoint(origin, prefix)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host",
        "host/ncr/api/v2",
        "//host/p",
        "ftp://host/p",
        "file:///etc/passwd",
        "https://",
        "https:///p",
        "https://:443/p",
        "https://host:port/p",
        "https://host:99999/p",
        "https://host:-1/p",
        "https://[::1/p",
        "https://[nonsense]/p",
    ],
)
def test_what_is_no_url_is_refused(url):
    with pytest.raises(InputError, match=r"not a URL|not an http or https URL"):
        parse_endpoint(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://user@host/p",
        "https://user:password@host/p",
        "https://@host/p",
        "https://:@host/p",
        "https://host/p?page=1",
        "https://host/p#part",
        "https://host?x",
    ],
)
def test_user_query_and_fragment_are_refused_and_not_repeated(url):
    with pytest.raises(InputError, match="scheme, host and path only") as caught:
        parse_endpoint(url)
    assert "password@" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://h/repositories", "https://h/ncr/api/v2/repositories", "https://h/p/repositories/"]
)
def test_the_list_of_registries_is_no_endpoint(url):
    with pytest.raises(InputError, match="leave that out"):
        parse_endpoint(url)


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../x",
        "a/../b",
        "a/..",
        ".",
        "a/./b",
        "a//b",
        "a b",
        "a%2Fb",
        "a%2e%2e",
        "a\\b",
        "a;b",
        "a:b",
        "a'",
    ],
)
def test_paths_that_could_change_their_meaning_are_refused(path):
    with pytest.raises(InputError, match="path"):
        parse_endpoint(f"https://host/{path}")


@pytest.mark.parametrize(
    "url",
    [
        "https://ho\tst/p",
        "https://host/p\n",
        "\nhttps://host/p",
        "https://host/p\r\nX-Injected: 1",
        "https://host/p\0",
        "https://host/\x1b[31m",
        "https://h\u00f6st/p",
        "https://\ud55c\uad6d.kr/p",
        "https://host\uff0eevil/p",
        "https://host/\u202ep",
        "https://\u0430pple/p",
        "https://ho\u200bst/p",
    ],
)
def test_control_characters_and_foreign_scripts_are_refused_and_shown_harmless(url):
    with pytest.raises(InputError) as caught:
        parse_endpoint(url)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "host", ["ncr.example", "10.0.0.1", "127.0.0.1.example", "localhost.example", "[::2]"]
)
def test_plain_http_is_for_loopback_unless_allowed(host):
    with pytest.raises(InputError, match="--allow-plain-http"):
        parse_endpoint(f"http://{host}/p")
    allowed = parse_endpoint(f"http://{host}/p", allow_plain_http=True)
    assert str(allowed) == f"http://{host}/p"
    assert allowed.is_plain_http


def test_port_0_is_refused():
    with pytest.raises(InputError):
        parse_endpoint("https://host:0/p")


@pytest.mark.parametrize("host", ["ho st", "a%2fb", "a\\b", "a<b>", "a;b", "a..b", "..", "a'b", "a|b", "a,b"])
def test_hosts_that_cannot_be_are_refused(host):
    with pytest.raises(InputError):
        parse_endpoint(f"https://{host}/p")


@given(st.text())
def test_any_text_is_an_endpoint_or_an_input_error(text):
    for url in (text, f"https://{text}", f"https://host/{text}", f"https://host:{text}"):
        try:
            endpoint = parse_endpoint(url)
        except InputError:
            continue
        assert str(endpoint).isascii()
        assert ".." not in endpoint.prefix.split("/")
