"""A disk that is full, and folders that cannot be used."""

import contextlib
import resource
import subprocess

import pytest
from conftest import HELD, until

from chaos.harness import (
    FAST,
    at,
    check_run,
    check_said,
    finished,
    images,
    latest,
    nothing_deleted,
    planned,
    resume,
    status_by_journal,
    write_policy,
)


def no_file_larger_than(pid, size):
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, size))


def check_stopped_by_the_disk(program, emulator, done):
    """Nothing was deleted that the journal does not know of."""
    assert done.returncode == 6, (done.returncode, done.stderr)
    assert "cannot be written" in done.stderr + done.stdout
    check_said(program, done)
    run = latest(program)
    known = status_by_journal(run, planned(run))
    really = {f"{registry}/{image}:{tag}" for registry, image, tag in emulator.deleted_tags}
    assert really <= {target for target, status in known.items() if status in ("deleted", "unknown")}


@pytest.mark.rows(5)
def test_a_disk_that_fills_up_while_journaling_stops_before_the_next_delete(program, emulated, saw):
    emulator = emulated(seed=images(a=150, b=150))
    gate = emulator.hold("DELETE", after=20)
    program = at(program, emulator)
    process = program.start("run", write_policy(program), "--yes", *HELD)
    until(lambda: gate.held == 16, process)
    no_file_larger_than(process.pid, latest(program).journal.stat().st_size)
    gate.open()
    done = finished(process)
    check_stopped_by_the_disk(program, emulator, done)
    assert emulator.counters.deleted == 20 + 16
    done = resume(program)
    assert done.returncode == 0, done.stderr
    assert check_run(program, emulator, done)["counts"]["deleted"] == emulator.counters.deleted == 300
    saw("file-size limit: exit code 6, every DELETE sent is in the journal, resumed to the end")


@contextlib.contextmanager
def tmpfs(folder, options):
    """A file system of its own in ``folder``."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.rows(5)
def test_a_full_tmpfs_stops_the_run_and_room_resumes_it(program, emulated, saw):
    state = program.state
    with tmpfs(state, "size=160k"):
        emulator = emulated(seed=images(a=300))
        program = at(program, emulator)
        done = program("run", write_policy(program), "--yes", *FAST, timeout=120)
        check_stopped_by_the_disk(program, emulator, done)
        assert 0 < emulator.counters.deleted < 300
        subprocess.run(["mount", "-o", "remount,size=8m", state], check=True)
        done = resume(program)
        assert check_run(program, emulator, done)["counts"]["deleted"] == 300
    saw("a full tmpfs: exit code 6, resumed once there is room")


@pytest.mark.rows(5)
def test_a_report_that_does_not_fit_on_the_disk_can_be_rendered_later(program, emulated, saw):
    emulator = emulated(seed=images(a=12))
    gate = emulator.hold()
    program = at(program, emulator)
    process = program.start("run", write_policy(program), "--yes", *FAST)
    until(lambda: gate.held, process)
    no_file_larger_than(process.pid, 9000)
    gate.open()
    done = finished(process)
    assert emulator.counters.deleted == 12
    assert "cannot be written" in done.stderr
    check_said(program, done)
    assert done.returncode == 6, done
    assert not list(latest(program).path.glob(".*.tmp"))
    assert program("report").returncode == 0
    check_run(program, emulator, resume(program))
    saw("report does not fit: exit code 6, rendered later from the journal")


@pytest.mark.rows(6)
@pytest.mark.parametrize("what", ["state", "runs", "locks", "report"])
def test_a_symbolic_link_is_refused_before_the_first_delete(program, emulated, saw, what):
    emulator = emulated(seed=images(a=5))
    program = program.at(emulator)
    elsewhere = program.folder / "elsewhere"
    elsewhere.mkdir()
    report = program.folder / "report"
    link = {"state": program.state, "report": report}.get(what, program.state / what)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(elsewhere)
    done = program("run", write_policy(program), "--yes", "--report", report, *FAST)
    nothing_deleted(program, emulator, done, 2)
    assert "it is a symbolic link" in done.stderr
    assert list(elsewhere.iterdir()) == []
    saw(f"link as {what} folder: refused, nothing written through it")


@pytest.mark.rows(6)
@pytest.mark.parametrize("where", ["/proc/pruner", "file/state"])
def test_a_state_folder_that_cannot_be_written_is_refused(program, emulated, saw, where):
    emulator = emulated(seed=images(a=5))
    program = program.at(emulator)
    (program.folder / "file").touch()
    done = program("run", write_policy(program), "--yes", "--state-dir", where, *FAST)
    nothing_deleted(program, emulator, done, 2)
    assert "cannot be written to" in done.stderr
    saw("state folder cannot be written: refused before the first DELETE")


@pytest.mark.rows(6)
@pytest.mark.parametrize("option", ["--state-dir", "--report"])
def test_a_folder_on_a_read_only_file_system_is_refused(program, emulated, saw, option):
    emulator = emulated(seed=images(a=5))
    program = program.at(emulator)
    with tmpfs(program.folder / "read-only", "ro"):
        done = program("run", write_policy(program), "--yes", option, "read-only/folder", *FAST)
    nothing_deleted(program, emulator, done, 2)
    assert "cannot be written to: Read-only file system" in done.stderr
    saw(f"{option} on a read-only file system: refused before the first DELETE")


@pytest.mark.rows(6)
def test_missing_folders_are_made_for_the_owner_only(program, emulated, saw):
    emulator = emulated(seed=images(a=5))
    program = program.at(emulator)
    report = program.folder / "not/there/yet"
    done = program("run", write_policy(program), "--yes", "--report", report, *FAST)
    assert done.returncode == 0, done.stderr
    check_run(program, emulator, done, report_folder=report)
    for path in (report, *report.iterdir(), *program.state.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
    saw("missing folders are made, readable by their owner only")
