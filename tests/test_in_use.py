"""What is in use stays: reading clusters and files, what may be ours, and every path that deletes."""

import asyncio
import hashlib
import json
import os
import time
from pathlib import Path

import pytest
import yaml
from conftest import policy_text, seed
from hypothesis import given
from hypothesis import strategies as st
from kube_server import (
    Container,
    cron_job,
    cut_off,
    daemon_set,
    deployment,
    digest,
    dropped,
    job,
    kubeconfig,
    not_json,
    pod,
    replica_set,
    serving,
    stateful_set,
    too_many_requests,
    unavailable,
)
from test_end_to_end import FAST, deleted, write

from pruner import api
from pruner.app.options import InUseOptions
from pruner.app.proving import prove_again
from pruner.engine.final_check import compare
from pruner.errors import InputError, RefusedError
from pruner.model import Action, Links, ReasonKind, Status, Tag, Target
from pruner.plan.in_use import Proof, Resolver, check_proof, resolver
from pruner.plan.in_use_file import InUseFile, Source, Use, write_in_use
from pruner.plan.records import Entry, Header, ImageRecord, InUseFacts, RegistryFacts
from pruner.policy.conditions import NameMatches
from pruner.policy.image_policies import ImagePolicies
from pruner.policy.in_use import ImageUse, InUseDemand
from pruner.policy.policy import ExplicitTarget, Hold, Rule
from pruner.policy.retention import decide
from pruner.references import host_of, normal_place, parse_reference
from pruner.workloads.files import read_references
from pruner.workloads.kubernetes import ATTEMPTS, Cluster, read_cluster
from pruner.workloads.objects import KINDS, Usage

HOST = "acme.kr.ncr.ntruss.com"
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
NOW = 1_800_000_000_000
RBAC = Path(__file__).parent.parent / "deploy/kustomize/base/in-use-rbac.yaml"


# References


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nginx", ("docker.io", "library/nginx", "latest", None)),
        ("nginx:1.25", ("docker.io", "library/nginx", "1.25", None)),
        ("team/web", ("docker.io", "team/web", "latest", None)),
        (f"{HOST}/ci/web:v1", (HOST, "ci/web", "v1", None)),
        ("ACME.kr.ncr.ntruss.com/web", (HOST, "web", "latest", None)),
        (f"{HOST}:443/web:v1", (HOST, "web", "v1", None)),
        ("localhost/web:v1", ("localhost", "web", "v1", None)),
        ("localhost:5000/web", ("localhost:5000", "web", "latest", None)),
        ("[::1]:5000/web:a", ("[::1]:5000", "web", "a", None)),
        (f"{HOST}/web@{digest('x')}", (HOST, "web", None, digest("x"))),
        (f"{HOST}/web:v1@{digest('x')}", (HOST, "web", "v1", digest("x"))),
        ("index.docker.io/library/nginx:1", ("docker.io", "library/nginx", "1", None)),
    ],
)
def test_a_reference_is_read_as_docker_reads_it(text, expected):
    assert parse_reference(text) == expected
    assert host_of(text) == expected[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":v1",
        "/web",
        f"{HOST}/",
        f"{HOST}/Web:v1",
        f"{HOST}/web:",
        f"{HOST}/web:v1@sha256:12",
        "a b",
        "${X}/web:1",
    ],
)
def test_what_could_not_be_pulled_is_no_reference(text):
    with pytest.raises(InputError, match="is not an image reference"):
        parse_reference(text)


@pytest.mark.parametrize(
    "text", ["https://mirror.example.com", "mirror example", "mirror.example.com/", "a/B", "hub"]
)
def test_a_place_is_a_host_and_a_prefix(text):
    assert normal_place("Mirror.example.com:443/acme") == "mirror.example.com/acme"
    with pytest.raises(InputError, match="no place to pull images from"):
        normal_place(text)


# Which tags of an image stay


def tag(name, own="?", updated=NOW - 100 * DAY, links=None, platforms=()):
    parts = None if platforms is None else tuple(digest(part) for part in platforms)
    return Tag(
        Target("acme", "web", name), digest(own) if own else None, 1, None, updated, None, links, parts
    )


def used(*names, digests=()):
    found = ImageUse()
    for name in names:
        found.add(name, None, "Deployment shop/web")
    for own in digests:
        found.add(None, digest(own), "Pod shop/web-0")
    return found


def test_a_tag_stays_by_name_by_digest_and_by_a_digest_that_one_in_use_has():
    tags = [tag("a", "1"), tag("b", "1"), tag("c", "2"), tag("d", "3")]
    assert used("a", digests=["2"]).protected(tags) == {
        "a": "in use by Deployment shop/web",
        "b": "its digest is in use by Deployment shop/web as 'a'",
        "c": "its digest is in use by Pod shop/web-0",
    }


def test_what_belongs_to_a_digest_in_use_stays_too():
    signature = f"sha256-{digest('1').removeprefix('sha256:')}.sig"
    index = tag("index", "i", links=Links(children=(digest("1"), digest("2"))))
    subject = tag("sbom", "s", links=Links(subject=digest("1")))
    protected = used(digests=["1"]).protected([index, subject, tag(signature, "x"), tag("other", "9")])
    assert set(protected) == {"index", "sbom", signature}
    assert "a part of it is in use" in protected["index"]
    assert "belongs to a digest that is in use" in protected["sbom"]


def test_a_tag_stays_by_the_digest_of_a_platform():
    """A node may report the manifest of its platform, while the tag that it pulled has moved on."""
    tags = [tag("latest", "new", platforms="34"), tag("v1", "old", platforms="12"), tag("v0", "0")]
    assert used("latest", digests=["2"]).protected(tags) == {
        "latest": "in use by Deployment shop/web",
        "v1": "a part of it is in use by Pod shop/web-0",
    }


def test_what_a_tag_in_use_consists_of_stays_too():
    tags = [tag("v1", "1", platforms="23"), tag("v1-amd64", "2"), tag("v2", "4", platforms="25")]
    by_name = {"v1": "in use by Deployment shop/web"}
    part = "its digest is in use by {}, as a part of 'v1'"
    assert used("v1").protected(tags) == by_name | {"v1-amd64": part.format("Deployment shop/web as 'v1'")}
    assert used(digests=["1"]).protected(tags)["v1-amd64"] == part.format("Pod shop/web-0")
    # Nobody runs the other platform, of another index.
    assert "v2" not in used(digests=["1"]).protected(tags)
    policies = ImagePolicies(
        targets={t.name: (ExplicitTarget(t.target, "p", "f:2"), True) for t in tags}, in_use=used("v1")
    )
    assert [item.tag.name for item in decide(tags, policies, NOW) if item.action is Action.DELETE] == ["v2"]


