"""A Kubernetes API server in memory: the lists that say which images a cluster uses, over TLS, for tests.

Written after the API's reference, independently of any client. Objects are plain mappings, as in its JSON.
"""

import asyncio
import base64
import bisect
import json
import re
import ssl
import sys
import threading
import uuid
from collections import Counter
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import trustme
import yaml
from aiohttp import web

TOKEN = "token-of-the-test"
USER = "system:serviceaccount:default:pruner"
CREATED = "2026-11-01T08:00:00Z"
CREDENTIAL = "client.authentication.k8s.io/v1"
EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new "
    "list without the continue parameter, or use the continue token in this response to retrieve the "
    "remainder of the results. Continuing with the provided token results in an inconsistent list - objects "
    "that were created, modified, or deleted between the time the first chunk was returned and now may show "
    "up in the list."
)
GZIP_FROM = 128 * 1024


@dataclass(frozen=True)
class Resource:
    """A resource as discovery names it; all are of version v1."""

    name: str
    kind: str
    group: str = ""
    namespaced: bool = True
    verbs: tuple = ("get", "list", "watch")

    @property
    def version(self):
        """The ``apiVersion`` of its objects."""
        return f"{self.group}/v1" if self.group else "v1"

    @property
    def prefix(self):
        return f"/apis/{self.version}" if self.group else "/api/v1"

    @property
    def qualified(self):
        """Its name as messages have it: ``pods``, ``deployments.apps``."""
        return f"{self.name}.{self.group}" if self.group else self.name


RESOURCES = {
    resource.name: resource
    for resource in (
        Resource("namespaces", "Namespace", namespaced=False),
        Resource("pods", "Pod"),
        Resource("podtemplates", "PodTemplate"),
        Resource("replicationcontrollers", "ReplicationController"),
        Resource("controllerrevisions", "ControllerRevision", "apps"),
        Resource("daemonsets", "DaemonSet", "apps"),
        Resource("deployments", "Deployment", "apps"),
        Resource("replicasets", "ReplicaSet", "apps"),
        Resource("statefulsets", "StatefulSet", "apps"),
        Resource("cronjobs", "CronJob", "batch"),
        Resource("jobs", "Job", "batch"),
    )
}
KINDS = {resource.kind: resource for resource in RESOURCES.values()}


@dataclass(frozen=True)
class Request:
    """What one request asked for; ``page`` counts from 1 within its list, 0 where it is no list."""

    method: str
    path: str
    query: dict
    user: str | None
    user_agent: str | None
    page: int = 0
    limit: int | None = None
    token: str | None = None


@dataclass
class Fault:
    """``answer(request, genuine)`` replaces answers to lists of ``resource``; ``times`` None is for ever."""

    resource: str
    answer: object
    page: int | None = None
    times: int | None = 1


class Hold:
    """An answer held back: ``arrived`` is set once a request waits for it, ``release`` lets it go."""

    def __init__(self, server):
        self.arrived = threading.Event()
        self._server = server
        self._released = asyncio.Event()

    def release(self):
        self._server.loop.call_soon_threadsafe(self._released.set)

    async def __call__(self, request, genuine):
        self.arrived.set()
        await self._released.wait()
        return await genuine()


@dataclass
class Expiry:
    after_pages: int
    times: int | None
    has_token: bool


@dataclass(frozen=True)
class Position:
    """What a continue token says: go on after ``start`` in the state of ``version`` (-1: whatever is now).

    ``age`` counts the pages that were sent of that state.
    """

    version: int = -1
    start: str = ""
    page: int = 0
    age: int = 0

    def token(self):
        return base64.urlsafe_b64encode(json.dumps(vars(self)).encode()).decode().rstrip("=")

    @classmethod
    def of(cls, token):
        return cls(**json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))))


