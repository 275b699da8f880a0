"""What an OCI registry may do in the middle of a run, where a run or an undo may be cut off."""

import asyncio
import json
import signal
import sqlite3
import zlib
from collections import Counter

import pytest
from aiohttp import web
from conftest import kill, seed, stopping, until
from oci_server import LOGIN, OciServer, error, serving

from chaos.harness import EXIT_CODES, FAST, finished
from pruner.emulator import Gate
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


def kill_at(lab, server, method, number, *command):
    """Start a command, and kill it when its requests of ``method`` have come to ``number``, unanswered."""
    gate = Gate(lambda request: request.method == method, after=number - 1)
    server.before = gate.enter
    process = lab.start(*command)
    until(lambda: gate.held, process)
    kill(process, gate)
    server.before = None


@pytest.mark.parametrize("number", [1, 7])
def test_killed_between_keeping_and_deleting(lab, server, number):
    fill(server)
    before = dict(server.repository("team/web").tags)
    kill_at(lab, server, "DELETE", number, "run", "policy.yaml", "--yes", "--keep-manifests", *FAST)
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
    kill_at(lab, server, "PUT", number, "undo", "--yes")
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
    "HTML": (html, 5, "is not a registry: it answers /v2/ with HTTP 200 and a page of HTML"),
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


def test_a_token_server_that_is_down_is_one_sentence(lab, server, closed_port):
    fill(server)
    server.auth, server.realm = "bearer", f"http://127.0.0.1:{closed_port}/token"
    done = lab("run", "policy.yaml", "--yes", *FAST, timeout=120)
    assert done.returncode == 5
    assert f"the token server http://127.0.0.1:{closed_port}:" in done.stderr
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


# What an attack found


def test_the_command_line_cannot_change_what_a_plan_decided_on(lab, server):
    server.delete_by = "digest"
    image = server.image("team/web", "t1", OLD)
    server.repository("team/web").tags["prod"] = image["digest"]
    text = POLICY.format(url=server.url).replace('team"}', 'team", delete_by: tag}')
    (lab.folder / "policy.yaml").write_text(text + "    shared_digest: delete\n    hold: ['web:prod']\n")
    assert lab("plan", "policy.yaml", "-o", "plan.jsonl").returncode == 0
    done = lab("apply", "plan.jsonl", "--oci", f"lab={server.url}/team", "--yes")
    assert "prod" in server.tags("team/web"), done.stdout
    assert server.counts["DELETE"] == 1
    with serving(OciServer()) as other:
        other.image("team/web", "t1", OLD)
        for command in (["apply", "plan.jsonl"], ["run", "policy.yaml"]):
            done = lab(*command, "--oci", f"lab={other.url}/team", "--yes")
            assert done.returncode == 2
            assert "--oci says that registry 'lab' is at" in done.stderr
        assert not other.deleted


@pytest.mark.parametrize("second", ["/team", "", "/team/web"])
def test_two_names_for_the_same_images_are_refused(lab, server, second):
    fill(server, 3)
    text = POLICY.format(url=server.url).replace(
        "policies:", f"  prod: {{type: oci, url: '{server.url}{second}'}}\npolicies:"
    )
    hold = "  - {name: h, registry: prod, images: ['**'], keep: [{tags: ['**']}]}\n"
    (lab.folder / "policy.yaml").write_text(text + hold)
    done = lab("run", "policy.yaml", "--yes")
    assert done.returncode == 2
    assert "images in common; call them by one name" in done.stderr
    assert not server.deleted


def test_the_siblings_of_a_manifest_come_back_after_a_kill(lab, server):
    """With one DELETE went all of them: none of them was gone before."""
    server.delete_by = "digest"
    image = server.image("team/web", "t1", OLD)
    server.repository("team/web").tags |= {"t2": image["digest"], "t3": image["digest"]}
    server.image("team/web", "stays", OLD)
    before = dict(server.repository("team/web").tags)
    gate = Gate(lambda request: request.method == "DELETE" and "sha256:" in request.path)
    server.after = gate.enter
    process = lab.start("run", "policy.yaml", "--yes", "--keep-manifests", *FAST)
    until(lambda: gate.held, process)
    kill(process, gate)
    server.after = None
    done = lab("resume", *FAST)
    assert check(lab, server, done)["deleted"] == 3
    done = lab("undo", "--yes")
    assert done.returncode == 0, done.stderr
    assert server.repository("team/web").tags == before


