"""The real program against the embedded NCR: what is shown, what is deleted, what is reported."""

import csv
import json
import signal
from collections import Counter
from pathlib import Path

import pytest
from conftest import HELD, policy_text, seed, stopping, until

from pruner.emulator import Bucket, Fault, InFlight, Limits, Quota

POLICIES = Path(__file__).parent.parent / "policies"
FAST = ("--rate", "100000", "--concurrency", "32")
ALL_BUT_ONE = "    limits: {keep_at_least: 1}\n"


def numbered(count):
    return [f"t{number:05}" for number in range(count)]


def write(program, text, name="policy.yaml"):
    path = program.folder / name
    path.write_text(text)
    return path


def deleted(emulator):
    return sorted(f"{registry}/{image}:{tag}" for registry, image, tag in emulator.deleted_tags)


def assert_consistent(report, emulator, done):
    """The invariants of every run: each target once, and only what the server confirmed is 'deleted'."""
    outcomes = report["outcomes"]
    names = [tuple(outcome["target"].values()) for outcome in outcomes]
    assert len(names) == len(set(names)) == report["targets"]
    counts = Counter(outcome["status"] for outcome in outcomes)
    assert {name: count for name, count in report["counts"].items() if count} == counts
    assert report["exit_code"] == done.returncode
    assert emulator.counters.duplicate_deletes == 0
    assert emulator.counters.forbidden_deletes == 0
    really = Counter(emulator.deleted_tags)
    said = {tuple(o["target"].values()) for o in outcomes if o["status"] == "deleted"}
    assert said <= set(really)
    assert set(really) <= set(names)


