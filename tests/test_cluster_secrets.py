"""What logs in to a Kubernetes cluster is never shown or written, wherever it comes back."""

import asyncio
import base64
import io
import json
import logging
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from aiohttp import web
from kube_server import pod, serving
from test_in_use import no_sleep

from pruner.errors import InputError
from pruner.plain_names import is_plain_name
from pruner.workloads.kubeconfig import Cluster, contexts_of
from pruner.workloads.kubernetes import read_cluster

TOKEN = "K8sTokenSecret0123456789abcdef"
FORMS = (
    TOKEN[:12],
    TOKEN[12:],
    TOKEN.upper()[:12],
    TOKEN.lower()[:12],
    TOKEN[::-1][:12],
    base64.b64encode(TOKEN.encode()).decode()[:16],
    "".join(f"%{ord(c):02x}" for c in TOKEN)[:18],
    "".join(f"\\u{ord(c):04x}" for c in TOKEN)[:18],
)
EXEC = "client.authentication.k8s.io/v1"


@pytest.fixture
def cluster():
    with serving() as server:
        server.tokens[TOKEN] = "pruner"
        server.add(pod("web", ["shop/web:1"]))
        yield server


def assert_hidden(*shown):
    text = "\n".join(map(str, shown))
    assert [form for form in FORMS if form in text] == []
    return text


@pytest.fixture(autouse=True)
def log():
    """What reaches the handlers of the root logger, with all details: never a secret."""
    stream = io.StringIO()
    handler, root = logging.StreamHandler(stream), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield
    root.removeHandler(handler)
    root.setLevel(before)
    assert_hidden(stream.getvalue())


def kubeconfig(cluster, folder, user=None, **more):
    path = Path(cluster.kubeconfig(folder, {"prod": user or {"token": TOKEN}}))
    document = yaml.safe_load(path.read_text()) | more
    path.write_text(yaml.safe_dump(document))
    return path


def read(path):
    usages, missing = asyncio.run(read_cluster(Cluster("prod", path, timeout=20.0), no_sleep))
    assert_hidden(usages, missing)
    return usages, missing


def status(code, **fields):
    return lambda: web.json_response({"kind": "Status", "code": code, **fields}, status=code)


def raw(answer):
    """An answer that is not HTTP, written to the connection as it is."""

    async def write(request):
        request.transport.write(answer)
        request.transport.close()
        return web.Response()

    return write


ECHOES = {
    "message": (status(401, message=f"Unauthorized Bearer {TOKEN}"), "HTTP 401: the login is not accepted"),
    "base64": (status(401, message=base64.b64encode(TOKEN.encode()).decode()), "HTTP 401: the login is"),
    "percent": (status(401, message="".join(f"%{ord(c):02x}" for c in TOKEN)), "HTTP 401: the login is"),
    "upper case": (status(400, message=TOKEN.upper()), "HTTP 400"),
    "split": (status(400, message=f"{TOKEN[:12]} … {TOKEN[12:]}"), "HTTP 400"),
    "reason": (status(403, reason=TOKEN), "HTTP 403: the login does not have the permission to list"),
    "reason of letters": (status(403, reason="SecretOfLetters"), "HTTP 403: the login does not"),
    "known reason": (status(403, reason="Forbidden", message=TOKEN), "HTTP 403 (Forbidden): the login does"),
    "details": (status(409, details={"name": TOKEN}, reason="Conflict"), "HTTP 409 (Conflict)"),
    "text": (lambda: web.Response(status=418, text=TOKEN), "HTTP 418"),
    "reason phrase": (lambda: web.Response(status=400, reason=TOKEN), "HTTP 400"),
    "retry after": (lambda: web.Response(status=503, headers={"Retry-After": TOKEN}), "HTTP 503"),
    "redirect": (
        lambda: web.Response(status=302, headers={"Location": f"https://{TOKEN}@127.0.0.1/{TOKEN}"}),
        "it redirects, which is not followed (HTTP 302)",
    ),
    "kind": (
        lambda: web.json_response({"kind": TOKEN, "metadata": {}, "items": []}),
        "a list of another kind",
    ),
    "field": (lambda: web.json_response({TOKEN: 1}), "the answer is not a"),
    "no JSON": (lambda: web.Response(text=TOKEN), "the answer is not a"),
    "items": (
        lambda: web.json_response({"kind": "PodList", "metadata": {}, "items": [TOKEN]}),
        "an object is not as documented",
    ),
    "field of an object": (
        lambda: web.json_response(
            {"kind": "PodList", "metadata": {}, "items": [{"metadata": {"name": {TOKEN: TOKEN}}}]}
        ),
        "an object is not as documented",
    ),
    "continue": (
        lambda: web.json_response({"kind": "PodList", "metadata": {"continue": {TOKEN: TOKEN}}, "items": []}),
        "the answer is not a",
    ),
    "header": (raw(f"HTTP/1.1 200 OK\r\n{TOKEN} {TOKEN}\r\n\r\n".encode()), "the connection failed"),
    "status line": (raw(f"HTTP/1.1 {TOKEN}\r\n\r\n".encode()), "the connection failed"),
    "no HTTP": (raw(f"{TOKEN}\r\n\r\n".encode()), "the connection failed"),
}


