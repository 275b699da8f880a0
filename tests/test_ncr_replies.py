"""Bodies of NCR and of the gateway: errors of both layers, times of any unit, tags, pages."""

import json
import time

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pruner.errors import InputError, MalformedReplyError
from pruner.names import check_image
from pruner.registry.ncr import replies
from pruner.registry.ncr.errors import read_error_body, response_error
from pruner.registry.times import epoch_ms
from pruner.text import MESSAGE_LIMIT

NOW = 1_700_000_000_000
DAY = 86_400_000
SIGNATURE = "OoTQIXUO2GiiODnSBlOLJx1AAB43QUPc5uCtc4h4gcw="


def body(**fields):
    return json.dumps(fields).encode()


def read_tags(data):
    return replies.read_tag_page(data, "acme", "web")


def gateway(code, **fields):
    return body(error={"errorCode": code, "message": "Not Found Exception", **fields})


# Errors


@pytest.mark.parametrize("code", [300, "300"])
def test_the_gateway_writes_numbers_or_strings(code):
    assert read_error_body(gateway(code)) == ("gateway", 300, "Not Found Exception")


def test_details_of_the_gateway_are_shown():
    _, _, message = read_error_body(gateway("200", details="Invalid authentication information."))
    assert message == "Not Found Exception Invalid authentication information."


@pytest.mark.parametrize("code", [404, "404"])
@pytest.mark.parametrize("wrap", [lambda inner: inner, lambda inner: {"responseError": inner}])
def test_ncr_writes_flat_or_wrapped(code, wrap):
    data = json.dumps(wrap({"returnCode": code, "returnMessage": "tag not found"})).encode()
    assert read_error_body(data) == ("ncr", 404, "tag not found")


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("-1", -1),
        (-5, -5),
        *((value, None) for value in (True, None, "", "NCR-1", [], {}, "1" * 10, "\u0663", "3 0")),
    ],
)
def test_codes_that_are_no_numbers_are_unknown(value, code):
    assert read_error_body(gateway(value))[:2] == ("gateway", code)
    assert read_error_body(body(returnCode=value))[:2] == ("ncr", code)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", ""),
        (b"   \n", ""),
        (b"null", "None"),
        (b"[]", "[]"),
        (b"{}", ""),
        (b'"text"', "text"),
        (b"7", "7"),
        (b'{"error":{"errorCode":"300","mess', '{"error":{"errorCode":"300","mess'),
        (b"<html><body><h1>502 Bad Gateway</h1>nginx</body></html>", "502 Bad Gateway nginx"),
        (b"<html><script>alert(1)</script><style>p{}</style>sorry</html>", "sorry"),
        (b'{"message":"no route","status":404,"error":"Not Found"}', "no route Not Found"),
        (b'{"error":"Not Found"}', "Not Found"),
        (b'{"error":{"message":"no code"}}', ""),
        (b'{"code":5,"message":"other service","result":null}', "other service"),
        (b'{"responseError":"text"}', ""),
        (b"\xff\xfe\x00", None),
        (b'{"error":{"errorCode":"300","message":"\xff"}}', None),
    ],
)
def test_what_neither_layer_wrote_is_unknown(data, message):
    layer, code, shown = read_error_body(data)
    assert (layer, code) == ("unknown", None)
    assert message is None or shown == message
    assert shown.isprintable()


def test_an_html_tag_in_a_message_is_removed():
    assert read_error_body(gateway(100, message="<b>Bad</b> request<br>"))[2] == "Bad request"


def test_messages_of_other_types_do_no_harm():
    assert read_error_body(gateway(100, message=["x"], details={"a": 1}))[2] == ""
    assert read_error_body(body(returnCode=1, returnMessage=12.5))[2] == "12.5"


@pytest.mark.parametrize("nested", [b"[" * 60_000, b'{"error":' * 10_000, b"[" * 20_000 + b"]" * 20_000])
def test_deep_nesting_is_an_unknown_error(nested):
    assert read_error_body(nested)[:2] == ("unknown", None)


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 65_536,
        b"<" * 65_536,
        b"<script" * 9_000,
        b"<script>" * 8_000,
        b"<!--" * 16_000,
        b" \t" * 32_000,
    ],
)
def test_a_large_body_is_cut_and_quickly_read(data):
    began = time.process_time()
    message = read_error_body(data)[2]
    assert time.process_time() - began < 2.0
    assert len(message) < MESSAGE_LIMIT + 40


