"""The README and the pages with examples tell the truth: their commands run, and print what they show."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pruner.emulator import DEMO_ACCESS_KEY, DEMO_SECRET_KEY

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
RUN = ("README.md", "docs/policies.md", "docs/commands.md")
"""The pages whose commands are run against the emulator; others have tests of their own."""
ANYTHING = "…"


def console_blocks(page):
    """The examples of a page of the repository."""
    return re.findall(r"```console\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


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


@pytest.mark.parametrize(
    "block", [block for page in RUN for block in console_blocks(page) if "$ pruner" in block]
)
def test_commands_print_what_is_shown(shell, block):
    for command, shown in sessions(block):
        assert_shows(shown, shell(command))


def test_every_page_that_is_run_has_examples():
    for page in RUN:
        assert any("$ pruner" in block for block in console_blocks(page)), page


def test_the_setup_commands_are_the_ones_of_continuous_integration():
    commands = [
        command
        for block in console_blocks("README.md")
        for command, _ in sessions(block)
        if "venv" in command
    ]
    assert len(commands) == 2
    assert commands[0].endswith("pruner demo")
    assert commands[1] in (ROOT / ".ci/run").read_text()


def test_the_demo_ends_as_shown(program):
    block = re.search(r"The end of what it prints:\n\n```text\n(.*?)```", README, re.DOTALL)[1]
    done = program("demo", "--report", program.folder / "report")
    assert_shows([ANYTHING, *[line for line in block.splitlines() if line.strip()]], done.stdout.splitlines())


def test_it_is_short_and_its_picture_is_small():
    assert len(README.splitlines()) <= 150
    [picture] = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert (ROOT / picture).read_bytes().startswith(b"\x89PNG")
    assert (ROOT / picture).stat().st_size < 150_000


def test_the_policy_it_shows_is_one(program):
    [policy] = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (program.folder / "policy.yaml").write_text(policy)
    done = program("check", "policy.yaml", "--strict")
    assert done.returncode == 0, done.stderr