def test_where_platforms_are_not_known_what_may_be_in_use_stays():
    unknown, linked = tag("a", "1", platforms=None), tag("b", "2", links=Links(), platforms=None)
    read = tag("c", "3", links=Links())
    why = "may be an image that is in use: a digest in use is of no listed tag"
    assert used(digests=["9"]).protected([unknown, linked, read]) == dict.fromkeys("a", why)
    # Somebody has the digest in use: no need to look for it anywhere else.
    assert set(used(digests=["3"]).protected([unknown, linked, tag("c", "3")])) == {"c"}
    assert set(used(digests=["9"]).protected([unknown, tag("c", "3", platforms="9")])) == {"c"}


def test_where_digests_are_not_known_what_may_be_in_use_stays():
    read = tag("b", "2", links=Links())
    assert set(used(digests=["1"]).protected([tag("a", None), read])) == {"a"}
    assert set(used("a").protected([tag("a", None), tag("b", "2")])) == {"a", "b"}
    assert used("gone").protected([tag("a", None), tag("b", "2")]) == {}


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from("12345")),
    st.sets(st.sampled_from("abcdefgh")),
    st.sets(st.sampled_from("12345")),
    st.booleans(),
)
def test_nothing_that_is_in_use_ever_goes(pairs, names, digests, explicit):
    """Neither by rules nor as explicit target, not even where shared digests may go, nor at the last look."""
    tags = [tag(name, own) for name, own in pairs.items()]
    everything = Rule("p", "f:1", "all", (NameMatches(lambda name: True, "all"),))
    targets = {t.name: (ExplicitTarget(t.target, "p", "f:2"), True) for t in tags} if explicit else {}
    policies = ImagePolicies(((everything, True),), targets=targets, in_use=used(*names, digests=digests))
    in_use = {digest(own) for own in digests} | {digest(own) for name, own in pairs.items() if name in names}
    going = [item.tag for item in decide(tags, policies, NOW) if item.action is Action.DELETE]
    assert all(item.name not in names and item.digest not in in_use for item in going)
    # A digest that no tag shows may be of the index that any of them names.
    is_unfound = any(digest(own) not in {t.digest for t in tags} for own in digests)
    assert {item.name for item in going} == {
        t.name for t in tags if not is_unfound and t.name not in names and t.digest not in in_use
    }
    entries = [entry(number, t) for number, t in enumerate(tags, 1)]
    record = ImageRecord("acme", "web", len(tags), len(tags))
    checked = compare(record, entries, tags, in_use=policies.in_use)
    assert {item.tag for item in checked.ready} <= {item.name for item in going}
    assert all(outcome.status is Status.CHANGED for _, outcome in checked.ended)


def entry(seq, of):
    return Entry(
        seq,
        "acme",
        "web",
        of.name,
        "p",
        "f:1",
        ReasonKind.DELETE_RULE,
        "all",
        of.digest,
        1,
        of.updated,
        delete_shared=True,
    )


def test_a_hold_is_still_the_reason_where_both_hold():
    hold = Hold("p", "f:3", lambda image: True, lambda name: name == "a", "hold web:a")
    decided = decide([tag("a", "1"), tag("b", "2")], ImagePolicies(holds=(hold,), in_use=used("a", "b")), NOW)
    assert [item.reasons[0].kind for item in decided] == [ReasonKind.HOLD, ReasonKind.IN_USE]


# Which references are ours


def resolve(*references, others=(), other_hosts=(), places=(HOST, "ab12cd34.kr.private-ncr.ntruss.com")):
    uses = [Use("prod", f"Pod shop/{number}", text) for number, text in enumerate(references)]
    facts = {"acme": RegistryFacts("https://x", pulled_from=tuple(places))}
    demand = InUseDemand(("prod",), other_hosts=tuple(map(tuple, other_hosts)))
    return resolver(facts, demand, others).resolve(uses)


def test_the_public_and_the_private_host_name_the_same_image():
    found = resolve(
        f"{HOST}/web:v1", "ab12cd34.kr.private-ncr.ntruss.com/web:v2", f"{HOST}/ci/api@{digest('1')}"
    )
    assert set(found) == {("acme", "web"), ("acme", "ci/api")}
    assert set(found["acme", "web"].tags) == {"v1", "v2"}
    assert set(found["acme", "ci/api"].digests) == {digest("1")}


def test_a_prefix_of_a_place_is_not_part_of_the_image():
    found = resolve(
        "mirror.example.com/acme/web:v1",
        "mirror.example.com/other/web:v1",
        places=["mirror.example.com/acme"],
    )
    assert set(found) == {("acme", "web")}


def test_images_of_others_are_nobody_s_business_here():
    others = (
        "nginx:1",
        "web:${TAG:-1.0}",
        "nginx@sha256:12",
        "ghcr.io/x/y:z",
        "quay.io/Bad/NAME",
        "team/web:${TAG}",
        "beta.kr.ncr.ntruss.com/web:v1",
    )
    assert resolve(*others) == {}


@pytest.mark.parametrize(
    "reference",
    [
        "ffffffff.kr.private-ncr.ntruss.com/web:v1",
        "acme.sg.ncr.ntruss.com/web:v1",
        f"{HOST}:8443/web:v1",
        f"{HOST}/web:<no tag>",
        f"{HOST}/web:${{TAG}}",
        f"{HOST}/Web",
        "${REGISTRY}/web:v1",
        "{{ .Values.registry }}/web:v1",
        "${IMAGE}",
        "${WEB_IMAGE:?set me}",
        f"user@{HOST}/web:v1",
        f"WEB_IMAGE={HOST}/web:v1",
        f"nginx:1,{HOST}/web:v1",
        "$IMAGE",
        "{{ .Values.image }}",
        "${REPO}:1.0",
        "<registry>/web:1",
        "__REGISTRY__/web:1",
        "%REG%/web:1",
        "@@REG@@/web:1",
        f'"{HOST}/web:v1"',
        f'["{HOST}/web:v1"]',
        f" {HOST}/web:v1",
        f"//{HOST}/web:v1",
        f"docker://{HOST}/web:v1",
        f"null/{HOST}/web:v1",
        f"mirror.example.com/{HOST}/web:v1",
        "ffffffff.kr.private-ncr.ntruss.com:5000/web:v1",
        "ffffffff.kr.private-ncr.ntruss.com./web:v1",
    ],
)
def test_what_may_be_ours_and_is_not_understood_refuses_the_run(reference):
    with pytest.raises(RefusedError) as caught:
        resolve(f"{HOST}/web:v1", reference)
    assert reference in str(caught.value)
    assert "Pod shop/1 in 'prod'" in str(caught.value)
    assert "also_pulled_from" in str(caught.value)


