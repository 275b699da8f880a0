"""Globs and regular expressions: what matches, what decides, and that no pattern takes long."""

import fnmatch
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruner.policy import patterns
from pruner.policy.patterns import capture, check_glob, compile_globs, compile_regex, glob_to_regex


@pytest.mark.parametrize(
    ("glob", "inside", "outside"),
    [
        ("latest", ["latest"], ["latest1", "1latest", "Latest", ""]),
        ("v1.2", ["v1.2"], ["v1x2"]),
        ("a+b(c)|d{1}^$\\e", ["a+b(c)|d{1}^$\\e"], ["aab(c)", "d{1}^$\\e"]),
        ("*", ["", "a", "a.b-c_d"], ["a/b", "/"]),
        ("pr-*", ["pr-", "pr-1"], ["pr", "xpr-1", "pr-1/a"]),
        ("*-rc*", ["1-rc", "1-rc.1", "-rc"], ["rc"]),
        ("ci/*", ["ci/web", "ci/"], ["ci", "ci/web/a", "cd/web"]),
        ("*/web", ["ci/web", "/web"], ["web", "a/ci/web"]),
        ("ci/*/web", ["ci/a/web", "ci//web"], ["ci/web", "ci/a/b/web"]),
        ("?", ["a", "-", "한"], ["", "ab", "/"]),
        ("v?.?", ["v1.2"], ["v1.22", "v1/2"]),
        ("**", ["", "a", "a/b", "a/b/c"], []),
        ("ci/**", ["ci/a", "ci/a/b", "ci/"], ["ci", "cix/a"]),
        ("**/web", ["web", "a/web", "a/b/web"], ["xweb", "a/xweb", "web/a"]),
        ("ci/**/web", ["ci/web", "ci/a/web", "ci/a/b/web"], ["ciweb", "ci/xweb", "web"]),
        ("a**b", ["ab", "axb", "a/x/b"], ["a", "b"]),
        ("x**/y", ["x/y", "xa/y", "xa/b/y"], ["xy", "y"]),
        ("***", ["", "a/b"], []),
        ("[abc]", ["a", "b", "c"], ["d", "ab", "", "["]),
        ("[a-c]x", ["ax", "bx", "cx"], ["dx", "-x", "x"]),
        ("[a-c0-9_]", ["b", "5", "_"], ["-", "d"]),
        ("[!a-c]", ["d", "-", "!", "한"], ["a", "/", "", "dd"]),
        ("[^a]", ["b", "^"], ["a", "/"]),
        ("[a^]", ["a", "^"], ["b"]),
        ("[a!]", ["a", "!"], ["b"]),
        ("[]a]", ["]", "a"], ["b"]),
        ("[!]a]", ["b"], ["]", "a", "/"]),
        ("[a-]", ["a", "-"], ["b"]),
        ("[-a]", ["a", "-"], ["b"]),
        ("[!-]", ["a"], ["-"]),
        ("[.]", ["."], ["a"]),
        ("[*?]", ["*", "?"], ["a", ""]),
        ("[\\d]", ["\\", "d"], ["1"]),
        ("[[:alpha:]", ["[", ":", "a"], ["b"]),
        ("[&&a]", ["&", "a"], ["b"]),
        ("[é…]", ["é", "…"], ["e"]),
        ("a]", ["a]"], ["a"]),
        ("a!b", ["a!b"], ["ab"]),
    ],
)
def test_globs(glob: str, inside: list[str], outside: list[str]) -> None:
    matches = compile_globs([glob])
    assert [name for name in inside if not matches(name)] == []
    assert [name for name in outside if matches(name)] == []


@pytest.mark.parametrize(
    ("globs", "inside", "outside"),
    [
        (["a", "b*"], ["a", "b", "bc"], ["c", "ab"]),
        (["*", "!latest"], ["a"], ["latest"]),
        (["!latest", "*"], ["a", "latest"], []),
        (["!latest"], ["a", "latest1", "x/y"], ["latest"]),
        (["!latest", "!v*"], ["a"], ["latest", "v1"]),
        (["v*", "!v1*", "v1.5"], ["v2", "v1.5"], ["v1", "v1.4", "a"]),
        (["v1.5", "!v1*"], [], ["v1.5", "v1", "a"]),
        (["ci/**", "!**/keep", "ci/a/keep"], ["ci/a", "ci/a/keep"], ["ci/b/keep", "ci/keep", "cd"]),
        (["![0-9]*", "*-rc"], ["1-rc", "a-rc"], ["1", "a"]),
        ([], [], ["", "a"]),
    ],
)
def test_the_last_match_decides(globs: list[str], inside: list[str], outside: list[str]) -> None:
    matches = compile_globs(globs)
    assert [name for name in inside if not matches(name)] == []
    assert [name for name in outside if matches(name)] == []