def test_a_run_that_was_undone_is_not_resumed(lab, server):
    fill(server)
    assert lab("run", "policy.yaml", "--yes", "--keep-manifests", *FAST).returncode == 0
    assert lab("undo", "--yes").returncode == 0
    done = lab("resume")
    assert done.returncode == 3
    assert "was undone, at least in part" in done.stderr
    assert len(server.tags("team/web")) == 41


def test_each_image_keeps_all_the_parts_that_it_has(lab, server):
    """In one image a part of the same index was never pushed."""
    child = server.image("team/b", None, OLD, "part")
    for name in ("a", "b"):
        server.index(f"team/{name}", "t1", [child])
    assert lab("run", "policy.yaml", "--yes", "--keep-manifests", "--concurrency", "1").returncode == 0
    server.repository("team/b").manifests.clear()
    done = lab("undo", "--only", "lab/b:*", "--yes")
    assert done.returncode == 0, done.stdout
    assert server.tags("team/b") == ["t1"]


def damage(lab, digest, **values):
    [run] = all_runs(lab.state)
    with sqlite3.connect(run.manifests) as file:
        for name, value in values.items():
            file.execute(f"UPDATE manifests SET {name} = ? WHERE digest = ?", (value, digest))


@pytest.mark.parametrize(
    "values", [{"data": b"no zlib"}, {"data": zlib.compress(b"{}")}, {"links": "{"}, {"data": None}], ids=str
)
def test_a_damaged_manifest_is_never_put_back_and_the_others_are(lab, server, values):
    fill(server, 5)
    before = dict(server.repository("team/web").tags)
    assert lab("run", "policy.yaml", "--yes", "--keep-manifests", *FAST).returncode == 0
    try:
        damage(lab, before["t01"], **values)
    except sqlite3.IntegrityError:
        return
    done = lab("undo", "--yes")
    assert done.returncode == 1
    assert "is damaged" in done.stdout
    assert server.repository("team/web").tags == {k: v for k, v in before.items() if k != "t01"}


def test_one_tag_in_trouble_does_not_stop_the_others(lab, server):
    fill(server, 5)
    assert lab("run", "policy.yaml", "--yes", "--keep-manifests", *FAST).returncode == 0
    server.before = lambda request: (
        error(400, "MANIFEST_INVALID", "no") if request.method == "PUT" and "t01" in request.path else None
    )
    done = lab("undo", "--yes")
    assert done.returncode == 1
    assert "1 failed" in done.stdout
    assert len(server.tags("team/web")) == 7


def test_what_force_overwrites_is_kept(lab, server):
    fill(server, 1)
    before = dict(server.repository("team/web").tags)
    assert lab("run", "policy.yaml", "--yes", "--keep-manifests", *FAST).returncode == 0
    newer = server.image("team/web", "t00", OLD, "newer")
    assert lab("undo", "--yes", "--force").returncode == 0
    assert server.repository("team/web").tags == before
    assert newer["digest"] in kept_in(lab)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_what_is_being_put_back_finish(lab, server, number):
    fill(server)
    before = dict(server.repository("team/web").tags)
    assert lab("run", "policy.yaml", "--yes", "--keep-manifests", *FAST).returncode == 0
    gate = Gate(lambda request: request.method == "PUT")
    server.before = gate.enter
    process = lab.start("undo", "--yes", "--concurrency", "4", "--timeout", "600")
    until(lambda: gate.held == 4, process)
    stopping(process, number)
    gate.open()
    done = finished(process)
    assert done.returncode == (130 if number == signal.SIGINT else 143)
    assert "Traceback" not in done.stderr
    report = json.loads(next(lab.state.glob("runs/*/undo.json")).read_bytes())
    restored = {o["target"]["tag"] for o in report["outcomes"] if o["status"] == "restored"}
    assert restored == set(server.tags("team/web")) - {"stays"}
    server.before = None
    assert lab("undo", "--yes").returncode == 0
    assert server.repository("team/web").tags == before


