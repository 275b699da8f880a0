"""What several tests use: the program as a subprocess, and an embedded NCR to run it against."""

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from preloaded import Preloaded

from pruner.emulator import DEMO_ACCESS_KEY, DEMO_SECRET_KEY, Emulator, EmulatorConfig, running_in_thread

# How long an example takes says something about the machine, not about the code.
settings.register_profile("pruner", deadline=None)
settings.load_profile("pruner")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts its background jobs so, and the programs under test would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    """Spare the collector, in every test, what stays until the last: the modules and the tests themselves."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter):
    """Say loudly what a missing program left untested."""
    skipped = {str(item.longrepr[2]) for item in terminalreporter.getreports("skipped") if item.longrepr}
    for reason in sorted(reason for reason in skipped if "NOT TESTED" in reason):
        terminalreporter.write_line(reason, red=True, bold=True)


HELD = ("--rate", "100000", "--concurrency", "16", "--timeout", "600")
"""Options of a run that is held at a gate: 16 requests wait there, for as long as it takes."""


PROGRAM = ("-m", "pruner")
"""Arguments of Python."""
PRELOADED = Preloaded()


@dataclass
class Program:
    """The real program in its own process, with an empty home and the emulator's keys."""

    env: dict[str, str]
    folder: Path

    def __call__(self, *args, input=None, timeout=60, **env):
        """Run it to its end."""
        stdin = None if input is None else subprocess.PIPE
        with self._begin([sys.executable, *PROGRAM, *args], args, env, stdin) as process:
            try:
                said = process.communicate(input, timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, *said)

    def start(self, *args, wrapper=(), python=(), **env):
        """Start it; as a new interpreter if it is through another program or by arguments of Python."""
        command = [*wrapper, sys.executable, *(python or PROGRAM), *args]
        return self._begin(command, None if wrapper or python else args, env)

    def _begin(self, command, arguments, env, stdin=None):
        command = [*map(str, command)]
        arguments = None if arguments is None else [*map(str, arguments)]
        return PRELOADED.popen(command, arguments, env={**self.env, **env}, cwd=self.folder, stdin=stdin)

    def at(self, emulator: Emulator) -> "Program":
        return Program({**self.env, "PRUNER_ENDPOINT": emulator.endpoint}, self.folder)

    @property
    def state(self) -> Path:
        return Path(self.env["PRUNER_STATE_DIR"])

    def reports(self):
        return [json.loads(path.read_bytes()) for path in sorted(self.state.glob("runs/*/report.json"))]


def new_program(folder):
    """The program, which has its home and its state in an empty folder."""
    keep = {
        name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH", "PRUNER_HTTP") if name in os.environ
    }
    home = folder / "home"
    home.mkdir()
    return Program(
        {
            **keep,
            "HOME": str(home),
            "PRUNER_STATE_DIR": str(folder / "state"),
            "NCLOUD_ACCESS_KEY_ID": DEMO_ACCESS_KEY,
            "NCLOUD_SECRET_ACCESS_KEY": DEMO_SECRET_KEY,
            "NCLOUD_METADATA_API_ENDPOINT": "http://127.0.0.1:9",
        },
        folder,
    )


@pytest.fixture
def program(tmp_path):
    return new_program(tmp_path)


@contextmanager
def reserved_port():
    """A port of loopback that refuses connections, and that nobody else is given, until the block ends.

    A server whose address may be used again can listen on it meanwhile.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.fixture
def closed_port():
    """A port that nothing listens on."""
    with reserved_port() as port:
        yield port


@pytest.fixture
def emulated():
    """Start emulators that stop with the test: ``emulated(seed=…, faults=…)``."""
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


def until(condition, process=None, seconds=60):
    """Wait until something is so; the process, if any, must not end before."""
    deadline = time.monotonic() + seconds
    while True:
        # Asked first: what is so at the end of the process counts as well.
        has_ended = process is not None and process.poll() is not None
        if condition():
            return
        assert not has_ended, process.communicate()
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.003)


def read_until(stream, text):
    """What a process says up to the line with ``text``."""
    said = ""
    while text not in said:
        line = stream.readline()
        assert line, said
        said += line
    return said


def kill(process, gate):
    """``kill -9`` a process that is held at a gate, and open it: nothing that waited is carried out."""
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    until(lambda: gate.held == 0)
    gate.open()


def stopping(process, number):
    """Send a process a signal, and wait until it says that it finishes what is in flight."""
    process.send_signal(number)
    assert "finishing what is in flight" in read_until(process.stderr, "finishing")
