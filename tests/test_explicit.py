"""Explicit targets from arguments, lines, CSV and JSON Lines: what is read, and every bad line at once."""

import io
import json
from dataclasses import replace

import pytest

from pruner.errors import InputError, PolicyError
from pruner.policy import explicit
from pruner.policy.explicit import MAX_LINE, MAX_PROBLEMS
from pruner.policy.spool import TargetSpool


def explicit_policies(references, source, *, delete_shared):
    """The policies with their targets taken out of the spool."""
    with TargetSpool() as spool:
        found = explicit.explicit_policies(references, source, spool, delete_shared=delete_shared)
        policies = []
        for policy in found.policies:
            images = spool.images(policy.registry)
            targets = tuple(item for image in images for item in spool.of(policy.registry, image))
            policies.append(replace(policy, targets=targets, spooled=None))
        return replace(found, policies=tuple(policies))


@pytest.fixture
def read(tmp_path):
    """The references that a file holds, as read; what is not text is written as it is."""
    file = tmp_path / "targets"

    def found(content, *references):
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return named(explicit_policies(references, str(file), delete_shared=False))

    found.file = file
    return found


@pytest.fixture
def refused(read):
    """The problems of a file, without the file's name."""

    def problems(content):
        with pytest.raises(PolicyError) as caught:
            read(content)
        return [text.removeprefix(f"{read.file}:") for text in caught.value.problems]

    return problems


def named(policies):
    return [str(item.target) for policy in policies.policies for item in policy.targets]


def arguments(*references):
    return explicit_policies(references, None, delete_shared=False)


def test_arguments_become_one_policy_of_each_registry():
    found = arguments("b/web:2", "a/ci/web:1", "b/web:1")
    assert [(policy.name, policy.registry) for policy in found.policies] == [("delete", "a"), ("delete", "b")]
    assert named(found) == ["a/ci/web:1", "b/web:1", "b/web:2"]
    assert [item.source for policy in found.policies for item in policy.targets] == [
        "argument 2",
        "argument 3",
        "argument 1",
    ]
    assert not any(policy.has_rules or policy.delete_shared for policy in found.policies)
    assert found.registry_names == ["a", "b"]
    assert found.files == ()


def test_shared_digests_go_when_told():
    assert explicit_policies(["a/b:c"], None, delete_shared=True).policies[0].delete_shared


def test_the_order_and_repetition_of_arguments_change_nothing_but_the_source():
    one, two = arguments("a/b:c", "a/b:d"), arguments("a/b:d", "a/b:c", "a/b:d")
    assert named(one) == named(two)
    assert one.fingerprint == two.fingerprint != arguments("a/b:c").fingerprint


def test_lines(read):
    assert read("acme/web:b\nacme/ci/web:a\n") == ["acme/ci/web:a", "acme/web:b"]


@pytest.mark.parametrize(
    "content",
    [
        "acme/web:a\r\nacme/web:b\r\n",
        "\ufeffacme/web:a\nacme/web:b",
        "# a note\n\n  acme/web:a  \n\t\n#acme/web:c\nacme/web:b\n\n",
        "acme/web:b\nacme/web:a\nacme/web:b\n",
        "acme/web:a\racme/web:b\r",
    ],
    ids=["CR LF", "BOM, no last line end", "comments and blanks", "twice", "CR"],
)
def test_lines_as_people_write_them(read, content):
    assert read(content) == ["acme/web:a", "acme/web:b"]


@pytest.mark.parametrize(
    "content",
    [
        "registry,image,tag\nacme,ci/web,a\n",
        "tag,registry,image\na,acme,ci/web\n",
        'Image , TAG,Registry\n"ci/web", a ,acme\r\n',
        'size,tag,image,note,registry\n5,a,ci/web,"x, y",acme\n',
        "\ufeffregistry,image,tag\n\nacme,ci/web,a\nacme,ci/web,a",
    ],
)
def test_csv_with_columns_in_any_order(read, content):
    assert read(content) == ["acme/ci/web:a"]


def test_json_lines(read):
    lines = [
        {"registry": "acme", "image": "web", "tag": "1.0", "digest": "sha256:x"},
        {"tag": "b", "image": "ci/web", "registry": "acme", "more": [1]},
    ]
    content = "\n\n".join(json.dumps(line) for line in lines)
    assert read(content) == ["acme/ci/web:b", "acme/web:1.0"]