def test_hosts_that_are_known_to_be_others_are_no_reason_to_refuse():
    host = "ffffffff.kr.private-ncr.ntruss.com"
    assert resolve(f"{host}/web:v1", others={host}) == {}
    assert resolve(f"{host}/web:v1", other_hosts=[["ffffffff.*"]]) == {}
    # What one policy says of its own cluster does not hold for another that does not say it.
    for others_of_another in ([], ["eeeeeeee.*"]):
        with pytest.raises(RefusedError, match="looks like a registry of ours"):
            resolve(f"{host}/web:v1", other_hosts=[["ffffffff.*"], others_of_another])


def test_a_registry_that_nobody_knows_a_host_of_refuses_the_run():
    with pytest.raises(RefusedError, match="nothing says where workloads pull the images of acme from"):
        resolve(f"{HOST}/web:v1", places=())


def test_many_problems_are_counted():
    with pytest.raises(RefusedError, match="and 80 more"):
        resolve(*(f"{HOST}/web{number}:<no tag>" for number in range(100)))


# Whether it is proven


def proof(*sources):
    return Proof(tuple(Source(name, "kubernetes", at, tuple(missing)) for name, at, *missing in sources))


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        (None, "nothing says what is in use in 'prod'"),
        (proof(("staging", NOW)), "nothing says what is in use in 'prod'"),
        (proof(("prod", NOW - 3 * HOUR)), "'prod' was read 3 hours ago; the limit is 2 hours"),
        (proof(("prod", NOW + 10 * MINUTE)), "yet to come"),
        (proof(("prod", NOW, "pods: HTTP 403: forbidden")), "'prod' was not read: pods: HTTP 403: forbidden"),
        (proof(("prod", NOW), ("staging", NOW - DAY)), "'staging' was read"),
    ],
)
def test_what_is_missing_of_a_proof_is_named(given_, said):
    with pytest.raises(RefusedError) as caught:
        check_proof(given_, InUseDemand(("prod",)), NOW)
    assert said in str(caught.value)
    assert "--in-use FILE" in str(caught.value)


def test_a_proof_that_covers_everything_is_accepted():
    check_proof(proof(("prod", NOW - HOUR), ("compose", NOW)), InUseDemand(("prod",)), NOW)


def check_planned(facts, now, max_age=None):
    header = Header("", 1, "", "", (), {}, NOW, NOW, {}, facts)
    return prove_again(header, InUseOptions((), max_age), now)


def test_a_plan_s_own_proof_gets_too_old():
    facts = InUseFacts({"prod": NOW}, ("prod",), 2 * HOUR)
    check_planned(None, NOW)
    check_planned(facts, NOW + HOUR)
    with pytest.raises(RefusedError, match="was read 3 hours ago"):
        check_planned(facts, NOW + 3 * HOUR)
    with pytest.raises(RefusedError, match="the limit is 30 minutes"):
        check_planned(facts, NOW + HOUR, 30 * MINUTE)


def saved(path, *uses, sources=(("prod", None),)):
    now = int(time.time() * 1000)
    with path.open("wb") as file:
        write_in_use(
            file,
            [Source(name, "kubernetes", now if at is None else at) for name, at in sources],
            [Use("prod", "Deployment shop/web", *use) for use in uses],
        )
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:-20], "not a line|breaks off"),
        (lambda data: b"".join(data.splitlines(True)[:-1]), "breaks off"),
        (lambda data: data.replace(b"web:v1", b"web:v2"), "was changed"),
        (lambda data: data + b"{}\n", "was changed"),
        (lambda data: data.replace(b'"version":1', b'"version":2'), "version 2"),
        (lambda data: b"", "breaks off"),
        (lambda data: b"acme/web:v1\n", "not a line"),
        (lambda data: data.splitlines(True)[0] + data, "second header"),
    ],
)
def test_a_file_that_is_not_whole_proves_nothing(tmp_path, change, said):
    path = saved(tmp_path / "in-use.jsonl", (f"{HOST}/web:v1",), (f"{HOST}/web:v3",))
    assert len(InUseFile(path).uses) == 2
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=said):
        InUseFile(path)


def in_use_file(path, *lines, sources=({"name": "prod", "kind": "kubernetes", "read_at": NOW},)):
    """A file of any sources and lines, whole by its footer."""
    header = {"type": "header", "format": "ncr-pruner.in-use", "version": 1, "tool": "t", "sources": sources}
    data = b"".join(json.dumps(line).encode() + b"\n" for line in (header, *lines))
    footer = {"type": "footer", "uses": len(lines), "sha256": hashlib.sha256(data).hexdigest()}
    path.write_bytes(data + json.dumps(footer).encode() + b"\n")
    return path


def use_line(**changed):
    return {"type": "use", "source": "prod", "workload": "Pod a/b", "reference": f"{HOST}/web:v1"} | changed


