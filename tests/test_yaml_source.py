"""Reading YAML: plain data with positions, and a refusal with its position for everything else."""

import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pruner.policy import yaml_source
from pruner.policy.yaml_source import MAX_BYTES, MAX_DEPTH, NOTHING, Position, YamlError, read_yaml

BOMB = "a: &a [x]\n" + "".join(
    f"{c}: &{c} [*{p}, *{p}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "line", "column", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, 1, "duplicate key 'a'; it stands first on line 1"),
        ("p:\n  - n: 1\n    m: 2\n    n: 3\n", 4, 5, "duplicate key 'n'; it stands first on line 2"),
        ("{a: 1, 'a': 2}", 1, 8, "duplicate key 'a'"),
        ("1: a\n'1': b\n", 2, 1, "duplicate key '1'"),
        (BOMB, 1, 4, "the anchor '&a' is not allowed"),
        ("a: &x 1\n", 1, 4, "the anchor '&x' is not allowed"),
        ("&x a: 1\n", 1, 1, "the anchor '&x' is not allowed"),
        ("a:\n  &x\n  b: 1\n", 2, 3, "the anchor '&x' is not allowed"),
        ("a:\n - &x [b]\n", 2, 4, "the anchor '&x' is not allowed"),
        ("a: 1\nb: *x\n", 2, 4, "aliases ('*name') are not allowed"),
        ("- *x\n", 1, 3, "aliases ('*name') are not allowed"),
        ("a: {b: 1}\n<<: {c: 1}\n", 2, 1, "merge keys ('<<') are not allowed"),
        ("a:\n  <<: [1, 2]\n", 2, 3, "merge keys ('<<') are not allowed"),
        ("a: !!python/object/apply:os.system [x]", 1, 4, "tag 'tag:yaml.org,2002:python/object/apply:os"),
        ("a: !!python/name:os.system ''", 1, 4, "tag 'tag:yaml.org,2002:python/name:os.system' is not"),
        ("a: !!str 1", 1, 4, "tag 'tag:yaml.org,2002:str' is not allowed; write a plain value"),
        ("a: !!set {b}", 1, 4, "tag 'tag:yaml.org,2002:set' is not allowed; write a plain mapping"),
        ("a: !!omap [b]", 1, 4, "tag 'tag:yaml.org,2002:omap' is not allowed; write a plain list"),
        ("a: !env HOME", 1, 4, "tag '!env' is not allowed"),
        ("!!str a: 1", 1, 1, "tag 'tag:yaml.org,2002:str' is not allowed"),
        ("a: 1\n---\nb: 2\n", 2, 1, "a second document ('---')"),
        ("a: 1\n...\nb: 2\n", 3, 1, "not valid YAML: did not find expected <document start>"),
        ("a: 1\n---\n", 2, 1, "a second document ('---')"),
        ("", 1, 1, "the file is empty"),
        ("# only a note\n\n", 1, 1, "the file is empty"),
        ("\ufeff", 1, 1, "the file is empty"),
        ("a:\n\t- b\n", 2, 1, "not valid YAML: found character that cannot start any token"),
        ("a:\n  b: 1\n\tc: 2\n", 3, 1, "not valid YAML"),
        ("a: yes\n", 1, 4, "'yes' would be read as true or false by YAML; write it in quotes"),
        ("- No\n", 1, 3, "'No' would be read as true or false"),
        ("a: [on,\n    OFF]", 1, 5, "'on' would be read as true or false"),
        ("a: 017", 1, 4, "'017' would be read as a number by YAML; write it in quotes"),
        ("a: -012", 1, 4, "'-012' would be read as a number"),
        ("a: 0x1F", 1, 4, "'0x1F' would be read as a number"),
        ("a: 0b11", 1, 4, "'0b11' would be read as a number"),
        ("a: 1_000", 1, 4, "'1_000' would be read as a number"),
        ("a: 1_0.5", 1, 4, "'1_0.5' would be read as a number"),
        ("a: +12", 1, 4, "'+12' would be read as a number"),
        ("a: 12:30", 1, 4, "'12:30' would be read as a number"),
        ("a: 12:30.5", 1, 4, "'12:30.5' would be read as a number"),
        ("a: .inf", 1, 4, "'.inf' would be read as a number"),
        ("a: .NaN", 1, 4, "'.NaN' would be read as a number"),
        ("? [a]\n: 1", 1, 3, "a key must be plain text"),
        ("{a: 1}: 2", 1, 1, "a key must be plain text"),
        ("a: b: c", 1, 5, "not valid YAML: mapping values are not allowed"),
        ("a: 'b", 1, 6, "not valid YAML"),
        ("a: [b", 2, 1, "not valid YAML"),
        ("a: 1\nb\n", 3, 1, "not valid YAML"),
        ("a: @b", 1, 4, "not valid YAML"),
        ('a: "\\ud800"', 1, 7, "not valid YAML"),
        ("%YAML 2.0\n---\na: 1", 1, 1, "not valid YAML: found incompatible YAML document"),
        ("가: 1\n나: \x07b", 2, 4, "not valid YAML: control characters are not allowed (U+0007)"),
        ("a: \x1b[31m", 1, 4, "not valid YAML: control characters are not allowed (U+001B)"),
        ("a: \ufffe", 1, 4, "not valid YAML"),
        ("a: b\0c", 1, 1, "the file contains NUL bytes"),
        ("a: 1\0", 1, 1, "the file contains NUL bytes"),
        ("[" * (MAX_DEPTH + 1), 1, MAX_DEPTH + 1, "nested more than 40 levels deep"),
        ("{a: " * (MAX_DEPTH + 1), 1, 4 * MAX_DEPTH + 1, "nested more than 40 levels deep"),
        ("- " * (MAX_DEPTH + 1) + "x", 1, 2 * MAX_DEPTH + 1, "nested more than 40 levels deep"),
    ],
)
def test_refused(text: str, line: int, column: int, problem: str) -> None:
    with pytest.raises(YamlError) as error:
        read_yaml(text.encode())
    assert problem in error.value.problem
    assert (error.value.position.line, error.value.position.column) == (line, column)
    assert error.value.problem.isprintable()
    assert str(error.value) == error.value.problem