@pytest.mark.parametrize("name", ECHOES)
def test_what_the_api_repeats_of_the_login_is_not_shown(cluster, tmp_path, name, capfd):
    answer, said = ECHOES[name]

    def before(request):
        if not request.path.endswith("/pods"):
            return None
        return answer(request) if answer.__name__ == "write" else answer()

    cluster.before = before
    _, missing = read(kubeconfig(cluster, tmp_path))
    assert len(missing) == 1
    assert missing[0].startswith("pods: ")
    assert said in missing[0]
    assert_hidden(*capfd.readouterr())


@pytest.mark.parametrize(
    ("name", "image"), [(TOKEN, "shop/web:1"), ("web", f"shop/web:{TOKEN}"), (f"a-{TOKEN}-b", "shop/web:1")]
)
def test_objects_that_contain_the_login_are_not_written(cluster, tmp_path, name, image):
    cluster.add(pod(name, [image]))
    usages, missing = read(kubeconfig(cluster, tmp_path))
    assert usages == []
    assert missing == ["an object has the login of this cluster in its name or image"]


# Plugins and kubeconfig files


NOT_ACCEPTED = "HTTP 401 (Unauthorized): the login is not accepted"


def plugin(folder, script):
    path = folder / "plugin"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"exec": {"apiVersion": EXEC, "command": str(path), "interactiveMode": "Never"}}


def credential(**fields):
    document = {"apiVersion": EXEC, "kind": "ExecCredential", "status": {"token": TOKEN}} | fields
    return f"printf '%s' '{json.dumps(document)}'"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            f"echo 'bad {TOKEN}' >&2; exit 7",
            "its exec plugin ended with exit status 7; run it by hand",
        ),
        ("exit 3", "its exec plugin ended with exit status 3; run it by hand to see why"),
        (rf"printf '\377{TOKEN}' >&2; exit 1", "UnicodeDecodeError"),
        (f"echo {TOKEN}", "its exec plugin printed something other than JSON"),
        (f"""echo '"{TOKEN}"'""", "its exec plugin did not print an ExecCredential"),
        (f"""echo '{{"{TOKEN}": 1}}'""", "its exec plugin did not print an ExecCredential"),
        (
            credential(apiVersion=TOKEN),
            "its exec plugin answered with another apiVersion than",
        ),
        (credential(status=TOKEN), NOT_ACCEPTED),
        (credential(status={"token": TOKEN, "expirationTimestamp": TOKEN}), "ValueError"),
        (
            credential(status={"clientCertificateData": TOKEN, "clientKeyData": TOKEN}),
            "its certificates and keys",
        ),
    ],
)
def test_what_a_plugin_prints_is_not_shown(cluster, tmp_path, script, said, capfd):
    path = kubeconfig(cluster, tmp_path, plugin(tmp_path, script))
    usages, missing = read(path)
    # Older versions of the library go on without a token, or with one that is not as it should be.
    assert usages == [] or said == "ValueError"
    assert all(said in text or text == NOT_ACCEPTED for text in missing)
    assert usages or missing
    assert_hidden(*capfd.readouterr())