@pytest.mark.parametrize(
    "data",
    [
        gateway(200, message=f"wrong signature {SIGNATURE}"),
        gateway(200, details=f"x-ncp-apigw-signature-v2: {SIGNATURE}, sorry"),
        body(returnCode=1, returnMessage=f"[{SIGNATURE}]"),
        body(message=SIGNATURE),
        body(error=SIGNATURE),
        f"<pre>DELETE /x\nx-ncp-apigw-signature-v2:{SIGNATURE}\n</pre>".encode(),
        json.dumps([{"signature": SIGNATURE}]).encode(),
        SIGNATURE.encode(),
        (SIGNATURE * 3).encode(),
        f"<p title='{SIGNATURE}'>".encode(),
    ],
)
def test_an_echoed_signature_is_not_repeated(data):
    assert SIGNATURE[:20] not in read_error_body(data)[2]


@pytest.mark.parametrize(
    "echo",
    [
        pytest.param(SIGNATURE.replace("=", "&#61;"), id="html"),
        pytest.param(SIGNATURE.replace("=", "%3D"), id="url"),
        pytest.param(SIGNATURE.replace("=", "\\u003d"), id="broken json"),
        pytest.param("<" + "i" * 19_970 + ">" + SIGNATURE, id="cut by the limit"),
    ],
)
def test_an_escaped_or_cut_signature_is_not_repeated_either(echo):
    assert SIGNATURE[:20] not in read_error_body(echo.encode())[2]


def test_control_characters_of_a_message_are_escaped():
    message = read_error_body(gateway(100, message="a\x1b[31mb\r\nc\0d\u202ee\x07"))[2]
    assert message == "a\\x1b[31mb c\\x00d\\u202ee\\x07"


def test_headers_of_an_error():
    error = response_error(
        429,
        {"x-ncp-trace-id": "0123456789abcdef", "Retry-After": "7", "Date": "Tue, 14 Nov 2023 22:13:20 GMT"},
        gateway("410"),
        NOW / 1000 + 400,
    )
    assert (error.status, error.layer, error.code, error.retry_after) == (429, "gateway", 410, "7")
    assert error.trace_id == "0123456789abcdef"
    assert error.clock_skew == pytest.approx(400)
    assert str(error) == "HTTP 429, gateway code 410: Not Found Exception (trace id 0123456789abcdef)"


def test_an_error_without_headers_and_body():
    error = response_error(503, {}, b"", 0.0)
    assert (error.code, error.trace_id, error.retry_after, error.clock_skew) == (None, None, None, None)
    assert str(error) == "HTTP 503: no message"


@given(st.text(max_size=40) | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} -?\d+ [\d:]+ ?[-+A-Z\d]*"))
@example("Tue, 99 Nov 2023 22:13:20 GMT")
@example("Tue, 14 Nov 99999 22:13:20 GMT")
@example("0")
@example("-0000")
def test_no_date_header_breaks_an_error(date):
    skew = response_error(500, {"Date": date}, b"", 0.0).clock_skew
    assert skew is None or isinstance(skew, float)


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["error", "errorCode", "message", "returnCode", "returnMessage", "responseError"]
                ),
                inner,
            )
        ),
    ).map(lambda data: json.dumps(data).encode())
)
def test_any_body_is_read(data):
    layer, code, message = read_error_body(data)
    assert layer in ("gateway", "ncr", "unknown")
    assert code is None or isinstance(code, int)
    assert message.isprintable()


# Times


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        (1_600_000_000, 1_600_000_000_000),
        (1_600_000_000.5, 1_600_000_000_500),
        (1_600_000_000_000, 1_600_000_000_000),
        (1_600_000_000_000.9, 1_600_000_000_000),
        ("1600000000", 1_600_000_000_000),
        ("1600000000000", 1_600_000_000_000),
        (10**11, None),
        (NOW + DAY, NOW + DAY),
        ("2999-01-01T00:00:00Z", 32_472_144_000_000),
        (NOW, NOW),
        (NOW // 1000, NOW),
        ("2020-09-13T12:26:40Z", 1_600_000_000_000),
        ("2020-09-13T12:26:40", 1_600_000_000_000),
        ("2020-09-13T21:26:40+09:00", 1_600_000_000_000),
        ("2020-09-13T12:26:40.123Z", 1_600_000_000_123),
        ("2020-09-13 12:26:40", 1_600_000_000_000),
    ],
)
def test_times(value, milliseconds):
    assert epoch_ms(value) == milliseconds


NO_NUMBERS = [None, True, False, float("nan"), float("inf"), float("-inf"), [], {}, [NOW], b"1"]
NUMBERS_OUT_OF_RANGE = [
    0,
    0.0,
    -1,
    -NOW,
    10**14,
    10**18,
    10**400,
    1e300,
]
NO_TEXTS = ["", "0", "-5", "yesterday", "1e9", "nan", "9" * 5000, "\u00b2", "2020-13-01", "x" * 10**6]
NO_TEXTS += ["1969-12-31", "0001-01-01T00:00:00+23:59"]