@pytest.mark.parametrize(
    "content",
    [
        "a: 한".encode("utf-16"),
        "a: 한".encode("utf-16-le"),
        "a: 1".encode("utf-32"),
        b"a: \xff",
        b"a: \xed\xa0\x80",
    ],
)
def test_other_encodings(content: bytes) -> None:
    with pytest.raises(YamlError, match=r"is not UTF-8|NUL bytes") as error:
        read_yaml(content)
    assert error.value.position == Position(1, 1)


def test_utf_16_of_ascii_is_told_by_its_nul_bytes() -> None:
    with pytest.raises(YamlError, match="NUL bytes"):
        read_yaml("a: 1".encode("utf-16-be"))


def test_size() -> None:
    note = b"#" * (MAX_BYTES - 5) + b"\na: 1"
    assert read_yaml(note).data == {"a": 1}
    with pytest.raises(YamlError, match="larger than 5 MiB; split it") as error:
        read_yaml(note + b"\n")
    assert error.value.position == Position(1, 1)


@pytest.mark.parametrize("unit", ["[", "{a: ", "- ", "? ", "[{a: "])
def test_nesting_is_stopped_before_it_costs(unit: str) -> None:
    started = time.process_time()
    with pytest.raises(YamlError, match=r"nested more than 40|a key must be plain text"):
        read_yaml(unit.encode() * (1_000_000 // len(unit)))
    assert time.process_time() - started < 2


def test_long_keys_and_values_are_cut_in_the_sentence() -> None:
    key = "k" * 100_000
    for text in (f"? {key}\n: 1\n? {key}\n: 2\n", f"a: 0x{'1' * 100_000}", f"a: !{key} 1", f"a: &{key} 1"):
        with pytest.raises(YamlError) as error:
            read_yaml(text.encode())
        assert len(error.value.problem) < 300


def test_hostile_keys_are_shown_escaped() -> None:
    with pytest.raises(YamlError) as error:
        read_yaml(b'"\\e[31m\\n": 1\n"\\e[31m\\n": 2\n')
    assert r"duplicate key '\x1b[31m\n'" in error.value.problem


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a: 1", {"a": 1}),
        ("\ufeffa: 1", {"a": 1}),
        ("a: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
        ("---\na: 1\n...\n", {"a": 1}),
        ("%YAML 1.1\n---\na: 1", {"a": 1}),
        ("---\n", NOTHING),
        ("text", "text"),
        ("[]", []),
        ("{}", {}),
        ("a:\nb: ~\nc: null", {"a": NOTHING, "b": NOTHING, "c": NOTHING}),
        ("[true, False, TRUE]", [True, False, True]),
        ("['yes', \"no\", 'true', y, n]", ["yes", "no", "true", "y", "n"]),
        ("[0, -1, 20240101, -0]", [0, -1, 20240101, 0]),
        ("[1.5, -0.25, 1.0e+3]", [1.5, -0.25, 1000.0]),
        ("['017', '1.10', \"1_000\"]", ["017", "1.10", "1_000"]),
        ("[14d, 1.2.3, 2024-01-01, 60%]", ["14d", "1.2.3", "2024-01-01", "60%"]),
        ("[0o17, 1e5, sha-0a1b, -.5]", ["0o17", "1e5", "sha-0a1b", "-.5"]),
        ("[12345678901234567890]", ["12345678901234567890"]),
        ("'<<': 1", {"<<": 1}),
        ("a: <<", {"a": "<<"}),
        ("yes: 1\n1: 2\n~: 3", {"yes": 1, "1": 2, "~": 3}),
        ("a: |\n  b\n  c\n", {"a": "b\nc\n"}),
        ("a: >-\n  b\n  c\n", {"a": "b c"}),
        ("a: b # note", {"a": "b"}),
        ('a: "\\u202e\\0"', {"a": "\u202e\0"}),
        ("- - a\n  - b\n- {c: [d]}", [["a", "b"], {"c": ["d"]}]),
    ],
)
def test_data(text: str, data: object) -> None:
    # Compared as shown, since 1 equals True and 1.0.
    assert repr(read_yaml(text.encode()).data) == repr(data)


def test_deepest_nesting() -> None:
    data = read_yaml(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH).data
    for _ in range(MAX_DEPTH - 1):
        (data,) = data
    assert data == []


def test_positions() -> None:
    document = read_yaml(
        b"version: 1\n"
        b"policies:\n"
        b"  - name: a\n"
        b"    images: [x,  'y']\n"
        b"    limits:\n"
        b"      most: 5\n"
        b"  - name: \xed\x95\x9c\n"
        b"    nothing:\n"
    )
    assert document.values == {
        (): Position(1, 1),
        ("version",): Position(1, 10),
        ("policies",): Position(3, 3),
        ("policies", 0): Position(3, 5),
        ("policies", 0, "name"): Position(3, 11),
        ("policies", 0, "images"): Position(4, 13),
        ("policies", 0, "images", 0): Position(4, 14),
        ("policies", 0, "images", 1): Position(4, 18),
        ("policies", 0, "limits"): Position(6, 7),
        ("policies", 0, "limits", "most"): Position(6, 13),
        ("policies", 1): Position(7, 5),
        ("policies", 1, "name"): Position(7, 11),
        ("policies", 1, "nothing"): Position(8, 13),
    }
    assert document.keys == {
        ("version",): Position(1, 1),
        ("policies",): Position(2, 1),
        ("policies", 0, "name"): Position(3, 5),
        ("policies", 0, "images"): Position(4, 5),
        ("policies", 0, "limits"): Position(5, 5),
        ("policies", 0, "limits", "most"): Position(6, 7),
        ("policies", 1, "name"): Position(7, 5),
        ("policies", 1, "nothing"): Position(8, 5),
    }


def test_position_of_what_is_missing_is_that_of_the_nearest_thing() -> None:
    document = read_yaml(b"a:\n  - b: 1\n")
    assert document.position(("a", 0, "b")) == Position(2, 8)
    assert document.position(("a", 0, "c", "d", 3)) == Position(2, 5)
    assert document.position(("x",)) == Position(1, 1)
    assert yaml_source.YamlDocument().position(("x",)) == Position(1, 1)


def test_positions_count_characters_and_skip_the_byte_order_mark() -> None:
    document = read_yaml("\ufeff한글: 값\r\nb: [é, c]\r\n".encode())
    assert document.keys[("한글",)] == Position(1, 1)
    assert document.values[("한글",)] == Position(1, 5)
    assert document.values[("b", 1)] == Position(2, 8)


def test_the_python_parser_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyYAML was built without libyaml, data and refusals are the same."""
    monkeypatch.setattr(yaml_source, "_LOADER", yaml.SafeLoader)
    assert read_yaml(b"a: [1, 'x', yes-man]\nb: {c: 1.5}\n").data == {
        "a": [1, "x", "yes-man"],
        "b": {"c": 1.5},
    }
    for text, where in (("a: 1\na: 2", (2, 1)), ("a: *x", (1, 4)), ("가: \x07", (1, 4)), ("a: &x 1", (1, 4))):
        with pytest.raises(YamlError) as error:
            read_yaml(text.encode())
        assert (error.value.position.line, error.value.position.column) == where


scalars = st.one_of(
    st.booleans(),
    st.integers(-(10**17), 10**17),
    st.text(st.characters(codec="utf-8"), max_size=8),
)
trees = st.recursive(
    scalars,
    lambda children: st.one_of(
        st.lists(children, max_size=3), st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(trees)
def test_what_pyyaml_writes_is_read_back(tree: object) -> None:
    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    text = yaml.dump(tree, Dumper=Plain)
    document = read_yaml(text.encode())
    assert document.data == tree
    lines = text.splitlines() or [""]
    assert all(1 <= place.line <= len(lines) + 1 for place in document.values.values())


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        read_yaml(content)
    except YamlError as error:
        problem, position = error.problem, error.position
    else:
        return
    assert problem.isprintable()
    assert position.line >= 1
    assert position.column >= 1


@given(st.text("ab:-[]{},&*!|>'\"%@`#?~ \n\t<=0x_.", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read_yaml(text.encode())
    except YamlError as error:
        problem = error.problem
    else:
        return
    assert problem
