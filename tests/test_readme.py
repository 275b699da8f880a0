"""The README tells the truth: its commands run, and print what it shows."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pruner.cli.main import COMMANDS
from pruner.emulator import DEMO_ACCESS_KEY, DEMO_SECRET_KEY
from pruner.errors import ExitCode

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CONSOLE = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
ANYTHING = "…"


def sessions(block):
    """The commands of a block, each with the lines shown after it."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *shown = part.rstrip("\n").split("\n")
        yield command, shown


def same(shown, printed):
    """Whether two lines are equal apart from spaces, dates and ages."""
    plain = [
        re.sub(r"\d{4}-\d\d-\d\d|\d+ (hours|minutes|days|hour) ago", "#", line) for line in (shown, printed)
    ]
    return plain[0].split() == plain[1].split()


def assert_shows(shown, printed):
    """Each shown line is printed, in order; only after a line of '…' may lines be missing."""
    position = 0
    skipping = False
    for line in shown:
        if line == ANYTHING:
            skipping = True
            continue
        if not line.strip():
            continue
        while position < len(printed) and (
            not printed[position].strip() or (skipping and not same(line, printed[position]))
        ):
            position += 1
        assert position < len(printed), f"not printed: {line}"
        assert same(line, printed[position]), f"shown: {line}\nprinted: {printed[position]}"
        position += 1
        skipping = False


@pytest.fixture
def shell(tmp_path, emulated):
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    wrong = "version: 1\npolicies:\n  - name: ci\n    registry: acme\n    # images of the build server\n"
    wrong += '    images: [1.0]\n    delete:\n      - tag: ["pr-*"]\n        older_than: 14\n'
    (tmp_path / "wrong.yaml").write_text(wrong)
    env = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PRUNER_STATE_DIR": str(tmp_path / "state"),
        "PRUNER_ENDPOINT": emulated().endpoint,
        "NCLOUD_ACCESS_KEY_ID": DEMO_ACCESS_KEY,
        "NCLOUD_SECRET_ACCESS_KEY": DEMO_SECRET_KEY,
        "COLUMNS": "120",
    }

    def run(command):
        done = subprocess.run(
            command,
            shell=True,
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return (done.stdout or done.stderr).splitlines()

    return run


@pytest.mark.parametrize("block", [block for block in CONSOLE if "$ pruner" in block])
def test_commands_print_what_is_shown(shell, block):
    for command, shown in sessions(block):
        assert_shows(shown, shell(command))


def test_the_setup_commands_are_the_ones_of_continuous_integration():
    commands = [command for block in CONSOLE for command, _ in sessions(block) if "venv" in command]
    assert len(commands) == 2
    assert commands[0].endswith("pruner demo")
    assert commands[1] in (ROOT / ".ci/run").read_text()


def test_the_demo_ends_as_shown(program):
    block = re.search(r"The end of what it prints:\n\n```text\n(.*?)```", README, re.DOTALL)[1]
    done = program("demo", "--report", program.folder / "report")
    assert_shows([ANYTHING, *[line for line in block.splitlines() if line.strip()]], done.stdout.splitlines())


def test_every_command_and_exit_code_is_described():
    for name in COMMANDS:
        assert f"`pruner {name}" in README, name
    for code in ExitCode:
        assert re.search(rf"^\| .*\b{int(code)}\b.* \|", README, re.MULTILINE), code


def test_every_condition_of_the_language_is_described():
    from pruner.policy.document import LimitsDocument, PolicyDocument, RuleDocument

    for model in (RuleDocument, PolicyDocument, LimitsDocument):
        for name, field in model.model_fields.items():
            assert f"{field.alias or name}" in README, name


def test_the_performance_section_is_the_one_of_the_measured_figures():
    import json

    from benchmarks.readme import TABLE
    from benchmarks.results import JSON, number

    section = README.split("<!-- measured: start -->")[1].split("<!-- measured: end -->")[0]
    figures = json.loads(JSON.read_text())["benchmarks"]["end_to_end"]["figures"]
    rows = [line for line in figures if line["what"].startswith(TABLE)]
    assert len(rows) >= 5
    for line in rows:
        assert f"| {line['what'].removeprefix(TABLE)}" in section
        assert f"| {number(line['value'])} | " in section