def test_arguments_and_a_file_together(read):
    assert read("acme/web:b\n", "acme/web:a", "acme/web:b") == ["acme/web:a", "acme/web:b"]


def test_the_source_is_the_first_place_of_a_target(read):
    read.file.write_text("\nacme/web:b\nacme/web:b\nacme/web:a\n")
    found = explicit_policies(["acme/web:a"], str(read.file), delete_shared=False)
    sources = [item.source for item in found.policies[0].targets]
    assert sources == ["argument 1", f"{read.file}:2"]
    assert found.files == (str(read.file),)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("acme/web@sha256:abc", "names a digest; NCR deletes tags only: write registry/image:tag"),
        ("acme/web:a@sha256:abc", "names a digest"),
        ("acme/web", "is not a reference: write registry/image:tag"),
        ("web:a", "is not a reference"),
        ("acme:5000/web", "is not a reference"),
        ("", "is not a reference"),
        ("acme/web:", "'' is not a tag name"),
        ("acme/:a", "'' is not an image name"),
        ("/web:a", "'' is not a registry name"),
        ("acme/Web:a", "'Web' is not an image name"),
        ("acme/../web:a", "'../web' is not an image name"),
        ("acme/a//b:a", "'a//b' is not an image name"),
        ("acme/web:..", "'..' is not a tag name"),
        ("acme/web:a b", "'a b' is not a tag name"),
        ("acme/web:*", "'*' is not a tag name"),
        ("acme.kr.ncr.ntruss.com/web:a", "'acme.kr.ncr.ntruss.com' is not a registry name"),
        ("https://acme/web:a", "'https:' is not a registry name"),
        ("acme/web:a\r\n", r"'a\r\n' is not a tag name"),
        ("acme/web:\u202ea", r"'\u202ea' is not a tag name"),
    ],
)
def test_a_bad_reference(reference, said):
    with pytest.raises(PolicyError) as caught:
        arguments("acme/web:good", reference)
    [problem] = caught.value.problems
    assert problem.startswith("argument 2: ")
    assert said in problem
    assert problem.isprintable()


@pytest.mark.parametrize("image", ["b", "b/c", "b/c/d"])
def test_the_registry_is_what_stands_before_the_first_slash(image):
    [policy] = arguments(f"a/{image}:t").policies
    target = policy.targets[0].target
    assert (target.registry, target.image, target.tag) == ("a", image, "t")


def test_all_bad_lines_are_reported_with_their_numbers(refused):
    found = refused("acme/web:a\n\nweb\n# note\nacme/web@sha256:x\r\nacme/web:b\nacme/Web:c")
    assert [text.partition(":")[0] for text in found] == ["3", "5", "7"]


@pytest.mark.parametrize(
    ("content", "problems"),
    [
        ("image,tag\nweb,a\n", ["1: a CSV file starts with a header: registry, image and tag, each once"]),
        ("acme/web:a,acme/web:b\n", ["1: a CSV file starts with a header"]),
        (
            "registry,image,tag\nacme,web\nacme,web,a\nacme,web,a,b\n",
            ["2: 2 cells, but the header has 3", "4: 4"],
        ),
        ("registry,image,tag\nacme,,a\n", ["2: registry, image and tag must all be there, as text"]),
        ("registry,image,tag\n\nacme,web:a,b\n", ["3: 'web:a' holds ':' or '@'"]),
        ("registry,image,tag\nacme,web,sha256@x\n", ["2: 'sha256@x' holds ':' or '@'"]),
        ("registry,image,tag\nacme,Web,a\n", ["2: 'Web' is not an image name"]),
        ('{"registry": "acme", "image": "web"}\n', ["1: registry, image and tag must all be there, as text"]),
        (
            '{"registry": "acme", "image": "web", "tag": 1.0}\n',
            ["1: registry, image and tag must all be there"],
        ),
        ('{"registry": "acme", "image": "web", "tag": "a:b"}\n', ["1: 'a:b' holds ':' or '@'"]),
        (
            '{"tag": "a"\n[1]\nnull\n\nacme/web:a\n',
            ["1: not JSON", "2: registry", "3: registry", "5: not JSON"],
        ),
        ("{" + "[" * 4000 + "\n", ["1: not JSON"]),
    ],
)
def test_bad_lines_of_csv_and_json(refused, content, problems):
    found = refused(content)
    assert len(found) == len(problems)
    for text, expected in zip(found, problems, strict=True):
        assert text.startswith(expected)


