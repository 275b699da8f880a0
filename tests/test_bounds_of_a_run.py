"""What ends or refuses a run before its first DELETE: time, hosts, a door that is not there."""

import json

import anyio
import pytest
from conftest import policy_text, seed
from oci_server import OciServer, serving

from pruner.app.deadline import Deadline, DeadlineError, before
from pruner.clock import running_clock
from pruner.engine.runs import all_runs
from pruner.errors import ExitCode

ALL = "    limits: {keep_at_least: 0}\n"
TAGS = seed({"web": ["a", "b", "c"]})


@pytest.fixture
def there(program, emulated):
    emulator = emulated(seed=TAGS)
    found = program.at(emulator)
    found.emulator = emulator
    (found.folder / "p.yaml").write_text(policy_text(extra=ALL))
    return found


async def test_a_deadline_ends_what_is_done_before_the_first_delete():
    deadline = Deadline(60.0, running_clock() - 59.99)
    with pytest.raises(DeadlineError, match="nothing was deleted") as caught, before(deadline):
        await anyio.sleep_forever()
    assert caught.value.exit_code is ExitCode.PARTIAL


def test_only_hosts_that_the_operator_names_get_a_signature(there):
    asked = there.emulator.counters.requests
    for options, env in ((["--only-host", "*.example.com"], {}), ([], {"PRUNER_ONLY_HOSTS": "a.b *.c"})):
        done = there("run", "p.yaml", "--yes", *options, **env)
        assert done.returncode == ExitCode.REFUSED
        assert "127.0.0.1 is not one of the hosts" in done.stderr
    assert there.emulator.counters.requests == asked
    done = there("run", "p.yaml", "--yes", PRUNER_ONLY_HOSTS="ncr.apigw.ntruss.com localhost")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("hosts", ["", "127.0.0.1"])
def test_the_key_goes_to_a_docker_host_only_if_the_operator_says_so(there, hosts):
    with serving(OciServer(auth="basic")) as server:
        place = f"registries: {{acme: {{endpoint: '{there.emulator.endpoint}', v2_url: '{server.url}'}}}}\n"
        text = (there.folder / "p.yaml").read_text().replace("version: 1\n", f"version: 1\n{place}")
        (there.folder / "p.yaml").write_text(text)
        there("run", "p.yaml", "--yes", "--keep-manifests", PRUNER_KEY_HOSTS=hosts, PRUNER_ENDPOINT="")
        assert any(server.authorizations) == bool(hosts)


def test_a_docker_host_that_cannot_be_reached_is_said_before_the_question(there, closed_port):
    place = f"{{endpoint: '{there.emulator.endpoint}', v2_url: 'http://127.0.0.1:{closed_port}'}}"
    text = (there.folder / "p.yaml").read_text()
    (there.folder / "p.yaml").write_text(
        text.replace("version: 1\n", f"version: 1\nregistries: {{acme: {place}}}\n")
    )
    # Without --yes: the question would be refused with another exit code.
    done = there("run", "p.yaml", "--keep-manifests", "--rate", "100000", PRUNER_ENDPOINT="")
    assert done.returncode == ExitCode.UNREACHABLE, done.stderr
    assert there.emulator.counters.deleted == 0


def test_resume_refuses_the_journal_of_another_run(there):
    for _ in range(2):
        assert there("run", "p.yaml", "--yes").returncode == 0
    one, other = all_runs(there.state)
    other.journal.write_bytes(one.journal.read_bytes())
    done = there("resume", other.run_id)
    assert done.returncode == ExitCode.BAD_INPUT, done.stderr
    assert one.run_id in done.stderr


def test_a_target_that_is_kept_is_in_every_form_of_the_report_and_counts(there):
    text = policy_text(extra=f"{ALL}    hold: ['web:a']\n")
    (there.folder / "p.yaml").write_text(f"{text}  - {{name: t, registry: acme, targets: ['web:a']}}\n")
    assert there("run", "p.yaml", "--yes").returncode == 0
    [report] = there.reports()
    assert report["counts"]["kept"] == 1
    assert sum(report["counts"].values()) == report["targets"] == 3
    [run] = all_runs(there.state)
    assert (
        "a,kept" in (run.path / "outcomes.csv").read_text().replace('"', "")
        or "kept" in (run.path / "outcomes.csv").read_text()
    )
    assert "kept" in (run.path / "summary.md").read_text()
    assert "kept" in (run.path / "report.html").read_text()


def test_tags_without_a_manifest_are_warned_about(program):
    with serving(OciServer()) as server:
        server.image("team/web", "a", "2024-05-06T07:08:09Z")
        server.repository("team/web").tags["lost"] = f"sha256:{'d' * 64}"
        done = program("inventory", "lab", "--oci", f"lab={server.url}/team", "-o", "i.jsonl")
        assert done.returncode == 0, done.stderr
        assert "lab/web: 1 listed tags have no manifest (dangling)" in done.stderr
        names = [json.loads(line).get("name") for line in (program.folder / "i.jsonl").open()]
        assert "a" in names
        assert "lost" not in names