@dataclass
class KubeServer:
    """One cluster. ``before`` may answer a request instead; it may be a coroutine function.

    ``tokens`` maps bearer tokens to names of users; ``absent`` names resources that the server does not know.
    """

    before: object = None
    git_version: str = "v1.34.2"
    tokens: dict = field(default_factory=lambda: {TOKEN: USER})
    absent: set = field(default_factory=set)
    requests: list = field(default_factory=list)
    ca: object = field(default_factory=trustme.CA)
    faults: list = field(default_factory=list)
    holds: list = field(default_factory=list)
    version: int = 1000
    port: int = 0
    loop: object = None

    def __post_init__(self):
        self._lock = threading.RLock()
        self._objects = {name: {} for name in RESOURCES}
        self._states = {}
        self._compacted = 0
        self._expiries = {}
        self._forbidden = {}
        self.add(*(namespace(name) for name in ("default", "kube-system")))

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca_pem(self):
        """The certificate of the authority, PEM."""
        return self.ca.cert_pem.bytes().decode()

    @property
    def counts(self):
        """Requests by method and path."""
        return Counter((request.method, request.path) for request in self.requests)

    def lists(self, name):
        """The requests for lists of one resource, all namespaces."""
        return [request for request in self.requests if request.page and request.path.endswith(f"/{name}")]

    def only_listed(self):
        """Whether nothing but lists, the version and discovery was asked for."""
        plain = {"/version", "/api", "/apis", *_discovery_paths()}
        return all(
            request.method == "GET"
            and "watch" not in request.query
            and (request.page or request.path.rstrip("/") in plain)
            for request in self.requests
        )

    # Content

    def add(self, *objects):
        """Create objects or replace those of the same name."""
        with self._lock:
            for item in objects:
                self.version += 1
                resource = KINDS[item["kind"]]
                metadata = {**item["metadata"], "resourceVersion": str(self.version)}
                kept = {**item, "metadata": metadata}
                # The items of a list come without the kind and version that the list itself has.
                sent = {key: value for key, value in kept.items() if key not in ("kind", "apiVersion")}
                key = f"{metadata.get('namespace', '')}/{metadata['name']}"
                self._objects[resource.name][key] = (key, kept, json.dumps(sent).encode())

    def remove(self, *objects):
        with self._lock:
            for item in objects:
                self.version += 1
                metadata = item["metadata"]
                key = f"{metadata.get('namespace', '')}/{metadata['name']}"
                del self._objects[KINDS[item["kind"]].name][key]

    # Faults

    def forbid(self, name, user=None, except_in=()):
        """Forbid lists of a resource, to one user or all, except in the namespaces of ``except_in``."""
        self._forbidden[name, user] = set(except_in)

    def allow(self, name, user=None):
        """Take ``forbid`` back."""
        self._forbidden.pop((name, user), None)

    def fail(self, name, answer, page=None, times=1):
        """Answer lists of a resource otherwise, ``times`` times (None: always), or only a page of them."""
        self.faults.append(Fault(name, answer, page, times))

    def hold(self, name, page=None):
        """Hold one answer back until the test releases it."""
        hold = Hold(self)
        self.holds.append(hold)
        self.fail(name, hold, page)
        return hold

    def expire(self, name, after_pages, times=1, has_token=True):
        """Refuse the continue token of a list once it has sent so many pages; ``times`` None is always."""
        self._expiries[name] = Expiry(after_pages, times, has_token)

    def compact(self):
        """Forget the states of before now: every continue token given out so far is expired."""
        with self._lock:
            self._compacted = self.version
            self.version += 1

    # Users, each as a kubeconfig has it

    def token_user(self, name=USER, token=None):
        """A user with a bearer token, which the server knows from now on."""
        token = token or f"token-of-{name}"
        self.tokens[token] = name
        return {"token": token}

    def token_file_user(self, folder, name=USER, token=None, end=""):
        """As ``token_user``, the token in the file ``token``, followed by ``end``, such as a newline."""
        path = Path(folder) / "token"
        path.write_text(self.token_user(name, token)["token"] + end)
        return {"tokenFile": str(path)}

    def certificate_user(self, name=USER, organization="system:authenticated", authority=None):
        """A user with a client certificate of the cluster's authority, or of another one."""
        certificate, key = self.client_certificate(name, organization, authority)
        return {"client-certificate-data": _base64(certificate), "client-key-data": _base64(key)}

    def client_certificate(self, name=USER, organization="system:authenticated", authority=None):
        """The certificate and key of a user, PEM."""
        issued = (authority or self.ca).issue_cert(
            "user@example.com", common_name=name, organization_name=organization
        )
        certificate = b"".join(part.bytes() for part in issued.cert_chain_pems)
        return certificate.decode(), issued.private_key_pem.bytes().decode()

    def exec_user(self, folder, name=USER, by="token", expires=None, output=None, status=0):
        """A user of a program that prints an ExecCredential, with a token or a ``certificate``.

        Each call appends what ``KUBERNETES_EXEC_INFO`` said to ``exec-calls.jsonl``. ``output`` is printed
        instead of the credential; ``status`` is the exit status.
        """
        if by == "token":
            given = self.token_user(name, f"exec-token-of-{name}")
        else:
            certificate, key = self.client_certificate(name)
            given = {"clientCertificateData": certificate, "clientKeyData": key}
        given |= {} if expires is None else {"expirationTimestamp": expires}
        credential = {"apiVersion": CREDENTIAL, "kind": "ExecCredential", "status": given}
        folder = Path(folder)
        (folder / "exec-output").write_text(json.dumps(credential) if output is None else output)
        program = folder / "exec-plugin.py"
        program.write_text(PLUGIN)
        return {
            "exec": {
                "apiVersion": CREDENTIAL,
                "command": sys.executable,
                "args": [str(program), str(status)],
                "env": [{"name": "PLUGIN_FOLDER", "value": str(folder)}],
                "interactiveMode": "Never",
                "provideClusterInfo": False,
            }
        }

    def cluster(self):
        """This cluster as a kubeconfig has it."""
        return {"server": self.url, "certificate-authority-data": _base64(self.ca_pem)}

    def kubeconfig(self, folder, contexts=None, current=None, name="kubeconfig"):
        """Write a kubeconfig file for this cluster alone: ``contexts`` maps names of contexts to users."""
        contexts = contexts or {"test": self.token_user(USER, TOKEN)}
        return kubeconfig(folder, {key: (self, user) for key, user in contexts.items()}, current, name)

    # Serving

    async def handle(self, request):
        user, is_known = self._user(request)
        found = None if request.method != "GET" else self._resource(request.path)
        try:
            position = Position.of(request.query["continue"]) if request.query.get("continue") else Position()
            limit = int(request.query.get("limit") or 0)
        except (ValueError, TypeError):
            self._record(request, user)
            return status(400, "BadRequest", "continue key is not valid or limit is no number")
        page = position.page + 1 if found else 0
        self._record(request, user, page=page, limit=limit or None, token=request.query.get("continue"))
        if self.before is not None:
            answer = self.before(request)
            answer = await answer if asyncio.iscoroutine(answer) else answer
            if answer is not None:
                return answer

        async def genuine():
            if not is_known:
                return unauthorized()
            return self._answer(request, user, found, position, limit)

        fault = self._fault(found[0].name, page) if found else None
        return await (genuine() if fault is None else fault(request, genuine))

    def _record(self, request, user, **more):
        self.requests.append(
            Request(
                request.method,
                request.path,
                dict(request.query),
                user,
                request.headers.get("User-Agent"),
                **more,
            )
        )

    def _user(self, request):
        """The name of the user, and whether the request may be looked at."""
        header = request.headers.get("Authorization")
        certificate = request.transport.get_extra_info("peercert") if request.transport else None
        if header is not None:
            scheme, _, token = header.partition(" ")
            user = self.tokens.get(token) if scheme.lower() == "bearer" else None
        elif certificate:
            names = dict(pair for part in certificate["subject"] for pair in part)
            user = names["commonName"]
        else:
            return None, request.path.rstrip("/") == "/version"
        return user, user is not None

    def _resource(self, path):
        """The resource and namespace that a path lists."""
        for resource in RESOURCES.values():
            if resource.name in self.absent:
                continue
            if path == f"{resource.prefix}/{resource.name}":
                return resource, None
            inside = re.fullmatch(f"{resource.prefix}/namespaces/([^/]+)/{resource.name}", path)
            if inside and resource.namespaced:
                return resource, inside[1]
        return None

    def _fault(self, name, page):
        for fault in self.faults:
            if fault.resource == name and fault.page in (None, page) and fault.times != 0:
                fault.times = None if fault.times is None else fault.times - 1
                return fault.answer
        return None

    def _answer(self, request, user, found, position, limit):
        if request.method != "GET" or "watch" in request.query:
            message = "the server does not allow this method on the requested resource"
            return status(405, "MethodNotAllowed", message)
        accepted = request.headers.get("Accept", "*/*")
        if "json" not in accepted and "*/*" not in accepted:
            return status(
                406, "NotAcceptable", "only the following media types are accepted: application/json"
            )
        if found is None:
            document = self._discover(request.path)
            return not_found() if document is None else _json(document)
        resource, namespace = found
        if self._is_forbidden(resource, user, namespace):
            return forbidden(resource, user, namespace)
        if request.query.get("continue") and request.query.get("resourceVersion"):
            return status(400, "BadRequest", "specifying resource version is not allowed when using continue")
        if request.query.get("resourceVersion") == "0":
            # Served from the watch cache, which knows no pages.
            limit = 0
        try:
            selects = selector(resource, request.query)
        except ValueError as unknown:
            return status(400, "BadRequest", str(unknown))
        return self._page(request, resource, namespace, position, limit, selects)

    def _is_forbidden(self, resource, user, namespace):
        rules = [self._forbidden.get((resource.name, who)) for who in (None, user)]
        return any(rule is not None and namespace not in rule for rule in rules)

    def _page(self, request, resource, namespace, position, limit, selects):
        is_first = not request.query.get("continue")
        if not is_first and (expired := self._expired(resource, position)) is not None:
            return expired
        version, entries = self._state(resource, position.version)
        start = bisect.bisect_right(entries, position.start, key=lambda entry: entry[0])
        rest = entries[start:] if position.start else entries
        if namespace is not None:
            rest = [entry for entry in rest if entry[0].startswith(f"{namespace}/")]
        if selects is not None:
            rest = [entry for entry in rest if selects(entry[1])]
        sent, left = (rest[:limit], len(rest) - limit) if limit else (rest, 0)
        metadata = {"resourceVersion": str(version)}
        if left > 0:
            after = Position(version, sent[-1][0], position.page + 1, position.age + 1)
            metadata["continue"] = after.token()
            if selects is None:
                metadata["remainingItemCount"] = left
        head = {"kind": f"{resource.kind}List", "apiVersion": resource.version, "metadata": metadata}
        items = b",".join(entry[2] for entry in sent)
        return _body(json.dumps(head).encode()[:-1] + b', "items": [' + items + b"]}\n", request)

    def _state(self, resource, version):
        """The version and the objects of a resource as they were then, in the order of their keys."""
        with self._lock:
            version = self.version if version < 0 else version
            if (version, resource.name) not in self._states:
                objects = self._objects[resource.name]
                self._states[version, resource.name] = [objects[key] for key in sorted(objects)]
            return version, self._states[version, resource.name]

    def _expired(self, resource, position):
        # A token of no version goes on in whatever is now, so it cannot be too old.
        if position.version < 0:
            return None
        has_token = True
        rule = self._expiries.get(resource.name)
        if rule is not None and position.age >= rule.after_pages and rule.times != 0:
            rule.times = None if rule.times is None else rule.times - 1
            has_token = rule.has_token
        elif position.version > self._compacted and (position.version, resource.name) in self._states:
            return None
        token = replace(position, version=-1, age=0).token() if has_token else None
        return gone(token)

    # Discovery

    def _discover(self, path):
        path = path.rstrip("/")
        addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": f"127.0.0.1:{self.port}"}]
        if path == "/version":
            return self._version()
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}
        groups = [_group(name) for name in ("apps", "batch")]
        if path == "/apis":
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        for group in groups:
            if path == f"/apis/{group['name']}":
                return {"kind": "APIGroup", "apiVersion": "v1", **group}
        return self._resource_list(path)

    def _version(self):
        major, minor, _ = self.git_version.removeprefix("v").split(".", 2)
        return {
            "major": major,
            "minor": minor,
            "gitVersion": self.git_version,
            "gitCommit": sha256(self.git_version.encode()).hexdigest()[:40],
            "gitTreeState": "clean",
            "buildDate": "2026-10-01T00:00:00Z",
            "goVersion": "go1.24.9",
            "compiler": "gc",
            "platform": "linux/amd64",
        }

    def _resource_list(self, path):
        known = [resource for resource in RESOURCES.values() if resource.prefix == path]
        if not known:
            return None
        resources = [
            {
                "name": resource.name,
                "singularName": resource.kind.lower(),
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": list(resource.verbs),
            }
            for resource in known
            if resource.name not in self.absent
        ]
        version = known[0].version
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": version,
            "resources": resources,
        }


