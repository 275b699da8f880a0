"""The journal: what is written is read again, a torn end is dropped, any other damage stops."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pruner.engine.journal import (
    VERSION,
    Claim,
    Done,
    End,
    Journal,
    JournalDamagedError,
    JournalWriteError,
    Progress,
    RegistryStop,
    SeqSet,
    Start,
    Tick,
    read_journal,
)
from pruner.errors import ExitCode, InputError
from pruner.model import Outcome, Status, Target
from pruner.report.outcomes import RunRecord
from pruner.report.summary import totals

ROOT = Path(__file__).parent.parent
START = Start(VERSION, 1, 2, "pruner 1")


def done(seq, status=Status.DELETED):
    return Done(seq, Outcome(Target("acme", "ci/web", f"v{seq}"), status))


LINES = [
    Start(VERSION, 1_700_000_000_000, 42, "pruner 1"),
    Claim(0),
    Done(0, Outcome(Target("acme", "ci/web", "v1"), Status.DELETED, 2, 204, None, None, 5, 0.25, "p", 7)),
    RegistryStop("acme", "no permission: \u202e\x1b\n \ud55c\uad6d"),
    Tick(1_700_000_001_000, 1, 2, 0, 3, 9.5),
    End(1_700_000_002_000, "quota", "used up", {"retries": 3}),
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.jsonl"


def write(path, *lines):
    journal = Journal(path)
    for line in lines:
        journal.write(line)
    journal.close()


def test_what_is_written_is_read(path):
    write(path, *LINES)
    assert list(read_journal(path)) == LINES
    assert path.read_bytes().count(b"\n") == len(LINES)


def test_several_lines_at_once(path):
    journal = Journal(path)
    journal.write(*LINES)
    assert list(read_journal(path)) == LINES
    journal.close()


@given(st.lists(st.builds(Claim, st.integers(0, 10**9)) | st.builds(RegistryStop, st.text(), st.text())))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_any_lines_are_read_as_written(path, lines):
    path.unlink(missing_ok=True)
    write(path, *lines)
    assert list(read_journal(path)) == lines


def test_a_line_is_with_the_system_before_write_returns(path):
    journal = Journal(path)
    journal.write(Claim(7))
    assert list(read_journal(path)) == [Claim(7)]
    journal.close()


def test_a_journal_is_appended_to(path):
    write(path, START)
    write(path, Claim(1))
    assert list(read_journal(path)) == [START, Claim(1)]


def test_a_journal_is_for_its_owner_only(path):
    write(path, START)
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_empty_journal_has_no_lines(path):
    path.touch()
    assert list(read_journal(path)) == []


# A torn end


@pytest.mark.parametrize(
    "torn", [b"{", b'{"type":"claim","seq":2', b'{"type":"claim","seq":2}', b"\0" * 100, b"\xff"]
)
def test_a_torn_last_line_is_dropped_and_cut_off_before_appending(path, torn):
    write(path, START, Claim(1))
    path.write_bytes(path.read_bytes() + torn)
    assert list(read_journal(path)) == [START, Claim(1)]
    write(path, Claim(3))
    assert list(read_journal(path)) == [START, Claim(1), Claim(3)]


def test_a_torn_only_line_is_dropped(path):
    path.write_bytes(b'{"type":"sta')
    assert list(read_journal(path)) == []
    write(path, START)
    assert list(read_journal(path)) == [START]


def test_cut_anywhere_a_journal_holds_the_lines_before(path):
    write(path, *LINES)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        complete = whole[:size].count(b"\n")
        assert list(read_journal(path)) == LINES[:complete]
        write(path, Claim(9))
        assert list(read_journal(path)) == [*LINES[:complete], Claim(9)]


# Damage


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\0\0\0",
        b"not json",
        b"{}",
        b"[]",
        b'{"type":"claim"}',
        b'{"type":"claim","seq":"1"}',
        b'{"type":"claim","seq":1.5}',
        b'{"type":"delete","seq":1}',
        b'{"type":"claim","seq":1',
        b'{"type":"claim","seq":1}{"type":"claim","seq":2}',
        b'{"type":"done","seq":1,"outcome":{}}',
        b'{"type":"done","seq":1,"outcome":{"target":{"registry":"a","image":"b","tag":"c"},"status":"eaten"}}',
        b'{"type":"done","seq":1,"outcome":{"target":{"registry":"a","image":"b","tag":""},"status":"gone"}}',
        b'{"type":"done","seq":1,"outcome":{"target":{"registry":"a","image":"../b","tag":"c"},"status":"gone"}}',
        b'{"type":"registry_stop","registry":"a","reason":"\xff"}',
        b"\x1b[31m",
        b"x" * 200_000,
    ],
    ids=lambda damage: repr(damage)[:60],
)
def test_damage_in_the_middle_is_refused_with_its_line(path, damage):
    write(path, START, Claim(1))
    path.write_bytes(path.read_bytes() + damage + b"\n" + b'{"type":"claim","seq":2}\n')
    with pytest.raises(JournalDamagedError, match=r"journal\.jsonl:3: ") as caught:
        list(read_journal(path))
    assert str(caught.value).isprintable()
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    with pytest.raises(JournalDamagedError):
        Progress.of(path)


@pytest.mark.parametrize("kind", ["claim", "done"])
@pytest.mark.parametrize("seq", [-1, -8, 10**18])
def test_a_number_that_no_entry_can_have_is_damage(path, seq, kind):
    write(path, START)
    line = Claim(seq) if kind == "claim" else done(0).__class__(seq, done(0).outcome)
    path.write_bytes(path.read_bytes() + msgspec.json.encode(line) + b"\n")
    with pytest.raises(JournalDamagedError):
        Progress.of(path)


def test_deep_nesting_is_damage(path):
    path.write_bytes(b'{"type":"end","at":1,"stats":{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}}\n")
    with pytest.raises(JournalDamagedError):
        list(read_journal(path))


def test_a_long_line_is_read_again_or_not_taken(path):
    line = RegistryStop("acme", "x" * 70_000)
    try:
        write(path, line)
    except JournalWriteError:
        return
    assert list(read_journal(path)) == [line]


# What a journal says


def test_progress(path):
    write(path, START, Claim(3), Claim(4), done(3), START, done(8, Status.FAILED))
    progress = Progress.of(path)
    assert progress.sessions == 2
    assert [seq for seq in range(20) if seq in progress.claimed] == [3, 4]
    assert [seq for seq in range(20) if seq in progress.done] == [3, 8]
    assert progress.done.count == 2
    assert progress.last == done(8, Status.FAILED)


def test_no_journal_says_nothing(path):
    progress = Progress.of(path)
    assert (progress.sessions, progress.done.count, progress.claimed.count, progress.last) == (0, 0, 0, None)


def test_what_failed_may_be_tried_again_and_what_is_said_last_holds(path):
    write(path, START, Claim(5), done(5, Status.FAILED), done(6, Status.FAILED))
    assert Progress.of(path).done.count == 2
    assert Progress.of(path, tries_failed_again=True).done.count == 0
    write(path, START, Claim(5), done(5), Claim(6))
    progress = Progress.of(path)
    assert [seq for seq in (5, 6) if seq in progress.done] == [5]


@pytest.mark.parametrize("status", [Status.DELETED, Status.GONE, Status.CHANGED])
def test_a_final_outcome_is_final(path, status):
    write(path, START, done(5, status))
    assert 5 in Progress.of(path).done
    write(path, done(5))
    with pytest.raises(JournalDamagedError, match="entry 5 ends twice"):
        Progress.of(path)


@pytest.mark.parametrize("status", [Status.UNKNOWN, Status.NOT_ATTEMPTED])
def test_an_open_outcome_can_be_followed_by_another(path, status):
    write(path, START, Claim(5), done(5, status), done(5, status))
    progress = Progress.of(path)
    assert 5 not in progress.done
    assert (5 in progress.claimed) is (status is Status.UNKNOWN)
    write(path, done(5))
    assert 5 in Progress.of(path).done


@pytest.mark.parametrize("version", [0, VERSION + 1])
def test_another_version_is_refused(path, version):
    write(path, Start(version, 1, 2, "x"))
    with pytest.raises(JournalDamagedError, match=f"version {version}"):
        Progress.of(path)


# Files that cannot be used


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anything")
def test_an_unwritable_file_is_refused(path):
    path.touch(mode=0o400)
    with pytest.raises(JournalWriteError, match="cannot be written"):
        Journal(path)


def test_a_folder_is_no_journal(path):
    path.mkdir()
    with pytest.raises(JournalWriteError, match=r"journal\.jsonl cannot be written: it is a folder"):
        Journal(path)
    with pytest.raises(InputError, match="cannot be read"):
        list(read_journal(path))


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(JournalWriteError, match="No such file"):
        Journal(tmp_path / "missing" / "journal.jsonl")


@pytest.mark.parametrize("content", [b"important\n", b"", None])
def test_a_symbolic_link_is_refused(path, tmp_path, content):
    foreign = tmp_path / "foreign"
    if content is not None:
        foreign.write_bytes(content)
    path.symlink_to(foreign)
    with pytest.raises(JournalWriteError, match="cannot be written"):
        Journal(path)
    assert (foreign.read_bytes() if foreign.exists() else None) == content


def test_what_a_refused_link_points_to_is_not_cut(path, tmp_path):
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"important\nno newline at the end")
    path.symlink_to(foreign)
    with pytest.raises(JournalWriteError):
        Journal(path)
    assert foreign.read_bytes() == b"important\nno newline at the end"


# A full disk


FILLING = """
import resource, sys
from pathlib import Path
from pruner.engine.journal import Claim, Journal, JournalWriteError
journal = Journal(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
seq = 0
try:
    while True:
        journal.write(Claim(seq), Claim(seq))
        seq += 1
except JournalWriteError as error:
    print(seq, error.exit_code.name, error)
journal.close()
"""


def test_a_full_disk_stops_and_leaves_whole_lines(path):
    finished = subprocess.run(
        [sys.executable, "-c", FILLING, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    written, code, message = finished.stdout.split(" ", 2)
    assert code == "PARTIAL"
    assert f"{path} cannot be written" in message
    assert path.read_bytes().endswith(b"\n")
    assert list(read_journal(path)) == [Claim(seq) for seq in range(int(written)) for _ in range(2)]
    assert 0 < path.stat().st_size <= 1000
    write(path, Claim(999))
    assert list(read_journal(path))[-1] == Claim(999)


@pytest.mark.parametrize("taken", [0, 1, 20])
def test_a_line_that_is_taken_in_part_is_cut_off_again(path, monkeypatch, taken):
    journal = Journal(path)
    journal.write(START)
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:taken]))
    with pytest.raises(JournalWriteError, match="no space left"):
        journal.write(Claim(1))
    monkeypatch.undo()
    assert list(read_journal(path)) == [START]
    journal.write(Claim(2))
    journal.close()
    assert list(read_journal(path)) == [START, Claim(2)]


def no_space(*args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_error_while_writing_is_a_journal_error(path, monkeypatch):
    journal = Journal(path)
    monkeypatch.setattr(os, "write", no_space)
    with pytest.raises(JournalWriteError, match=r"journal\.jsonl cannot be written: No space left on device"):
        journal.write(START)
    journal.close()


def test_an_error_while_syncing_is_a_journal_error(path, monkeypatch):
    journal = Journal(path, durable=True)
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(JournalWriteError):
        journal.write(START)
    monkeypatch.undo()
    journal.close()


@pytest.mark.parametrize("method", [Journal.sync, Journal.close])
def test_an_error_of_the_last_sync_is_a_journal_error(path, monkeypatch, method):
    journal = Journal(path, durable=True)
    monkeypatch.setattr(os, "fsync", no_space)
    try:
        with pytest.raises(JournalWriteError):
            method(journal)
    finally:
        monkeypatch.undo()
        journal._file.close()


def test_a_durable_journal_is_synced_at_most_four_times_a_second(path, monkeypatch):
    now, synced = [100.0], []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(now[0]))
    journal = Journal(path, durable=True, clock=lambda: now[0])
    for seq in range(10):
        journal.write(Claim(seq))
        now[0] += 0.125
    assert synced == [100.0, 100.25, 100.5, 100.75, 101.0]
    journal.close()
    assert len(synced) == 6


def test_another_journal_is_not_synced(path, monkeypatch):
    monkeypatch.setattr(os, "fsync", no_space)
    write(path, START)


# The set of numbers


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3000))))
def test_a_seq_set_is_a_set(steps):
    ours, theirs = SeqSet(), set()
    for add, seq in steps:
        if add:
            assert ours.add(seq) == (seq not in theirs)
            theirs.add(seq)
        assert (seq in ours) == (seq in theirs)
        assert ours.count == len(theirs)
    assert {seq for seq in range(3100) if seq in ours} == theirs


def test_a_million_numbers_are_small():
    numbers = SeqSet()
    for seq in (0, 999_999):
        numbers.add(seq)
    assert sys.getsizeof(numbers._bits) < 260_000
    assert "0" not in numbers
    assert None not in numbers


def test_a_session_that_was_cut_off_counts_with_what_it_noted_last():
    record = RunRecord()
    lines = [Start(1, 0, 1, "0"), Tick(1_000, 1, 10, 1, 0, 9.5), Tick(2_000, 2, 30, 3, 0, 9.5)]
    lines += [Start(1, 60_000, 2, "0"), Start(1, 90_000, 3, "0"), Tick(91_000, 1, 5, 0, 0, 9.5)]
    for line in lines:
        record.take(line)
    assert totals(record) == {
        "requests": 35,
        "throttled": 3,
        "retries": 0,
        "seconds": 3.0,
        "throttled_share": 0.0857,
    }
    record.take(End(92_000, stats={"requests": 8, "throttled": 1, "retries": 2, "seconds": 2.0}))
    assert (totals(record)["requests"], totals(record)["retries"], totals(record)["seconds"]) == (38, 2, 4.0)
