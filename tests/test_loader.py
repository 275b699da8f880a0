"""Loading policies: each error with its file, line, column and sentence, all at once; and what loads well."""

import io
import json
import os
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from pruner.errors import InputError, PolicyError
from pruner.policy.document import json_schema
from pruner.policy.loader import load_policies
from pruner.policy.yaml_source import MAX_BYTES

FOLDER = Path(__file__).parent.parent / "policies"
EXAMPLES = sorted(path for path in FOLDER.glob("*.yaml") if not path.name.endswith(".test.yaml"))
POLICY = "version: 1\npolicies:\n  - name: p\n    registry: acme\n    "
RULES = 'images: ["**"]\n    delete:\n      - '
GOOD = f"{POLICY}{RULES}{{tags: [a]}}\n"


def load(text):
    content = text if isinstance(text, bytes) else text.encode()
    return load_policies(["-"], io.BytesIO(content))


def problems(text):
    with pytest.raises(PolicyError) as caught:
        load(text)
    return list(caught.value.problems)


def rule(text):
    """A policy file with one rule, whose text starts on line 7, column 10."""
    return f"{POLICY}{RULES}{{{text}}}\n"


def policy(text):
    """A policy file whose only policy goes on with ``text`` on line 5, column 5."""
    return f"{POLICY}{text}\n"


def ruled(text):
    """A whole policy with ``text`` after it, on line 8, column 5."""
    return f"{GOOD}    {text}\n"


def registries(text):
    """A whole policy file with ``text`` on line 3, column 5."""
    return f"registries:\n  acme:\n    {text}\n{GOOD}"


NOT_DURATION = ("is not a duration", "a whole number and a unit", "as in 14d")
NOT_IMAGE = ("is not an image name",)
NOT_TAG = ("is not a tag name",)