@pytest.mark.parametrize(
    ("glob", "problem"),
    [
        ("", "empty pattern"),
        ("!", "empty pattern"),
        ("  ", "empty pattern"),
        ("! ", "empty pattern"),
        ("!!a", "two '!'"),
        ("a" * 501, "longer than 500"),
        ("!" + "a" * 501, "longer than 500"),
        ("[abc", "no closing"),
        ("[]", "no closing"),
        ("[!]", "no closing"),
        ("[", "no closing"),
        ("a[!", "no closing"),
        ("[z-a]", "range"),
        ("[/]", "holds '/'"),
        ("ci[+-9]web", "holds '/'"),
        ("\ud800*", "surrogates"),
    ],
)
def test_refused_globs(glob: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        check_glob(glob)
    with pytest.raises(ValueError, match=problem):
        compile_globs(["a", glob])


@pytest.mark.parametrize(
    "glob", ["a" * 500, "!" + "a" * 500, "-" * 500, "*a" * 250, "[!a]" * 125, "**" * 250]
)
def test_the_length_is_that_of_the_written_glob(glob: str) -> None:
    check_glob(glob)
    compile_globs([glob])("a" * 128)


def test_many_literals_are_a_set() -> None:
    globs = [f"team/image-{number}" for number in range(20_000)]
    started = time.process_time()
    matches = compile_globs(globs)
    assert matches("team/image-19999")
    assert not matches("team/image-20000")
    assert time.process_time() - started < 20


def test_too_many_patterns_are_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "_RE2_MEMORY_BYTES", 20_000)
    with pytest.raises(ValueError, match="200 patterns in one list are too many"):
        compile_globs([f"{number}-" + "[!a]" * 20 for number in range(200)])


class TestRegex:
    @pytest.mark.parametrize(
        ("pattern", "inside", "outside"),
        [
            ("a|ab", ["a", "ab"], ["abc", "xa"]),
            ("v[0-9]+", ["v1", "v12"], ["v", "v1.2", "xv1", "v1\n"]),
            ("^v1$", ["v1"], ["v11"]),
            ("(?i)rc", ["rc", "RC"], ["rc1"]),
            ("(?m)^a$", ["a"], ["a\nb", "b\na"]),
            (r"\d+", ["12"], ["\u0661"]),
        ],
    )
    def test_whole_match(self, pattern: str, inside: list[str], outside: list[str]) -> None:
        matches = compile_regex(pattern)
        assert [name for name in inside if not matches(name)] == []
        assert [name for name in outside if matches(name)] == []

    @pytest.mark.parametrize(
        ("pattern", "problem"),
        [
            ("", "empty pattern"),
            ("(", "not a regular expression"),
            ("*", "not a regular expression"),
            ("[", "not a regular expression"),
            (r"(a)\1", "not a regular expression"),
            ("(?=a)", "not a regular expression"),
            ("a{1001}", "not a regular expression"),
            ("((a{1000}){1000}){1000}", "not a regular expression"),
            ("(((a{100}){100}){100}){100}", "not a regular expression"),
            ("(" * 250 + ")" * 250 + "(", "longer than 500"),
            ("a" * 501, "longer than 500"),
        ],
    )
    def test_refused(self, pattern: str, problem: str) -> None:
        for use in (compile_regex, capture):
            with pytest.raises(ValueError, match=problem):
                use(pattern)

    @pytest.mark.parametrize(
        "pattern", ["(a+)+$", "(a|a)*$", "(a|aa)+$", "(.*)*b", "(a?){500}a{100}", "(a*)*c"]
    )
    def test_linear_time(self, pattern: str) -> None:
        matches = compile_regex(pattern)
        started = time.process_time()
        assert not matches("a" * 100_000 + "!")
        assert time.process_time() - started < 2

    def test_linear_time_of_globs(self) -> None:
        matches = compile_globs(["*a" * 250, "!" + "**a" * 160])
        started = time.process_time()
        assert not matches("a" * 100_000 + "!")
        assert time.process_time() - started < 2


