"""Hostile names, files and texts, and secrets: nothing gets in, nothing gets out."""

import csv
import json
from pathlib import Path

import pytest
from conftest import PROGRAM, policy_text, until

from chaos.harness import (
    ALL,
    FAST,
    at,
    by_status,
    check_run,
    check_said,
    cpu_of_children,
    finished,
    images,
    latest,
    measured,
    nothing_deleted,
    write_policy,
)
from chaos.wire import Proxy
from pruner.emulator import Fault

HOSTILE = {
    "dots": "..",
    "slash": "a/../../b",
    "escaped slash": "a%2Fb",
    "line": "a\r\nX-Injected: 1",
    "nul": "a\x00b",
    "bidi": "\u202egpj.exe",
    "escape": "\x1b]0;owned\x07\x1b[2J",
    "emoji": "\U0001f4a9",
    "10 MB": "a" * 10_000_000,
}


def harmless(text):
    """Nothing that a terminal would act on."""
    return all(char.isprintable() or char == "\n" for char in text)


@pytest.mark.rows(33)
@pytest.mark.parametrize("name", ["escaped slash", "escape", "10 MB"])
def test_a_hostile_tag_of_a_server_refuses_its_list(program, emulated, saw, name):
    document = images(a=3)
    document["registries"]["acme"]["images"]["a"].append({"name": HOSTILE[name], "age_days": 100})
    emulator = emulated(seed=document)
    program = at(program, emulator)
    done = program("run", write_policy(program), "--yes", *FAST)
    nothing_deleted(program, emulator, done, 3)
    assert harmless(done.stdout + done.stderr)
    assert len(done.stderr) < 2000
    assert program("list", "acme/a").returncode == 3
    saw(f"{name} from the server: refused, shown harmless")


@pytest.mark.rows(33)
def test_a_hostile_image_of_a_server_refuses_its_list(program, emulated, saw):
    document = images(a=3)
    document["registries"]["acme"]["images"] |= {name: [] for name in HOSTILE.values() if len(name) < 100}
    emulator = emulated(seed=document)
    program = at(program, emulator)
    done = program("run", write_policy(program), "--yes", *FAST)
    assert harmless(done.stdout + done.stderr)
    nothing_deleted(program, emulator, done, 3)
    saw("hostile image names: refused, shown harmless")


@pytest.mark.rows(33)
def test_hostile_names_of_policies_and_lists_are_refused_together(program, emulated, saw):
    emulator = emulated(seed=images(a=3))
    program = at(program, emulator)
    quoted = [json.dumps(name) for name in HOSTILE.values()]
    targets = "".join(f"      - {{image: {name}, tags: [{name}]}}\n" for name in quoted)
    text = f"version: 1\npolicies:\n  - name: p\n    registry: acme\n    targets:\n{targets}"
    done = program("run", write_policy(program, text), "--yes", *FAST)
    nothing_deleted(program, emulator, done, 2)
    assert harmless(done.stderr)
    assert len(done.stderr) < 20_000
    lines = "".join(json.dumps({"registry": "acme", "image": n, "tag": n}) + "\n" for n in HOSTILE.values())
    done = program("delete", "--from", "-", "--yes", *FAST, input=lines)
    nothing_deleted(program, emulator, done, 2)
    assert harmless(done.stderr)
    assert len(done.stderr) < 20_000
    assert emulator.counters.requests == 0
    saw(f"{len(HOSTILE)} names in policies and in --from: refused before any request, shown harmless")


