"""The rules of the house: style, types, layers, and what the package promises."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import pruner

ROOT = Path(__file__).parent.parent
LAYERS = ["cli", "api", "app", "report", "engine", "plan", "policy", "registry", "workloads"]
GROUND = {"model", "errors", "names", "files", "tasks", "text", "room", "references"}


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("mypy",),
    ],
    ids=" ".join,
)
def test_is_clean(command):
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pruner."):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith("pruner."))


def test_imports_only_point_down():
    wrong = []
    for path in (ROOT / "pruner").rglob("*.py"):
        own = path.relative_to(ROOT / "pruner").parts[0].removesuffix(".py")
        for module in _imports(path):
            other = module.split(".")[1]
            if own in LAYERS and other in LAYERS and LAYERS.index(other) < LAYERS.index(own):
                wrong.append(f"{path}: {module}")
            if own in GROUND and other not in GROUND:
                wrong.append(f"{path}: {module}")
    assert wrong == []


def test_the_emulator_shares_only_published_constants_with_the_client():
    used = {module for path in (ROOT / "pruner/emulator").glob("*.py") for module in _imports(path)}
    assert {m for m in used if not m.startswith("pruner.emulator")} <= {
        "pruner.registry.ncr",
        "pruner.registry.ncr.protocol",
    }
    for path in (ROOT / "pruner").rglob("*.py"):
        own = path.relative_to(ROOT / "pruner").parts[0]
        if own not in {"cli", "emulator"}:
            assert not any(m.startswith("pruner.emulator") for m in _imports(path)), path


def test_deciding_is_pure():
    """No clock, no randomness, no I/O where decisions are made."""
    pure = ["policy/retention.py", "policy/in_use.py", "workloads/objects.py"]
    pure += [f"policy/{name}.py" for name in ("verdicts", "conditions", "newest", "combined")]
    pure += ["plan/guards.py", "engine/retry.py"]
    pure += ["engine/pacer.py", "engine/breaker.py", "engine/final_check.py", "policy/semver.py"]
    for name in pure:
        tree = ast.parse((ROOT / "pruner" / name).read_text())
        modules = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        modules |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert not modules & {"time", "random", "os", "pathlib", "asyncio", "anyio", "aiohttp"}, name


def test_no_code_can_delete_an_image_or_a_registry():
    """DELETE is sent from one place for each kind of registry, and always names a tag or a digest."""
    users = [
        str(path.relative_to(ROOT / "pruner/registry"))
        for path in (ROOT / "pruner").rglob("*.py")
        if '"DELETE"' in path.read_text() and "emulator" not in path.parts
    ]
    assert sorted(users) == ["ncr/client.py", "oci/deleter.py"]


def test_is_typed_and_has_a_version():
    assert (ROOT / "pruner/py.typed").exists()
    assert f"## [{pruner.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_help_does_not_pay_for_heavy_imports():
    code = (
        "import sys\n"
        "from pruner.cli.main import _run\n"
        "_run(['--help'])\n"
        "heavy = {'aiohttp', 'pydantic', 'rich', 'yaml', 're2', 'anyio'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_lowest_versions_that_ci_tests_are_those_promised():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    tested = [line.replace("==", ">=") for line in lines if not line.startswith("#")]
    extras = project["optional-dependencies"]
    promised = project["dependencies"] + [*extras["kubernetes"], *extras["metrics"], *extras["notify"]]
    assert tested == sorted(promised)
