"""Tests of policies: what passes, what fails and how that is told, and the errors of the test file itself."""

import io
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pruner.errors import InputError, PolicyError
from pruner.policy.loader import load_policies
from pruner.policy.testing import run_tests

POLICIES = Path(__file__).parent.parent / "policies"
POLICY = """version: 1
policies:
  - name: p
    registry: acme
    images: ["**"]
    delete: [{tags: ["pr-*"], older_than: 14d}]
    keep: [{tags: ["pr-*"], newest: 1}]
    limits: {keep_at_least: 0}
"""
INVENTORY = "{acme/web: [{tag: pr-1, age: 30d}, {tag: pr-2, age: 20d}, {tag: main, age: 90d}]}"


def document(expect, inventory=INVENTORY, more=""):
    """A file with one test on line 3; its inventory stands on line 4."""
    return f"version: 1\ntests:\n  - name: a test\n    inventory: {inventory}\n    expect: {expect}\n{more}"


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "p.test.yaml"

    def results(text, policy=POLICY):
        path.write_text(text)
        loaded = load_policies(["-"], io.BytesIO(policy.encode()))
        return list(run_tests(path, loaded))

    results.path = path
    return results


@pytest.fixture
def problems(run):
    def of(text, policy=POLICY):
        [result] = run(text, policy)
        return list(result.problems)

    return of


@pytest.fixture
def errors(run):
    def found(text):
        with pytest.raises(PolicyError) as caught:
            run(text)
        return [problem.removeprefix(f"{run.path}:") for problem in caught.value.problems]

    return found


@pytest.mark.parametrize(
    "expect",
    [
        "{deleted: ['acme/web:pr-1']}",
        "{goes: ['acme/web:pr-1'], stays: ['acme/web:pr-2', 'acme/*:main']}",
        "{goes: ['acme/**:*-1']}",
        "{stays: ['acme/web:main']}",
        "{deleted: ['acme/web:pr-1'], stays: ['acme/web:pr-2']}",
    ],
)
def test_what_is_as_expected_passes(problems, expect):
    assert problems(document(expect)) == []


@pytest.mark.parametrize(
    ("expect", "said"),
    [
        ("{deleted: []}", ["acme/web:pr-1 should stay, but goes: tags pr-*, older_than 14d (<stdin>:6)"]),
        (
            "{deleted: ['acme/web:pr-1', 'acme/web:pr-2']}",
            ["acme/web:pr-2 should go, but stays: tags pr-*, newest 1 (<stdin>:7)"],
        ),
        (
            "{deleted: ['acme/web:pr-1', 'acme/web:nope']}",
            ["acme/web:nope should go, but stays: no such tag in the inventory"],
        ),
        ("{goes: ['acme/web:main']}", ["acme/web:main should go, but stays: no delete rule selects it"]),
        (
            "{goes: ['acme/web:pr-*']}",
            ["acme/web:pr-2 should go, but stays: tags pr-*, newest 1 (<stdin>:7)"],
        ),
        (
            "{stays: ['acme/web:*']}",
            ["acme/web:pr-1 should stay, but goes: tags pr-*, older_than 14d (<stdin>:6)"],
        ),
        ("{goes: ['acme/api:*']}", ["acme/api:* matches no tag of the inventory"]),
        ("{stays: ['acme/web:v*']}", ["acme/web:v* matches no tag of the inventory"]),
    ],
)
def test_each_kind_of_failure_says_why(problems, expect, said):
    assert problems(document(expect)) == said


def test_a_failure_that_two_expectations_find_is_told_by_both(problems):
    assert (
        len(
            problems(
                document("{deleted: ['acme/web:pr-1'], goes: ['acme/web:main'], stays: ['acme/**:pr-1']}")
            )
        )
        == 2
    )


def test_the_source_is_the_line_of_the_test(run):
    text = document("{deleted: ['acme/web:pr-1']}")
    text += "  - name: second\n    inventory: {acme/x: [a]}\n    expect: {deleted: []}\n"
    assert [(result.name, result.source) for result in run(text)] == [
        ("a test", f"{run.path}:3"),
        ("second", f"{run.path}:6"),
    ]


