"""The program as a library: the example of its page, progress, ending, and what is public."""

import asyncio
import importlib.util
import inspect
import re
from pathlib import Path

import pytest
from conftest import policy_text, seed
from test_end_to_end import numbered

from pruner import api
from pruner.emulator import DEMO_ACCESS_KEY, DEMO_SECRET_KEY

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/api.md").read_text()


@pytest.fixture
def keys(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NCLOUD_ACCESS_KEY_ID", DEMO_ACCESS_KEY)
    monkeypatch.setenv("NCLOUD_SECRET_ACCESS_KEY", DEMO_SECRET_KEY)


@pytest.fixture
def planned(keys, emulated, tmp_path):
    """Policies, a connection and a plan of 40 tags."""
    emulator = emulated(seed=seed({"web": numbered(40)}))
    path = tmp_path / "policy.yaml"
    path.write_text(policy_text(extra="    limits: {keep_at_least: 0}\n"))
    policies = api.load_policies([str(path)])
    connection = api.ConnectionOptions(endpoint=emulator.endpoint, concurrency=4)
    plan = asyncio.run(api.plan(policies, tmp_path / "plan.jsonl", connection=connection))
    return emulator, policies, connection, plan


def test_the_example_of_the_page_runs(keys, emulated, tmp_path, monkeypatch, capsys):
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "example.py"
    path.write_text(code)
    spec = importlib.util.spec_from_file_location("example", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    monkeypatch.chdir(ROOT)
    emulator = emulated()
    ended = asyncio.run(example.clean(tmp_path, emulator.endpoint))
    said = capsys.readouterr().out
    assert ended.exit_code == api.ExitCode.DONE
    assert emulator.counters.deleted == ended.report.summary.counts[api.Status.DELETED] == 206
    assert "207 deletions in 7 images" in said
    assert "acme/ci/web:pr-300: keep, no delete rule selects it" in said
    assert "207 of 207" in said


def test_progress_is_told_and_the_report_written(planned, tmp_path):
    emulator, _, connection, plan = planned
    told = []
    ended = asyncio.run(
        api.apply(plan, connection=connection, state_dir=tmp_path / "state", on_progress=told.append)
    )
    assert (told[-1].done, told[-1].total, told[-1].statuses) == (40, 40, {api.Status.DELETED: 40})
    assert told[-1].requests == emulator.counters.requests - 3
    assert ended.report.json.exists()
    again = api.report(tmp_path / "again", state_dir=tmp_path / "state")
    assert again.summary.counts == ended.report.summary.counts


def test_a_callback_that_fails_ends_the_run_in_good_order(planned, tmp_path):
    emulator, _, connection, plan = planned
    gate = emulator.hold("DELETE", after=10)
    state = tmp_path / "state"

    def fail(now):
        gate.open()
        raise ValueError("no terminal")

    with pytest.raises(ValueError, match="no terminal"):
        asyncio.run(api.apply(plan, connection=connection, state_dir=state, on_progress=fail))
    report = api.report(tmp_path / "report", state_dir=state)
    assert report.summary.counts[api.Status.UNKNOWN] == 0
    assert report.record.end.message == "the caller's on_progress failed"
    ended = asyncio.run(api.resume(connection=connection, state_dir=state))
    assert ended.report.summary.counts == {api.Status.DELETED: 40}


def test_a_run_is_stopped_in_good_order_and_gone_on_with(planned, tmp_path):
    emulator, _, connection, plan = planned
    gate = emulator.hold("DELETE", after=10)
    state = tmp_path / "state"

    async def stopped():
        stop = api.Stop()

        async def ask():
            await asyncio.to_thread(gate.wait, 4)
            stop.request()
            await asyncio.sleep(0)
            gate.open()

        asking = asyncio.create_task(ask())
        ended = await api.apply(plan, connection=connection, state_dir=state, stop=stop)
        await asking
        return ended

    ended = asyncio.run(stopped())
    assert ended.exit_code == api.ExitCode.INTERRUPTED
    assert ended.report.summary.counts == {api.Status.DELETED: 14, api.Status.NOT_ATTEMPTED: 26}
    assert ended.report.record.end.message == "the caller asked to stop"
    ended = asyncio.run(api.resume(connection=connection, state_dir=state))
    assert ended.report.summary.counts == {api.Status.DELETED: 40}
    assert emulator.counters.duplicate_deletes == 0


def test_a_cancelled_run_is_gone_on_with(planned, tmp_path):
    emulator, _, connection, plan = planned
    gate = emulator.hold("DELETE", after=10)
    state = tmp_path / "state"

    async def cancelled():
        task = asyncio.create_task(api.apply(plan, connection=connection, state_dir=state))
        await asyncio.to_thread(gate.wait, 4)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    gate.open()
    assert emulator.counters.deleted == 10
    ended = asyncio.run(api.resume(connection=connection, state_dir=state))
    assert ended.report.summary.counts == {api.Status.DELETED: 40}


def test_consent_is_asked_once_and_can_be_refused(planned, tmp_path):
    emulator, _, connection, plan = planned
    asked = []

    def refuse(own):
        asked.append(own.entries_left)
        raise api.RefusedError("not on a Friday")

    with pytest.raises(api.RefusedError, match="not on a Friday"):
        asyncio.run(api.apply(plan, connection=connection, state_dir=tmp_path / "state", consent=refuse))
    assert asked == [40]
    assert emulator.counters.deleted == 0
    assert not list((tmp_path / "state" / "runs").iterdir())


def test_consent_may_be_asked_in_its_own_time(planned, tmp_path):
    emulator, _, connection, plan = planned

    async def refuse(own):
        await asyncio.sleep(0)
        raise api.RefusedError("not on a Friday")

    with pytest.raises(api.RefusedError, match="not on a Friday"):
        asyncio.run(api.apply(plan, connection=connection, state_dir=tmp_path / "state", consent=refuse))
    assert emulator.counters.deleted == 0


@pytest.mark.parametrize("shard", [api.Shard(0, 3), api.Shard(5, 3)])
def test_a_shard_that_there_is_not_is_an_error(planned, tmp_path, shard):
    _, _, connection, plan = planned
    with pytest.raises(api.InputError, match="is no shard"):
        asyncio.run(api.apply(plan, connection=connection, state_dir=tmp_path / "state", shard=shard))


def test_shards_are_applied_and_reported_together(planned, tmp_path):
    emulator, _, connection, plan = planned
    state = tmp_path / "state"
    with pytest.raises(api.InputError, match="no shard of this plan was begun"):
        api.report_of_plan(tmp_path / "report", plan, state_dir=state)
    for number in (1, 2):
        asyncio.run(api.apply(plan, connection=connection, state_dir=state, shard=api.Shard(number, 2)))
    report = api.report_of_plan(tmp_path / "report", plan, state_dir=state)
    assert report.summary.counts == {api.Status.DELETED: 40}
    assert emulator.counters.deleted == 40


def test_what_is_wrong_is_an_error_with_the_exit_code_of_the_command_line(planned, tmp_path):
    _, policies, connection, _ = planned
    with pytest.raises(api.PolicyError) as caught:
        api.load_policies([str(tmp_path / "missing.yaml")])
    assert caught.value.exit_code == api.ExitCode.BAD_INPUT
    guards = api.Guards(max_deletions=1)
    with pytest.raises(api.RefusedError) as caught:
        asyncio.run(api.plan(policies, tmp_path / "p.jsonl", connection=connection, guards=guards))
    assert (caught.value.exit_code, caught.value.guards) == (api.ExitCode.REFUSED, ("max_deletions",))
    assert not (tmp_path / "p.jsonl").exists()


def test_what_is_public_is_named_documented_and_typed():
    for name in api.__all__:
        found = getattr(api, name)
        assert inspect.getdoc(found), name
        if inspect.isfunction(found):
            hints = inspect.signature(found)
            assert hints.return_annotation is not inspect.Signature.empty, name
    for name in ("load_policies", "list_tags", "plan", "explain", "open_plan", "apply", "resume", "report"):
        assert f"`{name}(" in PAGE, name
