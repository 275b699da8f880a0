"""apply, resume, runs, report and the lock, through the real program: what is refused sends no DELETE."""

import csv
import hashlib
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from conftest import HELD, kill, new_program, policy_text, reserved_port, seed, until
from test_end_to_end import FAST, POLICIES, assert_consistent, deleted, numbered, write

from pruner.emulator import EmulatorConfig, Tag, running_in_thread
from pruner.engine.runs import all_runs, new_run
from pruner.plan.file import PlanWriter, open_plan
from pruner.plan.records import Entry, ImageRecord

DAY = 86_400_000
ALL = policy_text(extra="    limits: {keep_at_least: 0}\n")


POLICY = (
    policy_text(images="[web]", extra="    limits: {keep_at_least: 0}\n    hold: ['api:x']\n")
    + "  - name: t\n    registry: acme\n    targets: ['api:x']\n"
)


@pytest.fixture(scope="module")
def same():
    """Settings of emulators that cannot be told apart: the same tags, always at the same endpoint."""
    with reserved_port() as port:
        document = seed({"web": ["a", "b", "c", "d", "e"], "api": ["x"]})
        yield {"seed": document, "port": port, "now_ms": int(time.time() * 1000)}


@pytest.fixture(scope="module")
def plan_of_all(same, tmp_path_factory):
    """A plan of all the five, with a target that a hold keeps."""
    with running_in_thread(EmulatorConfig(**same)) as emulator:
        program = new_program(tmp_path_factory.mktemp("planned")).at(emulator)
        plan = program.folder / "plan.jsonl"
        done = program("plan", write(program, POLICY), "-o", plan, *FAST)
    assert done.returncode == 0, done.stderr
    return plan.read_bytes()


@pytest.fixture
def planned(program, emulated, same, plan_of_all):
    """A program at an emulator, and a plan of all its tags with a target that a hold keeps."""
    emulator = emulated(**same)
    program = program.at(emulator)
    write(program, POLICY)
    plan = program.folder / "plan.jsonl"
    plan.write_bytes(plan_of_all)
    return program, emulator, plan


def nothing_deleted(program, emulator):
    assert emulator.counters.deleted == 0
    assert not any("delete" in name for name in emulator.counters.by_operation)
    assert not list(program.state.glob("runs/*"))


def applied(program, plan, *options, **env):
    return program("apply", plan, "--yes", *FAST, *options, **env)


def rewritten(plan, **header):
    """The same plan under another header, whole and signed as if it had been made so."""
    verified = open_plan(plan)
    records = list(verified.records())
    file = io.BytesIO()
    writer = PlanWriter(file, msgspec.structs.replace(verified.header, **header))
    for record in records:
        writers = {ImageRecord: writer.image, Entry: writer.entry}
        writers.get(type(record), writer.kept)(record)
    writer.finish()
    plan.write_bytes(file.getvalue())


def of_run(journal, run, sha256):
    """Write into a journal that it is of this run, and of the plan with this SHA-256."""
    text = re.sub(r'("run"):"[^"]*",("plan"):"[^"]*"', rf'\1:"{run}",\2:"{sha256}"', journal.read_text())
    journal.write_text(text)


def test_a_plan_is_applied_exactly(planned):
    program, emulator, plan = planned
    done = applied(program, plan)
    assert done.returncode == 0, done.stderr
    assert deleted(emulator) == [f"acme/web:{name}" for name in "abcde"]
    assert_consistent(program.reports()[0], emulator, done)
    again = applied(program, plan)
    assert again.returncode == 0
    assert sorted(report["counts"]["gone"] for report in program.reports()) == [0, 5]
    assert emulator.counters.deleted == 5


def test_a_dry_run_of_a_plan_deletes_nothing(planned):
    program, emulator, plan = planned
    done = program("apply", plan, "--dry-run", "--format", "json", *FAST)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["summary"]["entries"] == 5
    nothing_deleted(program, emulator)


def test_the_first_process_of_a_container_ends_on_sigterm_at_any_time(planned):
    """The kernel lets nothing end it but what it handles itself."""
    program, emulator, _ = planned
    gate = emulator.hold("GET")
    code = "import os; os.getpid = lambda: 1\nfrom pruner.cli import main\nmain(['plan', 'policy.yaml'])"
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=program.env, cwd=program.folder, stderr=subprocess.PIPE, text=True
    )
    gate.wait()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in said