class TestCapture:
    def test_group(self) -> None:
        group = capture(r"(.+)-[0-9]+")
        assert group("main-12") == "main"
        assert group("a-b-12") == "a-b"
        assert group("main") is None
        assert group("xmain-12y") is None

    def test_group_that_took_no_part(self) -> None:
        assert capture("a(b)?")("a") is None
        assert capture("a(b*)")("a") == ""

    @pytest.mark.parametrize("pattern", ["a", "(a)(b)", "(?:a)"])
    def test_needs_exactly_one_group(self, pattern: str) -> None:
        with pytest.raises(ValueError, match="exactly one group"):
            capture(pattern)


plain = st.text(st.characters(codec="utf-8", exclude_characters="*?[!\0"), min_size=1, max_size=40).filter(
    str.strip
)
names = st.text("ab-./", max_size=12)
simple = st.lists(st.sampled_from(["*", "?", "a", "b", "-", ".", "[ab]", "[!a]"]), min_size=1, max_size=8)


@settings(deadline=None)
@given(plain, st.text(max_size=40))
def test_a_glob_without_metacharacters_matches_itself_only(glob: str, other: str) -> None:
    matches = compile_globs([glob])
    assert matches(glob)
    assert not matches(glob + "x")
    assert matches(other) == (other == glob)


@settings(deadline=None)
@given(plain.filter(lambda text: "\n" not in text))
def test_its_expression_does_too(glob: str) -> None:
    assert re.fullmatch(glob_to_regex(glob), glob)
    assert compile_globs([glob, "zz*"])(glob)


@settings(deadline=None)
@given(simple.map("".join), st.text("ab-.", max_size=12))
def test_within_one_component_it_is_a_shell_glob(glob: str, name: str) -> None:
    if "**" not in glob:
        assert compile_globs([glob])(name) == fnmatch.fnmatchcase(name, glob)


@settings(deadline=None)
@given(names)
def test_two_stars_match_every_name(name: str) -> None:
    assert compile_globs(["**"])(name)
    assert compile_globs(["*"])(name) == ("/" not in name)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), simple.map("".join)), min_size=1, max_size=6), names)
def test_a_list_is_decided_by_its_last_match(rules: list[tuple[bool, str]], name: str) -> None:
    expected = not any(include for include, _ in rules)
    for include, glob in rules:
        if compile_globs([glob])(name):
            expected = include
    assert compile_globs([glob if include else f"!{glob}" for include, glob in rules])(name) == expected


@settings(deadline=None)
@given(st.text("ab*?[]!^-/\\.é…", min_size=1, max_size=12))
def test_any_glob_compiles_or_is_refused(glob: str) -> None:
    try:
        check_glob(glob)
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            compile_globs([glob])
    else:
        compile_globs([glob])("ab/c")


def test_any_of_many_patterns_matches_as_each_by_itself() -> None:
    globs = ["a", "pr-*", "*-rc", "v?", "[xy]z", "ci/**", "l/*"]
    regexes = ["[0-9]+", "(?i)q"]
    matches = patterns.match_any(globs, regexes)
    each = [patterns.compile_globs([glob]) for glob in globs] + [*map(patterns.compile_regex, regexes)]
    names = [
        "",
        "a",
        "b",
        "pr-",
        "pr-1",
        "pr-/1",
        "1-rc",
        "v1",
        "v12",
        "xz",
        "ci/a/b",
        "l/a",
        "l/a/b",
        "42",
        "Q",
    ]
    for name in names:
        assert matches(name) == any(one(name) for one in each), name


def test_patterns_that_are_too_large_for_one_expression_become_several(monkeypatch) -> None:
    union = patterns._compile_union

    def small_union(expressions):
        if len(expressions) > 3:
            raise ValueError("too many")
        return union(expressions)

    monkeypatch.setattr(patterns, "_compile_union", small_union)
    matches = patterns.match_any([], [f"x{number}[a-z]*" for number in range(40)])
    assert matches("x39abc")
    assert not matches("x40abc")