@pytest.mark.parametrize(
    "user",
    [
        {"token": f"{TOKEN}\n{TOKEN}"},
        {"token": {TOKEN: TOKEN}},
        {"tokenFile": f"/nowhere/{TOKEN}"},
        {"username": "pruner", "password": TOKEN},
        {"client-certificate-data": TOKEN, "client-key-data": TOKEN},
        {"client-certificate": f"/nowhere/{TOKEN}", "client-key": f"/nowhere/{TOKEN}"},
        {"exec": {"command": TOKEN}},
        {"exec": {"apiVersion": EXEC, "command": f"/nowhere/{TOKEN}"}},
        {"exec": {"apiVersion": EXEC, "command": "true", "args": TOKEN}},
        {"exec": {"apiVersion": EXEC, "command": "true", "env": [{TOKEN: TOKEN}]}},
        {"auth-provider": {"name": "oidc", "config": {"id-token": TOKEN}}},
        {"auth-provider": {"name": "oidc", "config": {"id-token": f"a.{TOKEN}.c"}}},
        {"auth-provider": {"name": "gcp", "config": {"cmd-path": f"/nowhere/{TOKEN}", "cmd-args": TOKEN}}},
        {"auth-provider": {"name": "gcp", "config": {"access-token": TOKEN, "expiry": TOKEN}}},
    ],
)
def test_what_a_kubeconfig_file_says_of_a_user_is_not_shown(cluster, tmp_path, user, capfd):
    path = kubeconfig(cluster, tmp_path, user)
    usages, missing = read(path)
    assert usages == []
    assert len(missing) == 1
    assert_hidden(*capfd.readouterr())


def test_an_oidc_token_is_not_refreshed_at_an_issuer_that_is_not_verified(cluster, tmp_path):
    claims = base64.b64encode(b'{"exp": 1}').decode().rstrip("=")
    config = {
        "id-token": f"a.{claims}.c",
        "refresh-token": TOKEN,
        "client-id": "kube",
        "client-secret": TOKEN,
        "idp-issuer-url": cluster.url,
    }
    path = kubeconfig(cluster, tmp_path, {"auth-provider": {"name": "oidc", "config": config}})
    _, missing = read(path)
    assert missing == [
        "no way to log in: its OIDC token has expired; let kubectl refresh it, or use an exec plugin"
    ]
    assert cluster.requests == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"users: [{{user: {{token: {TOKEN}", r"it is not YAML \(line 1\)"),
        (f"a: b\ntoken: {TOKEN}: {TOKEN}\n", r"it is not YAML \(line 2\)"),
        (f"!!python/object:{TOKEN} x", r"it is not YAML \(line 1\)"),
        (TOKEN, "cannot be used: "),
        ("", "cannot be used: "),
        (f"[{TOKEN}]", "cannot be used: "),
        (f"contexts: {TOKEN}", "cannot be used: "),
        (
            f"users: [{{user: {{token: {TOKEN}}}}}, {{user: {TOKEN}}}]",
            "cannot be used: a part of it is missing",
        ),
        (f"contexts: [{{{TOKEN}: {TOKEN}}}]", "cannot be used: "),
        (f"contexts: [{{name: [{TOKEN}]}}]", ""),
        (f"users: [&a {{name: {TOKEN}, user: *a}}]\ncontexts: []", "cannot be used: RecursionError"),
    ],
)
def test_what_is_wrong_with_a_kubeconfig_file_is_said_without_its_text(tmp_path, text, said):
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    if not said:
        assert_hidden(contexts_of(path).current)
        return
    with pytest.raises(InputError, match=said) as caught:
        contexts_of(path)
    assert_hidden(caught.value)
    assert_hidden(repr(caught.value.__cause__))


