"""What an OCI registry may do in the middle of a run, where a run or an undo may be cut off."""

import asyncio
import json
import signal
import sqlite3
import threading
from collections import Counter

import pytest
from aiohttp import web
from oci_server import LOGIN, OciServer, error, free_port, serving

from chaos.harness import EXIT_CODES, FAST, finished, until
from pruner.engine.runs import all_runs

POLICY = """\
version: 1
registries:
  lab: {{type: oci, url: "{url}/team"}}
policies:
  - name: all
    registry: lab
    images: ["**"]
    delete: [{{tags: ["t*", "v*"]}}]
    limits: {{keep_at_least: 0}}
"""
OLD = "2024-05-06T07:08:09Z"


@pytest.fixture
def server():
    with serving(OciServer()) as server:
        yield server


@pytest.fixture
def lab(program, server):
    program.env.update(PRUNER_OCI_USERNAME=LOGIN[0], PRUNER_OCI_PASSWORD=LOGIN[1])
    (program.folder / "policy.yaml").write_text(POLICY.format(url=server.url))
    return program


def fill(server, count=30):
    for number in range(count):
        server.image("team/web", f"t{number:02}", OLD)
        if number % 3 == 0:
            server.repository("team/web").tags[f"v{number:02}"] = server.repository("team/web").tags[
                f"t{number:02}"
            ]
    server.image("team/web", "stays", OLD)


def check(lab, server, done):
    """Only what was planned went, and only what the server deleted is called so; no secret anywhere."""
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in EXIT_CODES
    for path in lab.folder.rglob("*"):
        assert not path.is_file() or LOGIN[1].encode() not in path.read_bytes(), path
    assert LOGIN[1] not in done.stdout + done.stderr
    [report] = lab.reports()
    said = Counter(outcome["status"] for outcome in report["outcomes"])
    assert said == {name: count for name, count in report["counts"].items() if count}
    deleted = {f"team/web:{o['target']['tag']}" for o in report["outcomes"] if o["status"] == "deleted"}
    assert deleted <= set(server.deleted)
    assert len(server.deleted) == len(set(server.deleted))
    assert "stays" in server.tags("team/web")
    return report["counts"]


async def reset(request):
    request.transport.abort()
    await asyncio.sleep(0.01)
    return web.Response()


