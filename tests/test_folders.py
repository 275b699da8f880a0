"""Folders of policies and of policy tests: a file is read, or an error names it."""

import os
import stat
from pathlib import Path

import pytest

from pruner.errors import PolicyError
from pruner.policy import folders
from pruner.policy.folders import FileSearch
from pruner.policy.loader import load_policies

POLICY = "version: 1\npolicies: [{name: NAME, registry: acme, images: [a], delete: [{older_than: 1d}]}]\n"


def policy(path, name=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(POLICY.replace("NAME", name or path.stem))
    return path


def problems(*paths):
    with pytest.raises(PolicyError) as caught:
        load_policies([str(path) for path in paths])
    return list(caught.value.problems)


@pytest.fixture
def folder(tmp_path):
    policy(tmp_path / "p" / "delete.yaml")
    return tmp_path / "p"


@pytest.mark.parametrize("name", ["keep.YAML", "keep.Yml", "keep.yML"])
def test_the_suffix_may_have_capitals(folder, name):
    policy(folder / name)
    assert [policy.name for policy in load_policies([str(folder)]).policies] == ["delete", "keep"]


@pytest.mark.parametrize("name", ["keep.test.yaml", "keep.TEST.YAML", "keep.Test.yml"])
def test_a_policy_test_is_no_policy(folder, name):
    (folder / name).write_text("no policy")
    assert len(load_policies([str(folder)]).files) == 1


def test_a_dangling_link_is_an_error(folder):
    (folder / "keep.yaml").symlink_to("../nowhere/keep.yaml")
    assert problems(folder) == [f"{folder}/keep.yaml: cannot be read: No such file or directory"]


def test_a_dangling_link_that_may_lead_to_a_folder_is_an_error(folder):
    (folder / "team").symlink_to("../nowhere")
    assert problems(folder) == [f"{folder}/team: cannot be read: No such file or directory"]


def test_a_link_in_a_circle_is_an_error(folder):
    (folder / "a.yaml").symlink_to("b.yaml")
    (folder / "b.yaml").symlink_to("a.yaml")
    assert [text.split(": ", 1)[1] for text in problems(folder)] == [
        "cannot be read: Too many levels of symbolic links"
    ] * 2


def test_a_pipe_is_refused_without_waiting(folder):
    os.mkfifo(folder / "keep.yaml")
    assert problems(folder) == [
        f"{folder}/keep.yaml: cannot be read: it is a pipe, not a file; write - to read standard input"
    ]


def test_a_device_is_refused():
    assert problems("/dev/zero") == [
        "/dev/zero: cannot be read: it is a device, not a file; write - to read standard input"
    ]


def test_a_folder_with_the_name_of_a_policy_file_is_an_error(folder):
    (folder / "keep.yaml").mkdir()
    assert problems(folder) == [f"{folder}/keep.yaml: a folder with the name of a file; rename it"]


@pytest.mark.parametrize("below", ["team", "team/a/b"])
def test_a_sub_folder_with_policies_is_an_error(folder, below):
    policy(folder / below / "keep.yml")
    assert problems(folder) == [
        f"{folder}/{below}: this sub-folder holds keep.yml, and sub-folders are not read; "
        f"name it as well, or move its files"
    ]


@pytest.mark.parametrize("named", ["team", "team/keep.yaml", "../link"])
def test_a_sub_folder_may_be_named_as_well(folder, named):
    policy(folder / "team" / "keep.yaml")
    (folder / "../link").symlink_to(folder / "team")
    loaded = load_policies([str(folder), str(folder / named)])
    assert [policy.name for policy in loaded.policies] == ["delete", "keep"]


def test_a_sub_folder_of_a_named_one_is_still_an_error(folder):
    policy(folder / "team" / "keep.yaml")
    policy(folder / "team" / "more" / "other.yaml")
    assert [text.partition(":")[0] for text in problems(folder, folder / "team")] == [f"{folder}/team/more"]


def test_a_sub_folder_without_policies_is_nothing_to_speak_of(folder):
    (folder / "docs").mkdir()
    (folder / "docs" / "README.md").write_text("hello")
    policy(folder / "tests" / "a.test.yaml")
    assert len(load_policies([str(folder)]).files) == 1


def test_hidden_entries_are_skipped_as_a_mounted_config_map_has_them(tmp_path):
    policy(tmp_path / "..2026_01_01" / "delete.yaml")
    (tmp_path / "..data").symlink_to("..2026_01_01")
    (tmp_path / "delete.yaml").symlink_to("..data/delete.yaml")
    policy(tmp_path / ".git" / "other.yaml")
    (tmp_path / ".#delete.yaml").symlink_to("lock of an editor")
    assert load_policies([str(tmp_path)]).files == (f"{tmp_path}/delete.yaml",)


def test_a_link_to_a_folder_above_ends(folder):
    (folder / "loop").symlink_to(".")
    (folder / "sub").mkdir()
    (folder / "sub" / "up").symlink_to("..")
    assert len(load_policies([str(folder)]).files) == 1


def test_a_sub_folder_that_cannot_be_read_is_an_error(folder, monkeypatch):
    (folder / "team").mkdir()
    listed = Path.iterdir

    def refuse(path):
        if path.name == "team":
            raise PermissionError(13, os.strerror(13))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert problems(folder) == [f"{folder}/team: cannot be read: Permission denied"]


def test_a_sub_folder_with_too_many_entries_is_an_error(folder, monkeypatch):
    monkeypatch.setattr(folders, "_MOST_ENTRIES", 3)
    (folder / "data").mkdir()
    for number in range(5):
        (folder / "data" / f"{number}.txt").touch()
    assert problems(folder) == [f"{folder}/data: more than 3 entries; move it elsewhere"]


def test_names_of_files_are_shown_escaped(tmp_path):
    path = tmp_path / "a\n::error::\x1b[2J\u202e.yaml"
    policy(path, "p")
    shown = f"{tmp_path}/a\\n::error::\\x1b[2J\\u202e.yaml"
    loaded = load_policies([str(tmp_path)])
    assert loaded.files == (shown,)
    assert loaded.policies[0].delete[0].source == f"{shown}:2"
    path.write_text("version: 3\n")
    assert all(text.startswith(f"{shown}:1:") for text in problems(tmp_path))


def test_every_problem_of_every_path_is_said_at_once(folder):
    (folder / "keep.yaml").mkdir()
    os.mkfifo(folder / "pipe.yaml")
    (folder / "bad.yaml").write_text("version: 2\n")
    (folder / "empty").mkdir()
    said = "\n".join(problems(folder, folder / "empty", folder / "nowhere.yaml"))
    for name in ("keep.yaml", "pipe.yaml", "bad.yaml", "empty", "nowhere.yaml"):
        assert f"{folder}/{name}" in said


def test_what_is_a_file_is_asked_of_the_open_file(tmp_path, monkeypatch):
    """Between looking and opening, a file may become a pipe."""
    real = os.fstat
    monkeypatch.setattr(os, "fstat", lambda n: os.stat_result((stat.S_IFIFO | 0o600, *real(n)[1:])))
    assert "it is a pipe" in problems(policy(tmp_path / "a.yaml"))[0]


def test_the_search_takes_a_file_by_any_name(tmp_path):
    assert FileSearch([], lambda name: False).files(tmp_path / "x.txt") == [tmp_path / "x.txt"]


def test_of_very_many_problems_the_first_are_shown_and_the_others_counted(tmp_path):
    (tmp_path / "p.yaml").write_text(f"version: 1\npolicies: [{'a, ' * 3000}]\n")
    found = problems(tmp_path)
    assert len(found) == 1001
    assert found[0].startswith(f"{tmp_path}/p.yaml:2:12: ")
    assert found[-1] == f"{tmp_path}/p.yaml: … and 2,000 more problems"