ERRORS = [
    # Unknown keys.
    ("unknown top", f"{GOOD}polices: []\n", 8, 1, ["unknown key 'polices'", "did you mean 'policies'?"]),
    ("unknown far off", f"{GOOD}zzz: []\n", 8, 1, ["unknown key 'zzz'; allowed: version, registries, pol"]),
    ("unknown in policy", ruled("hodl: []"), 8, 5, ["unknown key 'hodl'", "did you mean 'hold'?"]),
    ("unknown in rule", rule("tags: [a], older: 1d"), 7, 21, ["unknown key 'older'", "'older_than'?"]),
    ("unknown, dashed", rule("older-than: 1d"), 7, 10, ["unknown key 'older-than'", "'older_than'?"]),
    ("unknown in limits", ruled("limits: {max_deletion: 1}"), 8, 14, ["'max_deletion'", "'max_deletions'?"]),
    ("unknown in in_use", ruled("in_use: {clusters: [a], max_aeg: 1h}"), 8, 29, ["'max_aeg'", "'max_age'?"]),
    ("unknown in registry", registries("regoin: KR"), 3, 5, ["unknown key 'regoin'", "'region'?"]),
    ("unknown in semver", rule("semver: {rnge: '>1'}"), 7, 19, ["unknown key 'rnge'", "mean 'range'?"]),
    ("unknown in any", rule("any: [{tag: [a]}]"), 7, 17, ["unknown key 'tag'", "mean 'tags'?"]),
    ("unknown in not", rule("not: {newst: 1}"), 7, 16, ["unknown key 'newst'", "mean 'newest'?"]),
    ("unknown beside regex", rule("tags: {regex: a, flags: i}"), 7, 27, ["unknown key 'flags'"]),
    # Duplicate keys.
    ("duplicate top", f"{GOOD}version: 1\n", 8, 1, ["duplicate key 'version'; it stands first on line 1"]),
    ("duplicate in rule", rule("tags: [a], tags: [b]"), 7, 21, ["duplicate key 'tags'"]),
    # Wrong types.
    ("document a list", "- a\n", 1, 1, ["this is a list, but a map belongs here"]),
    ("document a text", "hello\n", 1, 1, ["'hello' is text, but a map belongs here"]),
    ("policies a map", "version: 1\npolicies: {a: 1}\n", 2, 11, ["this is a map, but a list"]),
    ("policy a text", "version: 1\npolicies: [a]\n", 2, 12, ["'a' is text, but a map belongs here"]),
    ("registries a list", f"registries: []\n{GOOD}", 1, 13, ["'registries': this is a list, but a map"]),
    ("registry a text", f"registries: {{acme: KR}}\n{GOOD}", 1, 20, ["'acme': 'KR' is text, but a map"]),
    ("images a text", policy('images: "*"'), 5, 13, ["'images': '*' is text, but a list, as in [a, b]"]),
    (
        "image a number",
        policy("images: [1]\n    delete: [{tags: [a]}]"),
        5,
        14,
        ["'1' is a number, but text"],
    ),
    ("delete a map", policy("images: [a]\n    delete: {tags: [a]}"), 6, 13, ["a map, but a list"]),
    ("rule a text", policy("images: [a]\n    delete: [a]"), 6, 14, ["'delete': 'a' is text, but a map"]),
    ("keep a text", ruled("keep: latest"), 8, 11, ["'keep': 'latest' is text, but a list"]),
    ("tags a text", rule("tags: a"), 7, 16, ["'tags': 'a' is text, but a list"]),
    ("tag a number", rule("tags: [1.10]"), 7, 17, ["'tags': '1.1' is a number", "write it in quotes"]),
    ("tag a boolean", rule("tags: [true]"), 7, 17, ["is true or false, but text", "write it in quotes"]),
    ("regex a number", rule("tags: {regex: 1}"), 7, 24, ["'regex': '1' is a number, but text"]),
    ("newest a text", rule("newest: '3'"), 7, 18, ["'newest': '3' is text, but a whole number"]),
    ("newest a fraction", rule("newest: 1.5"), 7, 18, ["'newest': '1.5' is a number, but a whole number"]),
    ("newest a boolean", rule("newest: true"), 7, 18, ["'newest'", "but a whole number belongs here"]),
    ("newest 0", rule("newest: 0"), 7, 18, ["'newest': '0' is out of range; it must be at least 1"]),
    ("newest -1", rule("newest: -1"), 7, 18, ["'-1' is out of range; it must be at least 1"]),
    ("newest huge", rule("newest: 1000001"), 7, 18, ["is out of range; it must be at most 1000000"]),
    ("semver a text", rule("semver: '>1'"), 7, 18, ["'semver': '>1' is text, but a map"]),
    ("prerelease a text", rule("semver: {prerelease: 'a'}"), 7, 31, ["'a' is text, but true or false"]),
    (
        "per unknown",
        rule("semver: {newest: 1, per: patch}"),
        7,
        35,
        ["'patch' is not known; allowed: major, m"],
    ),
    ("per without newest", rule("semver: {per: major}"), 7, 18, ["'per' needs 'newest'"]),
    ("range empty", rule("semver: {range: ''}"), 7, 26, ["an empty range selects nothing"]),
    ("range without operator", rule("semver: {range: '1.2'}"), 7, 26, ["'1.2' in the range '1.2' has no op"]),
    ("range of words", rule("semver: {range: '>=one'}"), 7, 26, ["is not a version; write 1.2 or 1.2.3"]),
    ("any a map", rule("any: {tags: [a]}"), 7, 15, ["'any': this is a map, but a list"]),
    ("not a list", rule("not: [{tags: [a]}]"), 7, 15, ["'not': this is a list, but a map"]),
    ("size a number", rule("larger_than: 5"), 7, 23, ["'5' is a number; write a size with its unit"]),
    ("size bare", rule("larger_than: 5M"), 7, 23, ["'5M' is not a size", "MiB"]),
    ("share a number", ruled("limits: {max_share: 0.6}"), 8, 25, ["'0.6' is a number; write a percentage"]),
    ("share 0%", ruled("limits: {max_share: 0%}"), 8, 25, ["'0%' is not a percentage; write 1% to 100%"]),
    ("share 101%", ruled("limits: {max_share: 101%}"), 8, 25, ["'101%' is not a percentage"]),
    ("limits a list", ruled("limits: []"), 8, 13, ["'limits': this is a list, but a map"]),
    ("limit a text", ruled("limits: {max_deletions: '5'}"), 8, 29, ["'5' is text, but a whole number"]),
    ("limit below 0", ruled("limits: {keep_at_least: -1}"), 8, 29, ["it must be at least 0"]),
    ("target a number", policy("targets: [1]"), 5, 15, ["'targets': '1' is a number, but text"]),
    ("target tag a number", policy("targets: [{image: a, tags: [1.10]}]"), 5, 33, ["'1.1' is a number"]),
    ("hold a text", ruled("hold: a:b"), 8, 11, ["'hold': 'a:b' is text, but a list"]),
    ("hold without tag", ruled("hold: [ci/web]"), 8, 12, ["'ci/web' has no tag; write image:tag"]),
    ("hold excludes", ruled("hold: ['!a:b']"), 8, 12, ["a hold cannot exclude; remove the '!'"]),
    ("hold excludes tags", ruled("hold: ['a:!b']"), 8, 12, ["a hold cannot exclude"]),
    ("hold of an empty tag", ruled("hold: ['a:']"), 8, 12, ["an empty pattern matches nothing"]),
    (
        "shared_digest unknown",
        ruled("shared_digest: del"),
        8,
        20,
        ["'del' is not known; allowed: keep, dele"],
    ),
    ("concurrency a text", registries("concurrency: many"), 3, 18, ["'many' is text, but a whole number"]),
    ("concurrency 513", registries("concurrency: 513"), 3, 18, ["'513' is out of range", "at most 512"]),
    ("rate 0", registries("requests_per_second: 0"), 3, 26, ["'0' is out of range; it must be more than 0"]),
    ("endpoint no URL", registries("endpoint: ncr"), 3, 15, ["'endpoint': 'ncr' is not valid here"]),
    ("profile empty", registries("profile: ''"), 3, 14, ["'profile' is empty"]),
    ("region unknown", registries("region: USWN"), 3, 13, ["'USWN' is not known; allowed: KR", "'endpoint'"]),
    ("region lower", registries("region: kr"), 3, 13, ["'kr' is not known", "did you mean 'KR'?"]),
    ("two places", registries("region: KR\n    endpoint: https://a"), 3, 5, ["'region' and 'endpoint' both"]),
    # Versions.
    ("version 2", GOOD.replace("version: 1", "version: 2"), 1, 10, ["'2' is not known; allowed: 1"]),
    ("version missing", GOOD.replace("version: 1\n", ""), 1, 1, ["'version' is missing; add it"]),
    pytest.param(
        "version a text",
        GOOD.replace("version: 1", "version: '1'"),
        1,
        10,
        ["is text", "number"],
    ),
    # Durations.
    ("a number for a time", rule("older_than: 14"), 7, 22, ["'older_than': '14' is a number; write a whole"]),
    ("a bare number", rule("older_than: '14'"), 7, 22, ["'14'", *NOT_DURATION]),
    ("a space", rule("older_than: 14 d"), 7, 22, ["'14 d'", *NOT_DURATION]),
    ("months", rule("newer_than: 1mo"), 7, 22, ["'newer_than': '1mo'", *NOT_DURATION]),
    ("years", rule("pulled_within: 1y"), 7, 25, ["'1y'", *NOT_DURATION]),
    ("a fraction", rule("not_pulled_for: 1.5d"), 7, 26, ["'1.5d'", *NOT_DURATION]),
    ("a sign", rule("older_than: -1d"), 7, 22, ["'-1d'", *NOT_DURATION]),
    ("upper case", rule("older_than: 14D"), 7, 22, ["'14D'", *NOT_DURATION]),
    ("no time", rule("older_than: 0d"), 7, 22, ["'0d' is no time at all; write at least 1m"]),
    ("101 years", rule("older_than: 36865d"), 7, 22, ["'36865d' is longer than 100 years"]),
    ("too many digits", rule("older_than: 9999999999d"), 7, 22, ["'9999999999d'", *NOT_DURATION]),
    ("a list for a time", rule("older_than: [14d]"), 7, 22, ["is a list; write a whole number and a unit"]),
    # Patterns.
    ("empty tag glob", rule("tags: ['']"), 7, 17, ["'tags': an empty text; write one or remove it"]),
    ("blank tag glob", rule("tags: [' ']"), 7, 17, ["an empty pattern matches nothing; remove it"]),
    ("only a '!'", rule("tags: ['!']"), 7, 17, ["an empty pattern matches nothing"]),
    ("two '!'", rule("tags: ['!!a']"), 7, 17, ["'!!a' starts with two '!'"]),
    (
        "empty image glob",
        policy("images: ['']\n    delete: [{tags: [a]}]"),
        5,
        14,
        ["'images': an empty text"],
    ),
    ("empty regex", rule("tags: {regex: ''}"), 7, 24, ["'regex' is empty; write at least one"]),
    ("open set", rule("tags: ['a[b']"), 7, 17, ["'a[b': the set at '[' has no closing ']'"]),
    ("backward set", rule("tags: ['[z-a]']"), 7, 17, ["is not a regular expression"]),
    ("long pattern", rule(f"tags: [{'a' * 501}]"), 7, 17, ["the pattern is longer than 500 characters"]),
    ("open group", rule("tags: {regex: '(a'}"), 7, 24, ["'(a' is not a regular expression that RE2 knows"]),
    ("backreference", rule(r"tags: {regex: '(a)\1'}"), 7, 24, ["is not a regular expression that RE2"]),
    ("group_by without group", rule("newest: 1, group_by: 'a.*'"), 7, 31, ["exactly one group", "not 0"]),
    ("group_by of two", rule("newest: 1, group_by: '(a)(b)'"), 7, 31, ["exactly one group", "not 2"]),
    ("group_by alone", rule("tags: [a], group_by: '(a).*'"), 7, 9, ["'group_by' needs 'newest'"]),
    ("two rankings", rule("newest: 1, semver: {newest: 1}"), 7, 9, ["write one of them"]),
    # Names.
    ("registry upper", GOOD.replace("acme", "Acme"), 4, 15, ["'Acme' is not a registry name"]),
    ("registry dotted", GOOD.replace("acme", "a.b"), 4, 15, ["'a.b' is not a registry name"]),
    ("registry empty", GOOD.replace("acme", "''"), 4, 15, ["'registry'", "is not a registry name"]),
    ("policy name", GOOD.replace("name: p", "name: 'a b'"), 3, 11, ["'name': 'a b' is not valid here"]),
    ("image upper", policy("targets: ['Ci/web:1']"), 5, 15, ["'Ci/web'", *NOT_IMAGE]),
    ("image dots", policy("targets: ['a/../b:1']"), 5, 15, ["'a/../b'", *NOT_IMAGE]),
    ("image empty part", policy("targets: ['a//b:1']"), 5, 15, ["'a//b'", *NOT_IMAGE]),
    ("image escaped", policy("targets: ['a%2Fb:1']"), 5, 15, ["'a%2Fb'", *NOT_IMAGE]),
    ("image CR LF", policy('targets: ["a\\r\\nb:1"]'), 5, 15, [r"'a\r\nb'", *NOT_IMAGE]),
    ("image bidi", policy('targets: ["a\\u202eb:1"]'), 5, 15, [r"'a\u202eb'", *NOT_IMAGE]),
    ("image NUL", policy('targets: ["a\\0b:1"]'), 5, 15, [r"'a\x00b'", *NOT_IMAGE]),
    ("image in a map", policy("targets: [{image: A, tags: [b]}]"), 5, 23, ["'image': 'A'", *NOT_IMAGE]),
    ("tag dots", policy("targets: ['a:..']"), 5, 15, ["'..'", *NOT_TAG]),
    ("tag escaped", policy("targets: ['a:b%2Fc']"), 5, 15, ["'b%2Fc'", *NOT_TAG]),
    ("tag digest", policy("targets: ['a@sha256:b']"), 5, 15, ["'a@sha256'", *NOT_IMAGE]),
    ("tag CR LF", policy('targets: [{image: a, tags: ["b\\r\\n"]}]'), 5, 33, [r"'b\r\n'", *NOT_TAG]),
    ("tag 129 long", policy(f"targets: ['a:{'b' * 129}']"), 5, 15, NOT_TAG),
    ("target without tag", policy("targets: [ci/web]"), 5, 15, ["'ci/web' has no tag; write image:tag"]),
    pytest.param(
        "registries' name",
        f"registries:\n  ACME:\n    region: KR\n{GOOD}",
        2,
        3,
        ["'ACME' is not a registry name"],
    ),
    # Missing keys, empty lists, shapes that do not fit.
    ("policies missing", "version: 1\n", 1, 1, ["'policies' is missing; add it"]),
    ("name missing", GOOD.replace("name: p\n    ", ""), 3, 5, ["'name' is missing; add it"]),
    ("registry missing", GOOD.replace("    registry: acme\n", ""), 3, 5, ["'registry' is missing; add it"]),
    ("image missing", policy("targets: [{tags: [a]}]"), 5, 15, ["'image' is missing; add it"]),
    ("tags missing", policy("targets: [{image: a}]"), 5, 15, ["'tags' is missing; add it"]),
    ("regex missing", rule("tags: {}"), 7, 16, ["'regex' is missing; add it"]),
    ("no rules", policy("images: [a]"), 3, 5, ["a policy needs 'images' and 'delete', or 'targets'"]),
    ("no images", policy("delete: [{tags: [a]}]"), 3, 5, ["a policy needs 'images' and 'delete'"]),
    ("keep alone", policy("keep: [{tags: [a]}]"), 3, 5, ["a policy needs 'images' and 'delete'"]),
    ("no policies", "version: 1\npolicies: []\n", 2, 11, ["'policies' is empty; write at least one"]),
    ("empty images", policy("images: []\n    delete: [{tags: [a]}]"), 5, 13, ["'images' is empty"]),
    ("empty delete", policy("images: [a]\n    delete: []"), 6, 13, ["'delete' is empty"]),
    ("empty keep", ruled("keep: []"), 8, 11, ["'keep' is empty"]),
    ("empty targets", policy("targets: []"), 5, 14, ["'targets' is empty"]),
    ("empty target tags", policy("targets: [{image: a, tags: []}]"), 5, 32, ["'tags' is empty"]),
    ("empty tags", rule("tags: []"), 7, 16, ["'tags' is empty"]),
    ("empty any", rule("any: []"), 7, 15, ["'any' is empty"]),
    ("empty all", rule("all: []"), 7, 15, ["'all' is empty"]),
    ("empty digest globs", rule("digest_shared_with: []"), 7, 30, ["'digest_shared_with' is empty"]),
    ("rule without condition", rule(""), 7, 9, ["a rule without a condition would select every tag"]),
    ("not without condition", rule("not: {}"), 7, 15, ["a rule without a condition"]),
    ("any without condition", rule("any: [{}]"), 7, 16, ["a rule without a condition"]),
    (
        "targets and images",
        policy("targets: [a:b]\n    images: [a]"),
        3,
        5,
        ["'targets' and 'images' cannot"],
    ),
    (
        "targets and keep",
        policy("targets: [a:b]\n    keep: [{newest: 1}]"),
        3,
        5,
        ["'targets' and 'keep' can"],
    ),
    # YAML.
    ("YAML tag", rule("tags: !!set {a}"), 7, 16, ["the YAML tag", "is not allowed; write a plain mapping"]),
    ("anchor", rule("tags: &t [a]"), 7, 16, ["the anchor '&t' is not allowed"]),
    ("alias", rule("tags: *t"), 7, 16, ["aliases ('*name') are not allowed"]),
    ("merge key", rule("<<: {tags: [a]}"), 7, 10, ["merge keys ('<<') are not allowed"]),
    ("two documents", f"{GOOD}---\n{GOOD}", 8, 1, ["a second document ('---')"]),
    ("empty file", "", 1, 1, ["the file is empty; a policy file starts with 'version: 1'"]),
    ("NUL", "a: \0", 1, 1, ["the file contains NUL bytes"]),
    ("too large", "#" * (MAX_BYTES + 1), 1, 1, ["the file is larger than 5 MiB"]),
    ("not UTF-8", b"a: \xff", 1, 1, ["the file is not UTF-8 text"]),
    ("unclosed", "a: [\n", 2, 1, ["not valid YAML"]),
    ("yes", rule("semver: {prerelease: yes}"), 7, 31, ["'yes' would be read as true or false"]),
]


