"""The Kubernetes API server of the tests, asked by a client that knows nothing of it."""

import asyncio
import base64
import json
import ssl

import aiohttp
import kube_server as kube
import pytest
import trustme
import yaml
from kubernetes_asyncio import client, config
from kubernetes_asyncio.client.exceptions import ApiException

IMAGE = "registry.example.com/shop/web:1.4.0"


@pytest.fixture
def server():
    with kube.serving() as server:
        yield server


@pytest.fixture
async def connect():
    """Clients of kubeconfig files, closed with the test."""
    opened = []

    async def connect(path, context=None):
        opened.append(await config.new_client_from_config(str(path), context, persist_config=False))
        return opened[-1]

    yield connect
    for api in opened:
        await api.close()


def pods(count):
    return [kube.pod(f"web-{index:04}", [IMAGE]) for index in range(count)]


def failure(caught):
    """The Status object of a refusal, which says the same as the status line."""
    document = json.loads(caught.value.body)
    assert (document["kind"], document["status"], document["code"]) == (
        "Status",
        "Failure",
        caught.value.status,
    )
    return document


async def pages(core, limit, token=None):
    """Every page of the pods from a continue token on."""
    while True:
        page = await core.list_pod_for_all_namespaces(limit=limit, _continue=token)
        yield page
        token = page.metadata._continue
        if not token:
            return


def names(page):
    return [item.metadata.name for item in page.items]


# Lists


async def test_pages_are_one_consistent_list(server, connect, tmp_path):
    server.add(*pods(1200))
    core = client.CoreV1Api(await connect(server.kubeconfig(tmp_path)))
    seen = []
    async for page in pages(core, 500):
        if not seen:
            server.add(kube.pod("web-9999", [IMAGE]))
            server.remove(kube.pod("web-1100", [IMAGE]))
        seen.append(page)
    assert [len(page.items) for page in seen] == [500, 500, 200]
    assert [page.metadata.remaining_item_count for page in seen] == [700, 200, None]
    assert len({page.metadata.resource_version for page in seen}) == 1
    assert [name for page in seen for name in names(page)] == [f"web-{index:04}" for index in range(1200)]
    assert [(asked.page, asked.limit) for asked in server.lists("pods")] == [(1, 500), (2, 500), (3, 500)]
    assert [asked.token for asked in server.lists("pods")] == [
        None,
        *(one.metadata._continue for one in seen[:2]),
    ]
    assert "OpenAPI-Generator" in server.requests[0].user_agent
    assert server.only_listed()
    again = await core.list_pod_for_all_namespaces()
    assert "web-9999" in names(again)
    assert "web-1100" not in names(again)


async def test_every_kind_is_read_as_its_type(server, connect, tmp_path):
    deployment = kube.deployment("web", [IMAGE], ["busybox"], revision=7)
    kept = kube.replica_set("web-5d8", [IMAGE], replicas=0, revision=6, owner=deployment)
    stateful = kube.stateful_set("db", [IMAGE])
    cron = kube.cron_job("report", [IMAGE], is_suspended=True)
    server.add(
        deployment,
        kept,
        stateful,
        kube.controller_revision("db-1", [IMAGE], stateful),
        kube.daemon_set("log", [IMAGE]),
        cron,
        kube.job("report-1", [IMAGE], state="complete", owner=cron),
        kube.job("later", [IMAGE], state="suspended"),
        kube.replication_controller("old", [IMAGE]),
        kube.pod_template("mould", [IMAGE]),
    )
    api = await connect(server.kubeconfig(tmp_path))
    core, apps, batch = client.CoreV1Api(api), client.AppsV1Api(api), client.BatchV1Api(api)

    found = (await apps.list_deployment_for_all_namespaces()).items[0]
    assert found.spec.template.spec.containers[0].image == IMAGE
    assert found.spec.template.spec.init_containers[0].image == "busybox"
    assert found.metadata.annotations["deployment.kubernetes.io/revision"] == "7"
    owned = (await apps.list_replica_set_for_all_namespaces()).items[0]
    assert owned.metadata.owner_references[0].uid == found.metadata.uid
    assert owned.spec.replicas == 0
    assert found.spec.revision_history_limit == 10
    assert (await apps.list_stateful_set_for_all_namespaces()).items[0].status.replicas == 1
    assert (await apps.list_daemon_set_for_all_namespaces()).items[0].status.number_ready == 3
    revision = (await apps.list_controller_revision_for_all_namespaces()).items[0]
    assert revision.data["spec"]["template"]["spec"]["containers"][0]["image"] == IMAGE
    jobs = {item.metadata.name: item for item in (await batch.list_job_for_all_namespaces()).items}
    assert jobs["later"].spec.suspend
    assert jobs["report-1"].status.conditions[0].type == "Complete"
    planned = (await batch.list_cron_job_for_all_namespaces()).items[0]
    assert planned.spec.suspend
    assert planned.spec.job_template.spec.template.spec.containers[0].image == IMAGE
    controllers = (await core.list_replication_controller_for_all_namespaces()).items
    assert controllers[0].spec.template.spec.containers[0].image == IMAGE
    assert (await core.list_pod_template_for_all_namespaces()).items[0].template.spec.containers
    assert names(await core.list_namespace()) == ["default", "kube-system"]
    assert server.only_listed()