SOURCE = {"name": "prod", "kind": "kubernetes", "read_at": NOW}


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ([], "names no source"),
        (None, "not a line of an in-use file"),
        ([SOURCE, SOURCE | {"read_at": NOW - 1}], "the source 'prod' is duplicated"),
        ([SOURCE | {"name": ""}], "not a line of an in-use file"),
        ([SOURCE | {"read_at": None}], "not a line of an in-use file"),
        ([{"name": "prod", "kind": "kubernetes"}], "not a line of an in-use file"),
        ([SOURCE | {"read_at": -1}], "not a line of an in-use file"),
        ([SOURCE | {"read_at": 10**30}], "not a line of an in-use file"),
        ([SOURCE | {"read_at": "today"}], "not a line of an in-use file"),
        ([SOURCE | {"missing": None}], "not a line of an in-use file"),
    ],
)
def test_a_file_whose_sources_are_not_clear_is_bad_input(tmp_path, sources, said):
    path = in_use_file(tmp_path / "in-use.jsonl", use_line(), sources=sources)
    with pytest.raises(InputError, match=said):
        InUseFile(path)
    with pytest.raises(InputError, match=said):
        Proof.of([path])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"source": "other"}, ":2: the header has no source 'other'"),
        ({"source": ""}, ":2: the header has no source ''"),
        ({"reference": ""}, "not a line of an in-use file"),
        ({"reference": " \t"}, "not a line of an in-use file"),
        ({"reference": None}, "not a line of an in-use file"),
        ({"digest": ""}, "not a line of an in-use file"),
        ({"digest": digest("x").upper()}, "not a line of an in-use file"),
        ({"digest": digest("x")[:-1]}, "not a line of an in-use file"),
        ({"digest": digest("x") + "\n"}, "not a line of an in-use file"),
    ],
)
def test_a_use_that_is_not_clear_is_bad_input(tmp_path, changed, said):
    assert len(InUseFile(in_use_file(tmp_path / "in-use.jsonl", use_line(digest=digest("x")))).uses) == 1
    with pytest.raises(InputError, match=said):
        InUseFile(in_use_file(tmp_path / "in-use.jsonl", use_line(**changed)))


def test_only_a_regular_file_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/null")):
        with pytest.raises(InputError, match=r"is (a pipe|a folder|a device), not a file"):
            InUseFile(path)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        InUseFile(tmp_path / "missing")


def test_a_source_is_in_one_file_only(tmp_path):
    paths = [in_use_file(tmp_path / name) for name in ("a", "b")]
    with pytest.raises(InputError, match=r"b: the source 'prod' is in .*a too"):
        Proof.of(paths)
    with pytest.raises(InputError, match=r"a: the source 'prod' is in .*a too"):
        Proof.of(paths[:1] * 2)


@pytest.mark.parametrize("demanded", [(), ("prod",)])
def test_a_proof_without_sources_proves_nothing(demanded):
    for nothing in (None, Proof()):
        with pytest.raises(RefusedError, match="nothing says what is in use"):
            check_proof(nothing, InUseDemand(demanded), NOW)
    with pytest.raises(RefusedError, match="nothing says what is in use"):
        check_planned(InUseFacts({}, demanded, 2 * HOUR), NOW)


# Files of references


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# the shop\nacme/web:v1\n\nacme/api:v2  # old\n", ["2 acme/web:v1", "4 acme/api:v2"]),
        (
            "services:\n  web:\n    image: acme/web:v1\n  db: {image: 'postgres:16'}\n",
            ["3 acme/web:v1", "4 postgres:16"],
        ),
        ("x: &a {image: 'a:1'}\ny: *a\nz:\n  <<: *a\n", ["1 a:1"]),
        ("image: {repository: acme/web, tag: v1}\n", ["1 acme/web:v1"]),
        ("image: {registry: r.example.com, repository: web, tag: 1.5}\n", ["1 r.example.com/web:1.5"]),
        ("image: {repository: web}\n", ["1 web:<no tag>"]),
        ("image: r.io/a\ntag: 2\n", ["1 r.io/a:2", "1 r.io/a"]),
        ("image: {repository: r.io/a, tag: 1.10}\n", ["1 r.io/a:1.10", "1 r.io/a:1.1"]),
        ("image: {repository: r.io/a, name: b, tag: x}\n", ["1 r.io/a:x", "1 r.io/a/b:x"]),
        ("images:\n- {name: a, newName: r.io/b, newTag: x}\n", ["2 a:x", "2 r.io/b:x"]),
        ("imageRepository: r.io/a\nimageTag: x\n", ["1 r.io/a:x", "1 r.io/a"]),
        (f"image: {{repository: web, digest: '{digest('1')}'}}\n", [f"1 web@{digest('1')}"]),
        (
            "workerImage: a/b:1\nx: {images: ['c:2', {repository: d, tag: 3}]}\n",
            ["1 a/b:1", "2 c:2", "2 d:3"],
        ),
        ("sidecar: {repository: r.io/x, tag: 1}\n", ["1 r.io/x:1", "1 r.io/x"]),
        ("image: !override a/b:1\n", ["1 a/b:1"]),
        ("image: {registry: null, repository: a/b, tag: 1}\n", ["1 a/b:1"]),
        ("x: &x {repository: a/b}\nimage: {<<: *x, tag: 1}\n", ["2 a/b:1"]),
        ("volumes:\n- image: {reference: r.io/model:1, pullPolicy: Always}\n", ["2 r.io/model:1"]),
        ("global: {imageRegistry: r.io}\nimage: {repository: a/b, tag: 1}\n", ["2 a/b:1", "2 r.io/a/b:1"]),
        ("job:\n  run: r.io/tool:3\n", ["2 r.io/tool:3"]),
        ("'docker://r.io/a:1'\n\"r.io/b:2\",\n", ["1 r.io/a:1", "2 r.io/b:2"]),
        ("kind: Pod\nspec:\n  containers:\n  - image: a:1\n---\nspec: {image: b:2}\n", ["4 a:1", "6 b:2"]),
    ],
)
def test_references_are_found_in_lines_and_in_yaml(tmp_path, text, expected):
    path = tmp_path / "references"
    path.write_text(text)
    found = [f"{item.workload.rpartition(':')[2]} {item.reference}" for item in read_references(str(path))]
    assert sorted(set(found)) == sorted(expected)


def test_a_reference_whose_tag_may_stand_elsewhere_protects_its_whole_image(tmp_path):
    path = tmp_path / "values.yaml"
    path.write_text(f"web: {{image: {HOST}/web, version: v7}}\n")
    [found] = read_references(str(path))
    assert (found.reference, found.runs_unknown) == (f"{HOST}/web", True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no image in it"),
        ("a: b\n", "no image in it"),
        ("a: [\n", "nor YAML"),
        ("a b\nc d: e: f\n", "nor YAML"),
    ],
)
def test_a_file_without_references_is_an_error(tmp_path, text, said):
    path = tmp_path / "references"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_references(str(path))
    with pytest.raises(InputError, match="cannot be read"):
        read_references(str(tmp_path / "missing"))


# Clusters


async def no_sleep(seconds):
    assert 0 <= seconds <= 30


