"""Shards of a plan: every image in exactly one, runs that go on by themselves, one report of all."""

import asyncio
import errno
import json
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from math import inf
from types import coroutine

import anyio
import pytest
from chaos.harness import measured
from conftest import policy_text, seed
from hypothesis import given, settings
from hypothesis import strategies as st
from test_end_to_end import FAST, deleted, numbered, write

from pruner.app.connections import Connections
from pruner.app.options import ConnectionOptions
from pruner.app.saying import Silent
from pruner.emulator.faults import Fault
from pruner.emulator.signature import SignatureVerifier
from pruner.engine.journal import Claim, Done, End, Journal, Start
from pruner.engine.pacer import Hint
from pruner.engine.pacing import AdaptivePacer
from pruner.engine.presence import NOTHING_LEFT, Others, Presence, agree, presence
from pruner.engine.runs import all_runs, shard_run
from pruner.errors import ExitCode, InputError, UnreachableError
from pruner.model import Outcome, ReasonKind, Status
from pruner.plan.file import PlanWriter, open_plan
from pruner.plan.records import FORMAT, VERSION, Entry, Header, ImageRecord, RegistryFacts
from pruner.plan.shards import Shard, Sharding, write_shard
from pruner.policy.policy import RegistrySettings
from pruner.registry.ncr import protocol

ALL = policy_text(extra="    limits: {keep_at_least: 0}\n")


# What belongs to which shard


def written(path, images):
    """A plan that deletes so many tags of each image."""
    header = Header(FORMAT, VERSION, "0", "", (), {"acme": RegistryFacts("https://x")}, 0, 0, {})
    with path.open("wb") as file:
        writer = PlanWriter(file, header)
        for image, count in sorted(images.items()):
            writer.listed(count)
            writer.image(ImageRecord("acme", image, count, count))
            for name in numbered(count):
                writer.entry(
                    Entry(0, "acme", image, name, "p", "f:1", ReasonKind.DELETE_RULE, "r", "sha256:1")
                )
        writer.finish()
    return open_plan(path)


def targets(plan):
    return [entry.target for entry in plan.records() if isinstance(entry, Entry)]


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,3}(/[a-z]{1,2})?", fullmatch=True), st.integers(1, 12), max_size=20
    ),
    st.integers(1, 12),
)
def test_shards_are_the_plan_and_never_overlap(tmp_path_factory, images, of):
    folder = tmp_path_factory.mktemp("plan")
    plan = written(folder / "plan.jsonl", images)
    parts = []
    for number in range(1, of + 1):
        path = folder / f"{number}.jsonl"
        write_shard(plan, Shard(number, of), path)
        # A part is a plan like any other that deletions were removed from.
        part = open_plan(path, allow_edited=True)
        assert part.footer == plan.footer
        parts.append(targets(part))
        assert part.entries_left == len(parts[-1])
    assert sorted(target for part in parts for target in part) == sorted(targets(plan))
    owners = Counter(image for part in parts for image in {target.image for target in part})
    assert all(count == 1 for count in owners.values())


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(2, 8))
def test_shards_have_about_as_much_to_do(tmp_path_factory, sizes, of):
    """No shard has more than the fair part and one image: what dealing out the largest first guarantees."""
    images = {f"i{number}": size for number, size in enumerate(sizes)}
    plan = written(tmp_path_factory.mktemp("plan") / "plan.jsonl", images)
    sharding = Sharding(plan, of)
    loads = Counter()
    for image, size in images.items():
        loads[sharding.of("acme", image)] += size
    buckets_collide = 2 * max(sizes)
    assert max(loads.values()) <= sum(sizes) / of + buckets_collide


def test_the_same_plan_is_always_dealt_out_in_the_same_way(tmp_path):
    plan = written(tmp_path / "plan.jsonl", {"a": 5, "b": 3, "c/d": 9, "e": 1})
    dealt = [Sharding(plan, 3).of("acme", image) for image in ("a", "b", "c/d", "e")]
    assert dealt == [2, 3, 1, 3]


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "1/0", "-1/4", "1/4000", "a/b", "1/2/3"])
def test_what_is_no_shard_is_said(text):
    with pytest.raises(InputError, match="is no shard; write which of how many, as in 3/16"):
        Shard.parse(text)
    assert Shard.parse("3/16") == Shard(3, 16)