@pytest.mark.parametrize(
    ("runtime", "expected"),
    [
        ("containerd", f"docker.io/library/nginx@{kube.digest('nginx')}"),
        ("cri-o", f"docker.io/library/nginx@{kube.digest('nginx')}"),
        ("docker", f"docker-pullable://nginx@{kube.digest('nginx')}"),
        ("config", kube.digest("configuration of nginx")),
        ("none", ""),
    ],
)
async def test_image_ids_are_those_of_the_runtime(server, connect, tmp_path, runtime, expected):
    one = kube.Container("nginx", runtime=runtime)
    server.add(kube.pod("web", [one], init=[one], ephemeral=[one]))
    core = client.CoreV1Api(await connect(server.kubeconfig(tmp_path)))
    status = (await core.list_pod_for_all_namespaces()).items[0].status
    statuses = [
        status.container_statuses,
        status.init_container_statuses,
        status.ephemeral_container_statuses,
    ]
    assert [item.image_id for items in statuses for item in items] == [expected] * 3


async def test_phases_of_pods(server, connect, tmp_path):
    server.add(*(kube.pod(phase.lower(), [IMAGE], phase=phase) for phase in kube.STATES))
    server.add(kube.pod("waiting", [IMAGE], phase="Pending", is_scheduled=False))
    core = client.CoreV1Api(await connect(server.kubeconfig(tmp_path)))
    found = {item.metadata.name: item for item in (await core.list_pod_for_all_namespaces()).items}
    assert found["waiting"].status.container_statuses is None
    assert found["pending"].status.container_statuses[0].image_id == ""
    assert found["running"].status.container_statuses[0].state.running is not None
    assert found["succeeded"].status.container_statuses[0].state.terminated.exit_code == 0
    assert found["failed"].status.container_statuses[0].state.terminated.exit_code == 1
    ended = await core.list_pod_for_all_namespaces(field_selector="status.phase=Succeeded", limit=1)
    assert names(ended) == ["succeeded"]
    left = await core.list_pod_for_all_namespaces(field_selector="status.phase!=Succeeded", limit=2)
    assert "succeeded" not in names(left)
    assert left.metadata._continue
    assert left.metadata.remaining_item_count is None


async def test_lists_of_a_namespace(server, connect, tmp_path):
    server.add(kube.pod("a", [IMAGE], namespace="shop"), kube.pod("b", [IMAGE], namespace="shop-2"))
    core = client.CoreV1Api(await connect(server.kubeconfig(tmp_path)))
    assert names(await core.list_namespaced_pod("shop", limit=1)) == ["a"]
    assert names(await core.list_namespaced_pod("none")) == []


async def test_version_and_discovery(server, connect, tmp_path):
    server.absent.add("cronjobs")
    api = await connect(server.kubeconfig(tmp_path))
    assert (await client.VersionApi(api).get_code()).git_version == "v1.34.2"
    assert (await client.CoreApi(api).get_api_versions()).versions == ["v1"]
    groups = (await client.ApisApi(api).get_api_versions()).groups
    assert [group.name for group in groups] == ["apps", "batch"]
    assert [item.name for item in (await client.BatchV1Api(api).get_api_resources()).resources] == ["jobs"]
    assert server.only_listed()
    with pytest.raises(ApiException) as caught:
        await client.BatchV1Api(api).list_cron_job_for_all_namespaces()
    assert (caught.value.status, caught.value.body) == (404, "404 page not found\n")


