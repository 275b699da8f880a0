"""References that others write: bounded in length, and files of them read in linear time."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruner.errors import InputError, RefusedError
from pruner.plan.in_use import Resolver, _without_tag
from pruner.plan.in_use_file import Use
from pruner.references import MAX_LENGTH, normal_place, parse_reference
from pruner.workloads import files
from pruner.workloads.files import read_references

HOST = "acme.kr.ncr.ntruss.com"


@pytest.fixture
def read(tmp_path):
    path = tmp_path / "f"

    def references(text):
        path.write_text(text)
        return [usage.reference for usage in read_references(str(path))]

    references.path = path
    return references


def nine_of_nine(first, level):
    """Ten anchors, each of nine aliases of the one before."""
    anchors = [f"a0: &a0 {first}"]
    for number in range(1, 10):
        anchors.append(f"a{number}: &a{number} {level(', '.join([f'*a{number - 1}'] * 9))}")
    return "\n".join(anchors)


# Length


def test_the_longest_reference_is_read():
    text = f"{'h' * 254}.io:12345/{'a' * 255}:{'t' * 128}@sha512:{'0' * 128}"
    assert parse_reference(text).tag == "t" * 128


@pytest.mark.parametrize("read_text", [parse_reference, normal_place])
@pytest.mark.parametrize(
    "text", ["a" * (MAX_LENGTH + 1), "x.io/" + ":${" * 400_000, "x.io/" + "a/" * 500_000]
)
def test_a_text_that_is_too_long_is_no_reference(read_text, text):
    with pytest.raises(InputError):
        read_text(text)


@pytest.mark.parametrize("text", ["x.io/" + ":${" * 200_000, "x.io/" + "a" * MAX_LENGTH])
def test_a_reference_that_is_too_long_refuses_and_names_its_workload(text):
    with pytest.raises(RefusedError) as refused:
        Resolver({"acme": [HOST]}).resolve([Use("prod", "Pod x/web", text)])
    assert "of Pod x/web in 'prod' has more than 1,024 characters" in str(refused.value)


@given(st.text(alphabet=":/${}ab", max_size=12))
def test_a_tag_or_its_placeholder_is_taken_off(text):
    """As this expression does, whose time grows with the square of the text's length."""
    slow = re.compile(r":(?:\$\{[^}]*\}|\{\{[^}]*\}\}|[^:/]*)\Z")
    assert _without_tag(text) == slow.sub("", text)


@pytest.mark.parametrize("text", [f"{'a' * 2000}/b:1", f"image: {HOST}/{'a' * 2000}:1", f"a/b:{'1' * 2000}"])
def test_a_reference_of_a_file_that_is_too_long_is_an_error_with_its_line(read, text):
    with pytest.raises(InputError, match=rf"^{read.path}:1: '.{{60}}…' has more than 1,024 characters"):
        read(f"{text}\n")


# What a file may hold


def test_a_line_without_a_tag_protects_every_tag(read):
    read(f"{HOST}/ci/web\n{HOST}/ci/api:v1\nlocalhost:5000/a\n{HOST}/ci/db@sha256:{'0' * 64}\n")
    assert [usage.runs_unknown for usage in read_references(str(read.path))] == [True, False, True, False]


@pytest.mark.parametrize("key", ["images", "spec"])
def test_aliases_of_aliases_are_looked_at_once(read, key):
    text = nine_of_nine("[x.example.com/a:1]", "[{}]".format)
    assert read(f"{text}\n{key}: *a9\n") == ["x.example.com/a:1"]


def test_merge_keys_of_merge_keys_are_looked_at_once(read):
    text = nine_of_nine("{repository: x.example.com/a, tag: '1'}", "{{<<: [{}]}}".format)
    assert set(read(f"{text}\n")) == {"x.example.com/a:1", "x.example.com/a"}


def test_a_node_that_was_seen_as_another_value_is_still_an_image(read):
    assert read("names: &a [web, api]\nimages: *a\n") == ["web", "api"]


def test_a_merged_map_gives_what_the_map_itself_leaves_out(read):
    text = (
        "base: &b {registry: x.io, tag: '1'}\nmore: &m {<<: *b, tag: '2'}\nimage: {<<: *m, repository: a}\n"
    )
    assert read(text) == ["x.io/a:2"]


@pytest.mark.parametrize(
    "text", ["image: &a {<<: *a, name: x.io/a, tag: '1'}", "a: &a [*a, x.io/a:1]", "image: &a [*a, x.io/a:1]"]
)
def test_what_holds_itself_is_read(read, text):
    assert "x.io/a:1" in read(f"{text}\n")


def test_a_text_that_many_maps_merge_is_not_copied_whole(read):
    """Of 2,000 maps that merge a megabyte each, none holds it."""
    text = f"b: &b {{repository: {'a' * 1_000_000}, name: {'n' * 1_000_000}, tag: '1'}}\nl:\n"
    with pytest.raises(InputError, match="has more than 1,024 characters"):
        read(text + "  - {<<: *b}\n" * 2000)


def test_the_number_of_values_is_bounded(read, monkeypatch):
    monkeypatch.setattr(files, "MAX_NODES", 10)
    assert read("image: [a:1, b:1]\n--- [1, 2, 3]\n") == ["a:1", "b:1"]
    with pytest.raises(InputError, match="more than 10 values and keys; split it"):
        read("image: [a:1, b:1]\n--- [1, 2, 3]\n--- [4, 5]\n")


@pytest.mark.parametrize(
    "text", ["a:1\nb:1\nc:1\n", "images: [a:1, b:1, c:1]\n", "imageRegistry: x.io\nimages: [a:1, b:1]\n"]
)
def test_the_number_of_images_is_bounded(read, text, monkeypatch):
    monkeypatch.setattr(files, "MAX_USAGES", 2)
    with pytest.raises(InputError, match="more than 2 images; split it"):
        read(text)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_deep_nesting_is_an_error(read, opening):
    with pytest.raises(InputError):
        read("image: a:1\nx:\n " + opening * 5000)


def test_a_pipe_is_refused_without_waiting(tmp_path):
    import os

    os.mkfifo(tmp_path / "refs")
    with pytest.raises(InputError, match="it is a pipe, not a file; write - to read standard input"):
        read_references(str(tmp_path / "refs"))