def read(server, folder, timeout=10.0, **users):
    path = server.kubeconfig(folder, **users)
    return asyncio.run(read_cluster(Cluster("prod", Path(path), timeout=timeout), no_sleep))


@pytest.fixture
def cluster():
    with serving() as server:
        yield server


def test_all_that_may_run_is_found(cluster, tmp_path):
    web = deployment("web", ["acme/web:v3"], init=["acme/migrate:v1"], revision=3)
    before = [replica_set(f"web-{n}", [f"acme/web:v{n}"], replicas=0, revision=n, owner=web) for n in (1, 2)]
    nightly = cron_job("nightly", ["acme/report:v1"])
    cluster.add(
        web,
        *before,
        stateful_set("db", ["acme/db:v1"]),
        daemon_set("agent", ["acme/agent:v1"]),
        job("migrate", ["acme/job:v1"]),
        job("done", ["acme/over:v1"], state="complete"),
        nightly,
        pod("bare", ["acme/bare:v1"], ephemeral=["acme/debug:v1"]),
        pod("over", ["acme/over:v2"], phase="Succeeded"),
        pod("waiting", ["acme/pending:v1"], phase="Pending", is_scheduled=False),
    )
    usages, missing = read(cluster, tmp_path)
    assert missing == []
    assert {item.reference for item in usages if "@" not in item.reference} == {
        *(f"acme/web:v{number}" for number in (1, 2, 3)),
        "acme/migrate:v1",
        "acme/db:v1",
        "acme/agent:v1",
        "acme/job:v1",
        "acme/report:v1",
        "acme/bare:v1",
        "acme/debug:v1",
        "acme/pending:v1",
    }
    assert Usage("Deployment default/web", "acme/web:v3") in usages
    assert Usage("ReplicaSet default/web-1 (an earlier revision)", "acme/web:v1") in usages
    assert Usage("Pod default/bare", "acme/bare:v1", digest("acme/bare:v1")) in usages
    assert cluster.only_listed()


def test_earlier_revisions_beyond_those_kept_by_default_are_not_in_use(cluster, tmp_path):
    web = deployment("web", ["acme/web:v30"], revision=30)
    cluster.add(
        *(replica_set(f"web-{n}", [f"a:v{n}"], replicas=0, revision=n, owner=web) for n in range(1, 30))
    )
    usages, _ = read(cluster, tmp_path)
    assert {item.reference for item in usages} == {f"a:v{n}" for n in range(20, 30)}


@pytest.mark.parametrize("runtime", ["containerd", "cri-o", "docker"])
def test_what_runs_is_known_by_digest_whatever_the_runtime_writes(cluster, tmp_path, runtime):
    cluster.add(pod("web", [Container(f"{HOST}/web:v1", runtime=runtime)]))
    usages, _ = read(cluster, tmp_path)
    own = digest(f"{HOST}/web:v1")
    assert usages == [
        Usage("Pod default/web", f"{HOST}/web:v1", own),
        Usage("Pod default/web", f"{HOST}/web@{own}"),
    ]


@pytest.mark.parametrize("runtime", ["config", "docker-config", "none"])
def test_a_digest_that_no_registry_knows_is_none(cluster, tmp_path, runtime):
    cluster.add(pod("web", [Container(f"{HOST}/web:v1", runtime=runtime)]))
    assert read(cluster, tmp_path)[0] == [Usage("Pod default/web", f"{HOST}/web:v1", runs_unknown=True)]


def test_a_container_that_was_never_started_runs_nothing(cluster, tmp_path):
    cluster.add(pod("web", [Container(f"{HOST}/web:v1", state="pulling")]))
    assert read(cluster, tmp_path)[0] == [Usage("Pod default/web", f"{HOST}/web:v1")]


def test_where_the_digest_that_runs_is_not_known_the_whole_image_stays():
    unknown = ImageUse()
    unknown.add("latest", None, "Pod shop/web-0", runs_unknown=True)
    protected = unknown.protected([tag("latest", "2"), tag("v1", "1")])
    assert set(protected) == {"latest", "v1"}
    assert protected["v1"] == "may be what Pod shop/web-0 runs: its node does not say the digest"
    found = resolver({"acme": RegistryFacts("https://x", pulled_from=(HOST,))}, InUseDemand()).resolve(
        [Use("prod", "Pod shop/web-0", f"{HOST}/web:latest", None, True)]
    )
    assert found["acme", "web"].any_tag


def test_many_workloads_of_one_image_are_noted_in_no_time():
    use = ImageUse()
    for number in range(100_000):
        use.add("v1", digest("1"), f"Pod shop/web-{number}")
    assert use.protected([tag("v1", "1")]) == {"v1": "in use by Pod shop/web-0 and 99999 more"}


def test_a_tag_that_took_over_a_used_digest_since_the_plan_is_left_alone():
    """As where 'latest' was rolled back: the plan itself knows what was in use when it was made."""
    record = ImageRecord("acme", "web", 3, 1, used_tags=("latest",), used_digests=(digest("9"),))
    planned = [entry(1, tag("v0", "0"))]
    assert len(compare(record, planned, [tag("v0", "0"), tag("latest", "9")]).ready) == 1
    checked = compare(record, planned, [tag("v0", "0"), tag("latest", "0")])
    assert checked.ready == []
    assert "when the plan was made as 'latest'" in checked.ended[0][1].error


def test_what_a_mirror_gave_is_known_by_both_names(cluster, tmp_path):
    own = digest("moved")
    cluster.add(pod("web", [Container(f"{HOST}/web:v1", image_id=f"mirror.example.com/web@{own}")]))
    usages, _ = read(cluster, tmp_path)
    assert usages == [
        Usage("Pod default/web", f"{HOST}/web:v1", own),
        Usage("Pod default/web", f"mirror.example.com/web@{own}"),
    ]


def test_a_large_cluster_is_read_in_pages(cluster, tmp_path):
    cluster.add(*(pod(f"p{number}", [f"acme/web:v{number}"]) for number in range(1201)))
    usages, missing = read(cluster, tmp_path)
    assert missing == []
    assert len({item.reference for item in usages if "@" not in item.reference}) == 1201
    assert [request.page for request in cluster.lists("pods")] == [1, 2, 3]


