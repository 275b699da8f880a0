"""Debian's docker-registry (distribution 2.8) on loopback, with deletion and a login, filled by the tests."""

import base64
import http.client
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from conftest import reserved_port, until
from oci_server import LOGIN

PROGRAM = shutil.which("docker-registry")
# LOGIN, hashed by htpasswd -B at the lowest cost.
HTPASSWD = "alice:$2y$04$JwWZdBrH.btwTA0yIBWpuO28p9XZW3Fyrn0h.aUw2SO8Xnc8AoZC6\n"
_CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {folder}/data}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}
"""
_BASIC = f"Basic {base64.b64encode(':'.join(LOGIN).encode()).decode()}"
ACCEPT = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.index.v1",
        "oci.image.manifest.v1",
        "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v2",
    )
)


@dataclass
class RealRegistry:
    """A running server; ``folder`` has its configuration and its data."""

    folder: Path
    port: int
    process: subprocess.Popen | None = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        self.process = subprocess.Popen(
            [PROGRAM, "serve", self.folder / "config.yml"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._answers, self.process)

    def _answers(self):
        try:
            return self.ask("GET", "/v2/")[0] == 200
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(60)

    def collect_garbage(self, *options):
        """As an operator does: with the server stopped."""
        self.stop()
        subprocess.run(
            [PROGRAM, "garbage-collect", *options, self.folder / "config.yml"],
            check=True,
            capture_output=True,
            timeout=60,
        )
        self.start()

    def ask(self, method, path, body=None, headers=()):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {"Authorization": _BASIC, **dict(headers)})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def push(self, content):
        """Everything that an ``OciServer`` holds."""
        for name, repository in content.repositories.items():
            for digest, data in repository.blobs.items():
                _, headers, _ = self.ask("POST", f"/v2/{name}/blobs/uploads/", b"")
                where = urlsplit(headers["Location"])
                status, *_ = self.ask("PUT", f"{where.path}?{where.query}&digest={digest}", data)
                assert status == 201
            names = [(digest, digest) for digest in repository.manifests] + list(repository.tags.items())
            for reference, digest in names:
                data, kind = repository.manifests[digest]
                path = f"/v2/{name}/manifests/{reference}"
                status, _, body = self.ask("PUT", path, data, {"Content-Type": kind})
                assert status == 201, body

    def place(self, content):
        """Everything that an ``OciServer`` holds, as the registry's own files: where ``push`` takes long."""
        root = self.folder / "data/docker/registry/v2"
        for name, repository in content.repositories.items():
            place = root / "repositories" / name
            blobs = repository.blobs | {digest: data for digest, (data, _) in repository.manifests.items()}
            for digest, data in blobs.items():
                _written(root / "blobs/sha256" / digest[7:9] / digest[7:] / "data", data)
            for digest in repository.blobs:
                _linked(place / "_layers/sha256" / digest[7:], digest)
            for digest in repository.manifests:
                _linked(place / "_manifests/revisions/sha256" / digest[7:], digest)
            for tag, digest in repository.tags.items():
                _linked(place / "_manifests/tags" / tag / "current", digest)
                _linked(place / "_manifests/tags" / tag / "index/sha256" / digest[7:], digest)

    def digests(self, name, tags):
        """What each tag points to now; None where it is not there."""
        found = {}
        for tag in tags:
            status, headers, _ = self.ask("HEAD", f"/v2/{name}/manifests/{tag}", headers={"Accept": ACCEPT})
            found[tag] = headers["Docker-Content-Digest"] if status == 200 else None
        return found


def _linked(folder, digest):
    _written(folder / "link", digest.encode())


def _written(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@contextmanager
def running(folder):
    folder.mkdir()
    (folder / "htpasswd").write_text(HTPASSWD)
    with reserved_port() as port:
        (folder / "config.yml").write_text(_CONFIG.format(folder=folder, port=port))
        registry = RealRegistry(folder, port)
        registry.start()
        try:
            yield registry
        finally:
            registry.stop()
