"""A list of a Kubernetes cluster counts only where it is certainly whole, and where it certainly ends."""

import asyncio
import gzip
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from aiohttp import web
from kube_server import Container, Position, digest, pod, serving
from test_in_use import no_sleep

from pruner.workloads import kubernetes
from pruner.workloads.kubeconfig import Cluster
from pruner.workloads.kubernetes import read_cluster
from pruner.workloads.objects import KINDS, Usage

IMAGE = "registry.example.com/shop/web:1"


@pytest.fixture
def cluster():
    with serving() as server:
        server.add(pod("web", [IMAGE]))
        yield server


@pytest.fixture
def read(cluster, tmp_path):
    def read(**more):
        path = Path(cluster.kubeconfig(tmp_path))
        return asyncio.run(read_cluster(Cluster("prod", path, timeout=20.0), no_sleep, **more))

    return read


def pods_answered(cluster, answer):
    """Let the server answer lists of Pods with what ``answer`` makes of the request."""

    def before(request):
        return answer(request) if request.path.endswith("/pods") else None

    cluster.before = before


def page(items=(), kind="PodList", **metadata):
    return web.json_response(
        {"kind": kind, "metadata": metadata, "items": None if items is None else list(items)}
    )


@pytest.mark.parametrize("items", [[], None, [pod("web", [IMAGE])]])
@pytest.mark.parametrize("remaining", [1, 700, -1])
@pytest.mark.parametrize("following", [{}, {"continue": ""}, {"continue": None}])
def test_a_list_of_which_objects_remain_is_not_whole(cluster, read, items, remaining, following):
    pods_answered(cluster, lambda request: page(items, remainingItemCount=remaining, **following))
    _, missing = read()
    assert missing == ["pods: the list is not whole: objects remain, but there is no token for them"]


def test_a_list_of_which_nothing_remains_is_whole(cluster, read):
    pods_answered(cluster, lambda request: page([pod("web", [IMAGE])], remainingItemCount=0))
    usages, missing = read()
    assert missing == []
    assert IMAGE in {usage.reference for usage in usages}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda: page(kind="DeploymentList"), "the answer is a list of another kind, not a PodList"),
        (lambda: page(kind="Status"), "the answer is a list of another kind, not a PodList"),
        (lambda: page(remainingItemCount="700"), "the answer is not a PodList"),
        (lambda: page(**{"continue": 7}), "the answer is not a PodList"),
        (lambda: web.json_response({"kind": "PodList", "metadata": {}}), "the answer is not a PodList"),
        (lambda: web.json_response({"kind": "PodList", "items": []}), "the answer is not a PodList"),
        (lambda: web.json_response({"metadata": {}, "items": []}), "the answer is not a PodList"),
        (
            lambda: web.Response(text='{"kind": "PodList", "metadata": {}, "items": ['),
            "the answer is not a PodList",
        ),
        (lambda: web.Response(text=""), "the answer is not a PodList"),
        (lambda: web.Response(body=b"\xff"), "the answer is not a PodList"),
        (lambda: web.Response(text="[" * 100_000), "the answer is not a PodList"),
        (lambda: web.Response(status=204), "HTTP 204"),
        (lambda: web.Response(status=206, text="{}"), "HTTP 206"),
        (
            lambda: page([{"metadata": {"name": "a"}}]),
            "an object is not as documented: Object missing required field",
        ),
        (lambda: page([None]), "an object is not as documented"),
    ],
)
def test_an_answer_that_is_not_the_list_is_not_an_empty_list(cluster, read, answer, said):
    pods_answered(cluster, lambda request: answer())
    _, missing = read()
    assert len(missing) == 1
    assert missing[0].startswith(f"pods: {said}")


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_is_refused_and_not_followed(cluster, read, status):
    with serving() as other:
        cluster.before = lambda request: web.Response(
            status=status, headers={"Location": f"{other.url}{request.path_qs}"}
        )
        usages, missing = read()
        assert (usages, missing) == ([], [f"it redirects, which is not followed (HTTP {status})"])
        assert other.requests == []
    assert len(cluster.requests) == len(KINDS)


# Lists without an end


def asked(request):
    """The number of the page that a request asks for, from 0 on."""
    token = request.query.get("continue")
    return Position.of(token).page if token else 0