def _discovery_paths():
    prefixes = {resource.prefix for resource in RESOURCES.values()}
    return prefixes | {prefix.removesuffix("/v1") for prefix in prefixes}


def _group(name):
    version = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [version], "preferredVersion": version}


# The plugin of ``exec_user``.
PLUGIN = """\
import os, pathlib, sys
folder = pathlib.Path(os.environ["PLUGIN_FOLDER"])
with (folder / "exec-calls.jsonl").open("a") as calls:
    calls.write(os.environ.get("KUBERNETES_EXEC_INFO", "") + "\\n")
sys.stdout.write((folder / "exec-output").read_text())
sys.exit(int(sys.argv[1]))
"""


def kubeconfig(folder, contexts, current=None, name="kubeconfig"):
    """Write a kubeconfig file and return its path.

    ``contexts`` maps their names to (server, user) or (server, user, namespace): servers give the users
    (``token_user`` and so on). A mapping in the place of the server is the cluster as the file has it. The
    current context is the first one unless ``current`` names another; an empty one is written as such.
    """
    document = {"apiVersion": "v1", "kind": "Config", "preferences": {}}
    document |= {"clusters": [], "users": [], "contexts": []}
    for context, (server, user, *namespace) in contexts.items():
        cluster = server if isinstance(server, dict) else server.cluster()
        names = {"cluster": f"{context}-cluster", "user": f"{context}-user"}
        document["clusters"].append({"name": names["cluster"], "cluster": cluster})
        document["users"].append({"name": names["user"], "user": user})
        document["contexts"].append(
            {"name": context, "context": names | ({"namespace": namespace[0]} if namespace else {})}
        )
    document["current-context"] = next(iter(contexts)) if current is None else current
    path = Path(folder) / name
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    path.chmod(0o600)
    return path


