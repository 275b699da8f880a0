"""What several tests use: the program as a subprocess, and an embedded NCR to run it against."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from pruner.emulator import DEMO_ACCESS_KEY, DEMO_SECRET_KEY, Emulator, EmulatorConfig, running_in_thread

# How long an example takes says something about the machine, not about the code.
settings.register_profile("pruner", deadline=None)
settings.load_profile("pruner")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts its background jobs so, and the programs under test would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter):
    """Say loudly what a missing program left untested."""
    skipped = {str(item.longrepr[2]) for item in terminalreporter.getreports("skipped") if item.longrepr}
    for reason in sorted(reason for reason in skipped if "NOT TESTED" in reason):
        terminalreporter.write_line(reason, red=True, bold=True)


@dataclass
class Program:
    """The real program in its own process, with an empty home and the emulator's keys."""

    env: dict[str, str]
    folder: Path

    def __call__(self, *args, input=None, timeout=60, **env):
        command = [sys.executable, "-m", "pruner", *map(str, args)]
        return subprocess.run(
            command,
            input=input,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**self.env, **env},
            cwd=self.folder,
            check=False,
        )

    def start(self, *args, wrapper=(), **env):
        command = [*wrapper, sys.executable, "-m", "pruner", *map(str, args)]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.env, **env},
            cwd=self.folder,
        )

    def at(self, emulator: Emulator) -> "Program":
        return Program({**self.env, "PRUNER_ENDPOINT": emulator.endpoint}, self.folder)

    @property
    def state(self) -> Path:
        return Path(self.env["PRUNER_STATE_DIR"])

    def reports(self):
        return [json.loads(path.read_bytes()) for path in sorted(self.state.glob("runs/*/report.json"))]


@pytest.fixture
def program(tmp_path):
    keep = {
        name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH", "PRUNER_HTTP") if name in os.environ
    }
    home = tmp_path / "home"
    home.mkdir()
    return Program(
        {
            **keep,
            "HOME": str(home),
            "PRUNER_STATE_DIR": str(tmp_path / "state"),
            "NCLOUD_ACCESS_KEY_ID": DEMO_ACCESS_KEY,
            "NCLOUD_SECRET_ACCESS_KEY": DEMO_SECRET_KEY,
            "NCLOUD_METADATA_API_ENDPOINT": "http://127.0.0.1:9",
        },
        tmp_path,
    )


@pytest.fixture
def emulated():
    """Start emulators that stop with the test: ``emulated(seed=…, faults=…)``."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda **config: stack.enter_context(running_in_thread(EmulatorConfig(**config)))


def seed(images, registry="acme"):
    """A seed document: image -> tags, each a name or a dict; 100 days old unless it says otherwise."""
    return {
        "registries": {
            registry: {
                "images": {
                    image: [
                        {"age_days": 100, **({"name": tag} if isinstance(tag, str) else tag)} for tag in tags
                    ]
                    for image, tags in images.items()
                }
            }
        }
    }


def policy_text(images='["**"]', delete="[{tags: ['*']}]", extra="", registry="acme"):
    """A small policy file."""
    return (
        f"version: 1\npolicies:\n  - name: p\n    registry: {registry}\n    images: {images}\n"
        f"    delete: {delete}\n{extra}"
    )