def leading_to(number):
    return {"continue": Position(page=number).token()}


def endless(request):
    return page([pod(f"web-{asked(request)}", [IMAGE])], **leading_to(asked(request) + 1))


TOO_LONG = "pods: the list is too long: the limits are "


def test_a_list_has_a_limited_number_of_pages(cluster, read, monkeypatch):
    assert kubernetes.MAX_PAGES == 5_000
    monkeypatch.setattr(kubernetes, "MAX_PAGES", 7)
    pods_answered(cluster, endless)
    _, missing = read()
    assert missing[0].startswith(TOO_LONG)
    assert len(cluster.lists("pods")) == 7


def test_a_list_has_a_limited_number_of_objects(cluster, read, monkeypatch):
    assert kubernetes.MAX_OBJECTS == 1_000_000
    monkeypatch.setattr(kubernetes, "MAX_OBJECTS", 7)
    pods_answered(cluster, endless)
    _, missing = read()
    assert missing[0].startswith(TOO_LONG)
    assert len(cluster.lists("pods")) == 8


def test_a_list_has_a_limited_size(cluster, read, monkeypatch):
    assert kubernetes.MAX_LIST_BYTES == 4 << 30
    monkeypatch.setattr(kubernetes, "MAX_LIST_BYTES", 10_000)
    pods_answered(cluster, endless)
    _, missing = read()
    assert missing[0].startswith(TOO_LONG)
    assert len(cluster.lists("pods")) < 100


def test_a_list_that_fits_the_limits_exactly_is_read(cluster, read, monkeypatch):
    monkeypatch.setattr(kubernetes, "PAGE_SIZE", 2)
    monkeypatch.setattr(kubernetes, "MAX_PAGES", 3)
    monkeypatch.setattr(kubernetes, "MAX_OBJECTS", 6)
    cluster.add(*(pod(f"web-{number}", [f"shop/web:{number}"]) for number in range(5)))
    usages, missing = read()
    assert missing == []
    assert len({usage.workload for usage in usages}) == 6


@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_page_has_a_limited_size(cluster, read, monkeypatch, is_compressed):
    assert kubernetes.MAX_PAGE_BYTES == 64 << 20
    monkeypatch.setattr(kubernetes, "MAX_PAGE_BYTES", 1 << 20)
    body = json.dumps({"kind": "PodList", "metadata": {}, "items": [], "more": " " * (2 << 20)}).encode()
    packed = gzip.compress(body) if is_compressed else body
    headers = {"Content-Encoding": "gzip"} if is_compressed else {}
    pods_answered(cluster, lambda request: web.Response(body=packed, headers=headers))
    _, missing = read()
    assert missing == ["pods: a page of the list is larger than 1 MiB"]


def test_a_list_that_goes_round_in_a_circle_is_refused(cluster, read):
    pods_answered(cluster, lambda request: page([pod("web", [IMAGE])], **leading_to(1)))
    _, missing = read()
    assert missing == ["pods: the list goes round in a circle"]


def test_pages_of_different_resource_versions_are_one_list(cluster, read):
    def answer(request):
        number = asked(request)
        following = leading_to(number + 1) if number < 3 else {}
        return page([pod(f"web-{number}", [f"shop/web:{number}"])], resourceVersion=str(number), **following)

    pods_answered(cluster, answer)
    usages, missing = read()
    assert missing == []
    assert {usage.workload for usage in usages} == {f"Pod default/web-{number}" for number in range(4)}


# What a node does not say


def uses_of(cluster, read, item):
    pods_answered(cluster, lambda request: page([item]))
    usages, missing = read()
    assert missing == []
    return usages


@pytest.mark.parametrize("phase", ["Running", "Unknown", "", None])
@pytest.mark.parametrize("missing", ["containerStatuses", "status"])
def test_where_a_node_reports_nothing_of_a_container_any_digest_may_run(cluster, read, phase, missing):
    item = pod("web", [IMAGE])
    item["status"]["phase"] = phase
    if phase is None:
        del item["status"]["phase"]
    if missing == "status" and phase is None:
        del item["status"]
    else:
        item["status"]["containerStatuses"] = None
    assert uses_of(cluster, read, item) == [Usage("Pod default/web", IMAGE, None, True)]