def _parameters():
    for item in ERRORS:
        if isinstance(item, tuple) and not hasattr(item, "marks"):
            yield pytest.param(*item[1:], id=item[0])
        else:
            yield pytest.param(*item.values[1:], id=item.values[0], marks=item.marks)


@pytest.mark.parametrize(("text", "line", "column", "fragments"), list(_parameters()))
def test_an_error_is_one_sentence_at_its_place(text, line, column, fragments):
    [problem] = problems(text)
    assert problem.startswith(f"<stdin>:{line}:{column}: ")
    for fragment in fragments:
        assert fragment in problem


@pytest.mark.parametrize(
    ("text", "missing", "unknown"),
    [
        (rule("tags: {regx: a}"), "<stdin>:7:16: 'regex' is missing", "<stdin>:7:17: unknown key 'regx'"),
        (policy("targets: [{imag: a, tags: [b]}]"), "<stdin>:5:15: 'image' is", "<stdin>:5:16: unknown key"),
    ],
)
def test_a_misspelt_needed_key_is_both_missing_and_unknown(text, missing, unknown):
    first, second = problems(text)
    assert first.startswith(missing)
    assert second.startswith(unknown)
    assert "did you mean '" in second


EMPTY_VALUES = [
    ("older_than", rule("tags: ['pr-*'], older_than: ")),
    ("tags", rule("older_than: 1d, tags: ")),
    ("not", rule("tags: [a], not: ")),
    ("semver range", rule("semver: {range: }")),
    ("max_deletions", ruled("limits: {max_deletions: }")),
    ("limits", ruled("limits:")),
    ("keep", ruled("keep:")),
    ("hold", ruled("hold:")),
    ("shared_digest", ruled("shared_digest:")),
    ("region", registries("region:")),
]


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in EMPTY_VALUES])
def test_a_key_without_a_value_is_refused(text):
    # 'older_than:' left blank must not turn "old ones" into "all of them".
    problems(text)