def selector(resource, query):
    """A function that says whether the selectors of a query select an object; None where there are none."""
    fields = _requirements(query.get("fieldSelector", ""))
    labels = _requirements(query.get("labelSelector", ""))
    if not fields and not labels:
        return None
    known = {"metadata.name"} | ({"metadata.namespace"} if resource.namespaced else set())
    known |= {"status.phase", "spec.nodeName"} if resource.name == "pods" else set()
    for name, _, _ in fields:
        if name not in known:
            raise ValueError(f"field label not supported: {name}")

    def selects(item):
        own = item["metadata"].get("labels", {})
        return all((_field(item, name) == value) == equal for name, equal, value in fields) and all(
            (own.get(name) == value) == equal for name, equal, value in labels
        )

    return selects


def _requirements(text):
    """Equality-based selectors only, the ones that fields have."""
    found = []
    for part in filter(None, text.split(",")):
        parsed = re.fullmatch(r"([^=!]+)(==|=|!=)([^=!]*)", part)
        if parsed is None:
            raise ValueError(f"unable to parse requirement: {part}")
        found.append((parsed[1], parsed[2] != "!=", parsed[3]))
    return found


def _field(item, path):
    for key in path.split("."):
        item = item.get(key, {})
    return item or ""


# Answers


def status(code, reason, message, details=None, headers=None, metadata=None):
    """A failure as the API server writes it: a Status object."""
    document = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": metadata or {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        **({} if details is None else {"details": details}),
        "code": code,
    }
    return _json(document, code, headers)