def test_a_plan_without_yes_and_terminal_is_refused(planned):
    program, emulator, plan = planned
    done = program("apply", plan, *FAST)
    assert done.returncode == 3
    assert "say --yes" in done.stderr
    nothing_deleted(program, emulator)


def _cut(content):
    return content[: content.rindex(b'{"type":"footer"')]


def _swap(old, new):
    def change(content):
        assert old in content
        return content.replace(old, new, 1)

    return change


def _remove(old):
    return lambda content: b"".join(line for line in content.splitlines(True) if old not in line)


@pytest.mark.parametrize("edited", [False, True], ids=["", "--allow-edited"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_cut, "breaks off (no footer)"),
        (lambda content: content[:-1], "breaks off in the middle of a line"),
        (lambda content: content[: len(content) // 2], "breaks off"),
        (_swap(b'"tag":"a"', b'"tag":"x"'), "was added or altered"),
        (_swap(b'"image":"web"', b'"image":"api"'), "was added or altered"),
        (_swap(b'"tags":5', b'"tags":500'), "was added or altered"),
        (_swap(b'"listed_at":1', b'"listed_at":2'), "was added or altered"),
        (_swap(b'"endpoint":"http', b'"endpoint":"https'), "was added or altered"),
        (lambda content: content + content.splitlines(True)[-2], "stands after the footer"),
        (_swap(b"ncr-pruner.plan", b"ncr-pruner.inventory"), "not a plan of pruner"),
        (_swap(b'"version":1', b'"version":2'), "plan version 2"),
        (lambda content: b"{}", "breaks off in the middle"),
        (lambda content: b"", "not a plan of pruner"),
    ],
)
def test_a_plan_that_is_not_whole_or_altered_is_refused(planned, change, said, edited):
    program, emulator, plan = planned
    plan.write_bytes(change(plan.read_bytes()))
    done = applied(program, plan, *(["--allow-edited"] if edited else []))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    nothing_deleted(program, emulator)


def test_an_edited_plan_needs_to_be_allowed(planned):
    program, emulator, plan = planned
    plan.write_bytes(_remove(b'"tag":"b"')(plan.read_bytes()))
    done = applied(program, plan)
    assert done.returncode == 2
    assert "1 removed: number 2" in done.stderr
    nothing_deleted(program, emulator)
    done = applied(program, plan, "--allow-edited")
    assert done.returncode == 0, done.stderr
    assert "Edited: 1 removed: number 2" in done.stderr
    assert deleted(emulator) == [f"acme/web:{name}" for name in "acde"]
    assert_consistent(program.reports()[0], emulator, done)


def test_a_plan_that_everything_was_removed_from_deletes_nothing(planned):
    program, emulator, plan = planned
    plan.write_bytes(_remove(b'"type":"delete"')(plan.read_bytes()))
    done = program("apply", plan, "--allow-edited", *FAST)
    assert done.returncode == 0, done.stderr
    assert emulator.counters.deleted == 0


def test_a_plan_that_only_a_kept_target_was_removed_from_is_applied_when_allowed(planned):
    program, emulator, plan = planned
    plan.write_bytes(_remove(b'"type":"kept"')(plan.read_bytes()))
    done = applied(program, plan, "--allow-edited")
    assert done.returncode == 0, done.stderr
    assert emulator.counters.deleted == 5


@pytest.mark.parametrize(
    ("age", "options", "said"),
    [
        (25 * 3_600_000, (), "the plan is 25 hours old, --max-age allows 24 hours; make a new plan"),
        (2 * 3_600_000, ("--max-age", "1h"), "the plan is 2 hours old, --max-age allows 1 hour"),
        (-DAY, (), "the plan was made for a time that is yet to come"),
    ],
)
def test_a_plan_that_is_too_old_or_of_the_future_is_refused(planned, age, options, said):
    program, emulator, plan = planned
    rewritten(plan, listed_at=int(time.time() * 1000) - age)
    done = applied(program, plan, *options)
    assert done.returncode == 3
    assert said in done.stderr
    nothing_deleted(program, emulator)


def test_a_plan_decided_for_the_future_is_refused(planned):
    program, emulator, plan = planned
    assert program("inventory", "-o", program.folder / "i.jsonl").returncode == 0
    ahead = ("--inventory", program.folder / "i.jsonl", "--now", "2999-01-01", "-o", plan)
    assert program("plan", program.folder / "policy.yaml", *ahead).returncode == 0
    done = applied(program, plan)
    assert done.returncode == 3
    assert "for a time that is yet to come" in done.stderr
    nothing_deleted(program, emulator)


def test_an_old_plan_within_the_age_allowed_is_applied(planned):
    program, emulator, plan = planned
    rewritten(plan, listed_at=int(time.time() * 1000) - 25 * 3_600_000)
    assert applied(program, plan, "--max-age", "2d").returncode == 0
    assert emulator.counters.deleted == 5


def test_a_plan_of_another_endpoint_is_refused(planned, emulated):
    program, emulator, plan = planned
    other = emulated(seed=seed({"web": ["a", "b"]}))
    done = applied(program.at(other), plan)
    assert done.returncode == 3
    assert f"the plan is for registry 'acme' at {emulator.endpoint}, not at {other.endpoint}" in done.stderr
    nothing_deleted(program, emulator)
    assert other.counters.requests == 0


def test_a_plan_brings_its_endpoint(planned):
    program, emulator, plan = planned
    del program.env["PRUNER_ENDPOINT"]
    done = applied(program, plan)
    assert done.returncode == 0, done.stderr
    assert emulator.counters.deleted == 5


def test_growth_is_refused(planned):
    program, emulator, plan = planned
    assert applied(program, plan).returncode == 0
    for number in range(30):
        emulator.store.registries["acme"].images["web"].tags.add_first(_added(f"t{number}"))
    many = write(program, ALL.replace("**", "web"), "many.yaml")
    done = program("run", many, "--yes", "--max-growth", "2", *FAST)
    assert done.returncode == 3
    assert "30 deletions, but the last 1 runs had at most 5" in done.stderr
    assert emulator.counters.deleted == 5


def _added(name):
    return Tag(name, f"sha256:{hashlib.sha256(name.encode()).hexdigest()}", 1, 1_600_000_000_000, None, ())


def test_a_tag_pushed_again_between_plan_and_apply_survives(planned):
    program, emulator, plan = planned
    assert emulator.move_tag("acme/web:b")
    done = applied(program, plan)
    assert done.returncode == 0, done.stderr
    assert deleted(emulator) == [f"acme/web:{name}" for name in "acde"]
    [outcome] = [item for item in program.reports()[0]["outcomes"] if item["status"] == "changed"]
    assert outcome["target"]["tag"] == "b"
    assert "pushed again" in outcome["error"]
    assert_consistent(program.reports()[0], emulator, done)


def test_a_tag_that_is_the_image_of_one_pushed_again_survives_too(planned):
    program, emulator, plan = planned
    digest = next(
        entry.digest for _, entries in open_plan(plan).images() for entry in entries if entry.tag == "c"
    )
    assert emulator.move_tag("acme/web:b", digest)
    assert applied(program, plan).returncode == 0
    assert deleted(emulator) == [f"acme/web:{name}" for name in "ade"]
    assert program.reports()[0]["counts"]["changed"] == 2


def test_a_tag_removed_by_somebody_else_is_gone(planned):
    program, emulator, plan = planned
    assert emulator.remove_tag("acme/web:a")
    assert applied(program, plan).returncode == 0
    assert program.reports()[0]["counts"]["gone"] == 1


# plan edit-check.


def test_edit_check_names_what_is_gone(planned):
    program, _, plan = planned
    done = program("plan", "edit-check", plan)
    assert (done.returncode, done.stdout) == (0, f"{plan}: nothing was removed; 5 deletions left\n")
    plan.write_bytes(_remove(b'"tag":"d"')(_remove(b'"tag":"b"')(plan.read_bytes())))
    done = program("plan", "edit-check", plan)
    assert done.returncode == 0
    assert done.stdout == f"{plan}: 2 removed: number 2, 4; 3 deletions left\n  acme/web: 2 of 5 removed\n"


def test_edit_check_refuses_what_was_altered(planned):
    program, _, plan = planned
    plan.write_bytes(plan.read_bytes().replace(b'"tag":"b"', b'"tag":"z"'))
    done = program("plan", "edit-check", plan)
    assert done.returncode == 2
    assert "'acme/web:z' was added or altered; lines may only be removed" in done.stderr


def test_edit_check_notices_a_removed_kept_target(planned):
    program, _, plan = planned
    plan.write_bytes(_remove(b'"type":"kept"')(plan.read_bytes()))
    assert "nothing was removed" not in program("plan", "edit-check", plan).stdout


# resume, and one run at a time.


@pytest.fixture
def running(program, emulated):
    """Start a run of 300 tags, 20 of which it deletes before it is held at a gate, with 16 in flight."""
    emulator = emulated(seed=seed({"a": numbered(150), "b": numbered(150)}))
    gate = emulator.hold("DELETE", after=20)
    program = program.at(emulator)
    path = write(program, ALL)
    process = program.start("run", path, "--yes", *HELD)
    until(lambda: gate.held == 16, process)
    yield program, emulator, path, process, gate
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


@pytest.fixture
def killed(running):
    """That run after ``kill -9``, with its gate open for those that follow."""
    program, emulator, path, process, gate = running
    kill(process, gate)
    return program, emulator, path


def test_resume_after_kill_finishes_with_each_target_once(killed):
    program, emulator, _ = killed
    assert program.reports() == []
    assert json.loads(program("runs", "--format", "json").stdout)[0]["state"] == "cut off"
    done = program("resume", *FAST)
    assert done.returncode == 0, done.stderr
    [report] = program.reports()
    assert_consistent(report, emulator, done)
    assert report["targets"] == 300
    assert report["counts"]["deleted"] + report["counts"]["gone"] == 300
    assert report["counts"]["deleted"] >= 300 - 64
    assert report["sessions"] == 2
    assert emulator.counters.deleted == 300
    again = program("resume", *FAST)
    assert again.returncode == 0
    assert "is complete: nothing left to do" in again.stderr
    assert emulator.counters.deleted == 300


def test_resume_after_a_torn_last_line(killed):
    program, emulator, _ = killed
    [run] = all_runs(program.state)
    content = run.journal.read_bytes()
    run.journal.write_bytes(content[: len(content) - 7])
    done = program("resume", *FAST)
    assert done.returncode == 0, done.stderr
    assert_consistent(program.reports()[0], emulator, done)
    assert emulator.counters.deleted == 300


def test_resume_leaves_alone_what_was_pushed_again_meanwhile(killed):
    program, emulator, _ = killed
    left = sorted(set(emulator.store.tag_names("acme", "b")))[-1]
    assert emulator.move_tag(f"acme/b:{left}")
    done = program("resume", *FAST)
    assert done.returncode == 0, done.stderr
    assert program.reports()[0]["counts"]["changed"] == 1
    assert emulator.store.tag_names("acme", "b") == [left]


def test_another_account_does_not_take_everything_for_gone(killed):
    program, emulator, _ = killed
    plan = all_runs(program.state)[0].plan
    journal = all_runs(program.state)[0].journal.read_bytes()
    emulator.store.registries["other"] = other = emulator.store.registries.pop("acme")
    other.name = "other"
    for command in (("apply", plan, "--yes"), ("resume",)):
        done = program(*command, *FAST)
        assert done.returncode == 5
        assert "registry 'acme' does not exist at this endpoint (there: other)" in done.stderr
    assert [run.journal.read_bytes() for run in all_runs(program.state)] == [journal]


def test_resume_of_an_old_plan_is_refused_unless_it_may_be_so_old(killed):
    program, emulator, _ = killed
    before = emulator.counters.deleted
    [run] = all_runs(program.state)
    rewritten(run.plan, listed_at=int(time.time() * 1000) - 8 * DAY)
    done = program("resume", *FAST)
    assert done.returncode == 2
    assert "is of another run" in done.stderr
    of_run(run.journal, run.run_id, open_plan(run.plan).sha256)
    done = program("resume", *FAST)
    assert done.returncode == 3
    assert "the plan is 8 days old, --max-age allows 7 days" in done.stderr
    assert emulator.counters.deleted == before
    assert program("resume", "--max-age", "9d", *FAST).returncode == 0
    assert emulator.counters.deleted == 300


def test_resume_at_another_endpoint_is_refused(killed, emulated):
    program, emulator, _ = killed
    before = emulator.counters.deleted
    other = emulated(seed=seed({"a": numbered(150)}))
    done = program.at(other)("resume", *FAST)
    assert done.returncode == 3
    assert (other.counters.requests, emulator.counters.deleted) == (0, before)


def test_the_second_of_two_runs_is_refused_and_names_the_holder(running):
    program, emulator, path, process, gate = running
    [first] = all_runs(program.state)
    for command in (("run", path, "--yes"), ("resume", first.run_id)):
        done = program(*command, *FAST)
        assert done.returncode == 3
        assert "registry 'acme' is being worked on by" in done.stderr
        assert f"run {first.run_id} (process {process.pid} on " in done.stderr
    assert process.poll() is None
    gate.open()
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert len(all_runs(program.state)) == 1
    assert_consistent(program.reports()[0], emulator, process)


def test_the_lock_is_free_after_a_kill(killed):
    program, emulator, path = killed
    done = program("run", path, "--yes", *FAST)
    assert done.returncode == 0, done.stderr
    assert emulator.counters.deleted == 300


def test_a_run_of_another_registry_goes_on_beside(program, emulated):
    document = seed({"a": numbered(200)})
    document["registries"]["other"] = seed({"a": ["x", "y"]})["registries"]["acme"]
    emulator = emulated(seed=document)
    gate = emulator.hold("DELETE", after=5, matches=lambda call: call.registry == "acme")
    program = program.at(emulator)
    process = program.start("run", write(program, ALL), "--yes", *HELD)
    until(lambda: gate.held == 16, process)
    done = program("delete", "other/a:x", "--yes", *FAST)
    assert done.returncode == 0, done.stderr
    assert process.poll() is None
    gate.open()
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize("command", ["resume", "report"])
def test_what_never_ran_cannot_be_taken_up(program, command):
    assert "there is no run yet" in program(command).stderr
    done = program(command, "2026")
    assert done.returncode == 2
    assert "no run '2026'" in done.stderr


# runs and report.


def test_runs_of_one_second_stay_in_order(tmp_path):
    made = [new_run(tmp_path, 1_790_000_000.0) for _ in range(12)]
    assert all_runs(tmp_path) == made


@pytest.fixture(scope="module")
def state_of_one(same, plan_of_all, tmp_path_factory):
    """The state directory after that plan was applied, when one tag had been pushed again."""
    with running_in_thread(EmulatorConfig(**same)) as emulator:
        program = new_program(tmp_path_factory.mktemp("complete")).at(emulator)
        plan = program.folder / "plan.jsonl"
        plan.write_bytes(plan_of_all)
        assert emulator.move_tag("acme/web:b")
        assert applied(program, plan).returncode == 0
    return program.state


@pytest.fixture
def complete(program, state_of_one):
    """A program with one run, which is complete."""
    shutil.copytree(state_of_one, program.state)
    [run] = all_runs(program.state)
    return program, run


def test_runs_are_listed_with_state_and_counts(complete):
    program, run = complete
    assert program("runs").stdout == (
        f"{run.run_id}  complete     6 targets: 1 changed, 4 deleted, 1 kept  (acme)\n"
    )
    [listed] = json.loads(program("runs", "--format", "json").stdout)
    assert [Path(path).name for path in listed.pop("policies")] == ["policy.yaml"]
    assert [listed] == [
        {
            "run": run.run_id,
            "state": "complete",
            "registries": ["acme"],
            "targets": 6,
            "counts": {"changed": 1, "deleted": 4, "kept": 1},
        }
    ]


def test_no_runs(program):
    assert program("runs").stdout == "no runs\n"
    assert json.loads(program("runs", "--format", "json").stdout) == []


def test_a_run_that_cannot_be_read_does_not_hide_the_others(complete):
    program, run = complete
    broken = run.path.with_name("20200101T000000000Z-0000")
    broken.mkdir()
    (broken / "plan.jsonl").write_text("nonsense")
    lines = program("runs").stdout.splitlines()
    assert lines[0].startswith("20200101T000000000Z-0000  unreadable")
    assert len(lines) == 2


def aged(run, stamp, journal=True):
    """A copy of a run that began then."""
    path = run.path.with_name(f"{stamp}T000000000Z-{stamp[-4:]}")
    path.mkdir()
    (path / "plan.jsonl").write_bytes(run.plan.read_bytes())
    if journal:
        (path / "journal.jsonl").write_bytes(run.journal.read_bytes())
        of_run(path / "journal.jsonl", path.name, open_plan(run.plan).sha256)
    return path


def test_old_runs_are_pruned(complete):
    program, run = complete
    old = [aged(run, "20200101"), aged(run, "20200102")]
    cut = aged(run, "20200103")
    lines = (cut / "journal.jsonl").read_bytes().splitlines(True)
    (cut / "journal.jsonl").write_bytes(lines[0])
    assert program("runs", "prune").stdout == "0 runs removed\n"
    assert program("runs", "prune", "--keep", "3").stdout == "1 run removed\n"
    assert not old[0].exists()
    assert program("runs", "prune", "--keep", "0", "--older-than", "10w").stdout == "1 run removed\n"
    assert [path.exists() for path in (old[1], cut, run.path)] == [False, True, True]
    assert program("runs", "prune", "--keep", "0", "--all").stdout == "1 run removed\n"
    assert [path.exists() for path in (cut, run.path)] == [False, True]
    assert program("runs", "prune", "--older-than", "soon").returncode == 2


def test_a_run_that_is_working_is_never_pruned(running):
    program, _, _, process, _ = running
    [run] = all_runs(program.state)
    old = run.path.with_name("20200101T000000000Z-0000")
    run.path.rename(old)
    program("runs", "prune", "--keep", "0", "--all")
    assert process.poll() is None
    assert old.exists()


def test_a_report_is_rendered_again(complete):
    program, run = complete
    for form, name in (("json", "report.json"), ("csv", "outcomes.csv"), ("markdown", "summary.md")):
        done = program("report", "--format", form)
        assert done.returncode == 0, done.stderr
        assert done.stdout == (run.path / name).read_text()
    assert "6 targets: 4 deleted, 1 kept, 1 changed" in program("report", run.run_id).stdout


def test_the_forms_of_a_report_agree(complete):
    program, run = complete
    report = json.loads(program("report", "--format", "json").stdout)
    rows = list(csv.DictReader(io.StringIO(program("report", run.run_id[:10], "--format", "csv").stdout)))
    assert (report["run"], report["state"], report["exit_code"]) == (run.run_id, "complete", 0)
    assert [(row["tag"], row["status"]) for row in rows] == [
        (item["target"]["tag"], item["status"]) for item in report["outcomes"]
    ]
    markdown = program("report", "--format", "markdown").stdout
    assert f"## pruner run {run.run_id}: complete" in markdown
    assert "| deleted | 4 |" in markdown


def test_a_report_is_written_to_a_folder(complete):
    program, run = complete
    out = program.folder / "out"
    assert program("report", "-o", out).returncode == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "outcomes.csv",
        "report.html",
        "report.json",
        "summary.md",
    ]
    assert (out / "report.json").read_bytes() == (run.path / "report.json").read_bytes()