def test_a_list_that_expires_in_the_middle_is_begun_again(cluster, tmp_path):
    cluster.add(*(pod(f"p{number}", [f"acme/web:v{number}"]) for number in range(1201)))
    cluster.expire("pods", after_pages=2)
    usages, missing = read(cluster, tmp_path)
    assert missing == []
    assert len({item.reference for item in usages if "@" not in item.reference}) == 1201
    assert len(cluster.lists("pods")) > 4


def test_a_list_that_expires_again_and_again_proves_nothing(cluster, tmp_path):
    cluster.add(*(pod(f"p{number}", [f"acme/web:v{number}"]) for number in range(1201)))
    cluster.expire("pods", after_pages=1, times=100)
    _, missing = read(cluster, tmp_path)
    assert missing == ["pods: the list expired in each of 4 attempts (HTTP 410)"]


@pytest.mark.parametrize("answer", [too_many_requests(), unavailable(), cut_off(), dropped()])
def test_trouble_that_passes_is_waited_for(cluster, tmp_path, answer):
    cluster.add(pod("web", ["acme/web:v1"]))
    cluster.fail("pods", answer, times=2)
    usages, missing = read(cluster, tmp_path)
    assert (len(usages), missing) == (2, [])


@pytest.mark.parametrize(
    ("answer", "said"),
    [(unavailable(), "HTTP 503"), (not_json(), "the answer is not a PodList"), (dropped(), "pods: ")],
)
def test_trouble_that_stays_proves_nothing(cluster, tmp_path, answer, said):
    cluster.fail("pods", answer, times=100)
    _, missing = read(cluster, tmp_path)
    assert len(missing) == 1
    assert said in missing[0]


def test_a_list_that_never_comes_proves_nothing(cluster, tmp_path):
    held = [cluster.hold("deployments") for _ in range(ATTEMPTS)]
    _, missing = read(cluster, tmp_path, timeout=1.0)
    assert all(one.arrived.is_set() for one in held)
    # On a busy machine others may be late as well.
    assert "deployments: no answer within 1 s" in missing


@pytest.mark.parametrize("kind", [kind.resource for kind in KINDS])
def test_a_kind_that_may_not_be_listed_proves_nothing(cluster, tmp_path, kind):
    cluster.forbid(kind)
    _, missing = read(cluster, tmp_path)
    assert len(missing) == 1
    assert missing == [f"{kind}: HTTP 403 (Forbidden): the login does not have the permission to list"]


def test_a_wrong_token_or_authority_proves_nothing(tmp_path):
    with serving() as one, serving() as other:
        wrong = kubeconfig(tmp_path, {"x": (one, {"token": "nobody"})}, current="x")
        _, missing = asyncio.run(read_cluster(Cluster("prod", Path(wrong)), no_sleep))
        assert len(missing) == 1
        assert missing[0].startswith("HTTP 401")
        config = yaml.safe_load(Path(one.kubeconfig(tmp_path)).read_text())
        trusted = yaml.safe_load(Path(other.kubeconfig(tmp_path, name="other")).read_text())
        config["clusters"][0]["cluster"]["certificate-authority-data"] = trusted["clusters"][0]["cluster"][
            "certificate-authority-data"
        ]
        path = tmp_path / "mixed"
        path.write_text(yaml.safe_dump(config))
        _, missing = asyncio.run(read_cluster(Cluster("prod", path), no_sleep))
        assert len(missing) == 1
        assert "certificate" in missing[0].lower()


def test_a_cluster_in_which_nothing_runs_proves_nothing(cluster, tmp_path):
    assert read(cluster, tmp_path) == ([], ["nothing there uses any image; is it the right cluster?"])


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("cluster", "certificate-authority-data", "bm9uZQ=="),
        ("cluster", "certificate-authority-data", "%%%"),
        ("cluster", "server", "https://" + "a" * 70 + ".example"),
        ("cluster", "server", "foo bar"),
        ("user", "client-certificate-data", "bm9uZQ=="),
        ("user", "token", "a\nb"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_proves_nothing(cluster, tmp_path, part, name, value):
    path = Path(cluster.kubeconfig(tmp_path))
    config = yaml.safe_load(path.read_text())
    config[f"{part}s"][0][part][name] = value
    path.write_text(yaml.safe_dump(config))
    usages, missing = asyncio.run(read_cluster(Cluster("prod", path, timeout=5.0), no_sleep))
    assert usages == []
    assert missing


def test_a_plugin_that_never_ends_is_not_waited_for(cluster, tmp_path):
    path = Path(cluster.kubeconfig(tmp_path))
    config = yaml.safe_load(path.read_text())
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sleep", "args": ["1000"]}
    config["users"][0]["user"] = {"exec": plugin | {"interactiveMode": "Never"}}
    path.write_text(yaml.safe_dump(config))
    _, missing = asyncio.run(read_cluster(Cluster("prod", path, timeout=0.5), no_sleep))
    assert missing == ["no way to log in within 0.5 s"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"insecure-skip-tls-verify": True}, "its certificate is not verified"),
        ({"server": "http://10.0.0.1:8080"}, "its address is plain http"),
    ],
)
def test_a_cluster_that_anybody_could_answer_for_proves_nothing(cluster, tmp_path, change, said):
    path = Path(cluster.kubeconfig(tmp_path))
    config = yaml.safe_load(path.read_text())
    own = config["clusters"][0]["cluster"]
    own.pop("certificate-authority-data")
    own.update(change)
    path.write_text(yaml.safe_dump(config))
    _, missing = asyncio.run(read_cluster(Cluster("prod", path), no_sleep))
    assert len(missing) == 1
    assert said in missing[0]
    assert cluster.requests == []


def test_an_object_that_is_not_as_documented_proves_nothing(cluster, tmp_path):
    strange = pod("web", ["acme/web:v1"])
    del strange["spec"]["containers"]
    cluster.add(strange)
    _, missing = read(cluster, tmp_path)
    assert len(missing) == 1
    assert "an object is not as documented" in missing[0]


# The program