@pytest.mark.parametrize("value", ["true", "'50'", "'5e1'"])
def test_a_rate_that_is_no_number_is_refused(value):
    problems(registries(f"requests_per_second: {value}"))


@pytest.mark.parametrize("value", ["true", "1.0"])
def test_a_version_that_is_not_the_number_1_is_refused(value):
    problems(GOOD.replace("version: 1", f"version: {value}"))


@pytest.mark.parametrize(
    "text",
    [
        rule(r'tags: ["\e[31m["]'),
        rule(r'tags: {regex: "(\e[31m"}'),
        rule(r'larger_than: "5\nMB"'),
        ruled(r'limits: {max_share: "5\u202e%"}'),
        rule(r'semver: {range: "\e[0m"}'),
        rule(r'newest: 1, group_by: "\e"'),
    ],
    ids=["glob", "regex", "size", "share", "range", "group_by"],
)
def test_a_sentence_never_holds_unprintable_characters(text):
    [problem] = problems(text)
    assert problem.isprintable()


def test_all_errors_of_a_file_are_reported_in_the_order_of_the_file():
    text = (
        "verison: 1\n"
        "policies:\n"
        "  - name: p\n"
        "    registry: ACME\n"
        "    images: ['']\n"
        "    delete:\n"
        "      - {older_than: 14, newst: 3}\n"
        "    limits: {max_share: 200%}\n"
    )
    found = problems(text)
    places = [tuple(map(int, problem.split(":")[1:3])) for problem in found]
    assert places == [(1, 1), (1, 1), (4, 15), (5, 14), (7, 22), (7, 26), (8, 25)]
    assert "'version' is missing" in "\n".join(found[:2])
    assert "unknown key 'verison'" in "\n".join(found[:2])