ANSWERS = {
    "500": lambda request: error(500, "UNKNOWN", "something"),
    "502 of a proxy": lambda request: web.Response(status=502, text="<html>bad gateway</html>"),
    "503 with Retry-After": lambda request: web.Response(status=503, headers={"Retry-After": "1"}),
    "429": lambda request: error(429, "TOOMANYREQUESTS", "slow down"),
    "reset": reset,
    "404 of a proxy": lambda request: web.Response(status=404, text="<html>not found</html>"),
    "201": lambda request: web.Response(status=201),
    "200": lambda request: web.Response(text="<html>", content_type="text/html"),
    "401": lambda request: error(401, "UNAUTHORIZED", "log in", {"WWW-Authenticate": 'Basic realm="x"'}),
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("mode", ["tag", "digest"])
@pytest.mark.parametrize("what", ANSWERS)
def test_a_strange_answer_to_some_deletes(lab, server, what, mode, when):
    """Of every fifth DELETE, instead of carrying it out or after that."""
    fill(server)
    server.delete_by = mode
    seen = Counter()

    def strange(request):
        seen[request.method] += 1
        chosen = request.method == "DELETE" and seen["DELETE"] % 5 == 1
        return ANSWERS[what](request) if chosen else None

    setattr(server, when, strange)
    done = lab("run", "policy.yaml", "--yes", *FAST, timeout=120)
    counts = check(lab, server, done)
    if what == "401":
        # Basic is refused although it was sent: nobody can tell this from a password that was changed.
        server.before = server.after = None
        done = lab("resume", *FAST, timeout=120)
        counts = check(lab, server, done)
    assert done.returncode == 0, done.stderr
    assert counts["deleted"] + counts["gone"] == 40
    assert server.tags("team/web") == ["stays"]


def test_a_registry_that_does_not_delete_stops_at_once(lab, server):
    fill(server)
    server.delete_by = "nothing"
    done = lab("run", "policy.yaml", "--yes", *FAST)
    assert done.returncode == 4
    check(lab, server, done)
    assert "the registry does not allow deletion" in done.stdout
    assert server.counts["DELETE"] < 100
    assert not server.deleted


def test_a_manifest_that_cannot_be_kept_is_not_deleted(lab, server):
    fill(server, 3)
    digest = server.repository("team/web").tags["t01"]
    asked = Counter()

    def missing(request):
        # Read for the plan, but not again.
        if request.method == "GET" and digest in request.path:
            asked[digest] += 1
            return error(404, "MANIFEST_UNKNOWN", "manifest unknown") if asked[digest] > 1 else None
        return None

    server.before = missing
    done = lab("run", "policy.yaml", "--yes", "--keep-manifests", *FAST)
    assert done.returncode == 1
    assert check(lab, server, done)["failed"] == 1
    assert "its manifest cannot be kept, so it was not deleted" in done.stdout
    assert server.tags("team/web") == ["stays", "t01"]


def kept_in(lab):
    [run] = all_runs(lab.state)
    with sqlite3.connect(run.manifests) as file:
        return {digest for (digest,) in file.execute("SELECT digest FROM manifests")}


@pytest.mark.parametrize("number", [1, 7])
def test_killed_between_keeping_and_deleting(lab, server, number):
    fill(server)
    before = dict(server.repository("team/web").tags)
    arrived, seen = threading.Event(), Counter()

    async def hold(request):
        if request.method == "DELETE":
            seen["DELETE"] += 1
            if seen["DELETE"] >= number:
                arrived.set()
                await asyncio.sleep(3600)

    server.before = hold
    process = lab.start("run", "policy.yaml", "--yes", "--keep-manifests", *FAST)
    until(arrived.is_set, process)
    process.send_signal(signal.SIGKILL)
    finished(process)
    server.before = None
    gone = {name.partition(":")[2] for name in server.deleted}
    assert {before[name] for name in gone} <= kept_in(lab)
    done = lab("resume", *FAST)
    assert done.returncode == 0, done.stderr
    check(lab, server, done)
    assert server.tags("team/web") == ["stays"]
    done = lab("undo", "--yes")
    assert done.returncode == 0, done.stderr
    assert server.repository("team/web").tags == before


@pytest.mark.parametrize("number", [1, 9])
def test_killed_while_putting_back(lab, server, number):
    fill(server)
    index = [server.image("team/web", None, OLD, "a"), server.image("team/web", None, OLD, "b")]
    server.index("team/web", "t-index", index)
    before = dict(server.repository("team/web").tags)
    assert lab("run", "policy.yaml", "--yes", "--keep-manifests", *FAST).returncode == 0
    arrived, seen = threading.Event(), Counter()

    async def hold(request):
        if request.method == "PUT":
            seen["PUT"] += 1
            if seen["PUT"] >= number:
                arrived.set()
                await asyncio.sleep(3600)

    server.before = hold
    process = lab.start("undo", "--yes")
    until(arrived.is_set, process)
    process.send_signal(signal.SIGKILL)
    finished(process)
    server.before = None
    done = lab("undo", "--yes")
    assert done.returncode == 0, done.stderr
    assert server.repository("team/web").tags == before


@pytest.mark.parametrize("what", [name for name in ANSWERS if name not in ("401", "200")])
def test_a_strange_answer_while_putting_back(lab, server, what):
    fill(server)
    before = dict(server.repository("team/web").tags)
    assert lab("run", "policy.yaml", "--yes", "--keep-manifests", *FAST).returncode == 0
    seen = Counter()

    def strange(request):
        seen[request.method] += 1
        if request.method == "PUT" and seen["PUT"] % 4 == 1:
            return ANSWERS[what](request)
        return None

    server.before = strange
    done = lab("undo", "--yes", timeout=120)
    report = json.loads(next(lab.state.glob("runs/*/undo.json")).read_bytes())
    restored = {o["target"]["tag"] for o in report["outcomes"] if o["status"] == "restored"}
    assert {name: server.repository("team/web").tags.get(name) for name in restored} == {
        name: before[name] for name in restored
    }
    server.before = None
    done = lab("undo", "--yes")
    assert done.returncode == 0, done.stderr
    assert server.repository("team/web").tags == before


def test_nothing_can_be_put_back_of_a_run_that_kept_nothing(lab, server):
    fill(server)
    assert lab("run", "policy.yaml", "--yes", *FAST).returncode == 0
    done = lab("undo", "--yes")
    assert done.returncode == 2
    assert "kept no manifests, so nothing of it can be put back" in done.stderr


def html(request):
    return web.Response(text="<html>welcome</html>", content_type="text/html")


def foreign_link(request):
    if "/tags/" in request.path:
        return web.json_response({"tags": ["t00"]}, headers={"Link": '<https://evil.example/x>; rel="next"'})
    return None


def wrong_bytes(request):
    if request.method == "GET" and "/manifests/sha256:" in request.path:
        return web.Response(body=b'{"schemaVersion": 2}')
    return None


BAD = {
    "HTML": (html, 5, "is not a registry: it answers /v2/ with HTTP 200, text/html"),
    "a link elsewhere": (
        foreign_link,
        3,
        "the next page is said to be on another server, https://evil.example",
    ),
    "a wrong digest": (wrong_bytes, 3, "are others than its digest says"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_answer_is_one_sentence_and_nothing_is_deleted(lab, server, what):
    fill(server)
    server.before, code, said = BAD[what]
    done = lab("run", "policy.yaml", "--yes", *FAST, timeout=120)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert done.stderr.count("pruner: ") == 1
    assert "Traceback" not in done.stderr
    assert not server.deleted


def test_a_token_server_that_is_down_is_one_sentence(lab, server):
    fill(server)
    server.auth, server.realm = "bearer", f"http://127.0.0.1:{free_port()}/token"
    done = lab("run", "policy.yaml", "--yes", *FAST, timeout=120)
    assert done.returncode == 5
    assert f"the token server {server.realm}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not server.deleted


def test_a_manifest_of_schema_1_stays_and_is_said(lab, server):
    server.image("team/app", "t1", OLD)
    document = {"schemaVersion": 1, "name": "app", "tag": "t0", "fsLayers": [], "history": []}
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    server.manifest("team/app", json.dumps(document).encode(), "t0", kind)
    done = lab("run", "policy.yaml", "--yes", *FAST)
    assert "lab/app:t0: a manifest of schema 1, which is not supported" in done.stderr
    assert server.tags("team/app") == ["t0", "t1"]