def test_the_report_of_a_run_that_was_cut_off(killed):
    program, emulator, _ = killed
    done = program("report", "--format", "json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["state"] == "cut off"
    assert report["targets"] == 300
    assert sum(report["counts"].values()) == 300
    assert 0 < report["counts"]["deleted"] <= emulator.counters.deleted
    assert len({tuple(item["target"].values()) for item in report["outcomes"]}) == 300


# Odd surroundings.


def test_output_that_cannot_be_written_is_one_sentence(program, emulated):
    there = program.at(emulated())
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "pruner", "plan", POLICIES, *FAST],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=there.env,
            cwd=there.folder,
            check=False,
        )
    assert done.returncode == 1
    assert "the output cannot be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_break_nothing(program, emulated, closed):
    emulator = emulated(seed=seed({"a": ["1", "2"]}))
    command = f"{sys.executable} -m pruner delete acme/a:1 --yes --rate 1000 {closed}"
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        capture_output=True,
        text=True,
        env=program.at(emulator).env,
        cwd=program.folder,
        check=False,
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert emulator.deleted_tags == [("acme", "a", "1")]


def test_an_ascii_terminal_is_enough(program, emulated):
    done = program.at(emulated())(
        "plan", POLICIES, *FAST, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="ascii"
    )
    assert done.returncode == 0, done.stderr
    assert "\\u2026 and 40 more tags" in done.stdout


def test_endpoint_and_region_together_are_refused(program, emulated):
    done = program.at(emulated())("list", "--region", "KR")
    assert done.returncode == 2
    assert "both say where the registry is" in done.stderr


def test_without_arguments_the_help_is_shown(program):
    done = program()
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: pruner [OPTIONS] COMMAND")
