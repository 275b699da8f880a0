"""What is installed: a wheel that holds what a user needs, and works in an empty environment."""

import subprocess
import sys
import zipfile

import pytest
from test_readme import ROOT

import pruner
from pruner.cli.main import COMMANDS


def run(*command, **kwargs):
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=600, check=False, **kwargs
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT)
    [path] = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_is_small_and_holds_what_belongs_into_it(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0].split(".")[0] for name in names} == {"pruner", "ncr_pruner"}
    assert not [name for name in names if "test" in name.split("/")[0] or "conftest" in name]
    man = {name.rpartition("/")[2] for name in names if "/share/man/man1/" in name}
    assert man >= {"pruner.1", *(f"pruner-{name}.1" for name in COMMANDS)}
    assert {"pruner/py.typed", "pruner/policy.schema.json", "pruner/examples/ci-builds.yaml"} <= set(names)
    assert wheel.stat().st_size < 550_000


@pytest.mark.slow
def test_it_works_where_nothing_else_is_installed(wheel, tmp_path):
    """As ``pip install`` or ``pipx install`` would: an empty environment, no extras, another folder."""
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    run(tmp_path / "venv/bin/python", "-m", "pip", "install", "-q", wheel)
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    program = tmp_path / "venv/bin/pruner"
    assert run(program, "--version", env=env, cwd=tmp_path) == f"pruner {pruner.__version__}\n"
    assert "207 targets: 206 deleted, 1 gone" in run(program, "demo", env=env, cwd=tmp_path)
    assert (tmp_path / "venv/share/man/man1/pruner-plan.1").exists()