@pytest.mark.rows(31)
def test_a_target_named_by_files_policies_and_rules_is_deleted_once(program, emulated, saw):
    emulator = emulated(seed=images(a=20))
    program = at(program, emulator)
    named = "version: 1\npolicies:\n  - name: {}\n    registry: acme\n    targets: ['a:t00001', 'a:t00002']\n"
    folder = program.folder / "policies"
    folder.mkdir()
    for name in "xyz":
        (folder / f"{name}.yaml").write_text(named.format(name))
    (folder / "rule.yaml").write_text(policy_text(extra=ALL))
    done = program("run", folder, "--yes", *FAST)
    assert done.returncode == 0, done.stderr
    report = check_run(program, emulator, done)
    assert report["delete_attempts"] == report["targets"] == 20
    lines = "acme/a:t00001\r\n" * 500
    done = program("delete", "--from", "-", "acme/a:t00001", "--yes", *FAST, input=lines)
    assert done.returncode == 0, done.stderr
    assert check_run(program, emulator, done)["targets"] == 1
    saw("named by 4 files, a list and the command line: one DELETE")


@pytest.mark.rows(32)
def test_a_plan_that_says_more_than_was_decided_deletes_nothing(program, emulated, saw):
    emulator = emulated(seed=images(a=5, b=5))
    program = at(program, emulator)
    plan = program.folder / "plan.jsonl"
    policy = write_policy(program, policy_text(images='["a"]', extra=ALL))
    assert program("plan", policy, "-o", plan).returncode == 0
    whole = plan.read_bytes()
    changes = [
        whole[: len(whole) // 2],
        whole.replace(b'"t00001"', b'"latest"'),
        whole.replace(b'"image":"a"', b'"image":"b"'),
        whole.replace(emulator.endpoint.encode(), b"https://evil.example/ncr/api/v2"),
        b"",
    ]
    for changed in changes:
        plan.write_bytes(changed)
        done = program("apply", plan, "--yes", "--allow-edited", *FAST)
        nothing_deleted(program, emulator, done, done.returncode)
        assert done.returncode in (2, 3)
    saw(f"{len(changes)} altered plans: refused")


YAML = {
    "bomb": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(f'*{chr(97 + n)}' for _ in range(9))}]\n"
        for n in range(9)
    ),
    "python": "version: 1\npolicies: !!python/object/apply:os.system ['touch /tmp/owned-by-yaml']\n",
    "duplicate": "version: 1\nversion: 1\npolicies: []\n",
    "deep": "[" * 100_000,
    "tabs": "version: 1\npolicies:\n\t- name: p\n",
    "utf16": "version: 1\n".encode("utf-16"),
    "nul": b"version: 1\n\x00",
}