async def test_writing_is_refused_and_noticed(server, connect, tmp_path):
    core = client.CoreV1Api(await connect(server.kubeconfig(tmp_path)))
    server.add(*pods(1))
    with pytest.raises(ApiException) as caught:
        await core.delete_namespaced_pod("web-0000", "default")
    assert failure(caught)["reason"] == "MethodNotAllowed"
    assert not server.only_listed()
    assert len((await core.list_pod_for_all_namespaces()).items) == 1


# Expired tokens


async def test_an_expired_token_comes_with_one_that_goes_on(server, connect, tmp_path):
    server.add(*pods(5))
    server.expire("pods", after_pages=1)
    core = client.CoreV1Api(await connect(server.kubeconfig(tmp_path)))
    first = await core.list_pod_for_all_namespaces(limit=2)
    server.remove(kube.pod("web-0003", [IMAGE]))
    with pytest.raises(ApiException) as caught:
        await core.list_pod_for_all_namespaces(limit=2, _continue=first.metadata._continue)
    document = failure(caught)
    assert (caught.value.status, document["reason"]) == (410, "Expired")
    assert document["metadata"]["continue"] not in ("", first.metadata._continue)
    rest = [page async for page in pages(core, 2, document["metadata"]["continue"])]
    assert [names(page) for page in rest] == [["web-0002", "web-0004"]]
    assert rest[0].metadata.resource_version != first.metadata.resource_version
    assert [len(page.items) async for page in pages(core, 2)] == [2, 2]


async def test_a_list_can_expire_always_and_without_a_way_on(server, connect, tmp_path):
    server.add(*pods(7))
    server.expire("pods", after_pages=2, times=None, has_token=False)
    core = client.CoreV1Api(await connect(server.kubeconfig(tmp_path)))
    for _ in range(2):
        with pytest.raises(ApiException) as caught:
            assert [len(page.items) async for page in pages(core, 2)] == []
        assert failure(caught)["metadata"] == {}
    assert [asked.page for asked in server.lists("pods")] == [1, 2, 3] * 2


async def test_compaction_expires_the_tokens_of_before(server, connect, tmp_path):
    server.add(*pods(3))
    core = client.CoreV1Api(await connect(server.kubeconfig(tmp_path)))
    first = await core.list_pod_for_all_namespaces(limit=2)
    server.compact()
    with pytest.raises(ApiException) as caught:
        await core.list_pod_for_all_namespaces(limit=2, _continue=first.metadata._continue)
    assert failure(caught)["reason"] == "Expired"
    assert [len(page.items) async for page in pages(core, 2)] == [2, 1]


async def test_a_token_that_is_none_is_a_bad_request(server, connect, tmp_path):
    core = client.CoreV1Api(await connect(server.kubeconfig(tmp_path)))
    with pytest.raises(ApiException) as caught:
        await core.list_pod_for_all_namespaces(limit=2, _continue="made-up")
    assert failure(caught)["reason"] == "BadRequest"


# Users


async def test_an_unknown_token_is_unauthorized(server, connect, tmp_path):
    for user in ({"token": "made-up"}, {}):
        core = client.CoreV1Api(await connect(server.kubeconfig(tmp_path, {"test": user})))
        with pytest.raises(ApiException) as caught:
            await core.list_pod_for_all_namespaces()
        assert (caught.value.status, failure(caught)["reason"]) == (401, "Unauthorized")


async def test_forbidden_lists(server, connect, tmp_path):
    server.forbid("deployments")
    server.forbid("pods", user="carol", except_in=["shop"])
    users = {"test": server.token_user(), "carol": server.token_user("carol")}
    path = server.kubeconfig(tmp_path, users)
    api, other = await connect(path), await connect(path, "carol")
    with pytest.raises(ApiException) as caught:
        await client.AppsV1Api(api).list_deployment_for_all_namespaces()
    document = failure(caught)
    assert (caught.value.status, document["reason"]) == (403, "Forbidden")
    assert document["details"] == {"group": "apps", "kind": "deployments"}
    assert document["message"] == (
        'deployments.apps is forbidden: User "system:serviceaccount:default:pruner" cannot list resource '
        '"deployments" in API group "apps" at the cluster scope'
    )
    with pytest.raises(ApiException) as caught:
        await client.CoreV1Api(other).list_namespaced_pod("default")
    assert failure(caught)["message"] == (
        'pods is forbidden: User "carol" cannot list resource "pods" in API group "" '
        'in the namespace "default"'
    )
    assert names(await client.CoreV1Api(other).list_namespaced_pod("shop")) == []
    assert names(await client.CoreV1Api(api).list_pod_for_all_namespaces()) == []