def test_where_a_node_reports_another_container_any_digest_may_run(cluster, read):
    item = pod("web", [IMAGE])
    item["status"]["containerStatuses"][0]["name"] = "other"
    assert uses_of(cluster, read, item) == [
        Usage("Pod default/web", IMAGE, None, True),
        Usage("Pod default/web", f"registry.example.com/shop/web@{digest(IMAGE)}"),
    ]


def test_a_pod_that_has_not_started_runs_nothing(cluster, read):
    item = pod("web", [IMAGE], phase="Pending", is_scheduled=False)
    assert uses_of(cluster, read, item) == [Usage("Pod default/web", IMAGE)]


def test_both_digests_of_a_container_that_is_reported_twice_are_in_use(cluster, read):
    item = pod("web", [Container(IMAGE, image_id=f"r.example.com/web@{digest('1')}")])
    status = item["status"]["containerStatuses"][0]
    item["status"]["containerStatuses"].append({**status, "imageID": f"r.example.com/web@{digest('2')}"})
    found = {usage.reference for usage in uses_of(cluster, read, item)}
    assert found == {IMAGE, f"r.example.com/web@{digest('1')}", f"r.example.com/web@{digest('2')}"}


def test_the_digest_of_an_image_volume_is_not_known(cluster, read):
    item = pod("web", [Container(IMAGE)])
    item["spec"]["volumes"] = [
        {"name": "model", "image": {"reference": "shop/model:1"}},
        {"name": "data", "image": {"reference": f"shop/data@{digest('d')}"}},
    ]
    usages = uses_of(cluster, read, item)
    assert Usage("Pod default/web", "shop/model:1", None, True) in usages
    assert Usage("Pod default/web", f"shop/data@{digest('d')}") in usages


# Where requests go


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """Logins and proxies in the environment, which must not be used."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login netrcuser password NETRCPASSWORD\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.mark.usefixtures("environment")
def test_neither_logins_nor_proxies_of_the_environment_are_used(cluster, tmp_path):
    headers = []
    cluster.before = lambda request: headers.append(request.headers)
    path = Path(cluster.kubeconfig(tmp_path, {"anonymous": {}}))
    _, missing = asyncio.run(read_cluster(Cluster("prod", path), no_sleep))
    assert missing == ["HTTP 401 (Unauthorized): the login is not accepted"]
    assert len(headers) == len(KINDS)
    assert not any("Authorization" in item for item in headers)


def test_a_proxy_that_is_given_is_used(cluster, read):
    origins = []

    def proxy_for(origin):
        origins.append(origin)
        return "http://127.0.0.1:9"

    _, missing = read(proxy_for=proxy_for)
    assert origins == [cluster.url]
    assert missing == ["no connection: Connection refused"]
    assert cluster.requests == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"server": None}, "its address is missing or not a URL"),
        ({"server": ""}, "its address is missing or not a URL"),
        ({"server": "https://[::1"}, "its address is missing or not a URL"),
        ({"server": "https://127.0.0.1:99999"}, "its address is missing or not a URL"),
        ({"server": 443}, "no way to log in: A"),
    ],
)
def test_an_address_that_cannot_be_relied_on_is_not_asked(cluster, tmp_path, change, said):
    path = Path(cluster.kubeconfig(tmp_path))
    document = yaml.safe_load(path.read_text())
    own = document["clusters"][0]["cluster"]
    own.update(change)
    document["clusters"][0]["cluster"] = {key: value for key, value in own.items() if value is not None}
    path.write_text(yaml.safe_dump(document))
    usages, missing = asyncio.run(read_cluster(Cluster("prod", path), no_sleep))
    assert usages == []
    assert len(missing) == 1
    assert missing[0].startswith(said)
    assert cluster.requests == []


@pytest.mark.parametrize(("proxy", "is_used"), [(None, True), ("http://127.0.0.1:9", False)])
def test_no_proxy_reads_what_is_for_a_cluster_of_this_machine(monkeypatch, cluster, read, proxy, is_used):
    async def login(own):
        return SimpleNamespace(host="http://127.0.0.1:9", proxy=proxy, verify_ssl=True)

    monkeypatch.setattr(kubernetes, "login", login)
    doubt = kubernetes._doubt(asyncio.run(login(None)))
    assert (doubt is None) == is_used
    if not is_used:
        assert read() == ([], [doubt])