def test_all_errors_of_all_files_are_reported_at_once(tmp_path):
    (tmp_path / "a.yaml").write_text(rule("older_than: 14"))
    (tmp_path / "b.yaml").write_text("a: &x 1\n")
    (tmp_path / "c.yaml").write_text(GOOD)
    (tmp_path / "d.yaml").write_bytes(b"\xff")
    missing = tmp_path / "missing.yaml"
    with pytest.raises(PolicyError) as caught:
        load_policies([str(tmp_path), str(missing)])
    found = caught.value.problems
    assert len(found) == 4
    assert found[0] == f"{missing}: cannot be read: No such file or directory"
    assert [text.split(":")[0] for text in found[1:]] == [str(tmp_path / f"{n}.yaml") for n in "abd"]
    assert str(caught.value) == "\n".join(found)


def test_two_policies_of_one_name_in_two_files(tmp_path):
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(f"# more\n{GOOD}")
    with pytest.raises(PolicyError) as caught:
        load_policies([str(tmp_path)])
    [problem] = caught.value.problems
    assert problem.startswith(f"{tmp_path}/b.yaml:4")
    assert f"a second policy named 'p'; the first stands at {tmp_path}/a.yaml:3" in problem


def test_two_policies_of_one_name_in_one_file():
    [problem] = problems(GOOD + GOOD.partition("policies:\n")[2])
    assert problem.startswith("<stdin>:8")
    assert "a second policy named 'p'" in problem