def test_demo_deletes_exactly_what_its_preview_said(program):
    done = program("demo", "--report", program.folder / "report")
    assert done.returncode == 0, done.stderr
    assert "206 tags of 7 images would go" in done.stdout
    assert "207 targets: 206 deleted, 1 gone" in done.stdout
    assert "counted 206 deleted tags, 0 deleted twice, 0 requests to delete an image" in done.stdout
    report = json.loads((program.folder / "report/report.json").read_bytes())
    assert report["counts"]["deleted"] == 206
    assert (program.folder / "report/summary.md").exists()
    with (program.folder / "report/outcomes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["status"] for row in rows) == {"deleted": 206, "gone": 1}


def test_run_deletes_what_plan_showed(program, emulated):
    emulator = emulated()
    program = program.at(emulator)
    plan = program("plan", POLICIES, "--format", "json", *FAST)
    shown = json.loads(plan.stdout)
    expected = sorted(
        f"{image['registry']}/{image['image']}:{entry['tag']}"
        for image in shown["images"]
        for entry in image["entries"]
        if not entry.get("missing")
    )
    assert emulator.counters.deleted == 0
    done = program("run", POLICIES, "--yes", *FAST)
    assert done.returncode == 0, done.stderr
    assert deleted(emulator) == expected
    assert_consistent(program.reports()[0], emulator, done)
    again = program("run", POLICIES, "--yes", *FAST)
    assert again.returncode == 0
    assert deleted(emulator) == expected


@pytest.mark.parametrize(
    "command",
    [
        ("plan", str(POLICIES)),
        ("run", str(POLICIES), "--dry-run"),
        ("delete", "acme/hello/world:1.0.0", "--dry-run"),
        ("list",),
    ],
    ids=" ".join,
)
def test_previews_send_no_delete(program, emulated, command):
    emulator = emulated()
    done = program.at(emulator)(*command, *FAST)
    assert done.returncode == 0, done.stderr
    assert not any("delete" in name for name in emulator.counters.by_operation)
    assert not list(program.state.glob("runs/*"))


@pytest.mark.parametrize("form", ["table", "json", "csv", "markdown"])
def test_previews_are_deterministic_and_keep_talk_off_stdout(program, emulated, form):
    program = program.at(emulated(now_ms=1_790_000_000_000))
    command = ("plan", POLICIES, "--format", form, *FAST)
    first, second = (program(*command, PYTHONHASHSEED=seed) for seed in ("1", "2"))
    assert first.stdout == second.stdout
    assert "Credentials:" in first.stderr
    assert "Credentials:" not in first.stdout


def test_twenty_thousand_targets_under_throttling_errors_and_resets(program, emulated):
    faults = (
        Fault(action="status", method="DELETE", status=503, gateway_code=500, probability=0.01),
        Fault(action="status", method="DELETE", status=500, gateway_code=900, probability=0.005, commit=True),
        Fault(action="reset", method="DELETE", probability=0.005),
        Fault(action="reset", method="DELETE", probability=0.005, commit=True),
        Fault(action="cut", method="DELETE", probability=0.002),
    )
    # At first less than any machine can send, and until it was too much for once.
    slow, fast = (Limits(bucket=Bucket(rate=rate, burst=20)) for rate in (50, 1500))
    emulator = emulated(seed="generate:1x20x1000", faults=faults, limits=slow)
    registry = next(iter(emulator.store.registries))
    extra = "    limits: {keep_at_least: 0}\n    shared_digest: delete\n"
    path = write(
        program, policy_text(delete="[{tags: ['*'], older_than: 1m}]", extra=extra, registry=registry)
    )
    process = program.at(emulator).start("run", path, "--yes", *FAST)
    until(lambda: emulator.counters.throttled, process)
    emulator.set_limits(fast)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr + stdout[-2000:]
    report = program.reports()[0]
    assert_consistent(report, emulator, process)
    assert report["targets"] > 15_000
    assert report["counts"]["deleted"] == report["targets"] == emulator.counters.deleted
    assert 0 < report["throttled"] < 0.02 * report["requests"]


def test_a_wrong_secret_is_one_sentence(program, emulated):
    emulator = emulated()
    done = program.at(emulator)("run", POLICIES, "--yes", NCLOUD_SECRET_ACCESS_KEY="wrong")
    assert done.returncode == 4
    assert "does not accept the credentials" in done.stderr
    assert "Traceback" not in done.stderr
    assert "wrong" not in done.stderr.replace("wrong endpoint", "")
    assert emulator.counters.deleted == 0


def test_a_wrong_region_is_one_sentence(program, emulated):
    emulator = emulated(regions=("SGN",))
    wrong = emulator.endpoint.replace("/sgn-api", "/jpn-api")
    done = program("run", POLICIES, "--yes", PRUNER_ENDPOINT=wrong)
    assert done.returncode == 5
    assert "check region or endpoint" in done.stderr
    assert emulator.counters.deleted == 0


def test_an_unknown_region_is_refused(program):
    done = program("run", POLICIES, "--yes", "--region", "USWN")
    assert done.returncode == 2
    assert "region 'USWN' has no NCR endpoint" in done.stderr


def test_a_typo_in_the_registry_is_an_error_before_the_first_delete(program, emulated):
    emulator = emulated()
    done = program.at(emulator)("delete", "acne/hello/world:1.0.0", "--yes")
    assert done.returncode == 5
    assert "registry 'acne' does not exist" in done.stderr
    assert "did you mean 'acme'?" in done.stderr
    assert emulator.counters.deleted == 0


def test_nothing_listens_there(program):
    done = program("list", PRUNER_ENDPOINT="http://127.0.0.1:9/ncr/api/v2", timeout=90)
    assert done.returncode == 5
    assert "127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_credentials(program):
    for name in ("NCLOUD_ACCESS_KEY_ID", "NCLOUD_SECRET_ACCESS_KEY"):
        del program.env[name]
    done = program("list", PRUNER_ENDPOINT="http://127.0.0.1:9/ncr/api/v2")
    assert done.returncode == 4
    assert "no credentials found" in done.stderr


def test_a_wrong_clock_is_recognised(program, emulated):
    emulator = emulated(clock_offset_seconds=3600)
    done = program.at(emulator)("list")
    assert done.returncode == 4
    assert "the local clock is 60 minutes behind the server's" in done.stderr


def test_missing_images_are_gone_and_said(program, emulated):
    emulator = emulated(seed=seed({"a": ["1", "2"]}))
    done = program.at(emulator)("delete", "acme/a:1", "acme/nothere:1", "acme/a:9", "--yes", *FAST)
    assert done.returncode == 0
    assert "no such image: 1 target already gone" in done.stdout
    report = program.reports()[0]
    assert_consistent(report, emulator, done)
    assert report["counts"]["deleted"] == 1
    assert report["counts"]["gone"] == 2


def test_without_a_terminal_and_without_yes_it_refuses(program, emulated):
    emulator = emulated()
    done = program.at(emulator)("run", POLICIES, *FAST)
    assert done.returncode == 3
    assert "say --yes" in done.stderr
    assert emulator.counters.deleted == 0


def test_guards_refuse_before_the_first_delete(program, emulated):
    emulator = emulated()
    done = program.at(emulator)(
        "run", POLICIES, "--yes", "--max-deletions", "10", "--max-share", "40%", *FAST
    )
    assert done.returncode == 3
    assert "206 deletions in all, --max-deletions allows 10" in done.stderr
    assert "acme/ci/api: 52 of 82 tags" in done.stderr
    assert emulator.counters.deleted == 0
    assert not list(program.state.glob("runs/*"))


def test_a_report_folder_that_cannot_be_written_is_an_error_before_the_first_delete(program, emulated):
    emulator = emulated()
    (program.folder / "file").write_text("")
    done = program.at(emulator)("run", POLICIES, "--yes", "--report", program.folder / "file/report", *FAST)
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert emulator.counters.deleted == 0


def test_shared_digests_are_kept_unless_told_otherwise(program, emulated):
    tags = [{"name": "latest", "digest": "sha256:aa"}, {"name": "build-1", "digest": "sha256:aa"}, "build-2"]
    emulator = emulated(seed=seed({"a": tags}), untag_siblings=True)
    program = program.at(emulator)
    done = program("delete", "acme/a:build-1", "acme/a:build-2", "--yes", *FAST)
    assert done.returncode == 0
    assert deleted(emulator) == ["acme/a:build-2"]
    assert "has the same digest as 'latest', which is kept" in done.stdout
    done = program("delete", "acme/a:build-1", "--shared-digest", "delete", "--yes", *FAST)
    assert deleted(emulator) == ["acme/a:build-1", "acme/a:build-2"]


def test_a_denied_registry_stops_and_the_other_goes_on(program, emulated):
    document = seed({"a": numbered(30)})
    document["registries"]["other"] = document["registries"]["acme"]
    denied = Fault(
        action="status", method="DELETE", contains="acme/", status=403, return_code=403, message="no"
    )
    emulator = emulated(seed=document, faults=(denied,))
    text = policy_text() + policy_text(registry="other").split("policies:\n")[1].replace("name: p", "name: q")
    done = program.at(emulator)("run", write(program, text), "--yes", *FAST)
    assert done.returncode == 4
    report = program.reports()[0]
    assert_consistent(report, emulator, done)
    assert report["counts"]["deleted"] == 29
    assert report["counts"]["not_attempted"] == 29
    assert "no permission to delete" in report["registry_stops"]["acme"]


@pytest.mark.parametrize(
    ("fault", "code", "sentence"),
    [
        ({"status": 401, "gateway_code": 200}, 4, "does not accept the credentials"),
        ({"status": 404, "gateway_code": 300}, 5, "does not know this URL"),
        ({"status": 302, "headers": {"Location": "http://127.0.0.1:9/"}}, 5, "redirects to"),
    ],
)
def test_what_concerns_the_whole_run_stops_it(program, emulated, fault, code, sentence):
    emulator = emulated(
        seed=seed({"a": numbered(200)}), faults=(Fault(action="status", method="DELETE", after=50, **fault),)
    )
    done = program.at(emulator)("run", write(program, policy_text()), "--yes", *FAST)
    assert done.returncode == code
    assert sentence in done.stdout
    report = program.reports()[0]
    assert_consistent(report, emulator, done)
    assert report["counts"]["deleted"] == 50
    assert report["counts"]["not_attempted"] == 149
    assert report["counts"]["failed"] == report["counts"]["gone"] == 0


@pytest.mark.parametrize("status", [429, 503])
def test_a_cap_on_requests_in_flight_costs_little(program, emulated, status):
    cap = Limits(in_flight=InFlight(maximum=16, status=status))
    emulator = emulated(seed=seed({"a": numbered(1000)}), limits=cap, latency_seconds=0.03)
    more = ("--yes", "--concurrency", "64")
    done = program.at(emulator)("run", write(program, policy_text()), *more)
    assert done.returncode == 0, done.stderr
    report = program.reports()[0]
    assert_consistent(report, emulator, done)
    assert report["counts"]["deleted"] == 999
    assert report["delete_attempts"] < 1.15 * 999


def test_a_quota_ends_the_run_cleanly(program, emulated):
    limits = Limits(quota=Quota(requests=60))
    emulator = emulated(seed=seed({"a": numbered(200)}), limits=limits)
    done = program.at(emulator)("run", write(program, policy_text()), "--yes", *FAST)
    assert done.returncode == 6
    assert "the quota is used up" in done.stdout
    report = program.reports()[0]
    assert_consistent(report, emulator, done)
    assert report["counts"]["deleted"] == emulator.counters.deleted > 40


def test_a_quota_that_is_used_up_while_listing_deletes_nothing(program, emulated):
    emulator = emulated(seed=seed({"a": numbered(200)}), limits=Limits(quota=Quota(requests=2)))
    done = program.at(emulator)("run", write(program, policy_text()), "--yes", *FAST)
    assert done.returncode == 6
    assert "pruner: the quota is used up: HTTP 429, gateway code 400" in done.stderr
    assert emulator.counters.deleted == 0


def test_conflicts_are_recorded_and_not_retried(program, emulated):
    conflict = Fault(
        action="status", method="DELETE", contains=":t00003", status=409, return_code=409, message="x"
    )
    emulator = emulated(seed=seed({"a": numbered(10)}), faults=(conflict,))
    done = program.at(emulator)("run", write(program, policy_text()), "--yes", *FAST)
    assert done.returncode == 1
    report = program.reports()[0]
    assert_consistent(report, emulator, done)
    assert report["counts"]["failed"] == 1
    assert report["failures"][0]["cause"] == "HTTP 409/409"
    assert [o["attempts"] for o in report["outcomes"] if o["status"] == "failed"] == [1]


def test_500_for_a_missing_tag_is_gone(program, emulated):
    vanish = Fault(action="remove", method="DELETE", target="acme/a:t00005")
    emulator = emulated(seed=seed({"a": numbered(10)}), faults=(vanish,), missing_tag_status=500)
    done = program.at(emulator)("delete", "acme/a:t00005", "--yes", *FAST)
    assert done.returncode == 0
    assert program.reports()[0]["counts"]["gone"] == 1


@pytest.mark.parametrize("status", [200, 202])
def test_other_successes_are_confirmed_by_reading(program, emulated, status):
    lying = Fault(action="status", method="DELETE", contains=":t00001", status=status, times=1)
    committed = Fault(action="status", method="DELETE", contains=":t00002", status=status, commit=True)
    emulator = emulated(seed=seed({"a": numbered(5)}), faults=(lying, committed))
    done = program.at(emulator)("delete", "acme/a:t00001", "acme/a:t00002", "--yes", *FAST)
    assert done.returncode == 0
    report = program.reports()[0]
    assert_consistent(report, emulator, done)
    assert report["counts"]["deleted"] == 2
    assert sorted(o["attempts"] for o in report["outcomes"]) == [1, 2]


def test_a_throttling_server_is_obeyed(program, emulated):
    limits = Limits(bucket=Bucket(rate=100, burst=5, retry_after=1))
    emulator = emulated(seed=seed({"a": numbered(40)}), limits=limits)
    done = program.at(emulator)("run", write(program, policy_text()), "--yes", "--rate", "150")
    assert done.returncode == 0
    report = program.reports()[0]
    assert_consistent(report, emulator, done)
    assert report["counts"]["deleted"] == 39
    assert emulator.counters.throttled < 60


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_drains_and_reports(program, emulated, number, code):
    emulator = emulated(seed=seed({"a": numbered(500)}))
    gate = emulator.hold("DELETE", after=20)
    process = program.at(emulator).start("run", write(program, policy_text()), "--yes", *HELD)
    until(lambda: gate.held == 16, process)
    stopping(process, number)
    gate.open()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    report = program.reports()[0]
    assert_consistent(report, emulator, process)
    assert report["counts"]["deleted"] == emulator.counters.deleted == 20 + 16
    assert report["counts"]["unknown"] == 0
    assert "pruner resume" in stderr
    assert "Traceback" not in stderr


def test_a_second_signal_cancels(program, emulated):
    hang = Fault(action="hang", method="DELETE", after=10)
    emulator = emulated(seed=seed({"a": numbered(100)}), faults=(hang,))
    process = program.at(emulator).start("run", write(program, policy_text()), "--yes", *FAST)
    until(lambda: emulator.counters.faults >= 3, process)
    stopping(process, signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    report = program.reports()[0]
    assert_consistent(report, emulator, process)
    assert report["counts"]["unknown"] > 0


def test_logs_as_json(program, emulated):
    emulator = emulated()
    done = program.at(emulator)("--log-format", "json", "--verbose", "plan", POLICIES, *FAST)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["level"] for line in lines} <= {"info", "debug"}
    failed = program("--log-format", "json", "plan", "nothing.yaml")
    assert json.loads(failed.stderr)["level"] == "error"


def test_delete_reads_targets_from_stdin_and_deletes_each_once(program, emulated):
    emulator = emulated(seed=seed({"a": numbered(10)}))
    lines = "acme/a:t00001\nacme/a:t00002\nacme/a:t00001\n"
    done = program.at(emulator)("delete", "--from", "-", "--yes", *FAST, input=lines)
    assert done.returncode == 0, done.stderr
    assert deleted(emulator) == ["acme/a:t00001", "acme/a:t00002"]


def test_list_shows_what_is_there(program, emulated):
    program = program.at(emulated())
    assert program("list").stdout.split() == ["acme", "sandbox"]
    assert "ci/web" in program("list", "acme").stdout.split()
    assert program("list", "acme/hello/world", "--format", "names").stdout.split() == [
        "2.0.0",
        "1.0.1",
        "1.0.0",
    ]
    assert "2021-01" in program("list", "acme/legacy/api").stdout
    assert program("list", "acme/nope").returncode == 2


def test_the_secret_is_nowhere(program, emulated):
    emulator = emulated(
        faults=(Fault(action="status", method="DELETE", status=500, gateway_code=900, times=8),)
    )
    secret = program.env["NCLOUD_SECRET_ACCESS_KEY"]
    done = program.at(emulator)("--verbose", "run", POLICIES, "--yes", *FAST)
    written = [path.read_text() for path in program.state.rglob("*") if path.is_file()]
    assert len(written) >= 5
    for text in (done.stdout, done.stderr, *written):
        assert secret not in text