@pytest.fixture
def shop(program, emulated, cluster, tmp_path):
    """A registry of six tags, b and c of one digest, and a cluster that runs b, and d and a platform of f."""
    names = [{"name": name, "digest": digest({"c": "b"}.get(name, name))} for name in "abcdef"]
    names[-1]["platforms"] = [{"digest": digest("amd64")}, {"digest": digest("arm64")}]
    emulator = emulated(seed=seed({"web": names}))
    cluster.add(
        deployment("web", [f"{HOST}/web:b"]),
        pod("old", [Container(f"{HOST}/web:gone", image_id=f"{HOST}/web@{digest('d')}")]),
        pod("arm", [Container(f"{HOST}/web:gone", image_id=f"{HOST}/web@{digest('arm64')}")]),
    )
    config = cluster.kubeconfig(tmp_path, {"prod": cluster.token_user()})
    return program.at(emulator), emulator, cluster, config


ALL = policy_text(extra="    limits: {keep_at_least: 0}\n")
DEMANDING = policy_text(extra="    limits: {keep_at_least: 0}\n    in_use: {clusters: [prod], max_age: 2h}\n")


def in_use(program, config, *more):
    return program("in-use", "--kubeconfig", config, "-o", "in-use.jsonl", *more)


@pytest.mark.parametrize("way", ["run", "delete", "apply"])
def test_what_runs_in_a_cluster_survives_every_path(shop, way):
    program, emulator, _, config = shop
    done = in_use(program, config)
    assert done.returncode == 0, done.stderr
    assert "uses of images in prod written to in-use.jsonl" in done.stderr
    path = write(program, ALL)
    if way == "run":
        done = program("run", path, "--yes", "--in-use", "in-use.jsonl", *FAST)
    elif way == "delete":
        references = [f"acme/web:{name}" for name in "abcdef"]
        done = program(
            "delete", *references, "--shared-digest", "delete", "--yes", "--in-use", "in-use.jsonl", *FAST
        )
    else:
        done = program("plan", path, "-o", "plan.jsonl", "--in-use", "in-use.jsonl", *FAST)
        assert "4 tags stay for that" in done.stderr
        done = program("apply", "plan.jsonl", "--yes", *FAST)
    assert done.returncode == 0, done.stderr
    assert deleted(emulator) == ["acme/web:a", "acme/web:e"]


def test_what_came_into_use_since_the_plan_survives_apply(shop):
    program, emulator, cluster, config = shop
    path = write(program, ALL)
    done = program("plan", path, "-o", "plan.jsonl", *FAST)
    assert done.returncode == 0, done.stderr
    cluster.add(pod("new", [Container(f"{HOST}/web:e", image_id=f"{HOST}/web@{digest('e')}")]))
    assert in_use(program, config).returncode == 0
    done = program("apply", "plan.jsonl", "--yes", "--in-use", "in-use.jsonl", *FAST)
    assert done.returncode == 0, done.stderr
    assert deleted(emulator) == ["acme/web:a"]
    report = program.reports()[0]
    assert report["counts"]["changed"] == 5
    assert any("in use by" in outcome.get("error", "") for outcome in report["outcomes"])


def test_a_policy_that_asks_for_a_proof_refuses_without_one(shop):
    program, emulator, cluster, config = shop
    path = write(program, DEMANDING)
    for command in (["plan", path], ["run", path, "--yes"], ["run", path, "--dry-run"]):
        done = program(*command, *FAST)
        assert done.returncode == 3, done.stderr
        assert "nothing says what is in use in 'prod'" in done.stderr
    assert in_use(program, config, "--context", "other=prod").returncode == 0
    done = program("run", path, "--yes", "--in-use", "in-use.jsonl", *FAST)
    assert done.returncode == 3
    assert "nothing says what is in use in 'prod'" in done.stderr
    cluster.forbid("cronjobs")
    done = in_use(program, config)
    assert done.returncode == 3
    assert "'prod' was not read: cronjobs: HTTP 403" in done.stderr
    done = program("run", path, "--yes", PRUNER_IN_USE="in-use.jsonl")
    assert done.returncode == 3
    assert "'prod' was not read: cronjobs: HTTP 403" in done.stderr
    assert emulator.counters.deleted == 0


def test_a_plan_is_refused_once_its_proof_is_too_old(shop):
    program, emulator, _, config = shop
    assert in_use(program, config).returncode == 0
    path = write(program, DEMANDING)
    done = program("plan", path, "-o", "plan.jsonl", "--in-use", "in-use.jsonl", *FAST)
    assert done.returncode == 0, done.stderr
    done = program("apply", "plan.jsonl", "--yes", "--in-use-max-age", "1m", *FAST, **_later(program))
    assert done.returncode == 3
    assert "the limit is 1 minute" in done.stderr
    assert emulator.counters.deleted == 0
    assert in_use(program, config, "--context", "other=prod").returncode == 0
    done = program("apply", "plan.jsonl", "--yes", "--in-use", "in-use.jsonl", *FAST)
    assert done.returncode == 3
    assert "nothing says what is in use in 'prod'" in done.stderr


def _later(program):
    """A program whose clock goes five minutes ahead."""
    path = program.folder / "sitecustomize.py"
    path.write_text("import time\nreal = time.time\ntime.time = lambda: real() + 300\n")
    return {"PYTHONPATH": f"{program.folder}:{program.env.get('PYTHONPATH', '')}"}


def test_a_reference_that_may_be_ours_refuses_the_run_until_somebody_says_what_it_is(shop):
    program, emulator, cluster, config = shop
    image = "ffffffff.kr.private-ncr.ntruss.com/web"
    cluster.add(pod("strange", [Container(f"{image}:a", image_id=f"{image}@{digest('a')}")]))
    assert in_use(program, config).returncode == 0
    path = write(program, ALL)
    done = program("run", path, "--yes", "--in-use", "in-use.jsonl", *FAST)
    assert done.returncode == 3
    assert (
        "'ffffffff.kr.private-ncr.ntruss.com/web:a' of Pod default/strange in 'prod' looks like"
        in done.stderr
    )
    place = "registries:\n  acme: {also_pulled_from: [ffffffff.kr.private-ncr.ntruss.com]}\npolicies:"
    write(program, ALL.replace("policies:", place))
    done = program("run", path, "--yes", "--in-use", "in-use.jsonl", *FAST)
    assert done.returncode == 0, done.stderr
    assert deleted(emulator) == ["acme/web:e"]