async def test_client_certificates_name_the_user(server, connect, tmp_path):
    core = client.CoreV1Api(
        await connect(server.kubeconfig(tmp_path, {"c": server.certificate_user("dave")}))
    )
    await core.list_pod_for_all_namespaces()
    assert server.requests[-1].user == "dave"


async def test_a_client_certificate_of_a_stranger_is_refused(server, connect, tmp_path):
    user = server.certificate_user("dave", authority=trustme.CA())
    core = client.CoreV1Api(await connect(server.kubeconfig(tmp_path, {"c": user})))
    with pytest.raises(aiohttp.ClientError):
        await core.list_pod_for_all_namespaces()
    assert server.requests == []


async def test_plugins_and_token_files(server, connect, tmp_path):
    users = {
        "plugin": server.exec_user(tmp_path, "erin", expires="2030-01-01T00:00:00Z"),
        "file": server.token_file_user(tmp_path, "frank"),
    }
    path = server.kubeconfig(tmp_path, users)
    for context in users:
        await client.CoreV1Api(await connect(path, context)).list_pod_for_all_namespaces()
    assert [asked.user for asked in server.requests] == ["erin", "frank"]
    assert set(server.counts) == {("GET", "/api/v1/pods")}
    [call] = (tmp_path / "exec-calls.jsonl").read_text().splitlines()
    assert json.loads(call)["kind"] == "ExecCredential"


async def test_a_plugin_gives_certificates(server, connect, tmp_path):
    path = server.kubeconfig(tmp_path, {"plugin": server.exec_user(tmp_path, "erin", by="certificate")})
    await client.CoreV1Api(await connect(path)).list_pod_for_all_namespaces()
    assert server.requests[-1].user == "erin"


async def test_a_plugin_that_fails(server, connect, tmp_path):
    path = server.kubeconfig(tmp_path, {"plugin": server.exec_user(tmp_path, "erin", output="", status=3)})
    with pytest.raises(config.ConfigException, match="returned 3"):
        await connect(path)


async def test_a_kubeconfig_of_two_clusters(server, connect, tmp_path):
    with kube.serving() as other:
        server.add(kube.pod("here", [IMAGE]))
        other.add(kube.pod("there", [IMAGE]))
        contexts = {
            "prod": (server, server.token_user("ops")),
            "stage": (other, other.certificate_user("dev"), "shop"),
        }
        path = kube.kubeconfig(tmp_path, contexts, current="stage")
        found = {}
        for context in ("prod", "stage", None):
            core = client.CoreV1Api(await connect(path, context))
            found[context] = names(await core.list_pod_for_all_namespaces())
        assert found == {"prod": ["here"], "stage": ["there"], None: ["there"]}
        assert [asked.user for asked in other.requests] == ["dev", "dev"]
    document = yaml.safe_load(path.read_text())
    assert document["contexts"][1]["context"] == {
        "cluster": "stage-cluster",
        "user": "stage-user",
        "namespace": "shop",
    }
    assert base64.b64decode(document["clusters"][0]["cluster"]["certificate-authority-data"]).startswith(
        b"-----BEGIN CERTIFICATE"
    )


async def test_a_client_without_the_authority_refuses(server, connect, tmp_path):
    stranger = base64.b64encode(trustme.CA().cert_pem.bytes()).decode()
    for cluster in (
        {"server": server.url},
        {"server": server.url, "certificate-authority-data": stranger},
    ):
        path = kube.kubeconfig(tmp_path, {"test": (cluster, server.token_user())})
        core = client.CoreV1Api(await connect(path))
        with pytest.raises(aiohttp.ClientConnectorCertificateError) as caught:
            await core.list_pod_for_all_namespaces()
        assert isinstance(caught.value.certificate_error, ssl.SSLCertVerificationError)
    assert server.requests == []


# Faults