def unauthorized():
    return status(401, "Unauthorized", "Unauthorized")


def forbidden(resource, user, namespace=None):
    where = "at the cluster scope" if namespace is None else f'in the namespace "{namespace}"'
    message = (
        f'{resource.qualified} is forbidden: User "{user}" cannot list resource "{resource.name}" '
        f'in API group "{resource.group}" {where}'
    )
    details = ({"group": resource.group} if resource.group else {}) | {"kind": resource.name}
    return status(403, "Forbidden", message, details)


def gone(token=None):
    """An expired continue token; ``token`` is the one that goes on inconsistently."""
    return status(410, "Expired", EXPIRED, metadata={"continue": token} if token else {})


def not_found():
    return web.Response(status=404, text="404 page not found\n")


def _json(document, code=200, headers=None):
    body = json.dumps(document).encode() + b"\n"
    return web.Response(body=body, status=code, content_type="application/json", headers=headers)


def _body(data, request):
    headers = {"Cache-Control": "no-cache, private", "Audit-Id": str(uuid.uuid4())}
    answer = web.Response(body=data, content_type="application/json", headers=headers)
    if len(data) >= GZIP_FROM and "gzip" in request.headers.get("Accept-Encoding", ""):
        answer.headers["Vary"] = "Accept-Encoding"
        answer.enable_compression(web.ContentCoding.gzip)
    return answer


def _base64(text):
    return base64.b64encode(text.encode()).decode()


# Faults, for ``KubeServer.fail``


def replying(code=200, body="", content_type="application/json", headers=None):
    """Answer with this text."""

    async def answer(request, genuine):
        return web.Response(status=code, text=body, content_type=content_type, headers=headers)

    return answer


def failing(code, reason, message, **more):
    """Answer with a Status object."""

    async def answer(request, genuine):
        return status(code, reason, message, **more)

    return answer


def too_many_requests(retry_after=1, is_status=False):
    """429: the plain text of priority and fairness, or the Status object that other refusals have."""
    headers = {"Retry-After": str(retry_after)}
    if is_status:
        message = "the server has received too many requests and has asked us to try again later"
        details = {"retryAfterSeconds": retry_after}
        return failing(429, "TooManyRequests", message, details=details, headers=headers)
    return replying(429, "Too many requests, please try again later.\n", "text/plain", headers)


def internal_error(cause="etcdserver: request timed out"):
    message = f"Internal error occurred: {cause}"
    return failing(500, "InternalError", message, details={"causes": [{"message": cause}]})


def unavailable():
    return failing(503, "ServiceUnavailable", "the server is currently unable to handle the request")


def timed_out():
    message = "Timeout: request did not complete within the allotted timeout"
    return failing(504, "Timeout", message, details={})


def not_json():
    """What a proxy in between may answer."""
    return replying(200, "<html><body>Sign in to go on</body></html>", "text/html")


def cut_off(share=0.5):
    """Send this share of the genuine body, then cut the connection."""

    async def answer(request, genuine):
        body = (await genuine()).body
        response = web.StreamResponse()
        response.content_type = "application/json"
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body[: int(len(body) * share)])
        # An abort throws away what has not left yet, even the head of the answer.
        while not request.transport.is_closing() and request.transport.get_write_buffer_size():
            await asyncio.sleep(0.001)
        request.transport.abort()
        return response

    return answer


def dropped():
    """Cut the connection without an answer."""

    async def answer(request, genuine):
        request.transport.abort()
        return web.Response()

    return answer


# Objects