def test_a_registry_described_in_two_ways(tmp_path):
    other = GOOD.replace("name: p", "name: q")
    (tmp_path / "a.yaml").write_text(registries("region: KR"))
    (tmp_path / "b.yaml").write_text(f"registries:\n  acme:\n    region: JPN\n{other}")
    with pytest.raises(
        PolicyError, match=r"registry 'acme' is described differently at .*a.yaml:2; make both"
    ):
        load_policies([str(tmp_path)])


def test_a_registry_described_twice_alike(tmp_path):
    (tmp_path / "a.yaml").write_text(registries("region: KR"))
    (tmp_path / "b.yaml").write_text(registries("region: KR").replace("name: p", "name: q"))
    loaded = load_policies([str(tmp_path)])
    assert loaded.registries["acme"].region == "KR"
    assert [policy.name for policy in loaded.policies] == ["p", "q"]


def test_a_folder_is_read_in_order_and_without_tests(tmp_path):
    for name in ("b.yml", "a.yaml", "c.yaml"):
        (tmp_path / name).write_text(GOOD.replace("name: p", f"name: {name}"))
    (tmp_path / "a.test.yaml").write_text("nonsense")
    (tmp_path / "a.test.yml").write_text("nonsense")
    (tmp_path / "notes.txt").write_text("nonsense")
    (tmp_path / "sub").mkdir()
    loaded = load_policies([str(tmp_path)])
    assert [policy.name for policy in loaded.policies] == ["a.yaml", "b.yml", "c.yaml"]
    assert loaded.files == tuple(str(tmp_path / name) for name in ("a.yaml", "b.yml", "c.yaml"))