@pytest.mark.parametrize(
    ("fault", "code", "reason"),
    [
        (kube.internal_error(), 500, "InternalError"),
        (kube.unavailable(), 503, "ServiceUnavailable"),
        (kube.timed_out(), 504, "Timeout"),
        (kube.too_many_requests(3, is_status=True), 429, "TooManyRequests"),
    ],
)
async def test_a_refusal_of_one_page(server, connect, tmp_path, fault, code, reason):
    server.add(*pods(3))
    server.fail("pods", fault, page=2)
    core = client.CoreV1Api(await connect(server.kubeconfig(tmp_path)))
    first = await core.list_pod_for_all_namespaces(limit=2)
    with pytest.raises(ApiException) as caught:
        await core.list_pod_for_all_namespaces(limit=2, _continue=first.metadata._continue)
    assert (caught.value.status, failure(caught)["reason"]) == (code, reason)
    second = await core.list_pod_for_all_namespaces(limit=2, _continue=first.metadata._continue)
    assert names(second) == ["web-0002"]


async def test_too_many_requests_say_when_to_come_again(server, connect, tmp_path):
    server.fail("pods", kube.too_many_requests(7), times=2)
    core = client.CoreV1Api(await connect(server.kubeconfig(tmp_path)))
    for _ in range(2):
        with pytest.raises(ApiException) as caught:
            await core.list_pod_for_all_namespaces()
        assert (caught.value.status, caught.value.headers["Retry-After"]) == (429, "7")
    assert names(await core.list_pod_for_all_namespaces()) == []


@pytest.mark.parametrize("count", [1, 1000])
async def test_a_body_cut_off(server, connect, tmp_path, count):
    server.add(*pods(count))
    server.fail("pods", kube.cut_off())
    core = client.CoreV1Api(await connect(server.kubeconfig(tmp_path)))
    answer = await core.list_pod_for_all_namespaces(_preload_content=False)
    assert answer.status == 200
    with pytest.raises(aiohttp.ClientError):
        await answer.read()
    assert len((await core.list_pod_for_all_namespaces(limit=3)).items) == min(count, 3)


async def test_a_connection_dropped(server, connect, tmp_path):
    server.fail("pods", kube.dropped(), times=None)
    core = client.CoreV1Api(await connect(server.kubeconfig(tmp_path)))
    with pytest.raises(aiohttp.ClientError):
        await core.list_pod_for_all_namespaces()


async def test_an_answer_that_is_not_json(server, connect, tmp_path):
    server.fail("pods", kube.not_json())
    core = client.CoreV1Api(await connect(server.kubeconfig(tmp_path)))
    answer = await core.list_pod_for_all_namespaces(_preload_content=False)
    assert answer.content_type == "text/html"
    with pytest.raises(json.JSONDecodeError):
        json.loads(await answer.read())


async def test_a_list_is_held_until_the_test_lets_it_go(server, connect, tmp_path):
    server.add(*pods(1))
    hold = server.hold("pods")
    core = client.CoreV1Api(await connect(server.kubeconfig(tmp_path)))
    asked = asyncio.create_task(core.list_pod_for_all_namespaces())
    assert await asyncio.to_thread(hold.arrived.wait, 30)
    assert not asked.done()
    hold.release()
    assert names(await asked) == ["web-0000"]


async def test_a_held_list_does_not_keep_the_server(tmp_path, connect):
    with kube.serving() as server:
        hold = server.hold("pods")
        core = client.CoreV1Api(await connect(server.kubeconfig(tmp_path)))
        asked = asyncio.create_task(core.list_pod_for_all_namespaces())
        assert await asyncio.to_thread(hold.arrived.wait, 30)
    with pytest.raises(aiohttp.ClientError):
        await asked


async def test_large_lists_are_compressed_for_who_accepts_it(server):
    server.add(*pods(300))
    context = ssl.create_default_context(cadata=server.ca_pem)
    headers = {"Authorization": f"Bearer {kube.TOKEN}"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(ssl=context)) as session:
        async with session.get(f"{server.url}/api/v1/pods") as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            document = await answer.json()
        async with session.get(f"{server.url}/api/v1/pods", headers={"Accept-Encoding": ""}) as answer:
            assert "Content-Encoding" not in answer.headers
            assert await answer.json() == document
        async with session.get(f"{server.url}/api/v1/pods?limit=1&resourceVersion=0") as answer:
            assert len((await answer.json())["items"]) == 300
    assert (document["kind"], document["apiVersion"]) == ("PodList", "v1")
    assert not {"kind", "apiVersion"} & set(document["items"][0])
