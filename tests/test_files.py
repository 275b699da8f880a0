"""Files that a user names: only regular files are read, and nothing waits for a pipe."""

import asyncio
import json
import os
import socket

import pytest

from pruner.cli.commands.diff import _is_plan
from pruner.cli.main import _run
from pruner.cli.running import append_step_summary
from pruner.engine.hints import rate_hint
from pruner.engine.journal import Journal, read_journal
from pruner.errors import CredentialsError, InputError, PrunerError
from pruner.files import atomic_file, open_regular, read_text
from pruner.plan.file import open_plan
from pruner.plan.in_use_file import InUseFile
from pruner.plan.inventory_file import InventoryFile
from pruner.policy.explicit import explicit_policies
from pruner.policy.loader import load_policies
from pruner.policy.policy import PolicySet
from pruner.policy.spool import TargetSpool
from pruner.policy.testing import run_tests
from pruner.registry.oci.location import parse_location
from pruner.registry.oci.login import find_login
from pruner.registry.tls import tls_context
from pruner.workloads.kubeconfig import contexts_of


def named_targets(path):
    with TargetSpool() as spool:
        explicit_policies([], str(path), spool, delete_shared=False)


READERS = {
    "policy": (lambda path: load_policies([str(path)]), True),
    "policy test": (lambda path: list(run_tests(path, PolicySet((), {}, ""))), False),
    "plan": (open_plan, False),
    "inventory": (InventoryFile, False),
    "in-use file": (InUseFile, False),
    "targets": (named_targets, True),
    "references, or another tool's policy": (lambda path: read_text(str(path), 1 << 20), True),
}


def pipe(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def folder(path):
    path.mkdir()


@pytest.mark.parametrize("make", [pipe, device, folder])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_refused_at_once_and_called_by_its_kind(tmp_path, reader, make):
    read, takes_stdin = READERS[reader]
    path = tmp_path / "in\x1bput"
    make(path)
    if make is folder and reader == "policy":
        (path / "x.yaml").mkdir()
    with pytest.raises(InputError) as refused:
        read(path)
    said = str(refused.value)
    assert f"{tmp_path}/in\\x1bput" in said
    assert f"a {make.__name__}" in said
    if make is not folder:
        assert said.endswith(
            "write - to read standard input" if takes_stdin else "save its content to a file"
        )


def test_a_pipe_is_no_plan_to_compare(tmp_path):
    os.mkfifo(tmp_path / "p")
    assert not _is_plan(tmp_path / "p")


def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        with pytest.raises(InputError, match="s: cannot be read: "):
            read_text("s", 10)


def test_a_name_that_cannot_be_is_an_error_of_the_system():
    with pytest.raises(OSError, match="null"):
        open_regular(os.fsdecode("a\0b"))
    with pytest.raises(InputError, match="File name too long"):
        read_text("a" * 300, 10)


def test_a_file_of_proc_is_read():
    assert read_text("/proc/self/comm", 100)


def test_an_unwritable_name_is_shown_escaped(tmp_path):
    with (
        pytest.raises(InputError, match=r"no\\n::error::x/y cannot be written"),
        atomic_file(tmp_path / "no\n::error::x" / "y"),
    ):
        pass


@pytest.mark.parametrize("read", [open_plan, InventoryFile, InUseFile])
def test_a_line_of_brackets_is_an_error(tmp_path, read):
    path = tmp_path / "f"
    path.write_text('{"type":"header","x":' + "[" * 500_000 + "\n")
    with pytest.raises(InputError, match="f:1: not a line of"):
        read(path)


@pytest.mark.parametrize("option", ["--seed", "--faults"])
def test_the_emulator_does_not_wait_for_a_pipe(tmp_path, option, capsys):
    os.mkfifo(tmp_path / "f")
    assert _run(["emulator", "--port", "0", option, str(tmp_path / "f")]) == 2
    assert "it is a pipe" in capsys.readouterr().err


def test_no_file_of_the_environment_is_waited_for(tmp_path):
    pipe(tmp_path / "config.json")
    with pytest.raises(CredentialsError, match="it is a pipe, not a file"):
        asyncio.run(find_login(parse_location("https://a.example"), [], {"DOCKER_CONFIG": str(tmp_path)}))
    for kubeconfig in (str(tmp_path / "config.json"), f"{tmp_path}/missing:{tmp_path}/config.json"):
        with pytest.raises(InputError, match="it is a pipe, not a file"):
            contexts_of(kubeconfig)
    with pytest.raises(InputError, match="it is a pipe, not a file"):
        tls_context(str(tmp_path / "config.json"))
    for kind in (tmp_path / "config.json", "/dev/null"):
        with pytest.raises(InputError, match="cannot be written"):
            append_step_summary("x", {"GITHUB_STEP_SUMMARY": str(kind)})


def test_the_summary_of_a_step_is_appended_to(tmp_path):
    for text in ("a\n", "b\n"):
        append_step_summary(text, {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary")})
    assert (tmp_path / "summary").read_text() == "a\nb\n"


def test_a_token_file_that_is_a_pipe_is_not_waited_for(tmp_path):
    pipe(tmp_path / "token")
    user = {"name": "u", "user": {"tokenFile": "token"}}
    (tmp_path / "kube").write_text(json.dumps({"clusters": [], "contexts": [], "users": [user]}))
    with pytest.raises(InputError, match="it is a pipe, not a file"):
        contexts_of(tmp_path / "kube")


def test_no_file_of_the_state_directory_is_waited_for(tmp_path):
    pipe(tmp_path / "rates.json")
    assert rate_hint(tmp_path, "https://a", "key") is None
    pipe(tmp_path / "journal.jsonl")
    with pytest.raises(InputError, match="it is a pipe, not a file"):
        list(read_journal(tmp_path / "journal.jsonl"))
    with pytest.raises(PrunerError, match="it is a pipe, not a file"):
        Journal(tmp_path / "journal.jsonl")