@pytest.fixture
def in_use(program, cluster, tmp_path):
    """``pruner in-use`` with a kubeconfig file changed by the arguments: all that it printed and wrote."""

    def run(*options, user=None, **more):
        path = kubeconfig(cluster, tmp_path, user, **more)
        done = program("in-use", "--kubeconfig", path, "-o", "use.jsonl", *options)
        assert "Traceback" not in done.stderr
        file = program.folder / "use.jsonl"
        written = file.read_text() if file.exists() else ""
        return done, assert_hidden(done.stdout, done.stderr, written)

    return run


def test_a_secret_as_current_context_is_not_shown(in_use):
    done, text = in_use(**{"current-context": TOKEN})
    assert done.returncode == 2
    assert "has no valid current context; name one with --context" in text


@pytest.mark.parametrize(
    "name", [TOKEN, f"prod-{TOKEN}", "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln", "short-token"]
)
def test_a_secret_as_name_of_a_context_is_not_shown(in_use, name):
    contexts = [{"name": name, "context": {"cluster": "prod-cluster", "user": "prod-user"}}]
    more = {"contexts": contexts, "current-context": name, "user": {"token": "short-token"}}
    for options in ((), ("--context", name), ("--context", "nowhere")):
        done, text = in_use(*options, **more)
        assert done.returncode == 2
        assert name not in text
    assert "context 'nowhere' is not in the kubeconfig file (there: 1 more)" in text


def test_a_context_that_looks_like_a_secret_is_read_under_another_name(in_use):
    name = "0F1E2D3C4B5A69788796A5B4C3D2E1F0.gr7.ap-northeast-2.eks.amazonaws.com"
    names = {"cluster": "prod-cluster", "user": "prod-user"}
    done, text = in_use("--context", f"prod={name}", contexts=[{"name": name, "context": names}])
    assert done.returncode == 0, text
    assert "of images in prod written" in text


def test_a_context_that_is_not_there_is_not_shown_where_it_may_be_a_secret(in_use):
    done, text = in_use("--context", TOKEN)
    assert done.returncode == 2
    assert "a context that was asked for is not in the kubeconfig file (there: prod)" in text


@pytest.mark.parametrize(
    "name",
    [
        "prod",
        "kubernetes-admin@kubernetes",
        "arn:aws:eks:ap-northeast-2:123456789012:cluster/prod-2024",
        "gke_my-project-123456_asia-northeast3-a_prod",
        "nks_kr_prod_5f2d1c2e-1234-4abc-9def-0123456789ab",
        "default/api-ocp-example-com:6443/kube:admin",
        "MC_shop_prod_koreacentral",
        "docker-desktop",
        "production2024",
        "myProduction",
        "internationalization",
    ],
)
def test_ordinary_names_are_plain(name):
    assert is_plain_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        TOKEN,
        quote(TOKEN),
        f"prod-{TOKEN}",
        "AKTESTAKTESTAKTEST00",
        "SKSECRETSKSECRETSKSECRETSKSECRETSKSECRE1",
        "ncp_iam_BPAMKR0123456789WXYZ",
        "07401b.f395accd246ae52d",
        "ghp_aB3dE6gH9jK2mN5pQ8sT",
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln",
        "a\nb",
        "관리자",
        "a" * 129,
        "xoxb+12/34==",
    ],
)
def test_what_looks_like_a_key_is_not_a_plain_name(name):
    assert not is_plain_name(name)