@pytest.mark.parametrize("others", [[], ["x.test.yaml"]])
def test_a_folder_without_policies_is_an_error(tmp_path, others):
    for name in others:
        (tmp_path / name).write_text(GOOD)
    with pytest.raises(InputError, match=r"the folder has no \*.yaml or \*.yml file"):
        load_policies([str(tmp_path)])


def test_nothing_to_load_is_an_error():
    with pytest.raises(InputError, match="no policy file given"):
        load_policies([])


def test_a_file_named_twice_loads_once(tmp_path, monkeypatch):
    file = tmp_path / "a.yaml"
    file.write_text(GOOD)
    (tmp_path / "link.yaml").symlink_to(file)
    monkeypatch.chdir(tmp_path)
    loaded = load_policies([str(file), "a.yaml", str(tmp_path)])
    assert len(loaded.policies) == 1
    assert loaded.files == (str(file),)


def test_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    file = tmp_path / "a.yaml"
    file.write_text(GOOD)

    def refuse(path, flags):
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PolicyError) as caught:
        load_policies([str(file)])
    assert caught.value.problems == (f"{file}: cannot be read: Permission denied",)


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "a.yaml").write_text(GOOD)

    def refuse(self):
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        load_policies([str(tmp_path)])


def test_a_link_to_itself_is_an_input_error(tmp_path):
    (tmp_path / "a.yaml").symlink_to(tmp_path / "a.yaml")
    with pytest.raises(InputError):
        load_policies([str(tmp_path / "a.yaml")])


def test_standard_input_is_called_so():
    loaded = load(GOOD)
    assert loaded.files == ("<stdin>",)
    assert loaded.policies[0].source == "<stdin>:3"


def test_the_fingerprint_follows_the_contents_only(tmp_path):
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "renamed.yaml").write_text(GOOD)
    first = load_policies([str(tmp_path / "a.yaml")]).fingerprint
    assert first == load_policies([str(tmp_path / "renamed.yaml")]).fingerprint == load(GOOD).fingerprint
    assert len(first) == 64
    assert first != load(f"{GOOD}# a note\n").fingerprint


def test_the_fingerprint_of_files_depends_on_their_borders(tmp_path):
    note, other = "# note\n", GOOD.replace("name: p", "name: q")
    pairs = [(GOOD + note, other), (GOOD, note + other)]
    found = set()
    for number, (first, second) in enumerate(pairs):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "a.yaml").write_text(first)
        (folder / "b.yaml").write_text(second)
        found.add(load_policies([str(folder)]).fingerprint)
    assert len(found) == 2


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_loads(path):
    assert load_policies([str(path)]).policies


CONDITIONS = [
    ("tags: ['pr-*', '!pr-1']", "tags pr-* !pr-1"),
    ("tags: [a, b, c, d, e]", "tags a b c … (5 patterns)"),
    (r"tags: {regex: 'v\d+'}", r"tags /v\d+/"),
    ("older_than: 6w", "older_than 42d"),
    ("newer_than: 36h", "newer_than 36h"),
    ("pulled_within: 90m", "pulled_within 90m"),
    ("not_pulled_for: 90d", "not_pulled_for 90d"),
    ("newest: 3", "newest 3"),
    ("newest: 3, group_by: '(a).*'", "newest 3 by /(a).*/"),
    ("semver: {}", "semver versions"),
    ("semver: {range: '>=1 <2', prerelease: false}", "semver >=1 <2 releases"),
    ("semver: {prerelease: true}", "semver prereleases"),
    ("semver: {newest: 2, per: minor}", "semver versions, newest 2 versions per minor"),
    ("larger_than: 5B", "larger_than 5B"),
    ("digest_shared_with: [latest]", "digest_shared_with latest"),
    ("any: [{tags: [a]}, {tags: [b], newest: 1}]", "any (tags a | tags b, newest 1)"),
    ("all: [{tags: [a]}, {tags: [b]}]", "all (tags a & tags b)"),
    ("not: {tags: [a], older_than: 1d}", "not (tags a, older_than 1d)"),
    ("newest: 1, older_than: 1d, tags: [a]", "tags a, older_than 1d, newest 1"),
]


