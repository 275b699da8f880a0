"""What is shown of a server's text: no secret in any form, and in time that grows with its length."""

import base64
import html
import json
import timeit
from urllib.parse import quote

import pytest

from pruner.errors import ListingError, MalformedReplyError
from pruner.registry.oci.page_link import ForeignLinkError, next_target
from pruner.registry.scrubbing import scrubbed
from pruner.text import HIDDEN, clean_text, repeats, shown_origin

SECRET = "SKSECRETsk/+secret&<=>SKSECRETSKSECRE1"
DATA = SECRET.encode()
LINES = base64.encodebytes(b"user:" + DATA * 3).decode()

FORMS = {
    "plain": SECRET,
    "in lower case": SECRET.lower(),
    "percent": quote(SECRET, safe=""),
    "percent, all": "".join(f"%{byte:02x}" for byte in DATA),
    "percent, three times": quote(quote(quote(SECRET, safe=""), safe=""), safe=""),
    "percent, of JavaScript": "".join(f"%u{byte:04x}" for byte in DATA),
    "HTML, decimal": "".join(f"&#00{byte};" for byte in DATA),
    "HTML, hex": "".join(f"&#X{byte:04X};" for byte in DATA),
    "HTML in percent": html.escape(quote(SECRET, safe="")),
    "JSON": "".join(f"\\u{byte:04X}" for byte in DATA),
    "JSON in JSON": json.dumps("".join(f"\\u{byte:04X}" for byte in DATA)),
    "braces": "".join(f"\\u{{{byte:x}}}" for byte in DATA),
    "eight digits": "".join(f"\\U{byte:08x}" for byte in DATA),
    "octal": "".join(f"\\{byte:03o}" for byte in DATA),
    "hex escapes": "".join(f"\\x{byte:02x}" for byte in DATA),
    "hex": DATA.hex().upper(),
    "hex, apart": DATA.hex(" "),
    "hex, with colons": DATA.hex(":"),
    "hex numbers": ", ".join(f"0x{byte:02x}" for byte in DATA),
    "quoted-printable": "".join(f"={byte:02X}" for byte in DATA),
    "quoted-printable, broken": f"{SECRET[:20]}=\r\n{SECRET[20:]}",
    "base64": base64.b64encode(DATA).decode(),
    "base64 for URLs": base64.urlsafe_b64encode(b"ab" + DATA).decode(),
    "base64 in lines": LINES,
    "base64 in pieces": " ".join(LINES[start : start + 10] for start in range(0, len(LINES), 10)),
    "base64 in HTML": "".join(f"&#{ord(c)};" for c in base64.b64encode(DATA).decode()),
    "two lines": f"{SECRET[:20]}\r\n{SECRET[20:]}",
    "pieces": " ".join(SECRET[start : start + 5] for start in range(0, len(SECRET), 5)),
    "NUL between": "\0".join(SECRET),
    "nothing between": "\u200b".join(SECRET),
    "markup between": "<b>".join(SECRET.replace("<", "").replace(">", "")),
    "soft hyphens": "&shy;".join(SECRET),
    "a list": json.dumps(list(SECRET)),
    "full width": "".join(chr(byte + 0xFEE0) for byte in DATA),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_message_that_repeats_a_secret_in_any_form_is_not_shown(form):
    assert clean_text(f"refused: {FORMS[form]} is wrong", [SECRET]) == HIDDEN


def test_a_long_message_does_not_show_a_secret_at_its_end_or_in_part():
    for length in (190, 1_990, 19_990):
        assert SECRET[:10] not in clean_text("a" * 9 + " b" * (length // 2) + SECRET, [SECRET])
        assert SECRET[:10] not in clean_text("<i>" * (length // 3) + SECRET, [SECRET])


def test_ordinary_messages_are_shown():
    assert clean_text("the <b>tag</b> is\nnot there", [SECRET, "a-b", "x"]) == "the tag is not there"
    assert clean_text("no access: 0x12, a=1b, \\o/", [SECRET]) == "no access: 0x12, a=1b, \\o/"
    assert clean_text("a <script>var x</script> b <STYLE> c", []) == "a b"


def test_what_is_short_is_not_found_by_chance():
    assert not repeats("app is not there", ["a-p"])
    assert repeats("a-p is not there", ["a-p"])


@pytest.mark.parametrize(
    "part",
    ["<script ", "<", "<!--", "&", "&lt;", "%25", "\\", "\\u0025", "%25&amp;\\u0041<b", "=\n", "0x41", "\0"],
)
def test_the_time_to_clean_a_text_grows_with_its_length(part):
    """Of a text 16 times as long; with its square it would be 256 times the time."""

    def seconds(length):
        text = part * (length // len(part))
        runs = timeit.repeat(
            lambda: clean_text(text, [SECRET, "another secret", "c" * 40]), number=1, repeat=5
        )
        return min(runs)

    assert seconds(65_536) < 64 * seconds(4_096)


def test_of_a_url_its_origin_is_shown_if_that_is_no_secret():
    assert shown_origin("https://user:pw@a.example/b?c=d", []) == "https://a.example"
    assert shown_origin(f"https://{DATA.hex()}.example/", [SECRET]) == "another address"
    assert shown_origin("https://[", []) == "another address"


@pytest.mark.parametrize("kind", [ListingError, MalformedReplyError])
def test_an_error_that_quotes_an_answer_does_not_repeat_a_login(kind):
    with pytest.raises(kind) as refused, scrubbed(lambda: [SECRET]):
        raise kind(f"the list holds a name that cannot be: '{quote(SECRET)}'")
    assert str(refused.value) == f"an answer cannot be read {HIDDEN}"
    with pytest.raises(kind, match="the list does not end"), scrubbed(lambda: [SECRET]):
        raise kind("the list does not end")


def test_a_link_elsewhere_is_told_without_its_user():
    with pytest.raises(ForeignLinkError) as refused:
        next_target("<https://user:pw@b.example/v2/x>; rel=next", "https://a.example", "/v2/_catalog")
    assert str(refused.value) == "https://b.example"