@pytest.mark.parametrize(
    "value",
    [*NO_NUMBERS, *NUMBERS_OUT_OF_RANGE, *NO_TEXTS],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_time_is_unknown(value):
    assert epoch_ms(value) is None


@pytest.mark.parametrize("text", ["1970-01-19T00:00:00Z", "1970-01-20T12:00:00+09:00"])
def test_an_iso_time_has_no_unit_to_guess(text):
    assert (epoch_ms(text) or 0) < 365 * DAY


@given(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes().map(str))
def test_a_time_is_unknown_or_a_number(value):
    moment = epoch_ms(value)
    assert moment is None or (type(moment) is int and 0 <= moment < 10**15)


# Tags


def a_tag(**fields):
    item = replies.read_tag_detail(body(name="v1", **fields))
    return replies.to_tag("acme", "ci/web", item)


def test_a_tag_with_everything():
    tag = a_tag(
        digest="sha256:1111",
        full_size=73400320,
        last_updated=NOW - 5 * DAY,
        unknown_field={"x": 1},
        images=[
            {
                "created": NOW - 9 * DAY,
                "updated": NOW - 4 * DAY,
                "latest_pulled": NOW - 3 * DAY,
                "os": "linux",
                "digest": "sha256:2222",
            },
            {
                "created": NOW - 8 * DAY,
                "updated": NOW - 6 * DAY,
                "latest_pulled": NOW - 2 * DAY,
                "digest": "sha256:3333",
            },
        ],
    )
    assert str(tag.target) == "acme/ci/web:v1"
    assert (tag.digest, tag.size) == ("sha256:1111", 73400320)
    assert (tag.created, tag.updated, tag.last_pulled) == (NOW - 8 * DAY, NOW - 4 * DAY, NOW - 2 * DAY)
    assert tag.platforms == ("sha256:2222", "sha256:3333")


@pytest.mark.parametrize(
    "other", [{}, {"digest": None}, {"digest": ""}, {"digest": 5}, {"digest": "x" * 201}]
)
def test_platforms_are_known_whole_or_not_at_all(other):
    known = [{"digest": "sha256:1"}, {"digest": "sha256:2"}]
    assert a_tag(digest="sha256:1", images=known).platforms == ("sha256:2",)
    assert a_tag(digest="sha256:1", images=known[:1]).platforms == ()
    assert a_tag(digest="sha256:1", images=[*known, other]).platforms is None


@pytest.mark.parametrize("fields", [{}, {"images": None}, {"images": []}, {"images": [{}]}])
def test_what_a_tag_does_not_say_is_unknown(fields):
    tag = a_tag(**fields)
    assert (tag.digest, tag.size, tag.created, tag.updated, tag.last_pulled) == (None,) * 5
    assert tag.platforms is None


@pytest.mark.parametrize(
    "platform",
    [{"updated": NOW - DAY}, {"created": NOW - DAY}, {"updated": (NOW - DAY) // 1000}],
    ids=["updated", "created", "seconds"],
)
def test_the_newest_time_of_tag_and_platforms_is_its_update(platform):
    older = {"updated": NOW - 20 * DAY}
    assert a_tag(last_updated=NOW - 9 * DAY, images=[older, platform, older]).updated == NOW - DAY
    assert a_tag(last_updated=NOW - 9 * DAY, images=[older, platform, {}]).updated is None


@pytest.mark.parametrize("own", [None, 0, -1, "soon", True])
def test_the_update_is_unknown_when_the_tag_does_not_say_its_own(own):
    assert (
        a_tag(last_updated=own, images=[{"created": NOW - 9 * DAY, "updated": NOW - 9 * DAY}]).updated is None
    )


@pytest.mark.parametrize("nonsense", [0, -1, "x", None, [], {}])
def test_a_platform_of_unknown_time_makes_the_age_of_the_tag_unknown(nonsense):
    platforms = [
        {"updated": NOW - DAY},
        {"created": nonsense, "updated": nonsense, "latest_pulled": nonsense},
    ]
    tag = a_tag(last_updated=NOW - DAY, images=platforms)
    assert (tag.created, tag.updated, tag.last_pulled) == (None, None, None)


def test_times_after_now_are_kept_as_they_are():
    platforms = [{"updated": NOW + DAY, "latest_pulled": NOW + 2 * DAY}]
    tag = a_tag(last_updated=NOW - DAY, images=platforms)
    assert (tag.updated, tag.last_pulled) == (NOW + DAY, NOW + 2 * DAY)


NO_SIZES = [0, 0.0, -1, 1e18, 1e300, 10**30, "", "0", "-1", "5.5", "\u0665", "9" * 19]


@pytest.mark.parametrize(
    ("size", "read"),
    [(1, 1), (1.9, 1), ("5", 5), ("9" * 18, 10**18 - 1), *((size, None) for size in NO_SIZES)],
    ids=repr,
)
def test_sizes(size, read):
    assert a_tag(full_size=size).size == read


@pytest.mark.parametrize("digest", ["", "sha256:\x1b[31m", "sha256:\u202e", "\u1234", "x" * 201, "a\nb"])
def test_a_digest_that_cannot_be_is_unknown(digest):
    assert a_tag(digest=digest).digest is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"name":null}',
        b'{"name":5}',
        b'{"name":"v1"',
        b'{"name":"v1","digest":5}',
        b'{"name":"v1","full_size":true}',
        b'{"name":"v1","full_size":[]}',
        b'{"name":"v1","full_size":1e400}',
        b'{"name":"v1","images":{}}',
        b'{"name":"v1","images":[null]}',
        b'{"name":"v1","images":["linux"]}',
        b'{"name":"v1","last_updated":NaN}',
        b'{"name":"v\xff"}',
        b'{"name":"v1","last_updated":' + b"[" * 60_000,
        b"<html>",
    ],
    ids=lambda data: repr(data)[:50],
)
def test_wrong_types_are_errors(data):
    with pytest.raises(MalformedReplyError):
        replies.read_tag_detail(data)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\r\nb", "\u202e", "-a", "x" * 129, "\udc80"])