def test_ages_digests_sizes_pulls_and_times(problems):
    policy = POLICY.replace('    keep: [{tags: ["pr-*"], newest: 1}]\n', "").replace(
        'tags: ["pr-*"], older_than: 14d', "larger_than: 1kB, not_pulled_for: 1d, older_than: 14d"
    )
    inventory = (
        "{acme/web: [{tag: a, updated: 2026-01-01, size: 2kB, pulled: 2d}, "
        "{tag: b, updated: '2026-01-20T00:00:00Z', size: 2kB, pulled: 2d}, "
        "{tag: c, updated: 2026-01-01, size: 1kB, pulled: 2d}, "
        "{tag: d, updated: 2026-01-01, size: 2kB, pulled: 1h}, "
        "{tag: e, updated: 2026-01-01, size: 2kB}, "
        "{tag: f, updated: 2026-01-01, size: 2kB, pulled: 2d, digest: x}, {tag: g, digest: x}, h]}"
    )
    text = document("{deleted: ['acme/web:a']}", inventory, "    now: 2026-02-01\n")
    assert problems(text, policy) == []


def test_a_moment_with_a_zone_is_that_moment(problems):
    inventory = "{acme/web: [{tag: pr-1, updated: '2026-01-01T00:00:00+09:00'}, {tag: pr-2, age: 1m}]}"
    more = "    now: '2026-01-14T15:{}:00Z'\n"
    assert problems(document("{deleted: []}", inventory, more.format("00"))) == []
    assert problems(document("{deleted: ['acme/web:pr-1']}", inventory, more.format("01"))) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            document("{deletd: []}"),
            ["5:14: unknown key 'deletd'; allowed: deleted"],
        ),
        (document("{}"), ["5:13: nothing is expected; write 'deleted', 'goes' or 'stays'"]),
        (document("{goes: []}"), ["5:20: 'goes' is empty"]),
        (document("{goes: [web]}"), ["5:21: 'web' is not registry/image:tag"]),
        (document("{goes: ['acme/web:[a']}"), ["5:21: '[a': the set at '[' has no closing ']'"]),
        (document("{deleted: []}", "{web: [a]}"), ["4:17: '' is not an image name"]),
        (
            document("{deleted: []}", "{acme/web: [{tag: a, age: 3}]}"),
            ["4:42: '3' is a number; write a whole"],
        ),
        (
            document("{deleted: []}", "{acme/web: [{tag: a, age: 3d, updated: 2026-01-01}]}"),
            ["4:28: 'age' and 'updated' both say when"],
        ),
        (document("{deleted: []}", "{acme/web: [..]}"), ["4:28: '..' is not a tag name"]),
        (document("{deleted: []}", more="    now: soon\n"), ["6:10: 'soon' is not a time; write 2026-12-01"]),
        (document("{deleted: []}").replace("name: a test", "name: ''"), ["3:11: 'name' is empty"]),
        ("version: 1\ntests: []\n", ["2:8: 'tests' is empty"]),
        ("version: 2\ntests: []\n", ["1:10: ", "2:8: "]),
        ("tests: [\n", ["2:1: not valid YAML"]),
        ("version: 1\nversion: 1\n", ["2:1: duplicate key 'version'"]),
        ("- a\n", ["1:1: this is a list, but a map belongs here"]),
    ],
)
def test_an_error_of_the_file_is_told_with_its_place(errors, text, said):
    found = errors(text)
    assert len(found) == len(said)
    for problem, expected in zip(found, said, strict=True):
        place, sentence = expected.split(" ", 1)
        assert problem.startswith(place)
        assert sentence in problem


def test_a_misspelt_key_of_a_tag_names_those_of_a_tag(errors):
    [problem] = errors(document("{deleted: []}", "{acme/web: [{tag: a, agee: 3d}]}"))
    assert problem.startswith("4:37: unknown key 'agee'")
    assert "did you mean 'age'?" in problem