@pytest.mark.parametrize(("text", "label"), CONDITIONS)
def test_the_label_of_a_rule(text, label):
    [policy] = load(rule(text)).policies
    [compiled] = policy.delete
    assert compiled.label == label
    assert compiled.policy == "p"
    assert compiled.source == "<stdin>:7"


def test_the_sources_of_the_parts_of_a_policy(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text(
        "version: 1\n"
        "registries:\n"
        "  acme:\n"
        "    region: KR\n"
        "policies:\n"
        "  - name: rules\n"
        "    registry: acme\n"
        "    images: ['**']\n"
        "    delete:\n"
        "      - tags: [a]\n"
        "      - older_than: 1d\n"
        "        tags: [b]\n"
        "    keep:\n"
        "      - newest: 1\n"
        "    hold:\n"
        "      - x:y\n"
        "  - name: names\n"
        "    registry: acme\n"
        "    targets:\n"
        "      - a:b\n"
        "      - image: c\n"
        "        tags: [d, e]\n"
    )
    loaded = load_policies([str(file)])
    rules, names = loaded.policies
    assert loaded.registries["acme"].source == f"{file}:3"
    assert (rules.source, names.source) == (f"{file}:6", f"{file}:17")
    assert [rule.source for rule in rules.delete] == [f"{file}:10", f"{file}:11"]
    assert [rule.source for rule in rules.keep] == [f"{file}:14"]
    assert [(hold.source, hold.label) for hold in rules.holds] == [(f"{file}:16", "hold x:y")]
    assert [(str(item.target), item.source) for item in names.targets] == [
        ("acme/a:b", f"{file}:20"),
        ("acme/c:d", f"{file}:21"),
        ("acme/c:e", f"{file}:21"),
    ]
    assert rules.has_rules
    assert not names.has_rules
    assert loaded.registry_names == ["acme"]


def test_limits_are_taken_over():
    [policy] = load(
        ruled(
            "limits: {max_deletions: 1, max_deletions_per_image: 2, max_deletions_per_registry: 3, "
            "max_share: 60%, keep_at_least: 0}\n    shared_digest: delete"
        )
    ).policies
    limits = policy.limits
    assert (limits.max_deletions, limits.max_deletions_per_image) == (1, 2)
    assert (limits.max_deletions_per_registry, limits.max_share, limits.keep_at_least) == (3, 0.6, 0)
    assert policy.delete_shared


@pytest.fixture(scope="module")
def schema():
    schema = json.loads(json.dumps(json_schema()))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_schema_accepts_an_example(schema, path):
    schema.validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("text", [rule(text) for text, _ in CONDITIONS])
def test_the_schema_accepts_every_condition(schema, text):
    schema.validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "version: 1",
        "version: 1\npolicies: []",
        GOOD.replace("version: 1", "version: 2"),
        GOOD + "extra: 1",
        ruled("hodl: [a:b]"),
        rule("older_than: 14"),
        rule("older_than: 14 d"),
        rule("older_than: 1mo"),
        rule("tags: a"),
        rule("tags: []"),
        rule("tags: ['']"),
        rule("tags: {regx: a}"),
        rule("newest: 0"),
        rule("semver: {per: patch}"),
        rule("larger_than: 5"),
        rule("any: []"),
        rule("not: {older: 1d}"),
        ruled("limits: {max_share: 0.6}"),
        ruled("limits: {max_deletions: -1}"),
        ruled("shared_digest: maybe"),
        policy("targets: [{image: a}]"),
        registries("region: USWN"),
        registries("concurrency: 0"),
        GOOD.replace("name: p", "name: 'a b'"),
    ],
)
def test_the_schema_rejects_a_bad_document(schema, text):
    assert not schema.is_valid(yaml.safe_load(text))
    problems(text)
