"""The container image: built without a registry to pull from, and run as nobody on read-only files."""

import json
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_readme import ROOT

MISSING = [name for name in ("buildah", "debootstrap", "crun", "unshare") if shutil.which(name) is None]
if os.geteuid() != 0:
    MISSING.append("root")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(MISSING), reason=f"NOT TESTED: the container image (missing here: {', '.join(MISSING)})"
    ),
]

UID = 10001
BUILD_SECONDS = 1200
MAX_IMAGE_BYTES = 500_000_000


@dataclass
class Image:
    """The built image, and a container of it whose files are mounted at ``root``."""

    name: str
    config: dict
    root: Path
    folder: Path

    def run(self, *arguments, entrypoint=None):
        """Run it with crun: read-only, without capabilities and without a network but loopback."""
        bundle = self.folder / "bundle"
        state = self.folder / "state"
        for path in (bundle, state):
            path.mkdir(exist_ok=True)
        os.chown(state, UID, UID)
        command = [*(entrypoint or self.config["Entrypoint"]), *arguments]
        (bundle / "config.json").write_text(json.dumps(self._specification(command, state)))
        # crun refuses machines where both versions of control groups are mounted; it needs neither here.
        script = (
            "umount /sys/fs/cgroup/unified 2>/dev/null; "
            'exec crun --root "$1" --cgroup-manager=disabled run -b "$2" pruner'
        )
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, "sh", str(self.folder / "crun"), str(bundle)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def _specification(self, command, state):
        user, group = map(int, self.config["User"].split(":"))
        return {
            "ociVersion": "1.0.0",
            "process": {
                "user": {"uid": user, "gid": group},
                "args": command,
                "env": self.config["Env"],
                "cwd": self.config["WorkingDir"],
                "capabilities": {},
                "noNewPrivileges": True,
            },
            "root": {"path": str(self.root), "readonly": True},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {
                    "destination": "/dev",
                    "type": "tmpfs",
                    "source": "tmpfs",
                    "options": ["nosuid", "mode=755"],
                },
                {
                    "destination": "/tmp",
                    "type": "tmpfs",
                    "source": "tmpfs",
                    "options": ["nosuid", "nodev", "mode=1777", "size=64m"],
                },
                {"destination": "/state", "type": "bind", "source": str(state), "options": ["rbind", "rw"]},
            ],
            "linux": {"namespaces": [{"type": name} for name in ("pid", "network", "ipc", "uts", "mount")]},
        }


def buildah(*arguments, env, check=True):
    done = subprocess.run(
        ["buildah", *arguments], env=env, capture_output=True, text=True, timeout=180, check=False
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


@contextmanager
def built_image(folder):
    """Build the image in a storage of its own, which goes again."""
    storage = folder / "storage"
    configuration = folder / "storage.conf"
    env = {**os.environ, "CONTAINERS_STORAGE_CONF": str(configuration), "BUILDAH_ISOLATION": "chroot"}
    for driver in ("overlay", "vfs"):
        configuration.write_text(
            f'[storage]\ndriver = "{driver}"\ngraphroot = "{storage}"\nrunroot = "{folder / "run"}"\n'
        )
        if buildah("info", env=env, check=False):
            break
    name = "localhost/pruner:test"
    try:
        built = subprocess.run(
            [ROOT / "deploy/build-image", "--tag", name],
            env=env,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
        assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
        inspected = json.loads(buildah("inspect", "--type", "image", name, env=env))
        container = buildah("from", "--pull-never", name, env=env)
        root = Path(buildah("mount", container, env=env))
        yield Image(name, inspected["OCIv1"]["config"], root, folder)
    finally:
        buildah("rm", "--all", env=env, check=False)
        buildah("rmi", "--all", "--force", env=env, check=False)
        subprocess.run(["umount", storage / "overlay"], capture_output=True, check=False)
        shutil.rmtree(storage, ignore_errors=True)


def test_the_image(tmp_path):
    # One test, because the build takes minutes.
    with built_image(tmp_path) as image:
        the_configuration_is_what_the_manifests_rely_on(image)
        the_demo_runs_as_nobody_on_a_read_only_file_system(image)
        only_state_and_tmp_can_be_written(image)
        every_package_is_pinned_and_every_extra_is_there(image)
        nothing_of_the_build_is_left(image)


def the_demo_runs_as_nobody_on_a_read_only_file_system(image):
    done = image.run("demo")
    assert done.returncode == 0, done.stderr
    assert "207 targets: 206 deleted, 1 gone" in done.stdout


def only_state_and_tmp_can_be_written(image):
    probe = (
        "import os, json\n"
        "paths = '/', '/etc', '/opt/pruner', '/usr', '/var', '/state', '/tmp'\n"
        "print(json.dumps([[p for p in paths if os.access(p, os.W_OK)], os.getuid(), os.getgid()]))"
    )
    done = image.run("-c", probe, entrypoint=["python3"])
    assert json.loads(done.stdout) == [["/state", "/tmp"], UID, UID], done.stderr


def the_configuration_is_what_the_manifests_rely_on(image):
    assert image.config["User"] == f"{UID}:{UID}"
    assert image.config["Entrypoint"] == ["pruner"]
    assert "PRUNER_STATE_DIR=/state" in image.config["Env"]
    assert "Healthcheck" not in image.config
    labels = image.config["Labels"]
    assert labels["org.opencontainers.image.title"] == "pruner"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert image.run("--version").stdout.split()[-1] == labels["org.opencontainers.image.version"]


def every_package_is_pinned_and_every_extra_is_there(image):
    pins = dict(re.findall(r"^([\w.-]+)==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    pinned = {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in pins.items()}
    probe = (
        "import importlib.metadata as m, json\n"
        "print(json.dumps([(d.name, d.version) for d in m.distributions()]))"
    )
    listed = json.loads(image.run("-c", probe, entrypoint=["python3"]).stdout)
    found = {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in listed}
    found = {pair for pair in found if pair[0] != "ncr-pruner"}
    assert found <= pinned
    assert {"uvloop", "kubernetes-asyncio", "prometheus-client", "apprise"} <= {name for name, _ in found}


def nothing_of_the_build_is_left(image):
    assert not (image.root / "run/secrets").exists()
    assert not (image.root / "src").exists()
    assert not (image.root / "tools").exists()
    assert not list((image.root / "opt/pruner").rglob("pip"))
    assert not [name for name in ("gcc", "make", "git") if (image.root / "usr/bin" / name).exists()]
    size = int(
        subprocess.run(
            ["du", "-sb", "--one-file-system", image.root], capture_output=True, text=True, check=True
        ).stdout.split()[0]
    )
    assert size < MAX_IMAGE_BYTES
