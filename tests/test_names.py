"""The grammar of names, and that a hostile one neither gets in nor harms the terminal."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruner import names
from pruner.errors import ExitCode

HOSTILE = [
    "",
    " ",
    "a\r\nX-Injected: 1",
    "a\n",
    "\na",
    "a\0",
    "a\x1b[31m",
    "a\u202eb",
    "a\u2066b\u2069",
    "a\u200bb",
    "\ufeffa",
    "é",
    "\uff41",
    "\uff11",
    "\u0430a b",
    "a:b",
    "a@b",
    "a?b",
    "a#b",
    "a%2fb",
    "a\\b",
    "..",
    "../a",
    "\udc80",
]
CHECKS = [
    (names.is_registry, names.check_registry),
    (names.is_image, names.check_image),
    (names.is_tag, names.check_tag),
]


@pytest.mark.parametrize("text", ["a", "0", "my-registry", "a--b", "a" * 63])
def test_registry_names(text: str) -> None:
    assert names.is_registry(text)
    names.check_registry(text)


@pytest.mark.parametrize("text", ["-a", "a-", "A", "a.b", "a_b", "a/b", "a" * 64])
def test_not_registry_names(text: str) -> None:
    assert not names.is_registry(text)


@pytest.mark.parametrize(
    "text", ["a", "0", "ci/web", "a/b/c/d", "a.b", "a_b", "a__b", "a-b", "a---b", "a.b_c/d__e-f", "a" * 255]
)
def test_image_names(text: str) -> None:
    assert names.is_image(text)
    names.check_image(text)


@pytest.mark.parametrize(
    "text",
    ["/a", "a/", "a//b", "A", "a..b", "a___b", "a._b", ".a", "a.", "_a", "a_", "-a", "a-", "a/.b", "a" * 256],
)
def test_not_image_names(text: str) -> None:
    assert not names.is_image(text)


@pytest.mark.parametrize("text", ["a", "A", "_", "_a", "1.2.3", "v1.2-rc.1", "a..b", "a-", "a.", "t" * 128])
def test_tag_names(text: str) -> None:
    assert names.is_tag(text)
    names.check_tag(text)


@pytest.mark.parametrize("text", [".a", "-a", "a/b", "a+b", "t" * 129])
def test_not_tag_names(text: str) -> None:
    assert not names.is_tag(text)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(("is_name", "check"), CHECKS)
def test_hostile_names(text: str, is_name: Callable[[str], bool], check: Callable[[str], None]) -> None:
    assert not is_name(text)
    with pytest.raises(names.InvalidNameError) as error:
        check(text)
    assert str(error.value).isprintable()
    assert error.value.exit_code == ExitCode.BAD_INPUT


@pytest.mark.parametrize("unit", ["a", "a/", "a.", "-", "\u202e", "a__"])
@pytest.mark.parametrize(("is_name", "check"), CHECKS)
def test_names_of_ten_megabytes(
    unit: str, is_name: Callable[[str], bool], check: Callable[[str], None]
) -> None:
    text = unit * (10_000_000 // len(unit))
    started = time.process_time()
    assert not is_name(text)
    with pytest.raises(names.InvalidNameError) as error:
        check(text)
    assert time.process_time() - started < 1
    assert len(str(error.value)) < 2000


def test_the_sentence_says_what_is_allowed() -> None:
    with pytest.raises(names.InvalidNameError, match="'A B' is not an image name: use lower-case letters"):
        names.check_image("A B")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("ci/web:1.2", "ci/web:1.2"),
        ("한글 é", "한글 é"),
        ("a\r\n\tb\0", r"a\r\n\tb\x00"),
        ("\x1b[31m\x07\x7f\x9b", r"\x1b[31m\x07\x7f\x9b"),
        ("\u202e\u2066\u200b\u2028\ufeff\xad", r"\u202e\u2066\u200b\u2028\ufeff\xad"),
        ("\udc80\U000e0001", r"\udc80\U000e0001"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert names.printable(text) == shown


def test_printable_is_cut() -> None:
    assert names.printable("a" * 200) == "a" * 200
    assert names.printable("a" * 201) == "a" * 200 + "… (201 characters)"
    assert names.printable("abc", 2) == "ab… (3 characters)"


@settings(deadline=None)
@given(st.text(max_size=300), st.integers(0, 300))
def test_printable_is_always_printable(text: str, limit: int) -> None:
    shown = names.printable(text, limit)
    assert shown.isprintable()
    shown.encode()
    if text.isprintable() and len(text) <= limit:
        assert shown == text


@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True))
def test_every_tag_of_the_reference_grammar(text: str) -> None:
    assert names.is_tag(text)


@given(st.text(max_size=20))
def test_names_are_printable_ascii(text: str) -> None:
    for is_name, _ in CHECKS:
        if is_name(text):
            assert text.isascii()
            assert text.isprintable()
            assert " " not in text
