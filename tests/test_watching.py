"""Metrics and notifications: what they say, and that they never change how a run ends."""

import asyncio
import hashlib
import hmac
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import yaml
from aiohttp import web
from conftest import policy_text, seed, until
from prometheus_client.parser import text_string_to_metric_families
from test_end_to_end import FAST, write

from pruner.cli.apprise_http import restrict_requests
from pruner.cli.notifying import Notifier, signature
from pruner.cli.talk import Talk
from pruner.emulator import DEMO_ACCESS_KEY, DEMO_SECRET_KEY
from pruner.emulator.faults import Fault
from pruner.errors import InputError
from pruner.model import Status
from pruner.report.metrics import GUARDS, RunNumbers, exposition, last_success_of

ALL = policy_text(extra="    limits: {keep_at_least: 0}\n")
SECRET = "correct horse battery staple"
PATH = "/hook/T0KEN-IN-THE-PATH"

METRICS = {
    "pruner_targets_total",
    "pruner_requests_total",
    "pruner_requests_refused_total",
    "pruner_retries_total",
    "pruner_plan_targets",
    "pruner_requests_in_flight",
    "pruner_rate_requests_per_second",
    "pruner_rate_ceiling_requests_per_second",
    "pruner_run_refused",
    "pruner_last_run_timestamp_seconds",
    "pruner_last_run_exit_code",
    "pruner_last_run_duration_seconds",
    "pruner_last_success_timestamp_seconds",
    "pruner_build_info",
}
"""All that a run shows."""


@pytest.fixture
def planned(program, emulated):
    emulator = emulated(seed=seed({"web": ["a", "b", "c"]}))
    program = program.at(emulator)
    return program, emulator, write(program, ALL)