@pytest.mark.rows(34)
def test_hostile_yaml_is_refused_with_one_error_each_in_bounded_memory(program, saw):
    folder = program.folder / "policies"
    folder.mkdir()
    for name, content in YAML.items():
        (folder / f"{name}.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with (folder / "large.yaml").open("wb") as file:
        file.truncate(100_000_000)
    before = cpu_of_children()
    done, peak = measured(program, "check", folder)
    assert done.returncode == 2, done.stderr
    check_said(program.__class__(program.env, program.state), done)
    for name in (*YAML, "large"):
        assert f"{name}.yaml" in done.stderr
    assert harmless(done.stderr)
    assert len(done.stderr) < 10_000
    assert not Path("/tmp/owned-by-yaml").exists()
    assert peak < 150
    assert cpu_of_children() - before < 30
    saw(f"{len(YAML) + 1} hostile files in one check: an error for each, under 150 MiB")


@pytest.mark.rows(35)
def test_a_regular_expression_made_to_backtrack_takes_linear_time(program, emulated, saw):
    document = images(a=0)
    tags = [{"name": "a" * 127 + chr(48 + number), "age_days": 9} for number in range(10)]
    document["registries"]["acme"]["images"]["a"] = tags
    emulator = emulated(seed=document)
    program = at(program, emulator)
    rules = "[{tags: {regex: '(a+)+b|(a|a)*c|(.*a){40}d|((a*)*)*[5]'}}]"
    before = cpu_of_children()
    policy = write_policy(program, policy_text(delete=rules, extra=ALL))
    done = finished(program.start("run", policy, "--yes", *FAST, python=PROGRAM))
    assert done.returncode == 0, done.stderr
    assert check_run(program, emulator, done)["counts"]["deleted"] == 1
    assert cpu_of_children() - before < 20
    saw("four classic expressions on names of 128 characters: no delay")


INJECTIONS = {
    "t00001": "=cmd|' /C calc'!A0",
    "t00002": "| a | b |\n\n# heading\n[x](javascript:alert(1))",
    "t00003": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "t00004": "\x1b[2J\x1b]0;owned\x07 \u202e ```",
    "t00005": '"};alert(1);//</script>',
}


@pytest.mark.rows(36)
def test_foreign_error_texts_are_inert_in_every_form_of_the_report(program, emulated, saw):
    faults = tuple(
        Fault(
            action="status",
            method="DELETE",
            contains=f":{tag}",
            status=409,
            return_code=409 + number,
            message=text,
        )
        for number, (tag, text) in enumerate(INJECTIONS.items())
    )
    emulator = emulated(seed=images(a=10), faults=faults)
    program = at(program, emulator)
    done = program("run", write_policy(program), "--yes", *FAST)
    assert done.returncode == 1, done.stderr
    report = check_run(program, emulator, done)
    assert len(by_status(report, "failed")) == len(INJECTIONS)
    assert harmless(done.stdout + done.stderr)
    folder = latest(program).path
    with (folder / "outcomes.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    markdown = (folder / "summary.md").read_text()
    rows = [line for line in markdown.splitlines() if "HTTP 4" in line]
    assert len(rows) == len(INJECTIONS)
    assert {line.replace("\\|", "").count("|") for line in rows} == {5}
    assert "\n# heading" not in markdown
    assert "](javascript" not in markdown
    page = (folder / "report.html").read_text()
    assert harmless(markdown)
    for text in (markdown, page):
        assert "<script>alert" not in text
        assert "<img" not in text
    saw(f"{len(INJECTIONS)} injections by error text: inert in CSV, Markdown, HTML and terminal")


LEVELS = {
    "default": (),
    "verbose": ("--verbose",),
    "quiet": ("--quiet",),
    "json": ("--log-format", "json", "--verbose"),
}


@pytest.mark.rows(37)
@pytest.mark.parametrize("level", LEVELS)
def test_no_secret_or_signature_in_any_output_of_a_failing_run(program, emulated, saw, level):
    """A proxy echoes each request, with its signature, in error pages; keys and connections break."""
    emulator = emulated(seed=images(a=40))
    gate = emulator.hold("DELETE")

    def behave(exchange):
        if exchange.method != "DELETE":
            return None
        number = int(exchange.tag[1:])
        echo = exchange.head + emulator.config.access_key.encode()
        if number % 8 == 0 or (number % 4 == 0 and exchange.proxy.first_time(exchange)):
            status = (
                b"400 Bad " + exchange.head.split(b"signature-v2: ")[1][:44] if number % 8 == 0 else b"500 X"
            )
            return exchange.send(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(echo), echo))
        return exchange.reset() if number % 4 == 1 and exchange.proxy.first_time(exchange) else None

    with Proxy(emulator, behave) as proxy:
        program = at(program, proxy)
        process = program.start(
            *LEVELS[level], "run", write_policy(program), "--yes", *FAST, PYTHONDEVMODE="1"
        )
        until(lambda: gate.held, process)
        arguments = Path(f"/proc/{process.pid}/cmdline").read_text()
        gate.open()
        done = finished(process)
    assert "run" in arguments.split("\0")
    assert program.env["NCLOUD_SECRET_ACCESS_KEY"] not in arguments
    assert done.returncode == 1, done.stderr
    assert check_run(program, emulator, done)["counts"]["failed"] == 5
    files = [path.read_text() for path in program.state.rglob("*") if path.is_file()]
    sent = {head.split(b"ignature-v2: ")[1].split(b"\r\n")[0].decode() for head in proxy.heads}
    for text in (done.stdout, done.stderr, *files):
        assert not any(signature in text for signature in sent)
    saw(f"{len(sent)} signatures echoed back at level {level}: none in any output or file")