# Who else is there


def test_who_is_there_is_counted_and_leaves_with_its_process(tmp_path):
    one, two = presence(tmp_path, "plan", Shard(1, 3)), presence(tmp_path, "plan", Shard(2, 3))
    with one.entered():
        assert one.look().present == 1
        with two.entered():
            assert one.look().present == two.look().present == 2
        assert one.look().present == 1
        code = (
            "import sys; from pathlib import Path; from pruner.engine.presence import presence\n"
            "from pruner.plan.shards import Shard\n"
            "with presence(Path(sys.argv[1]), 'plan', Shard(3, 3)).entered():\n"
            "    print('there', flush=True); sys.stdin.read()"
        )
        other = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert other.stdout.readline() == "there\n"
        assert one.look().present == 2
        other.kill()
        other.communicate()
        assert one.look().present == 1


def test_who_comes_knows_when_the_others_have_made_room(tmp_path):
    one, two, three = (presence(tmp_path, "plan", Shard(number, 3)) for number in (1, 2, 3))
    with one.entered(), two.entered(), three.entered():
        one.share(2)
        two.share(3)
        assert three.look() == (3, 2)
        one.share(3)
        assert three.look() == (3, 3)
    with three.entered():
        # What was said by those who have gone does not count, nor what oneself said before.
        assert three.look() == (1, 1)
        with one.entered():
            assert one.look() == (2, 0)


class Pods:
    """Some who share, stepped by hand: each stops before everything that others could see or could change."""

    def __init__(self, number):
        self.names = range(number)
        self.files = dict.fromkeys(self.names, 0)
        self.parts = {}
        self.running = {}

    @coroutine
    def moment(self):
        yield

    async def life(self, own):
        async def look():
            present, sharing = 1, []
            for other in self.names:
                await self.moment()
                if other != own and other in self.running:
                    present += 1
                    sharing.append(self.files[other])
            return Others(present, min(sharing, default=present))

        async def share(among):
            await self.moment()
            self.files[own] = among
            await self.moment()

        async def limit(parts):
            self.parts[own] = parts
            await self.moment()

        await share(0)
        parts = inf
        while True:
            parts = await agree(parts, look, share, limit)
            assert parts == self.parts.get(own, inf)
            assert parts >= self.files[own]
            await self.moment()

    def step(self, name):
        if name not in self.running:
            self.running[name] = self.life(name)
        self.running[name].send(None)

    def kill(self, name):
        if name in self.running:
            self.running.pop(name).close()
            self.parts.pop(name, None)

    @property
    def used(self):
        return sum(1 / parts for parts in self.parts.values())


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 15)), min_size=50, max_size=150))
def test_who_shares_never_sends_more_than_allowed_whoever_comes_or_goes_and_when(moments):
    pods = Pods(3)
    for name, chance in moments:
        if chance == 0:
            pods.kill(name)
        else:
            for _ in range(chance):
                pods.step(name)
                assert pods.used <= 1 + 1e-9
    # Left alone, those who are there share all of it.
    for _ in range(200):
        for name in list(pods.running):
            pods.step(name)
    assert pods.used == pytest.approx(1 if pods.running else 0)
    for name in list(pods.running):
        pods.kill(name)


@pytest.fixture
def connections(tmp_path):
    """Connections to a registry of an account that may send 200 requests a second, shared with shard 2."""
    env = {"NCLOUD_ACCESS_KEY_ID": "a", "NCLOUD_SECRET_ACCESS_KEY": "b", "PRUNER_CACHE_DIR": str(tmp_path)}
    place = "http://127.0.0.1:9"
    settings = {"acme": RegistrySettings("f:1", endpoint=f"{place}/ncr/api/v2", v2_url=place)}
    options = ConnectionOptions(rate=200.0, concurrency=32)
    one, two = presence(tmp_path, "plan", Shard(1, 2)), presence(tmp_path, "plan", Shard(2, 2))
    with one.entered():
        yield Connections(options, settings, Silent(), env, presence=one), two


def bounds(connections):
    return {(gate.pacer.ceiling, gate.pacer.max_in_flight) for gate in connections.gates}