def digest(text):
    """A digest that is always the same for a text."""
    return f"sha256:{sha256(text.encode()).hexdigest()}"


def repository_of(image):
    """An image's name without tag and digest."""
    name = image.split("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.split(':')[0]}"


def in_full(image):
    """An image's name with its host, as runtimes but Docker write it: ``docker.io/library/nginx:latest``."""
    host, slash, _ = image.partition("/")
    if not slash:
        image = f"docker.io/library/{image}"
    elif "." not in host and ":" not in host and host != "localhost":
        image = f"docker.io/{image}"
    has_more = "@" in image or ":" in image.rpartition("/")[2]
    return image if has_more else f"{image}:latest"


def image_id(image, runtime="containerd"):
    """The ``imageID`` of a container of an image, in the shape that a runtime gives it.

    ``containerd`` and ``cri-o`` give the repository and a digest, ``docker`` the same with a scheme. A digest
    alone (``config``; ``docker-config`` with a scheme) is that of the image's configuration, where a node got
    the image otherwise than by a pull. ``none`` is the empty one of a container that has not been started.
    """
    own = image.split("@")[1] if "@" in image else digest(image)
    full = repository_of(in_full(image))
    shapes = {
        "containerd": f"{full}@{own}",
        "cri-o": f"{full}@{own}",
        "docker": f"docker-pullable://{repository_of(image)}@{own}",
        "config": digest(f"configuration of {image}"),
        "docker-config": f"docker://{digest(f'configuration of {image}')}",
        "none": "",
    }
    return shapes[runtime]


@dataclass(frozen=True)
class Container:
    """A container and what its status says.

    ``image_id`` None is as ``runtime`` gives it; ``status_image`` None is ``image`` in full. ``state`` is
    ``running``, ``terminated``, ``failed``, ``waiting`` (not started yet), ``pulling`` (its image cannot be
    pulled) or ``crashing``; None follows from the pod's phase.
    """

    image: str
    name: str | None = None
    image_id: str | None = None
    status_image: str | None = None
    runtime: str = "containerd"
    state: str | None = None

    def spec(self, index, prefix):
        return {
            "name": self.name or f"{prefix}{index}",
            "image": self.image,
            "resources": {},
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
            "imagePullPolicy": "IfNotPresent",
        }

    def status(self, index, prefix, state):
        state = self.state or state
        name = self.name or f"{prefix}{index}"
        was_pulled = state not in ("waiting", "pulling")
        own = image_id(self.image, self.runtime) if was_pulled else ""
        crashed = _terminated(1, "Error", name)
        return {
            "name": name,
            "state": _state(state, name),
            "lastState": crashed if state == "crashing" else {},
            "ready": state == "running",
            "restartCount": 7 if state == "crashing" else 0,
            "image": self._status_image(was_pulled),
            "imageID": own if self.image_id is None else self.image_id,
            "started": state == "running",
            **({"containerID": f"containerd://{sha256(name.encode()).hexdigest()}"} if was_pulled else {}),
        }

    def _status_image(self, was_pulled):
        if self.status_image is not None:
            return self.status_image
        return in_full(self.image) if was_pulled and "docker" not in self.runtime else self.image


def _state(state, name):
    waiting = {"waiting": "ContainerCreating", "pulling": "ImagePullBackOff", "crashing": "CrashLoopBackOff"}
    if state in waiting:
        return {"waiting": {"reason": waiting[state]}}
    if state == "running":
        return {"running": {"startedAt": CREATED}}
    return _terminated(*((0, "Completed") if state == "terminated" else (1, "Error")), name)


def _terminated(code, reason, name):
    container = f"containerd://{sha256(name.encode()).hexdigest()}"
    times = {"startedAt": CREATED, "finishedAt": CREATED}
    return {"terminated": {"exitCode": code, "reason": reason, **times, "containerID": container}}


def _containers(items):
    return [item if isinstance(item, Container) else Container(item) for item in items]


def _metadata(kind, name, namespace=None, labels=None, annotations=None, owner=None, created=CREATED):
    metadata = {
        "name": name,
        "uid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{kind}/{namespace}/{name}")),
        "generation": 1,
        "creationTimestamp": created,
        "labels": labels or {"app": name},
        "managedFields": [
            {
                "manager": "kube-controller-manager",
                "operation": "Update",
                "apiVersion": KINDS[kind].version,
                "time": created,
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}},
            }
        ],
    }
    metadata |= {} if namespace is None else {"namespace": namespace}
    metadata |= {"annotations": annotations} if annotations else {}
    metadata |= {"ownerReferences": [reference(owner)]} if owner else {}
    return metadata