def test_the_private_host_that_ncr_names_is_ours(shop):
    program, _, cluster, config = shop
    done = program("inventory", "acme", "-o", "inventory.jsonl")
    assert done.returncode == 0, done.stderr
    header = json.loads((program.folder / "inventory.jsonl").read_text().splitlines()[0])
    public, host = header["registries"]["acme"]["pulled_from"]
    assert public == HOST
    cluster.add(pod("inside", [Container(f"{host}/web:a", image_id=f"{host}/web@{digest('a')}")]))
    assert in_use(program, config).returncode == 0
    path = write(program, ALL)
    done = program(
        "plan", path, "--inventory", "inventory.jsonl", "--in-use", "in-use.jsonl", "--format", "csv"
    )
    assert done.returncode == 0, done.stderr
    assert [line.split(",")[2] for line in done.stdout.splitlines()[1:]] == ["e"]


def test_what_cannot_be_told_from_ours_is_never_dropped(shop):
    """As what ``jq .image`` prints, with its quotes, or a template that nobody filled in."""
    program, emulator, _, _ = shop
    path = write(program, DEMANDING.replace("[prod]", "[list]"))
    for text, code in ((f'"{HOST}/web:a"\n', 0), ("${IMAGE}\n", 3)):
        listed = write(program, text, "list")
        assert program("in-use", "--from", f"list={listed}", "-o", "in-use.jsonl").returncode == 0
        done = program("plan", path, "--in-use", "in-use.jsonl", "--format", "csv")
        assert done.returncode == code, done.stderr
        assert "acme,web,a" not in done.stdout
    assert emulator.counters.deleted == 0


def test_a_proof_that_gets_too_old_while_somebody_decides_refuses_the_run(shop, monkeypatch):
    program, emulator, _, config = shop
    assert in_use(program, config).returncode == 0
    path = write(program, DEMANDING)
    done = program("plan", path, "-o", "plan.jsonl", "--in-use", "in-use.jsonl", *FAST)
    assert done.returncode == 0, done.stderr
    for name in ("NCLOUD_ACCESS_KEY_ID", "NCLOUD_SECRET_ACCESS_KEY", "HOME"):
        monkeypatch.setenv(name, program.env[name])
    real = time.time

    def late(_):
        monkeypatch.setattr(time, "time", lambda: real() + 3 * 3600)

    connection = api.ConnectionOptions(endpoint=emulator.endpoint)
    plan = api.open_plan(program.folder / "plan.jsonl")
    with pytest.raises(api.RefusedError, match="was read 3 hours ago; the limit is 2 hours"):
        asyncio.run(api.apply(plan, connection=connection, state_dir=program.state, consent=late))
    assert emulator.counters.deleted == 0


def test_explain_names_the_workload(shop):
    program, _, _, config = shop
    assert in_use(program, config).returncode == 0
    path = write(program, ALL)
    done = program("explain", path, "acme/web:b", "acme/web:c", "--in-use", "in-use.jsonl")
    assert done.returncode == 0, done.stderr
    assert "acme/web:b stays: in use by Deployment default/web\n" in done.stdout
    assert "acme/web:c stays: its digest is in use by Deployment default/web as 'b'\n" in done.stdout
    assert "what would change it: it goes when nothing uses it any more" in done.stdout


def test_references_from_elsewhere_protect_too(shop):
    program, emulator, _, _ = shop
    compose = write(program, f"services:\n  web: {{image: '{HOST}/web:a'}}\n", "compose.yaml")
    done = program(
        "in-use", "--from", f"compose={compose}", "--from", "-", "-o", "in-use.jsonl", input=f"{HOST}/web:e\n"
    )
    assert done.returncode == 0, done.stderr
    path = write(program, DEMANDING.replace("[prod]", "[compose]"))
    done = program("run", path, "--yes", "--in-use", "in-use.jsonl", *FAST)
    assert done.returncode == 0, done.stderr
    assert deleted(emulator) == ["acme/web:b", "acme/web:c", "acme/web:d", "acme/web:f"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--kubeconfig", "missing"], "missing cannot be used"),
        (["--context", "nowhere"], "context 'nowhere' is not in the kubeconfig file (there: prod)"),
        (["--from", "missing.txt"], "missing.txt: cannot be read"),
        (["--from", "=x"], "write FILE or NAME=FILE"),
        (["--kubeconfig", "/dev/null"], "/dev/null cannot be used"),
        (["--context", "prod", "--from", "prod=lines"], "two sources are called 'prod'"),
    ],
)
def test_what_cannot_be_read_at_all_is_bad_input(shop, arguments, said):
    program, _, _, config = shop
    (program.folder / "lines").write_text("a:1\n")
    done = program("in-use", "-o", "in-use.jsonl", *arguments, KUBECONFIG=str(config))
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (program.folder / "in-use.jsonl").exists()


@pytest.mark.parametrize("command", ["plan", "run"])
def test_an_in_use_file_without_sources_is_bad_input(shop, command):
    program, emulator, _, _ = shop
    in_use_file(program.folder / "in-use.jsonl", sources=[])
    for policy in (policy_text(), DEMANDING):
        path = write(program, policy)
        yes = ["--yes"] if command == "run" else []
        done = program(command, path, *yes, "--in-use", "in-use.jsonl", *FAST)
        assert done.returncode == 2
        assert "\npruner: in-use.jsonl: names no source" in f"\n{done.stderr}"
        assert "Traceback" not in done.stderr
    assert deleted(emulator) == []


def test_a_cluster_that_does_not_answer_is_said(shop):
    program, _, _, config = shop
    text = yaml.safe_load(Path(config).read_text())
    text["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    path = write(program, yaml.safe_dump(text), "closed")
    done = in_use(program, path)
    assert done.returncode == 3
    assert "'prod' was not read: no connection: Connection refused" in done.stderr
    assert "Traceback" not in done.stderr
    assert cluster_token(text) not in done.stderr + (program.folder / "in-use.jsonl").read_text()


def cluster_token(config):
    return config["users"][0]["user"]["token"]


def test_a_service_account_needs_no_more_than_the_manifest_grants():
    """What is asked of the API is exactly what deploy/ allows."""
    rules = [
        rule
        for document in yaml.safe_load_all(RBAC.read_text())
        if document["kind"] == "ClusterRole"
        for rule in document["rules"]
    ]
    granted = {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    needed = set()
    for kind in KINDS:
        parts = kind.path.strip("/").split("/")
        needed.add(("" if parts[0] == "api" else parts[1], kind.resource, "list"))
    assert granted == needed


def test_a_resolver_knows_nothing_without_places():
    assert Resolver({}).resolve([Use("prod", "Pod a/b", "nginx:1")]) == {}