@pytest.mark.parametrize(("bad", "hidden"), [(50, 0), (51, 1), (120, 70)])
def test_many_bad_lines_are_folded(refused, bad, hidden):
    found = refused("web\n" * bad)
    assert len(found) == MAX_PROBLEMS + bool(hidden)
    if hidden:
        assert found[-1] == f"… and {hidden} more"


@pytest.mark.parametrize("content", ["", "\n\n", "# only a note\n", "registry,image,tag\n", "\ufeff"])
def test_a_file_without_targets(read, content):
    with pytest.raises(InputError, match="no target in it"):
        read(content)


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n\xff", b"acme/web:a\n\xff\n", "acme/web:a".encode("utf-16")]
)
def test_a_binary_file(read, content):
    with pytest.raises(InputError, match="not UTF-8 text"):
        read(content)


def test_a_file_with_nul_bytes(refused):
    assert "is not a tag name" in refused("acme/web:a\0\n")[0]


def test_a_file_that_is_not_there_or_a_folder(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(InputError, match=f"{path}: cannot be read: "):
            explicit_policies(["acme/web:a"], str(path), delete_shared=False)


def test_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("acme/web:b\r\n# c\nacme/web:a\n"))
    found = explicit_policies([], "-", delete_shared=False)
    assert named(found) == ["acme/web:a", "acme/web:b"]
    assert found.policies[0].targets[0].source == "<stdin>:3"


def test_bad_lines_of_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("web\n"))
    with pytest.raises(PolicyError, match="<stdin>:1: 'web' is not a reference"):
        explicit_policies([], "-", delete_shared=False)


def test_a_very_long_line_is_refused(refused):
    assert refused("x" * 100_000)


@pytest.mark.parametrize(
    "first", ["acme/web:a", "registry,image,tag", '{"registry":"a","image":"b","tag":"c"}']
)
def test_a_line_that_is_too_long_is_refused_in_every_form(refused, first):
    long = "#" + "x" * (MAX_LINE - 1) + "acme/web:prod"
    [problem] = refused(f"{first}\n{long}\n")
    assert problem.startswith("2: ")


def test_a_long_line_is_one_line(refused):
    found = refused(f"acme/web:a\n{'x' * 3 * MAX_LINE}\nweb\n")
    assert [text.partition(":")[0] for text in found] == ["2", "3"]
    assert f"a line of more than {MAX_LINE} characters" in found[0]


def test_a_first_line_that_is_too_long_is_called_so(refused):
    assert f"a line of more than {MAX_LINE} characters" in refused("x" * 3 * MAX_LINE + "\nacme/web:a\n")[0]


def test_the_longest_line_that_is_read(refused):
    for end in ("\n", "\r\n", ""):
        [problem] = refused(f"acme/web:{'x' * (MAX_LINE - 10)}{end}")
        assert "is not a tag name" in problem


@pytest.mark.parametrize(
    "content",
    [
        "# old, unused\nacme/web:a\n",
        "# old\nregistry,image,tag\nacme,web,a\n",
        '# old\n{"registry": "acme", "image": "web", "tag": "a"}\n',
    ],
)
def test_a_note_at_the_top_does_not_decide_the_form(read, content):
    assert read(content) == ["acme/web:a"]


@pytest.mark.parametrize(
    "content",
    ["registry,image,tag\nacme/ci,web,a\n", '{"registry": "acme/ci", "image": "web", "tag": "a"}\n'],
)
def test_a_registry_with_a_slash_is_refused(refused, content):
    assert refused(content)


@pytest.mark.parametrize(
    "content",
    [
        "registry,image,tag,tag\nacme,web,a,b\n",
        '{"registry": "acme", "image": "web", "tag": "a", "tag": "b"}\n',
    ],
)
def test_a_column_that_stands_twice_is_refused(refused, content):
    assert refused(content)


def test_a_bom_on_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\ufeffacme/web:a\n".encode()), "utf-8"))
    assert named(explicit_policies([], "-", delete_shared=False)) == ["acme/web:a"]
