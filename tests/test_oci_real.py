"""The whole program on a real registry: Debian's docker-registry (distribution 2.8) on loopback."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from conftest import policy_text, seed
from oci_server import LOGIN, OciServer
from real_registry import PROGRAM, running

pytestmark = pytest.mark.skipif(
    PROGRAM is None,
    reason="NOT TESTED on a real registry: install docker-registry (Debian has it)",
)

POLICY = """\
version: 1
registries:
  lab: {{type: oci, url: "{url}/team"}}
policies:
  - name: builds
    registry: lab
    images: ["app-*", multi, signed]
    delete: [{{tags: ["**"], older_than: 30d}}]
    limits: {{keep_at_least: 0}}
{extra}
"""
TWO = """\
  - name: retire
    registry: lab
    targets: ["legacy:v1", "legacy:v9"]
"""


@pytest.fixture
def registry(tmp_path):
    with running(tmp_path / "registry") as registry:
        yield registry


@pytest.fixture
def lab(program, registry):
    """The program, logged in to the registry, and its policy."""
    program.env.update(PRUNER_OCI_USERNAME=LOGIN[0], PRUNER_OCI_PASSWORD=LOGIN[1])
    path = program.folder / "policy.yaml"
    path.write_text(POLICY.format(url=registry.url, extra=TWO))
    return program


def ago(days):
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


def everything():
    """Single images, shared digests, indexes with shared platforms, signatures, artifacts with a subject."""
    content = OciServer()
    for number in range(6):
        for tag in range(25):
            content.image(f"team/app-{number}", f"t{tag:02}", ago(40 + tag), f"{number}-{tag}")
    app = content.repository("team/app-0")
    app.tags |= {f"again-{tag:02}": app.tags[f"t{tag:02}"] for tag in range(10)}
    parts = [content.image("team/multi", f"part-{n}", ago(50), f"part {n}") for n in range(4)]
    for number in range(4):
        content.index("team/multi", f"v{number}", [parts[number], parts[(number + 1) % 4]])
    hidden = [content.image("team/multi", None, ago(50), f"hidden {n}") for n in range(2)]
    content.index("team/multi", "untagged-parts", hidden)
    for number in range(10):
        image = content.image("team/signed", f"s{number}", ago(60), f"signed {number}")
        signature = f"sha256-{image['digest'][7:]}.sig"
        content.image("team/signed", signature, None, f"signature {number}")
        content.image("team/signed", f"sbom-{number}", None, f"sbom {number}", subject=image)
    content.image("team/legacy", "v1", ago(900))
    content.image("team/legacy", "v2", ago(900))
    return content


def digests(registry, content):
    return {
        name: registry.digests(name, repository.tags) for name, repository in content.repositories.items()
    }


def counts(program):
    return {name: count for name, count in program.reports()[-1]["counts"].items() if count}


def test_a_plan_is_made_and_applied(lab, registry):
    content = everything()
    content.image("team/app-0", "new", ago(1), "new")
    registry.place(content)
    before = digests(registry, content)
    done = lab("plan", "policy.yaml", "-o", "plan.jsonl")
    assert done.returncode == 0, done.stderr
    assert (
        f"Credentials: environment (PRUNER_OCI_USERNAME, PRUNER_OCI_PASSWORD), user {LOGIN[0]}" in done.stderr
    )
    assert LOGIN[1] not in done.stderr + done.stdout
    assert digests(registry, content) == before
    done = lab("apply", "plan.jsonl", "--yes")
    assert done.returncode == 0, done.stderr
    after = digests(registry, content)
    left = {f"{name}:{tag}" for name, tags in after.items() for tag, digest in tags.items() if digest}
    assert left == {"team/app-0:new", "team/legacy:v2"}
    assert counts(lab) == {"deleted": 200, "gone": 1}


def test_what_stays_keeps_all_that_it_hangs_together_with(lab, registry):
    content = OciServer()
    old = [content.image("team/multi", f"old-{n}", ago(90), f"old {n}") for n in range(2)]
    content.index("team/multi", "new", [old[0], content.image("team/multi", None, ago(1), "fresh")])
    content.index("team/multi", "gone", [old[1]])
    image = content.image("team/signed", "s", ago(90))
    content.image("team/signed", "held", None, "sbom", subject=image)
    content.image("team/app-0", "a", ago(90), "same")
    content.image("team/app-0", "new", ago(1), "new")
    content.repository("team/app-0").tags["kept"] = content.repository("team/app-0").tags["a"]
    registry.push(content)
    extra = "    keep: [{tags: [kept]}]\n    hold: ['signed:held']\n"
    (lab.folder / "policy.yaml").write_text(POLICY.format(url=registry.url, extra=extra))
    done = lab("explain", "policy.yaml", "--all")
    assert f"old-0 stays: {old[0]['digest'][:19]} is part of 'new', which is kept" in done.stdout
    assert f"s stays: 'held', which is kept, belongs to {image['digest'][:19]}" in done.stdout
    assert "a stays: has the same digest as 'kept', which is kept" in done.stdout
    done = lab("run", "policy.yaml", "--yes")
    assert done.returncode == 0, done.stderr
    assert digests(registry, content)["team/multi"] == {
        "old-0": old[0]["digest"],
        "old-1": None,
        "new": content.repository("team/multi").tags["new"],
        "gone": None,
    }
    assert None not in digests(registry, content)["team/signed"].values()
    assert None not in digests(registry, content)["team/app-0"].values()


def test_a_digest_that_got_another_tag_meanwhile_stays(lab, registry):
    content = OciServer()
    content.image("team/app-0", "a", ago(90))
    content.image("team/app-0", "b", ago(90))
    registry.push(content)
    assert lab("plan", "policy.yaml", "-o", "plan.jsonl").returncode == 0
    again = OciServer()
    again.image("team/app-0", "a", None, None)
    again.repositories = content.repositories
    again.repository("team/app-0").tags["new"] = content.repository("team/app-0").tags["a"]
    registry.push(again)
    done = lab("apply", "plan.jsonl", "--yes")
    assert done.returncode == 0, done.stderr
    assert registry.digests("team/app-0", ["a", "b", "new"])["a"] is not None
    assert registry.digests("team/app-0", ["a", "b", "new"])["b"] is None
    assert counts(lab)["changed"] == 1


def test_undo_puts_back_every_digest(lab, registry):
    content = everything()
    registry.place(content)
    before = digests(registry, content)
    done = lab("run", "policy.yaml", "--yes", "--keep-manifests")
    assert done.returncode == 0, done.stderr
    assert counts(lab) == {"deleted": 200, "gone": 1}
    done = lab("undo", "--dry-run")
    assert "200 tags: 200 can be put back" in done.stdout
    assert digests(registry, content) != before
    done = lab("undo", "--only", "lab/signed:*", "--yes")
    assert "30 tags: 30 restored" in done.stdout, done.stderr
    done = lab("undo", "--yes")
    assert "200 tags: 170 restored, 30 there already" in done.stdout, done.stdout
    assert done.returncode == 0, done.stderr
    assert digests(registry, content) == before


@pytest.mark.parametrize("options", [(), ("-m",)], ids=["", "untagged as well"])
def test_undo_after_a_garbage_collection_says_what_is_gone(lab, registry, options):
    content = OciServer()
    for name in ("lost", "shared"):
        content.image("team/app-0", name, ago(90), name)
    app = content.repository("team/app-0")
    shared = json.loads(app.manifests[app.tags["shared"]][0])
    content.manifest("team/app-0", shared | {"annotations": {"kept": "yes"}}, "kept")
    content.index("team/multi", "v1", [content.image("team/multi", None, ago(90), "part")])
    registry.push(content)
    before = digests(registry, content)
    (lab.folder / "policy.yaml").write_text(
        POLICY.format(url=registry.url, extra="    keep: [{tags: [kept]}]\n    undo: true")
    )
    assert lab("run", "policy.yaml", "--yes").returncode == 0
    assert counts(lab) == {"deleted": 3}
    registry.collect_garbage(*options)
    done = lab("undo", "--yes", "--format", "json")
    assert done.returncode == 1
    outcomes = {o["target"]["tag"]: o["status"] for o in json.loads(done.stdout)["outcomes"]}
    # Without -m it leaves the manifests without a tag, and so what the index consists of.
    v1 = "blobs gone" if options else "restored"
    assert outcomes == {"lost": "blobs gone", "shared": "restored", "v1": v1}
    before["team/app-0"]["lost"] = None
    if options:
        before["team/multi"]["v1"] = None
    assert digests(registry, content) == before


def test_undo_leaves_alone_what_points_elsewhere(lab, registry):
    content = OciServer()
    content.image("team/app-0", "a", ago(90), "old")
    content.image("team/app-0", "b", ago(1), "new")
    registry.push(content)
    before = digests(registry, content)
    assert lab("run", "policy.yaml", "--yes", "--keep-manifests").returncode == 0
    newer = OciServer()
    newer.image("team/app-0", "a", ago(0), "pushed again")
    registry.push(newer)
    done = lab("undo", "--yes")
    assert done.returncode == 1
    assert "conflict" in done.stdout
    assert digests(registry, newer)["team/app-0"] == newer.repository("team/app-0").tags
    assert lab("undo", "--yes", "--force").returncode == 0
    assert digests(registry, content) == before


def test_a_wrong_password_is_one_sentence(lab, registry):
    lab.env["PRUNER_OCI_PASSWORD"] = "not-it"
    done = lab("plan", "policy.yaml")
    assert done.returncode == 4
    assert "the registry does not accept the credentials" in done.stderr
    assert "not-it" not in done.stderr
    assert "Traceback" not in done.stderr


def test_docker_s_own_login_is_used(lab, registry, tmp_path):
    content = OciServer()
    content.image("team/app-0", "a", ago(90))
    registry.push(content)
    for name in ("PRUNER_OCI_USERNAME", "PRUNER_OCI_PASSWORD"):
        del lab.env[name]
    folder = tmp_path / "home/.docker"
    folder.mkdir()
    auth = {"username": LOGIN[0], "password": LOGIN[1]}
    (folder / "config.json").write_text(json.dumps({"auths": {f"127.0.0.1:{registry.port}": auth}}))
    done = lab("list", "lab/app-0", "--oci", f"lab={registry.url}/team", "--format", "names")
    assert (done.returncode, done.stdout) == (0, "a\n")
    assert "config.json" in done.stderr


def test_orphans_are_found_and_deleted(lab, registry):
    content = OciServer()
    image = content.image("team/signed", "s", ago(90))
    content.image("team/signed", f"sha256-{image['digest'][7:]}.sig", None, "signature")
    content.image("team/signed", "sbom", None, "sbom", subject=image)
    alive = content.image("team/signed", "alive", ago(90), "alive")
    content.image("team/signed", "sbom-alive", None, "sbom alive", subject=alive)
    registry.push(content)
    rule = "    delete: [{orphaned: true}]\n"
    usual = '    delete: [{tags: ["**"], older_than: 30d}]\n'
    text = POLICY.format(url=registry.url, extra="").replace(usual, rule)
    (lab.folder / "policy.yaml").write_text(text)
    assert "0 tags of 0 images would go" in lab("plan", "policy.yaml").stdout
    registry.ask("DELETE", f"/v2/team/signed/manifests/{image['digest']}")
    done = lab("run", "policy.yaml", "--yes")
    assert done.returncode == 0, done.stderr
    left = digests(registry, content)["team/signed"]
    assert sorted(tag for tag, digest in left.items() if digest) == ["alive", "sbom-alive"]


def test_true_bytes_are_what_nothing_else_refers_to(lab, registry):
    content = OciServer()
    content.image("team/app-0", "old", ago(90), "old")
    content.image("team/app-0", "new", ago(1), "new")
    app = content.repository("team/app-0")
    old, new = (json.loads(app.manifests[app.tags[name]][0]) for name in ("old", "new"))
    shared = content.manifest("team/app-0", {**old, "layers": old["layers"] + new["layers"]}, "mixed")
    content.index("team/multi", "v1", [content.image("team/multi", None, ago(90), "part")])
    registry.push(content)
    (lab.folder / "policy.yaml").write_text(POLICY.format(url=registry.url, extra=""))
    parts = json.loads(content.repository("team/multi").manifests[app_digest(content, "team/multi", "v1")][0])
    part = parts["manifests"][0]
    inner = json.loads(content.repository("team/multi").manifests[part["digest"]][0])
    multi = len(json.dumps(parts)) + part["size"] + inner["config"]["size"] + inner["layers"][0]["size"]
    own = len(json.dumps(old)) + shared["size"] + old["config"]["size"] + old["layers"][0]["size"]
    document = json.loads(lab("plan", "policy.yaml", "--true-bytes", "--format", "json").stdout)
    assert document["summary"]["freed"] == {
        "bytes": own + multi,
        "policies": {"builds": own + multi},
        "unread": {},
    }
    assert [image["freed"] for image in document["images"]] == [own, multi]
    done = lab("plan", "policy.yaml", "--true-bytes", "-o", "plan.jsonl")
    assert "Of that, nothing else listed refers to" in done.stdout
    for form, said in (("markdown", "| frees |"), ("html", "referred to by nothing else")):
        assert said in lab("plan", "policy.yaml", "--true-bytes", "--format", form).stdout
    assert lab("apply", "plan.jsonl", "--yes").returncode == 0
    assert lab.reports()[-1]["bytes_freed_planned"] == own + multi


def app_digest(content, name, tag):
    return content.repository(name).tags[tag]


def test_true_bytes_of_ncr_are_not_known(program, emulated):
    emulator = emulated(seed=seed({"web": ["a", "b"]}))
    (program.folder / "policy.yaml").write_text(policy_text())
    done = program.at(emulator)("plan", "policy.yaml", "--true-bytes")
    assert done.returncode == 0, done.stderr
    assert "Not counted: acme, where 2 manifests could not be read." in done.stdout


def test_true_bytes_are_said_by_policy(lab, registry):
    content = OciServer()
    for name, days in (("app-0", 90), ("legacy", 900)):
        content.image(f"team/{name}", "v1", ago(days), name)
    registry.push(content)
    (lab.folder / "policy.yaml").write_text(POLICY.format(url=registry.url, extra=TWO))
    done = lab("plan", "policy.yaml", "--true-bytes")
    assert re.search(r"nothing else listed refers to .* \(builds [^,]*, retire [^)]*\)\.", done.stdout), (
        done.stdout
    )
    page = lab("plan", "policy.yaml", "--true-bytes", "--format", "html").stdout
    assert "of that by builds" in page
    assert "of that by retire" in page