def test_the_bad_name_of_an_image_is_told_at_its_place(errors):
    assert errors(document("{deleted: []}", "{web: [a]}"))[0].startswith("4:17: ")


def test_a_tag_that_stands_twice_is_an_error(problems):
    assert problems(
        document("{deleted: ['acme/web:pr-1']}", "{acme/web: [{tag: pr-1, age: 30d}, {tag: pr-1, age: 1d}]}")
    )


def test_a_test_of_a_registry_without_policies_does_not_pass(problems):
    assert problems(document("{stays: ['acne/web:a']}", "{acne/web: [a]}"))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        list(run_tests(tmp_path / "x.test.yaml", load_policies([str(POLICIES)])))


# The command.


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "p.yaml").write_text(POLICY)
    (folder / "p.test.yaml").write_text(document("{deleted: ['acme/web:pr-1']}"))
    return folder


def test_the_examples_pass(program):
    done = program("test", POLICIES)
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("5 tests, 0 failed\n")


def test_a_folder_brings_its_tests(program, folder):
    done = program("test", folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"ok    a test  ({folder}/p.test.yaml:3)\n1 test, 0 failed\n"


def test_a_failure_exits_1_and_says_what(program, folder):
    (folder / "q.test.yaml").write_text(document("{deleted: []}"))
    done = program("test", folder)
    assert done.returncode == 1
    assert "FAIL  a test" in done.stdout
    assert "      acme/web:pr-1 should stay, but goes: tags pr-*" in done.stdout
    assert done.stdout.endswith("2 tests, 1 failed\n")


def test_a_file_is_tested_against_the_policies_named(program, folder):
    done = program("test", folder / "p.yaml", folder / "p.test.yaml")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("p.yaml",), "no tests: name a file"),
        (("p.test.yaml",), "no policy"),
        (("no.test.yaml", "p.yaml"), "cannot be"),
    ],
)
def test_what_cannot_be_tested_exits_2(program, folder, arguments, said):
    done = program("test", *(folder / name for name in arguments))
    assert done.returncode == 2
    assert said in done.stderr


def test_an_error_of_a_test_file_exits_2_with_its_place(program, folder):
    (folder / "p.test.yaml").write_text(document("{goes: [web]}"))
    done = program("test", folder)
    assert done.returncode == 2
    assert f"{folder}/p.test.yaml:5:21: " in done.stderr


def test_junit_is_well_formed(program, folder):
    awkward = document("{deleted: ['acme/web:nope']}").replace("name: a test", "name: 'a <b> & \"c\" ]]>'")
    (folder / "q.test.yaml").write_text(awkward)
    done = program("test", folder, "--junit", folder / "out.xml")
    assert done.returncode == 1
    suite = ElementTree.parse(folder / "out.xml").getroot()
    assert (suite.tag, suite.get("tests"), suite.get("failures"), suite.get("errors")) == (
        "testsuite",
        "2",
        "1",
        "0",
    )
    passed, failed = suite.findall("testcase")
    assert passed.find("failure") is None
    assert failed.get("name") == 'a <b> & "c" ]]>'
    assert failed.get("classname") == f"{folder}/q.test.yaml:3"
    lines = failed.find("failure").text.splitlines()
    assert lines[0] == failed.find("failure").get("message")
    assert len(lines) == 2


@pytest.mark.parametrize("name", [r"bell \a", r"red \e[31m", r"page \f"])
def test_junit_of_a_name_with_control_characters_is_well_formed(program, folder, name):
    (folder / "p.test.yaml").write_text(document("{deleted: []}").replace("name: a test", f'name: "{name}"'))
    program("test", folder, "--junit", folder / "out.xml")
    ElementTree.parse(folder / "out.xml")


@pytest.mark.parametrize("name", [r"bell \a", r"page \f", r"bidi \u202e"])
def test_unprintable_characters_of_a_name_are_escaped(program, folder, name):
    (folder / "p.test.yaml").write_text(document("{deleted: []}").replace("name: a test", f'name: "{name}"'))
    assert program("test", folder).stdout.replace("\n", "").isprintable()