async def soon(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_every_gate_gets_its_part_also_that_of_manifests(connections):
    ours, other = connections
    async with ours, anyio.create_task_group() as group:
        await ours.sharing.take_part()
        await ours.open(["acme"])
        with suppress(UnreachableError):
            await ours.open_doors(["acme"])
        assert (len(ours.gates), bounds(ours)) == (2, {(200.0, 32)})
        group.start_soon(ours.sharing.keep_parts)
        with other.entered():
            other.share(2)
            await soon(lambda: other.look() == (2, 2))
            assert bounds(ours) == {(100.0, 16)}
        await soon(lambda: bounds(ours) == {(200.0, 32)})
        group.cancel_scope.cancel()
    with other.entered():
        # Who sends nothing any more keeps nobody waiting.
        assert other.look().sharing == NOTHING_LEFT


async def test_who_comes_is_told_when_no_more_is_in_flight_than_ones_part(connections):
    ours, other = connections
    async with ours, anyio.create_task_group() as group:
        await ours.sharing.take_part()
        await ours.open(["acme"])
        [gate] = ours.gates
        gate.in_flight = 17
        group.start_soon(ours.sharing.keep_parts)
        with other.entered():
            await soon(lambda: bounds(ours) == {(100.0, 16)})
            assert other.look() == (2, 1)
            gate.in_flight = 16
            await soon(lambda: other.look() == (2, 2))
        group.cancel_scope.cancel()


async def test_who_could_not_look_once_looks_again(connections, monkeypatch):
    ours, other = connections
    async with ours, anyio.create_task_group() as group:
        await ours.sharing.take_part()
        await ours.open(["acme"])
        with monkeypatch.context() as broken:
            failures = []
            broken.setattr(Presence, "look", lambda _: failing(failures))
            group.start_soon(ours.sharing.keep_parts)
            await soon(lambda: failures)
        with other.entered():
            await soon(lambda: other.look() == (2, 2))
        group.cancel_scope.cancel()


def failing(failures):
    failures.append(1)
    raise OSError(errno.ESTALE, "Stale file handle")


def test_a_pacer_follows_its_part_of_the_ceiling():
    pacer = AdaptivePacer(200.0, 64)
    assert (pacer.rate, pacer.max_in_flight) == (60.0, 64)
    pacer.limit_to(50.0, 16)
    assert (pacer.ceiling, pacer.rate, pacer.max_in_flight) == (50.0, 50.0, 16)
    pacer.limit_to(100.0, 32)
    assert (pacer.rate, pacer.max_in_flight) == (100.0, 32)
    knowing = AdaptivePacer(200.0, 64, Hint(80.0, True))
    knowing.limit_to(50.0, 16)
    knowing.limit_to(200.0, 64)
    # What the server was found to allow still holds.
    assert knowing.rate == 0.99 * 80.0


# The program


@pytest.fixture
def planned(program, emulated):
    emulator = emulated(seed=seed({f"app-{number}": numbered(5 + number) for number in range(12)}))
    program = program.at(emulator)
    path = write(program, ALL)
    done = program("plan", path, "-o", "plan.jsonl", *FAST)
    assert done.returncode == 0, done.stderr
    return program, emulator, sum(5 + number for number in range(12))


def shard(program, which, *more, **env):
    return program("apply", "plan.jsonl", "--yes", "--shard", which, *FAST, *more, **env)


def merged(program, *arguments):
    done = program("report", *arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_shards_together_carry_out_the_plan(planned):
    program, emulator, total = planned
    seen = []
    for number in range(4):
        done = program(
            "apply", "plan.jsonl", "--yes", "--shards", "4", *FAST, JOB_COMPLETION_INDEX=str(number)
        )
        assert done.returncode == 0, done.stderr
        seen.append(emulator.counters.deleted)
    assert seen[-1] == total == len(deleted(emulator))
    assert len({after - before for before, after in zip([0, *seen], seen, strict=False)}) > 1
    assert emulator.counters.duplicate_deletes == 0
    report = merged(program, "--plan", "plan.jsonl")
    assert report["counts"]["deleted"] == report["targets"] == total
    assert (report["state"], report["exit_code"], report["missing_shards"]) == ("complete", 0, [])
    assert [item["shard"] for item in report["shards"]] == ["1/4", "2/4", "3/4", "4/4"]
    names = [tuple(outcome["target"].values()) for outcome in report["outcomes"]]
    assert len(names) == len(set(names)) == total


def test_a_shard_that_is_started_again_goes_on_or_says_that_it_is_complete(planned):
    program, emulator, _ = planned
    assert shard(program, "2/4").returncode == 0
    requests = emulator.counters.requests
    done = shard(program, "2/4")
    assert done.returncode == 0
    assert "0 targets of" in done.stderr
    assert emulator.counters.requests == requests
    assert len(all_runs(program.state)) == 1


@pytest.mark.parametrize("command", [("resume", "--yes"), ("undo", "--yes"), ("report",)])
def test_which_of_several_shards_is_meant_has_to_be_said(planned, command):
    program, emulator, _ = planned
    for number in ("2/4", "3/4"):
        assert shard(program, number).returncode == 0
    requests = emulator.counters.requests
    done = program(*command)
    assert done.returncode == 2
    names = ", ".join(run.run_id for run in all_runs(program.state))
    assert f"the latest runs are 2 shards of one plan; name the one that is meant: {names}" in done.stderr
    assert emulator.counters.requests == requests


def test_what_failed_in_a_shard_is_tried_again(planned):
    program, emulator, _ = planned
    emulator.set_faults([Fault(action="status", status=409, method="DELETE", times=2)])
    done = shard(program, "1/4")
    assert done.returncode == 1, done.stderr
    report = merged(program)
    assert report["counts"]["failed"] == 2
    done = shard(program, "1/4")
    assert done.returncode == 0, done.stderr
    report = merged(program)
    assert report["counts"]["failed"] == 0
    assert report["counts"]["deleted"] == report["targets"]
    assert report["state"] == "complete"


def test_resume_of_a_shard_counts_what_it_tries_again(planned):
    program, emulator, _ = planned
    emulator.set_faults([Fault(action="status", status=409, method="DELETE", times=2)])
    assert shard(program, "1/4").returncode == 1
    done = program("resume", *FAST)
    assert done.returncode == 0, done.stderr
    assert "2 targets of" in done.stderr
    assert merged(program)["counts"]["failed"] == 0


def test_who_is_refused_leaves_the_others_run_alone(planned):
    program, emulator, _ = planned
    gate = emulator.hold("GET")
    first = program.start("apply", "plan.jsonl", "--yes", "--shard", "1/2", *FAST)
    gate.wait()
    # The first has no journal yet. The second is refused before anybody is asked.
    assert program("apply", "plan.jsonl", "--shard", "1/2", *FAST).returncode == 6
    assert shard(program, "1/2").returncode == 6
    gate.open()
    _, said = first.communicate(timeout=60)
    assert first.returncode == 0, said


def test_a_directory_that_nobody_began_in_is_a_missing_shard(planned):
    program, _, total = planned
    assert shard(program, "1/2").returncode == 0
    plan = open_plan(program.folder / "plan.jsonl")
    shard_run(program.state, plan, Shard(2, 2))
    report = merged(program, "--plan", "plan.jsonl")
    assert (report["missing_shards"], report["targets"]) == (["2/2"], total)


def test_a_folder_of_presence_that_goes_away_does_not_end_a_run(planned):
    program, emulator, _ = planned
    gate = emulator.hold("DELETE")
    limited = ("--rate", "1000", "--concurrency", "8")
    process = program.start("apply", "plan.jsonl", "--yes", "--shard", "1/2", *limited)
    gate.wait()
    [folder] = (program.state / "shards").iterdir()
    folder.chmod(0)
    folder.rename(folder.with_name("gone"))
    folder.touch()
    warning = "who else works on the plan cannot be seen"
    while warning not in (line := process.stderr.readline()):
        assert line, process.wait()
    gate.open()
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_another_number_of_shards_is_refused(planned):
    program, emulator, _ = planned
    assert shard(program, "1/4").returncode == 0
    before = emulator.counters.deleted
    done = shard(program, "1/3")
    assert done.returncode == 3
    assert "this plan was begun in 4 shards, not 3" in done.stderr
    assert emulator.counters.deleted == before


def test_an_edited_plan_is_another_plan(planned):
    program, emulator, total = planned
    plan = program.folder / "plan.jsonl"
    assert shard(program, "1/2").returncode == 0
    before = emulator.counters.deleted
    lines = plan.read_bytes().splitlines(True)
    left = [line for line in lines if b'"tag":"t00000"' not in line]
    plan.write_bytes(b"".join(left))
    assert shard(program, "2/2").returncode == 2
    for which in ("1/2", "2/2"):
        assert shard(program, which, "--allow-edited").returncode == 0
    assert sum(name.endswith(":t00000") for name in deleted(emulator)) < 12
    report = merged(program, "--plan", "plan.jsonl")
    assert report["targets"] == total - 12
    assert before < total


def test_the_preview_of_a_shard_counts_the_shard(planned):
    program, _, total = planned
    done = shard(program, "1/4", "--dry-run", "--format", "markdown")
    assert done.returncode == 0, done.stderr
    part = open_plan(program.folder / "plan.jsonl")
    number = sum(1 for target in targets(part) if Sharding(part, 4).of("acme", target.image) == 1)
    assert f"{number} tags of 3 images would go, out of a plan of {total}." in done.stdout


def test_each_shard_has_a_report_of_its_own_in_a_folder(planned):
    program, _, _ = planned
    for number in (1, 2):
        assert shard(program, f"{number}/2", "--report", "reports").returncode == 0
    assert sorted(path.name for path in (program.folder / "reports").iterdir()) == ["1of2", "2of2"]


def test_a_run_that_is_on_is_called_running(planned):
    program, emulator, _ = planned
    gate = emulator.hold("DELETE")
    process = program.start("apply", "plan.jsonl", "--yes", "--shard", "1/2", *FAST)
    gate.wait()
    assert "running" in program("runs").stdout
    gate.open()
    process.communicate(timeout=60)
    assert "complete" in program("runs").stdout


def test_missing_shards_are_named_and_counts_add_up(planned):
    program, _, total = planned
    assert shard(program, "1/3").returncode == 0
    assert shard(program, "3/3").returncode == 0
    report = merged(program, "--plan", "plan.jsonl")
    assert report["missing_shards"] == ["2/3"]
    assert report["targets"] == total
    assert report["counts"]["not_attempted"] == total - report["counts"]["deleted"] > 0
    assert (report["state"], report["exit_code"]) == ("partial", 6)
    missing = [item for item in report["outcomes"] if item["status"] == "not_attempted"]
    assert {item["error"] for item in missing} == {"shard 2/3 is missing: nobody began it"}
    done = program("report", "--plan", "plan.jsonl")
    assert "shard 2/3 is missing" in done.stdout
    runs = [run.run_id for run in all_runs(program.state)]
    report = merged(program, *runs)
    assert report["missing_shards"] == ["2/3"]
    assert report["targets"] == report["counts"]["deleted"] < total


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report", "--plan", "plan.jsonl"], "no shard of this plan was begun"),
        (["apply", "plan.jsonl", "--yes", "--shard", "5/4"], "is no shard"),
        (["apply", "plan.jsonl", "--yes", "--shard", "1/4", "--shards", "4"], "leave --shards out"),
        (["apply", "plan.jsonl", "--yes", "--shards", "4"], "JOB_COMPLETION_INDEX is ''"),
    ],
)
def test_bad_input_is_said(planned, arguments, said):
    program, emulator, _ = planned
    done = program(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert emulator.counters.deleted == 0
    done = program("apply", "plan.jsonl", "--yes", "--shards", "4", JOB_COMPLETION_INDEX="4")
    assert done.returncode == 2
    assert "not one of 0 to 3" in done.stderr


def test_runs_of_different_plans_are_no_shards(planned):
    program, _, _ = planned
    assert shard(program, "1/2").returncode == 0
    done = program("run", "policy.yaml", "--yes", *FAST)
    assert done.returncode == 0, done.stderr
    runs = [run.run_id for run in all_runs(program.state)]
    done = program("report", *runs)
    assert done.returncode == 2
    assert "only the runs of the shards of one plan" in done.stderr


def test_guards_are_about_the_whole_plan(planned):
    program, emulator, total = planned
    done = program("run", "policy.yaml", "--yes", "--max-deletions", "1", *FAST)
    assert done.returncode == 3
    small = write(
        program, policy_text(images="[app-0]", extra="    limits: {keep_at_least: 0}\n"), "small.yaml"
    )
    assert program("run", small, "--yes", *FAST).returncode == 0
    # A twelfth of the plan would not be more than ten times what went before, all of it is.
    done = shard(program, "1/12", "--max-growth", "10")
    assert done.returncode == 3, done.stderr
    assert f"{total} deletions" in done.stderr
    assert emulator.counters.deleted == 5


def test_a_shard_that_somebody_works_on_is_left_to_them_and_nothing_is_wrong(planned):
    """Kubernetes may for a moment have two pods of an index: the second must not fail the whole Job."""
    program, emulator, _ = planned
    gate = emulator.hold("DELETE")
    first = program.start("apply", "plan.jsonl", "--yes", "--shard", "1/2", *FAST)
    gate.wait()
    done = shard(program, "1/2")
    assert done.returncode == 6, done.stderr
    assert "is being worked on already; nothing was deleted" in done.stderr
    gate.open()
    first.communicate(timeout=60)
    assert first.returncode == 0
    assert shard(program, "1/2").returncode == 0
    assert emulator.counters.duplicate_deletes == 0


def test_a_whole_run_and_the_shards_of_another_plan_are_kept_out(planned):
    program, emulator, _ = planned
    write(program, ALL.replace("name: p", "name: q"))
    assert program("plan", "policy.yaml", "-o", "other.jsonl", *FAST).returncode == 0
    gate = emulator.hold("DELETE")
    working = program.start("apply", "plan.jsonl", "--yes", "--shard", "1/2", *FAST)
    gate.wait()
    for arguments in (["run", "policy.yaml"], ["apply", "other.jsonl", "--shard", "1/2"]):
        done = program(*arguments, "--yes", *FAST)
        assert done.returncode == 3, done.stderr
        assert "registry 'acme' is being worked on by run" in done.stderr
    beside = program.start("apply", "plan.jsonl", "--yes", "--shard", "2/2", *FAST)
    gate.open()
    assert [process.communicate(timeout=60) and process.returncode for process in (working, beside)] == [0, 0]
    assert emulator.counters.duplicate_deletes == 0


# A Job controller


class Job:
    """What Kubernetes does for an Indexed Job: so many pods at a time, restarts by the pod failure policy."""

    def __init__(self, program, of, parallelism, arguments):
        self.program = program
        self.of = of
        self.parallelism = parallelism
        self.arguments = arguments
        self.waiting = list(range(of))
        self.running = {}
        self.done = {}
        self.starts = Counter()
        self.kills = 0

    def start(self):
        while self.waiting and len(self.running) < self.parallelism:
            index = self.waiting.pop(0)
            self.starts[index] += 1
            self.running[index] = self.program.start(*self.arguments, JOB_COMPLETION_INDEX=str(index))

    def kill(self, dice):
        index = dice.choice(list(self.running))
        self.running[index].kill()
        self.kills += 1

    def reap(self):
        for index, process in list(self.running.items()):
            if process.poll() is None:
                continue
            said = process.communicate()
            del self.running[index]
            code = process.returncode
            if code == 0:
                self.done[index] = said
            elif code in (ExitCode.BAD_INPUT, ExitCode.REFUSED, ExitCode.CREDENTIALS):
                raise AssertionError(f"the Job failed: {code}: {said[1]}")
            else:
                assert self.starts[index] < 20, said
                self.waiting.append(index)

    @property
    def is_complete(self):
        return len(self.done) == self.of


def play(program, emulator, of, parallelism, kill_every, arguments):
    """Run the Job to its end, killing a pod now and then; the Job, and how long it took."""
    dice = random.Random(7)
    job = Job(program, of, parallelism, arguments)
    began = time.monotonic()
    next_kill = kill_every
    while not job.is_complete:
        job.start()
        job.reap()
        if job.running and emulator.counters.deleted >= next_kill:
            job.kill(dice)
            next_kill += kill_every
        time.sleep(0.01)
    return job, time.monotonic() - began


def one_report(program, emulator, total):
    assert emulator.counters.deleted == total
    assert emulator.counters.duplicate_deletes == 0
    report = merged(program, "--plan", "plan.jsonl")
    assert (report["counts"]["deleted"], report["targets"]) == (total, total)
    assert (report["state"], report["missing_shards"]) == ("complete", [])
    names = {tuple(outcome["target"].values()) for outcome in report["outcomes"]}
    assert len(names) == len(report["outcomes"]) == total
    return report


def test_an_indexed_job_with_kills_deletes_every_target_once(program, emulated):
    emulator = emulated(
        seed=seed({f"app-{number}": numbered(60) for number in range(16)}), latency_seconds=0.02
    )
    program = program.at(emulator)
    path = write(program, ALL)
    assert program("plan", path, "-o", "plan.jsonl", *FAST).returncode == 0
    arguments = ("--quiet", "apply", "plan.jsonl", "--yes", "--shards", "4")
    job, _ = play(program, emulator, 4, 2, 200, arguments)
    assert job.kills == 4
    one_report(program, emulator, 960)


LIMITED = "registries:\n  acme: {requests_per_second: 200, concurrency: 96}\npolicies:"
BOUND_OF_ONE_PROCESS = 20
"""So many requests may one process send at once beyond its rate, on a machine whose clocks are late."""


@pytest.fixture
def signed_at(monkeypatch):
    """When each request was signed, in seconds: on a busy machine more arrive at once than were sent."""
    moments = []
    problem = SignatureVerifier.problem

    def noted(self, method, target, headers):
        moments.append(int(headers[protocol.HEADER_TIMESTAMP]) / 1_000)
        return problem(self, method, target, headers)

    monkeypatch.setattr(SignatureVerifier, "problem", noted)
    return moments


def most_beyond(rate, moments):
    """The smallest bucket, in requests, that would have let all pass at ``rate`` requests per second."""
    moments = sorted(moments)
    level, most, last = 0.0, 0.0, moments[0]
    for moment in moments:
        level = max(0.0, level - rate * (moment - last)) + 1.0
        most, last = max(most, level), moment
    return most


@pytest.mark.slow
def test_eight_shards_three_at_a_time_pass_no_limit_and_leave_nothing_unused(program, emulated, signed_at):
    total = 20_000
    images = {f"app-{number:03}": numbered(100) for number in range(200)}
    emulator = emulated(seed=seed(images), latency_seconds=0.02)
    program = program.at(emulator)
    path = write(program, ALL.replace("policies:", LIMITED))
    assert program("plan", path, "-o", "plan.jsonl").returncode == 0
    signed_at.clear()
    arguments = ("--quiet", "apply", "plan.jsonl", "--yes", "--shards", "8")
    job, seconds = play(program, emulator, 8, 3, 1_500, arguments)
    requests = len(signed_at)
    goodput = requests / (200.0 * seconds)
    beyond = most_beyond(200.0, signed_at)
    print(f"{job.kills} kills, {requests} requests in {seconds:.1f} s, goodput {goodput:.3f}")
    print(f"at most {beyond:.1f} at once beyond the rate")
    assert job.kills >= 10
    assert beyond <= BOUND_OF_ONE_PROCESS
    one_report(program, emulator, total)


def carried_out(program, images, of):
    """The runs of all shards of a plan, as they would have left them, but for one shard that nobody began."""
    plan = written(program.folder / "plan.jsonl", images)
    for number in range(1, of):
        run = shard_run(program.state, plan, Shard(number, of))
        write_shard(plan, Shard(number, of), run.plan)
        journal = Journal(run.journal)
        journal.write(Start(1, 1, 1, "0"))
        for entry in open_plan(run.plan, allow_edited=True).records():
            if isinstance(entry, Entry):
                outcome = Outcome(entry.target, Status.DELETED, 1, 204, started=1, policy="p")
                journal.write(Claim(entry.seq), Done(entry.seq, outcome))
        journal.write(End(2, stats={"requests": 1, "seconds": 1.0}))
        journal.close()


def peak_of_merging(program, images):
    carried_out(program, images, 4)
    done, peak = measured(program, "report", "--plan", "plan.jsonl", "-o", "merged")
    assert done.returncode == 0, done.stderr
    report = (program.folder / "merged/summary.md").read_text()
    assert "not_attempted" in report
    assert f"{sum(images.values()):,} targets" in report
    return peak


@pytest.mark.slow
def test_one_report_of_a_million_outcomes_in_flat_memory(program, tmp_path):
    few = peak_of_merging(program, {f"i{number:04}": 100 for number in range(20)})
    shutil.rmtree(program.state)
    many = peak_of_merging(program, {f"i{number:04}": 1_000 for number in range(1_000)})
    print(f"2,000 outcomes {few:.0f} MiB, 1,000,000 outcomes {many:.0f} MiB")
    assert many <= 1.2 * few