def reference(owner):
    """The ownerReference to an object that controls another one."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _object(kind, metadata, **more):
    return {"kind": kind, "apiVersion": KINDS[kind].version, "metadata": metadata, **more}


def namespace(name):
    labels = {"kubernetes.io/metadata.name": name}
    phase = {"phase": "Active"}
    return _object(
        "Namespace",
        _metadata("Namespace", name, labels=labels),
        spec={"finalizers": ["kubernetes"]},
        status=phase,
    )


def pod_spec(images, init=(), restart="Always"):
    """The spec of a pod, as templates have it."""
    spec = {
        "containers": [one.spec(index, "main-") for index, one in enumerate(_containers(images))],
        "restartPolicy": restart,
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "default",
        "securityContext": {},
        "schedulerName": "default-scheduler",
    }
    if init:
        spec["initContainers"] = [one.spec(index, "init-") for index, one in enumerate(_containers(init))]
    return spec


def template(name, images, init=(), restart="Always"):
    """A pod template."""
    return {
        "metadata": {"creationTimestamp": None, "labels": {"app": name}},
        "spec": pod_spec(images, init, restart),
    }


# The state of a pod's init containers and of its containers, by phase.
STATES = {
    "Pending": ("waiting", "waiting"),
    "Running": ("terminated", "running"),
    "Succeeded": ("terminated", "terminated"),
    "Failed": ("terminated", "failed"),
    "Unknown": ("terminated", "running"),
}


def pod(
    name,
    images,
    init=(),
    ephemeral=(),
    phase="Running",
    namespace="default",
    owner=None,
    is_scheduled=True,
    **more,
):
    """A pod; images are names or ``Container``. One that is not scheduled has no statuses of containers."""
    spec = pod_spec(images, init) | ({"nodeName": "node-1"} if is_scheduled else {})
    if ephemeral:
        spec["ephemeralContainers"] = [
            one.spec(index, "debugger-") | {"targetContainerName": "main-0"}
            for index, one in enumerate(_containers(ephemeral))
        ]
    state = {"phase": phase, "qosClass": "BestEffort"}
    if is_scheduled:
        state |= {"hostIP": "10.0.0.1", "podIP": "10.244.0.7", "startTime": CREATED}
        state |= _statuses(phase, images, init, ephemeral)
    state["conditions"] = [
        _condition("PodScheduled", is_scheduled, None if is_scheduled else "Unschedulable"),
        _condition("Ready", phase == "Running"),
    ]
    metadata = _metadata("Pod", name, namespace, owner=owner, **more)
    return _object("Pod", metadata, spec=spec, status=state)


def _statuses(phase, images, init, ephemeral):
    before, state = STATES[phase]
    found = {}
    for key, prefix, items, default in (
        ("containerStatuses", "main-", images, state),
        ("initContainerStatuses", "init-", init, before),
        ("ephemeralContainerStatuses", "debugger-", ephemeral, state),
    ):
        if items:
            found[key] = [one.status(index, prefix, default) for index, one in enumerate(_containers(items))]
    return found


def _condition(kind, holds, reason=None):
    condition = {"type": kind, "status": "True" if holds else "False", "lastTransitionTime": CREATED}
    return condition | ({"reason": reason} if reason else {})


def deployment(name, images, init=(), replicas=2, revision=1, history=10, namespace="default", **more):
    """A deployment; ``history`` is its revisionHistoryLimit, None as old API versions left it."""
    annotations = {"deployment.kubernetes.io/revision": str(revision)}
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": name}},
        "template": template(name, images, init),
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
        "progressDeadlineSeconds": 600,
    }
    spec |= {} if history is None else {"revisionHistoryLimit": history}
    state = {"observedGeneration": 1, **_counts(replicas, "updatedReplicas")}
    state["conditions"] = [_condition("Available", True, "MinimumReplicasAvailable")]
    metadata = _metadata("Deployment", name, namespace, annotations=annotations, **more)
    return _object("Deployment", metadata, spec=spec, status=state)


def _counts(replicas, *more):
    if not replicas:
        return {"replicas": 0}
    return dict.fromkeys(("replicas", "readyReplicas", "availableReplicas", *more), replicas)


def replica_set(name, images, init=(), replicas=2, revision=1, owner=None, namespace="default", **more):
    """A replica set; with no replicas it is what a deployment keeps of an older revision."""
    annotations = {
        "deployment.kubernetes.io/desired-replicas": "2",
        "deployment.kubernetes.io/max-replicas": "3",
        "deployment.kubernetes.io/revision": str(revision),
    }
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": name}},
        "template": template(name, images, init),
    }
    metadata = _metadata(
        "ReplicaSet", name, namespace, annotations=annotations if owner else None, owner=owner, **more
    )
    state = {"observedGeneration": 1, **_counts(replicas, "fullyLabeledReplicas")}
    return _object("ReplicaSet", metadata, spec=spec, status=state)


def stateful_set(name, images, init=(), replicas=1, namespace="default", **more):
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": name}},
        "template": template(name, images, init),
        "serviceName": name,
        "podManagementPolicy": "OrderedReady",
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        "revisionHistoryLimit": 10,
    }
    revision = f"{name}-6d4cf56db6"
    state = {"observedGeneration": 1, "currentRevision": revision, "updateRevision": revision}
    state |= {"collisionCount": 0, **_counts(replicas, "currentReplicas", "updatedReplicas")}
    return _object("StatefulSet", _metadata("StatefulSet", name, namespace, **more), spec=spec, status=state)


def daemon_set(name, images, init=(), nodes=3, namespace="default", **more):
    spec = {
        "selector": {"matchLabels": {"app": name}},
        "template": template(name, images, init),
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
        "revisionHistoryLimit": 10,
    }
    keys = ("currentNumberScheduled", "desiredNumberScheduled", "numberReady", "numberAvailable")
    state = {"numberMisscheduled": 0, "observedGeneration": 1, **dict.fromkeys(keys, nodes)}
    return _object("DaemonSet", _metadata("DaemonSet", name, namespace, **more), spec=spec, status=state)


def controller_revision(name, images, owner, revision=1, namespace="default", **more):
    """What a stateful set or a daemon set keeps of one revision of its template."""
    data = {"spec": {"template": {"$patch": "replace", **template(owner["metadata"]["name"], images)}}}
    metadata = _metadata("ControllerRevision", name, namespace, owner=owner, **more)
    return _object("ControllerRevision", metadata, data=data, revision=revision)


def job_spec(name, images, init=(), is_suspended=False):
    return {
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "suspend": is_suspended,
        "podReplacementPolicy": "TerminatingOrFailed",
        "template": template(name, images, init, "Never"),
    }


def job(name, images, init=(), state="running", owner=None, namespace="default", **more):
    """A job; ``state`` is ``running``, ``suspended``, ``complete`` or ``failed``."""
    metadata = _metadata("Job", name, namespace, owner=owner, **more)
    selects = {"matchLabels": {"batch.kubernetes.io/controller-uid": metadata["uid"]}}
    spec = job_spec(name, images, init, state == "suspended") | {"selector": selects}
    counts = {"ready": 0, "terminating": 0, "uncountedTerminatedPods": {}}
    states = {
        "running": {"active": 1, "startTime": CREATED},
        "suspended": {"conditions": [_condition("Suspended", True, "JobSuspended")]},
        "complete": {
            "succeeded": 1,
            "startTime": CREATED,
            "completionTime": CREATED,
            "conditions": [_condition("Complete", True, "CompletionsReached")],
        },
        "failed": {
            "failed": 7,
            "startTime": CREATED,
            "conditions": [_condition("Failed", True, "BackoffLimitExceeded")],
        },
    }
    return _object("Job", metadata, spec=spec, status=counts | states[state])


def cron_job(name, images, init=(), is_suspended=False, namespace="default", **more):
    own = job_spec(name, images, init)
    del own["suspend"]
    spec = {
        "schedule": "*/5 * * * *",
        "concurrencyPolicy": "Forbid",
        "suspend": is_suspended,
        "jobTemplate": {"metadata": {"creationTimestamp": None}, "spec": own},
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 1,
    }
    state = {"lastScheduleTime": CREATED, "lastSuccessfulTime": CREATED}
    return _object("CronJob", _metadata("CronJob", name, namespace, **more), spec=spec, status=state)


def replication_controller(name, images, init=(), replicas=1, namespace="default", **more):
    spec = {"replicas": replicas, "selector": {"app": name}, "template": template(name, images, init)}
    state = {"observedGeneration": 1, **_counts(replicas, "fullyLabeledReplicas")}
    metadata = _metadata("ReplicationController", name, namespace, **more)
    return _object("ReplicationController", metadata, spec=spec, status=state)


def pod_template(name, images, init=(), namespace="default", **more):
    metadata = _metadata("PodTemplate", name, namespace, **more)
    return _object("PodTemplate", metadata, template=template(name, images, init))


# Running


@contextmanager
def serving(server=None):
    """Serve in a thread of its own while the block lasts."""
    server = server or KubeServer()
    started = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(server, started)), daemon=True)
    thread.start()
    finish = started.result(10)
    try:
        yield server
    finally:
        server.loop.call_soon_threadsafe(finish.set)
        thread.join()


async def _serve(server, started):
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.ca.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    server.ca.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    server.port = runner.addresses[0][1]
    server.loop = asyncio.get_running_loop()
    finish = asyncio.Event()
    started.set_result(finish)
    await finish.wait()
    for hold in server.holds:
        hold.release()
    # A TLS connection that is closed in good order would wait for its client, which may never answer.
    for connection in runner.server.connections:
        if connection.transport is not None:
            connection.transport.abort()
    await runner.cleanup()
