"""A registry of the OCI Distribution specification in memory, as obliging or as strange as a test wants it.

Written after the specification, independently of the client. It shares nothing with it but published names.
"""

import asyncio
import base64
import hashlib
import json
import threading
from collections import Counter
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
LOGIN = ("alice", "wonderland")


def digest_of(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Repository:
    tags: dict = field(default_factory=dict)
    manifests: dict = field(default_factory=dict)
    blobs: dict = field(default_factory=dict)


@dataclass
class OciServer:
    """``before`` may answer a request instead; ``after`` may answer it otherwise, once it is carried out."""

    auth: str = "none"
    delete_by: str = "tag"
    page_size: int = 1000
    has_referrers: bool = False
    before: object = None
    after: object = None
    realm: str | None = None
    repositories: dict = field(default_factory=dict)
    requests: list = field(default_factory=list)
    authorizations: list = field(default_factory=list)
    deleted: list = field(default_factory=list)
    tokens: set = field(default_factory=set)
    port: int = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def counts(self):
        return Counter(method for method, _ in self.requests)

    # Content

    def repository(self, name):
        return self.repositories.setdefault(name, Repository())

    def blob(self, name, data):
        self.repository(name).blobs[digest_of(data)] = data
        return {"digest": digest_of(data), "size": len(data)}

    def manifest(self, name, document, tag=None, kind=None):
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        digest = digest_of(data)
        repository = self.repository(name)
        repository.manifests[digest] = (data, kind or document["mediaType"])
        if tag is not None:
            repository.tags[tag] = digest
        return {"digest": digest, "size": len(data), "mediaType": kind or document["mediaType"]}

    def image(self, name, tag=None, created=None, salt=None, subject=None):
        """One image; ``created`` as its configuration says."""
        salt = salt or tag or "image"
        config = {"os": "linux", "salt": salt} | ({} if created is None else {"created": created})
        document = {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": {"mediaType": CONFIG, **self.blob(name, json.dumps(config).encode())},
            "layers": [{"mediaType": LAYER, **self.blob(name, f"layer of {salt}".encode() * 10)}],
        }
        return self.manifest(name, document | ({} if subject is None else {"subject": subject}), tag)

    def index(self, name, tag, children):
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": children}
        return self.manifest(name, document, tag)

    def tags(self, name):
        return sorted(self.repository(name).tags)

    # Serving

    async def handle(self, request):
        self.requests.append((request.method, request.path_qs))
        self.authorizations.append(request.headers.get("Authorization"))
        if self.before is not None and (answer := await self._asked(self.before, request)) is not None:
            return answer
        if request.path == "/token":
            answer = self._token(request)
        elif not self._is_known(request):
            answer = self._challenge(request)
        else:
            answer = await self._answer(request)
        if self.after is not None and (other := await self._asked(self.after, request)) is not None:
            return other
        return answer

    async def _asked(self, hook, request):
        answer = hook(request)
        return await answer if asyncio.iscoroutine(answer) else answer

    def _is_known(self, request):
        given = request.headers.get("Authorization", "")
        if self.auth == "basic":
            return given == f"Basic {base64.b64encode(':'.join(LOGIN).encode()).decode()}"
        if self.auth == "bearer":
            return given.removeprefix("Bearer ") in self.tokens
        return True

    def _challenge(self, request):
        realm = self.realm or f"{self.url}/token"
        ways = {"basic": 'Basic realm="test"', "bearer": f'Bearer realm="{realm}",service="test"'}
        return error(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": ways[self.auth]})

    def _token(self, request):
        basic = f"Basic {base64.b64encode(':'.join(LOGIN).encode()).decode()}"
        if request.headers.get("Authorization") != basic:
            return error(401, "UNAUTHORIZED", "wrong login")
        token = f"token-{len(self.tokens)}-{request.query['scope']}"
        self.tokens.add(token)
        return web.json_response({"token": token, "expires_in": 300})

    async def _answer(self, request):
        parts = request.path.split("/")
        if request.path in ("/v2", "/v2/"):
            return web.json_response({})
        if request.path == "/v2/_catalog":
            return self._page(request, sorted(self.repositories), "repositories")
        name, kind, reference = "/".join(parts[2:-2]), parts[-2], parts[-1]
        if kind == "tags":
            if name not in self.repositories:
                return error(404, "NAME_UNKNOWN", "repository name not known to registry")
            return self._page(request, self.tags(name), "tags", name)
        repository = self.repository(name)
        if kind == "blobs":
            if reference not in repository.blobs:
                return error(404, "BLOB_UNKNOWN", "blob unknown to registry")
            return web.Response(body=repository.blobs[reference], content_type="application/octet-stream")
        if kind == "referrers":
            return self._referrers(repository, reference)
        return await self._manifests(request, repository, name, reference)

    def _page(self, request, names, key, name=None):
        last = request.query.get("last", "")
        rest = [item for item in names if item > last]
        page, more = rest[: self.page_size], rest[self.page_size :]
        headers = {}
        if more:
            headers["Link"] = f'<{request.path}?last={page[-1]}&n={self.page_size}>; rel="next"'
        body = {key: page or None if key == "tags" else page} | ({"name": name} if name else {})
        return web.json_response(body, headers=headers)

    def _referrers(self, repository, digest):
        if not self.has_referrers:
            # As distribution answers where it knows no such path.
            version = {"Docker-Distribution-Api-Version": "registry/2.0"}
            return web.Response(status=404, text="404 page not found\n", headers=version)
        found = []
        for own, (data, kind) in repository.manifests.items():
            if json.loads(data).get("subject", {}).get("digest") == digest:
                found.append({"mediaType": kind, "digest": own, "size": len(data)})
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": found}
        return web.Response(body=json.dumps(document).encode(), content_type=INDEX)

    async def _manifests(self, request, repository, name, reference):
        digest = reference if reference.startswith("sha256:") else repository.tags.get(reference)
        if request.method == "PUT":
            return self._put(repository, reference, await request.read(), request.headers["Content-Type"])
        if request.method == "DELETE":
            return self._delete(repository, name, reference, digest)
        if digest not in repository.manifests:
            return error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        data, kind = repository.manifests[digest]
        headers = {"Docker-Content-Digest": digest, "Content-Type": kind}
        return web.Response(body=data, headers=headers)

    def _put(self, repository, reference, data, kind):
        document = json.loads(data)
        named = [*document.get("layers", []), *([document["config"]] if "config" in document else [])]
        missing = [blob for blob in named if blob["digest"] not in repository.blobs]
        missing += [m for m in document.get("manifests", []) if m["digest"] not in repository.manifests]
        if missing:
            return error(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")
        digest = digest_of(data)
        repository.manifests[digest] = (data, kind)
        if not reference.startswith("sha256:"):
            repository.tags[reference] = digest
        return web.Response(status=201, headers={"Docker-Content-Digest": digest})

    def _delete(self, repository, name, reference, digest):
        by_tag = not reference.startswith("sha256:")
        if self.delete_by == "nothing":
            return error(405, "UNSUPPORTED", "the operation is unsupported")
        if by_tag and self.delete_by == "digest":
            return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        if digest not in repository.manifests or (by_tag and reference not in repository.tags):
            return error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        if by_tag:
            del repository.tags[reference]
            self.deleted.append(f"{name}:{reference}")
        else:
            del repository.manifests[digest]
            gone = [tag for tag, own in repository.tags.items() if own == digest]
            for tag in gone:
                del repository.tags[tag]
                self.deleted.append(f"{name}:{tag}")
        return web.Response(status=202)


def error(status, code, message, headers=None):
    """An error as the specification has it."""
    body = {"errors": [{"code": code, "message": message, "detail": None}]}
    return web.json_response(body, status=status, headers=headers)


@contextmanager
def serving(server):
    """Serve in a thread of its own while the block lasts."""
    started = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(server, started)), daemon=True)
    thread.start()
    loop, finish = started.result(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(finish.set)
        thread.join()


async def _serve(server, started):
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", server.handle)
    # A request that a test holds ends with its client.
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = runner.addresses[0][1]
    finish = asyncio.Event()
    started.set_result((asyncio.get_running_loop(), finish))
    await finish.wait()
    await runner.cleanup()