def parsed(text):
    """Name and labels -> value."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def metrics(program):
    return parsed((program.folder / "pruner.prom").read_text())


FILE = ("--metrics-file", "pruner.prom")


# Metrics


def test_a_run_s_metrics_stand_in_the_file_at_its_end(planned):
    program, emulator, path = planned
    before = time.time()
    done = program("run", path, "--yes", *FILE, "--rate", "500")
    assert done.returncode == 0, done.stderr
    found = metrics(program)
    assert found["pruner_targets_total", "deleted"] == found[("pruner_plan_targets",)] == 3
    assert found["pruner_targets_total", "failed"] == 0
    assert found[("pruner_requests_total",)] == emulator.counters.requests
    assert found[("pruner_rate_ceiling_requests_per_second",)] == 500
    assert 0 < found[("pruner_rate_requests_per_second",)] <= 500
    assert found[("pruner_requests_in_flight",)] == 0
    assert found[("pruner_last_run_exit_code",)] == 0
    assert before <= found[("pruner_last_success_timestamp_seconds",)] <= time.time()
    assert found[("pruner_last_run_timestamp_seconds",)] == found[("pruner_last_success_timestamp_seconds",)]
    assert not any(value for (name, *_), value in found.items() if name == "pruner_run_refused")
    # A collector is another user.
    assert (program.folder / "pruner.prom").stat().st_mode & 0o777 == 0o644


def test_a_failing_run_keeps_when_one_last_succeeded(planned):
    program, emulator, path = planned
    assert program("run", path, "--yes", *FILE, *FAST).returncode == 0
    succeeded = metrics(program)[("pruner_last_success_timestamp_seconds",)]
    emulator.set_faults([Fault(action="status", status=409, method="DELETE")])
    done = program("delete", "acme/web:x", "acme/api:y", "--yes", *FILE, *FAST)
    assert done.returncode == 0, done.stderr
    emulator.set_keys("other", "keys")
    done = program("run", path, "--yes", *FILE, *FAST)
    assert done.returncode == 4
    found = metrics(program)
    assert found[("pruner_last_run_exit_code",)] == 4
    assert succeeded < found[("pruner_last_success_timestamp_seconds",)]
    assert found[("pruner_last_success_timestamp_seconds",)] < found[("pruner_last_run_timestamp_seconds",)]


def test_what_was_refused_says_by_which_guard(planned):
    program, emulator, path = planned
    done = program("run", path, "--yes", "--max-deletions", "1", "--max-share", "10%", *FILE, *FAST)
    assert done.returncode == 3
    refused = {
        labels[0]
        for (name, *labels), value in metrics(program).items()
        if name == "pruner_run_refused" and value
    }
    assert refused == {"max_deletions", "max_share"}
    done = program("run", path, *FILE, *FAST)
    assert done.returncode == 3
    assert metrics(program)["pruner_run_refused", "confirmation"] == 1
    assert metrics(program)[("pruner_plan_targets",)] == 3
    done = program("run", path, "--yes", "--in-use-max-age", "1h", *FILE, PRUNER_IN_USE="missing.jsonl")
    assert done.returncode == 2
    assert metrics(program)[("pruner_last_run_exit_code",)] == 2
    assert emulator.counters.deleted == 0


def test_metrics_are_served_while_the_run_is_on(planned):
    program, emulator, path = planned
    gate = emulator.hold("DELETE", after=1)
    process = program.start("--verbose", "run", path, "--yes", "--metrics-listen", "127.0.0.1:0", *FAST)
    port = None
    while port is None:
        line = process.stderr.readline()
        assert line, process.wait()
        if "metrics at port" in line:
            port = int(line.rpartition(" ")[2])
    gate.wait(2)
    url = f"http://127.0.0.1:{port}"
    found = {}
    while found.get(("pruner_targets_total", "deleted")) != 1:
        found = parsed(urllib.request.urlopen(f"{url}/metrics").read().decode())
    assert found[("pruner_requests_in_flight",)] == 2
    assert found[("pruner_plan_targets",)] == 3
    assert ("pruner_last_run_exit_code",) not in found
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{url}/secrets")
    gate.open()
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_metrics_are_served_over_ipv6(planned):
    program, _, path = planned
    done = program("run", path, "--yes", "--metrics-listen", "[::1]:0", *FAST)
    assert done.returncode == 0, done.stderr


def test_who_keeps_a_connection_open_does_not_keep_the_run(planned):
    program, emulator, path = planned
    gate = emulator.hold("DELETE")
    process = program.start("--verbose", "run", path, "--yes", "--metrics-listen", "127.0.0.1:0", *FAST)
    while "metrics at port" not in (line := process.stderr.readline()):
        assert line, process.wait()
    with socket.create_connection(("127.0.0.1", int(line.rpartition(" ")[2]))):
        gate.wait()
        gate.open()
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_an_end_that_nobody_expected_is_shown_too(planned):
    program, emulator, path = planned
    emulator.hold("GET")
    code = (
        "import os; os.getpid = lambda: 1\nfrom pruner.cli import main\n"
        f"main(['run', {str(path)!r}, '--yes', '--metrics-file', 'pruner.prom'])"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env=program.env, cwd=program.folder)
    until(lambda: emulator.counters.requests or (program.folder / "pruner.prom").exists())
    process.terminate()
    assert process.wait(60) == 143
    assert metrics(program)[("pruner_last_run_exit_code",)] == 143


ENDED_AT_ONCE = """
import os, signal
os.getpid = lambda: 1
from pruner.cli import main, watching
write = watching.Watch._write
def once(watch, path):
    watching.Watch._write = write
    write(watch, path)
    signal.raise_signal(signal.SIGTERM)