def test_a_tag_name_that_cannot_be_is_an_input_error(name):
    with pytest.raises(InputError) as caught:
        replies.to_tag("acme", "web", replies.TagItem(name))
    assert str(caught.value).isprintable()


# Pages


@pytest.mark.parametrize(
    ("following", "read"),
    [(2, 2), ("2", 2), (None, None), (0, None), ("0", None), ("", None), (10**11, 10**11)],
    ids=repr,
)
def test_the_next_page(following, read):
    page = replies.read_name_page(
        body(count=1, next=following, previous=None, results=[{"name": "a", "x": 1}])
    )
    assert [item.name for item in page.items] == ["a"]
    assert (page.total, page.next) == (1, read)


def test_a_page_of_tags_has_their_facts():
    items = [{"name": "v1", "digest": "sha256:1", "full_size": "12"}, {"name": "v2", "full_size": 0}]
    page = read_tags(body(count=2, results=items))
    assert [(tag.name, tag.digest, tag.size) for tag in page.items] == [
        ("v1", "sha256:1", 12),
        ("v2", None, None),
    ]
    with pytest.raises(InputError, match="is not a tag name"):
        read_tags(body(count=1, results=[{"name": "../x"}]))


def test_a_page_without_next_is_the_last():
    assert read_tags(body(count="0", results=[])).next is None


@pytest.mark.parametrize("reader", [replies.read_name_page, read_tags])
@pytest.mark.parametrize(
    "data",
    [
        {},
        {"count": 0},
        {"results": []},
        {"count": None, "results": []},
        {"count": 0, "results": None},
        {"count": 0, "results": {}},
        {"count": 0, "results": "none"},
        {"count": -1, "results": []},
        {"count": "many", "results": []},
        {"count": True, "results": []},
        {"count": 1.5, "results": []},
        {"count": "1" * 13, "results": []},
        {"count": 10**30, "results": []},
        {"count": "\u0661", "results": []},
        {"count": 1, "results": [None]},
        {"count": 1, "results": ["a"]},
        {"count": 1, "results": [{}]},
        {"count": 1, "results": [{"name": None}]},
        {"count": 1, "results": [{"Name": "a"}]},
        {"count": 0, "results": [], "next": -1},
        {"count": 0, "results": [], "next": "two"},
        {"count": 0, "results": [], "next": True},
        {"count": 0, "results": [], "next": []},
        {"count": 0, "results": [], "next": "/v2/x?page=2"},
        {"error": {"errorCode": "200", "message": "Authentication Failed"}},
    ],
    ids=str,
)
def test_a_page_that_is_none_is_an_error(reader, data):
    with pytest.raises(MalformedReplyError):
        reader(json.dumps(data).encode())


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b'{"count":0,"results":[', b"\xff", b'{"count":0,"results":' + b"[" * 60_000]
)
def test_a_page_that_is_no_json_is_an_error(data):
    with pytest.raises(MalformedReplyError):
        read_tags(data)


@given(st.binary(max_size=100))
def test_any_page_is_read_or_malformed(data):
    for reader in (read_tags, replies.read_name_page, replies.read_tag_detail):
        try:
            reader(data)
        except (MalformedReplyError, InputError):
            continue


def test_names_are_sorted_and_checked():
    items = msgspec.convert([{"name": "b"}, {"name": "a/c"}], list[replies.NameItem])
    assert replies.checked_names(items, check_image, "images") == ["a/c", "b"]
    with pytest.raises(MalformedReplyError, match="the list of images holds a name"):
        replies.checked_names([*items, replies.NameItem("../x")], check_image, "images")