@pytest.mark.parametrize("glob", ["[", ""])
def test_a_pattern_that_is_none_is_one_sentence(lab, server, glob):
    fill(server, 2)
    assert lab("run", "policy.yaml", "--yes", "--keep-manifests", *FAST).returncode == 0
    done = lab("undo", "--yes", "--only", glob)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("pruner: --only: ")


def test_ncr_without_a_second_door_says_so_before_anything_else(program, emulated):
    emulator = emulated(seed=seed({"web": ["a", "b"]}))
    program = program.at(emulator)
    done = program("delete", "acme/web:a", "--yes", "--keep-manifests")
    assert done.returncode == 2
    assert "say where registry 'acme' speaks the Docker Registry API" in done.stderr
    assert all_runs(program.state) == []
    assert emulator.counters.deleted == 0


def test_ncr_keeps_manifests_through_its_second_door(program, emulated, server):
    """The tags of NCR's API, and the same images by the Docker Registry API."""
    images = {name: server.image("web", name, OLD) for name in ("a", "b", "c")}
    tags = [{"name": name, "digest": image["digest"]} for name, image in images.items()]
    emulator = emulated(seed=seed({"web": tags}))
    endpoint = f"endpoint: '{emulator.endpoint}', v2_url: '{server.url}'"
    (program.folder / "policy.yaml").write_text(
        f"version: 1\nregistries: {{acme: {{{endpoint}}}}}\npolicies:\n"
        "  - {name: p, registry: acme, images: [web], delete: [{tags: ['*']}], undo: true}\n"
    )
    program.env.pop("PRUNER_ENDPOINT", None)
    assert program("plan", "policy.yaml", "-o", "plan.jsonl").returncode == 0
    done = program("apply", "plan.jsonl", "--yes")
    assert done.returncode == 0, done.stderr
    assert emulator.counters.deleted == 2
    assert len(kept_in(program)) == 2
    # NCR took the names away, and its other door puts them back.
    for name in ("b", "c"):
        server.repository("web").tags.pop(name)
    done = program("undo", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert server.tags("web") == ["a", "b", "c"]


def test_ncr_is_asked_what_hangs_together(program, emulated, server):
    """The tags of NCR's API with the manifests of its second door: one picture."""
    part = server.image("web", "part", OLD)
    index = server.index("web", "release", [part, server.image("web", None, OLD, "other")])
    old = server.image("web", "old", OLD, "old")
    sbom = server.image("web", "sbom", OLD, "sbom", subject=old)
    gone = server.image("web", None, OLD, "gone")
    lost = server.image("web", "lost", OLD, "lost", subject=gone)
    server.repository("web").manifests.pop(gone["digest"])
    made = {"part": part, "release": index, "old": old, "sbom": sbom, "lost": lost}
    tags = [{"name": name, "digest": item["digest"]} for name, item in made.items()]
    tags[1]["age_days"] = 1
    emulator = emulated(seed=seed({"web": tags}))
    place = f"{{endpoint: '{emulator.endpoint}', v2_url: '{server.url}', graph: true}}"
    text = (
        f"version: 1\nregistries: {{acme: {place}}}\n"
        "policies:\n  - name: p\n    registry: acme\n    images: [web]\n"
        "    delete: [{older_than: 30d}, {orphaned: true}]\n"
    )
    (program.folder / "policy.yaml").write_text(text)
    program.env.pop("PRUNER_ENDPOINT", None)
    done = program("explain", "policy.yaml", "--all")
    assert f"part stays: {part['digest'][:19]} is part of 'release', which is kept" in done.stdout
    assert "sbom goes: attached to 'old', which is deleted" in done.stdout
    assert "lost goes: orphaned" in done.stdout
    assert program("plan", "policy.yaml", "-o", "plan.jsonl", "--true-bytes").returncode == 0
    done = program("apply", "plan.jsonl", "--yes", *FAST)
    assert done.returncode == 0, done.stderr
    assert sorted(tag for _, _, tag in emulator.deleted_tags) == ["lost", "old", "sbom"]
    assert program.reports()[-1]["bytes_freed_planned"] > 0
    server.repository("web").manifests.pop(part["digest"])
    done = program("plan", "policy.yaml", PRUNER_CACHE_DIR=str(program.folder / "empty"))
    assert done.returncode == 3
    assert "acme/web:part: it is listed, and yet has no manifest" in done.stderr