watching.Watch._write = once
main()
"""


def test_an_end_right_after_the_beginning_is_shown_too(planned):
    program, emulator, path = planned
    options = ("run", path, "--yes", "--metrics-file", "pruner.prom")
    process = program.start(*options, python=("-c", ENDED_AT_ONCE))
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert emulator.counters.requests == 0
    assert metrics(program)[("pruner_last_run_exit_code",)] == 143


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--metrics-file", "missing/pruner.prom"], "missing/pruner.prom cannot be written"),
        (["--metrics-file", "/dev/full"], "/dev/full cannot be written: it is there, and is not a file"),
        (["--metrics-file", "home"], "File 'home' is a directory"),
        (["--metrics-file", "-"], "'-' cannot be written: name a file"),
        (["--metrics-file", ""], "cannot be written: name a file"),
        (["--metrics-listen", "127.0.0.1"], "write HOST:PORT"),
        (["--metrics-listen", "127.0.0.1:99999"], "write HOST:PORT"),
        (["--metrics-listen", "192.0.2.1:9464"], "--metrics-listen 192.0.2.1:9464: "),
        (["--webhook", "ftp://example.com/x"], "write an https URL"),
        (["--webhook", "http://example.com/T0KEN"], "the one at example.com is plain http"),
        (["--notify", "nosuch://T0KEN@example.com"], "address 1 is none that Apprise knows"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_sent(planned, arguments, said):
    program, emulator, path = planned
    done = program("run", path, "--yes", *arguments, *FAST)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "T0KEN" not in done.stderr
    assert emulator.counters.requests == 0


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("prometheus_client", FILE, "metrics"),
        ("prometheus_client", ("--metrics-listen", "127.0.0.1:0"), "metrics"),
        ("apprise", ("--notify", "json://127.0.0.1"), "notify"),
    ],
)
def test_an_extra_that_is_missing_is_named(planned, module, arguments, extra):
    program, emulator, path = planned
    hidden = program.folder / "hidden"
    (hidden / module).mkdir(parents=True)
    (hidden / module / "__init__.py").write_text("raise ImportError('not here')\n")
    python_path = f"{hidden}:{program.env.get('PYTHONPATH', '')}"
    done = program("run", path, "--yes", *arguments, *FAST, PYTHONPATH=python_path)
    assert done.returncode == 2
    assert f"pip install 'ncr-pruner[{extra}]'" in done.stderr
    assert emulator.counters.requests == 0


def test_a_dry_run_is_no_run(planned):
    program, _, path = planned
    assert program("run", path, "--dry-run", *FILE, *FAST).returncode == 0
    assert not (program.folder / "pruner.prom").exists()


def test_a_file_that_cannot_be_written_any_more_is_a_warning(planned):
    program, emulator, path = planned
    folder = program.folder / "metrics"
    folder.mkdir()
    gate = emulator.hold("DELETE")
    process = program.start("run", path, "--yes", "--metrics-file", "metrics/pruner.prom", *FAST)
    gate.wait()
    shutil.rmtree(folder)
    gate.open()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert (
        "warning: the metrics of this run are not up to date: metrics/pruner.prom cannot be written" in said
    )


def test_names_and_labels_follow_the_conventions():
    numbers = RunNumbers({Status.DELETED: 3}, ended_at=1e9, last_success=1e9, refused_by=("max_share",))
    text = exposition(numbers).decode()
    found = parsed(text)
    assert {name for name, *_ in found} == METRICS
    assert {labels[0] for name, *labels in found if name == "pruner_run_refused"} == set(GUARDS)
    assert last_success_of(text) == 1e9
    assert last_success_of("pruner_last_success_timestamp_seconds x\n") is None
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("NOT TESTED: promtool is not installed, so nothing checked the metrics")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


# Notifications


class Hook:
    """A webhook that keeps what it is told, and answers what the test wants."""

    def __init__(self):
        self.told = []
        self.answers = []
        self.location = "/elsewhere"
        self.port = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}{PATH}"

    async def handle(self, request):
        self.told.append((dict(request.headers), await request.read()))
        status = self.answers.pop(0) if self.answers else 204
        return web.Response(status=status, headers={"Location": self.location} if status < 400 else {})


@contextmanager
def served(hook):
    started = threading.Event()
    loop = asyncio.new_event_loop()

    async def serve():
        runner = web.AppRunner(_app(hook))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        hook.port = runner.addresses[0][1]
        hook.finish = asyncio.Event()
        started.set()
        await hook.finish.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    started.wait()
    try:
        yield hook
    finally:
        loop.call_soon_threadsafe(hook.finish.set)
        thread.join()
        loop.close()


def _app(hook):
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", hook.handle)
    return app


@pytest.fixture
def hook():
    with served(Hook()) as found:
        yield found


def test_a_webhook_gets_the_summary_signed(planned, hook):
    program, _, path = planned
    done = program("run", path, "--yes", *FAST, PRUNER_WEBHOOK=hook.url, PRUNER_WEBHOOK_SECRET=SECRET)
    assert done.returncode == 0, done.stderr
    [(headers, body)] = hook.told
    mac = hmac.new(SECRET.encode(), headers["X-Pruner-Timestamp"].encode() + b"." + body, hashlib.sha256)
    assert headers["X-Pruner-Signature"] == f"sha256={mac.hexdigest()}"
    assert abs(int(headers["X-Pruner-Timestamp"]) - time.time()) < 600
    facts = json.loads(body)
    [report] = program.reports()
    assert (facts["format"], facts["version"]) == ("ncr-pruner.notification", 1)
    assert (facts["run"], facts["state"], facts["exit_code"]) == (report["run"], "complete", 0)
    assert (facts["targets"], facts["counts"], facts["registries"]) == (3, {"deleted": 3}, ["acme"])
    assert facts["message"] is None
    for text in (SECRET, "T0KEN", mac.hexdigest()):
        assert text not in done.stdout + done.stderr
        assert not any(text.encode() in p.read_bytes() for p in program.state.rglob("*") if p.is_file())


def test_a_refusal_is_told_too(planned, hook):
    program, _, path = planned
    done = program("run", path, "--yes", "--max-deletions", "1", "--webhook", hook.url, *FAST)
    assert done.returncode == 3
    [(headers, body)] = hook.told
    facts = json.loads(body)
    assert "X-Pruner-Signature" not in headers
    assert (facts["run"], facts["state"], facts["refused_by"]) == (None, "refused", ["max_deletions"])
    assert "3 deletions in all, --max-deletions allows 1" in facts["message"]


@pytest.mark.parametrize(
    ("answers", "times", "warns"),
    [
        ([500, 503], 3, False),
        ([500] * 5, 3, True),
        ([404] * 5, 1, True),
        ([302] * 5, 1, True),
        ([429], 2, False),
    ],
)
async def test_trouble_of_a_webhook_is_a_warning(hook, capsys, answers, times, warns):
    hook.answers = answers

    async def no_sleep(seconds):
        assert seconds > 0

    facts = {"run": None, "state": "failed", "exit_code": 2, "counts": {}, "message": "x", "targets": 0}
    await Notifier.of([], [hook.url], {}).tell(facts, Talk(), no_sleep)
    assert len(hook.told) == times
    said = capsys.readouterr().err
    assert ("the webhook at 127.0.0.1 was not told" in said) == warns
    assert "T0KEN" not in said


def test_a_webhook_that_nobody_answers_changes_nothing(planned):
    program, _, path = planned
    done = program("run", path, "--yes", "--webhook", "http://127.0.0.1:9/T0KEN", *FAST)
    assert done.returncode == 0
    assert "warning: the webhook at 127.0.0.1 was not told: no answer" in done.stderr
    assert "T0KEN" not in done.stderr


def test_apprise_tells_in_words(planned, hook):
    program, _, path = planned
    address = f"json://127.0.0.1:{hook.port}{PATH}"
    done = program("run", path, "--yes", *FAST, PRUNER_NOTIFY=address)
    assert done.returncode == 0, done.stderr
    [(_, body)] = hook.told
    told = json.loads(body)
    assert told["title"] == "pruner: complete (exit code 0)"
    assert "3 targets: 3 deleted" in told["message"]
    hook.answers = [500] * 10
    done = program("delete", "acme/web:x", "acme/api:y", "--yes", *FAST, PRUNER_NOTIFY=address)
    assert done.returncode == 0
    assert "warning: not everybody was notified" in done.stderr
    assert "T0KEN" not in done.stderr


@pytest.fixture
def netrc(tmp_path, monkeypatch):
    """A login for loopback in ~/.netrc and in the file of NETRC."""
    path = tmp_path / ".netrc"
    path.write_text("machine 127.0.0.1 login netrcuser password NETRC-PASSWORD\ndefault login d password d\n")
    path.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    return path


@pytest.fixture
def proxy():
    with served(Hook()) as found:
        yield found


FACTS = {"run": None, "state": "failed", "exit_code": 2, "counts": {}, "message": "x", "targets": 0}


async def no_wait(seconds):
    assert seconds > 0


async def tell(*webhooks, notify=()):
    await Notifier.of(notify, webhooks, {}).tell(FACTS, Talk(), no_wait)


def addresses(hook):
    """Of the two ways to be told, one each: arguments of ``tell``."""
    return [((hook.url,), ()), ((), (f"json://127.0.0.1:{hook.port}{PATH}",))]


@pytest.mark.parametrize("variable", [None, "NETRC"])
async def test_no_login_of_the_netrc_file_is_sent(hook, netrc, monkeypatch, variable):
    if variable is not None:
        monkeypatch.setenv(variable, str(netrc.rename(netrc.with_name("other"))))
    for webhooks, notify in addresses(hook):
        await tell(*webhooks, notify=notify)
    assert len(hook.told) == 2
    assert not any("Authorization" in headers for headers, _ in hook.told)


async def test_a_login_of_the_address_is_sent(hook):
    await tell(notify=[f"json://user:password@127.0.0.1:{hook.port}{PATH}"])
    [(headers, _)] = hook.told
    assert headers["Authorization"].startswith("Basic ")


PROXY_VARIABLES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


@pytest.fixture
def proxied(proxy, monkeypatch):
    for name in PROXY_VARIABLES:
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    return proxy


async def test_no_proxy_reads_what_is_for_this_machine(hook, proxied):
    for webhooks, notify in addresses(hook):
        await tell(*webhooks, notify=notify)
    assert len(hook.told) == 2
    assert proxied.told == []


HERE = ["localhost", "LOCALHOST", "localhost.", "127.1", "[::1]", "[::ffff:127.0.0.1]"]


@pytest.mark.parametrize("host", HERE)
def test_no_proxy_reads_what_is_for_this_machine_by_another_name(proxied, host):
    restrict_requests()
    for proxies in (None, {"http": f"http://127.0.0.1:{proxied.port}"}):
        with pytest.raises(requests.exceptions.ConnectionError):
            requests.get(f"http://{host}:9{PATH}", proxies=proxies, timeout=60)
    assert proxied.told == []


async def test_other_hosts_are_told_through_the_proxy_of_the_environment(proxied, capsys):
    restrict_requests()
    assert requests.get("http://hooks.example.com", timeout=60).status_code == 204
    assert len(proxied.told) == 1
    # The webhook's address is https, and this proxy does not know CONNECT.
    await tell("https://hooks.example.com/T0KEN")
    said = capsys.readouterr().err
    assert "the webhook at hooks.example.com was not told: no answer (ClientHttpProxyError)" in said
    assert "T0KEN" not in said


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("more", ["", "?redirect=yes"])
async def test_no_notification_follows_a_redirect(hook, proxy, capsys, status, more):
    elsewhere = proxy
    hook.location = f"http://127.0.0.1:{elsewhere.port}/stolen"
    hook.answers = [status] * 10
    for webhooks, notify in addresses(hook):
        await tell(*webhooks, notify=[f"{address}{more}" for address in notify])
    assert len(hook.told) == 2
    assert elsewhere.told == []
    assert capsys.readouterr().err.count("warning") == 2


@pytest.mark.parametrize("value", ["no", "No", "NO", "0", "false", "off", "n", "never", "deny", "%6eo", ""])
@pytest.mark.parametrize("scheme", ["jsons", "json", "slack", "mailtos", "xmls"])
def test_an_address_that_switches_verification_off_is_refused(scheme, value):
    where = "T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ" if scheme == "slack" else "user:T0KEN@example.com"
    with pytest.raises(InputError) as caught:
        Notifier.of(["json://127.0.0.1", f"{scheme}://{where}?verify={value}"], [], {})
    assert str(caught.value).startswith("--notify: address 2 switches the verification of certificates off")
    for secret in ("T0KEN", "TIiajkdnlazkcOXrIdevi7FQ", "example.com"):
        assert secret not in str(caught.value)


@pytest.mark.parametrize("value", ["", "?verify=yes", "?verify=1", "?verify=True"])
def test_an_address_that_verifies_is_accepted(value):
    Notifier.of([f"jsons://example.com/x{value}"], [], {})


def test_several_addresses_in_one_text_are_all_checked():
    with pytest.raises(InputError, match="address 1 switches the verification"):
        Notifier.of(["jsons://example.com, jsons://example.com?verify=no"], [], {})


def test_verification_is_refused_to_be_off_before_anything_is_sent(planned):
    program, emulator, path = planned
    done = program("run", path, "--yes", *FAST, PRUNER_NOTIFY="jsons://user:T0KEN@127.0.0.1/?verify=no")
    assert done.returncode == 2
    assert "--notify: address 1 switches the verification of certificates off" in done.stderr
    assert "T0KEN" not in done.stderr
    assert "Traceback" not in done.stderr
    assert emulator.counters.requests == 0


def test_no_session_of_requests_goes_without_verification():
    restrict_requests()
    for session in (requests, requests.Session()):
        with pytest.raises(requests.exceptions.SSLError, match="always verified"):
            session.get("https://127.0.0.1:9", verify=False)


def test_a_key_may_be_any_bytes(planned, hook):
    program, _, path = planned
    done = program("run", path, "--yes", *FAST, PRUNER_WEBHOOK=hook.url, PRUNER_WEBHOOK_SECRET="k\udcff")
    assert done.returncode == 0, done.stderr
    [(headers, body)] = hook.told
    mac = hmac.new(b"k\xff", headers["X-Pruner-Timestamp"].encode() + b"." + body, hashlib.sha256)
    assert headers["X-Pruner-Signature"] == f"sha256={mac.hexdigest()}"


def test_a_signature_is_over_time_and_body():
    assert signature("key", "1", b"{}") != signature("key", "2", b"{}") != signature("key", "2", b"{ }")
    with pytest.raises(InputError, match="write an https URL"):
        Notifier.of([], ["https://"], {})
    assert SECRET not in repr(Notifier.of([], ["https://example.com"], {"PRUNER_WEBHOOK_SECRET": SECRET}))


# The alert rules of deploy/, on what runs really write

RULES = Path(__file__).parent.parent / "deploy/observability/pruner.rules.yaml"


def firing(folder, text):
    """The alerts that fire half an hour after a run has written ``text``, by promtool."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("NOT TESTED: promtool is not installed, so nothing evaluated the alert rules")
    series = []
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in {**sample.labels, "job": "n"}.items())
            # promtool's clock begins at 0: what happened just now has happened then.
            value = 0 if sample.name.endswith("timestamp_seconds") else sample.value
            series.append({"series": f"{sample.name}{{{labels}}}", "values": f"{value}x60"})
    alerts = [
        rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]
    found = set()
    for alert in alerts:
        case = {"eval_time": "30m", "alertname": alert, "exp_alerts": []}
        test = {"interval": "1m", "input_series": series, "alert_rule_test": [case]}
        path = folder / "alert.yaml"
        path.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": [test]}))
        done = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True, check=False)
        # That none is expected is a failure where one fires.
        if done.returncode != 0:
            assert f'alertname="{alert}"' in done.stdout + done.stderr, done.stderr
            found.add(alert)
    return found


def test_an_alert_fires_when_a_nightly_run_fails_and_not_when_it_succeeds(planned):
    program, emulator, path = planned
    nightly = ("run", path, "--yes", "--deadline", "55m", "--max-growth", "5", *FILE, *FAST)
    assert program("delete", "acme/web:a", "--yes", *FILE, *FAST).returncode == 0
    assert firing(program.folder, (program.folder / "pruner.prom").read_text()) == set()
    emulator.set_keys("other", "keys")
    assert program(*nightly).returncode == 4
    assert firing(program.folder, (program.folder / "pruner.prom").read_text()) == {"PrunerRunFailing"}
    emulator.set_keys(DEMO_ACCESS_KEY, DEMO_SECRET_KEY)
    assert program(*nightly, "--max-deletions", "1").returncode == 3
    fired = firing(program.folder, (program.folder / "pruner.prom").read_text())
    assert fired == {"PrunerRunFailing", "PrunerRefusedByGuard"}
