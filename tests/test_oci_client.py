"""The OCI client against a registry in memory: what is read, what is refused, what is deleted."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import anyio
import pytest
from aiohttp import web
from oci_server import IMAGE, INDEX, LOGIN, OciServer, digest_of, error, serving

from pruner.errors import (
    ConnectError,
    ListingError,
    MalformedReplyError,
    NamesNotDeletedError,
    RedirectError,
    ResponseError,
)
from pruner.model import Links, Target
from pruner.registry.base import Deletion, Wanted
from pruner.registry.clients import new_client
from pruner.registry.oci import protocol
from pruner.registry.oci import transport as transports
from pruner.registry.oci.auth import Authorizer
from pruner.registry.oci.client import OciReader
from pruner.registry.oci.deleter import DeleteBy, OciDeleter
from pruner.registry.oci.elsewhere import Elsewhere
from pruner.registry.oci.facts import FactsReader
from pruner.registry.oci.known import KnownManifests
from pruner.registry.oci.location import parse_location
from pruner.registry.oci.login import Login
from pruner.registry.oci.transport import COMMON_HEADERS, OciTransport
from pruner.registry.secret import Secret

ALICE = Login(LOGIN[0], Secret(LOGIN[1]), "test")
OLD = "2024-05-06T07:08:09Z"
OLD_MS = 1_714_979_289_000
TAKEN = Deletion(202, confirmed=False, accepted=True)


class Once:
    """Every reading request once."""

    async def run(self, send):
        return await send()


@pytest.fixture
def server():
    with serving(OciServer()) as server:
        yield server


@asynccontextmanager
async def transport_to(server, namespace="team", login=ALICE, timeout=30.0):
    location = parse_location(f"{server.url}/{namespace}" if namespace else server.url)

    def client(origin):
        return new_client(origin, common=COMMON_HEADERS, env={})

    elsewhere = Elsewhere(location.origin, lambda origin, reach: client(origin), lambda origin: None)
    authorizer = Authorizer(elsewhere, login, timeout=timeout)
    transport = OciTransport(client(location.origin), location, authorizer, elsewhere, timeout=timeout)
    try:
        yield transport
    finally:
        await transport.close()


@asynccontextmanager
async def reader_of(server, known=None, warn=None, **options):
    async with transport_to(
        server, **{k: options.pop(k) for k in ("namespace", "login") if k in options}
    ) as t:
        facts = FactsReader(t, Once(), known or KnownManifests(None))
        yield OciReader(t, Once(), facts, warn or (lambda text: None), registry_names=["lab"], **options)


async def tags_of(server, image="web", want=None, **options):
    async with reader_of(server, **options) as reader:
        found = await (reader.tags("lab", image) if want is None else reader.tags("lab", image, want))
        return None if found is None else {tag.name: tag for tag in found}


async def deleted(server, target, digest=None, by=DeleteBy.AUTO):
    async with transport_to(server) as transport:
        return await delete_as_the_engine_does(OciDeleter(transport, by), target, digest)


async def delete_as_the_engine_does(deleter, name, digest):
    """One DELETE after the other, until the deleter has found out what the registry deletes."""
    target = Target("lab", "web", name)
    async with deleter.turn(target, digest):
        try:
            return await deleter.delete(target, digest)
        except NamesNotDeletedError:
            return await deleter.delete(target, digest)


# Lists


@pytest.mark.parametrize("auth", ["none", "basic", "bearer"])
async def test_images_and_tags_in_pages(server, auth):
    server.auth, server.page_size = auth, 3
    for number in range(10):
        server.image(f"team/app-{number}", "v1", OLD)
        server.image("team/web", f"t{number}", OLD)
    server.image("other/app", "v1", OLD)
    async with reader_of(server) as reader:
        assert await reader.registries() == {"lab": (f"127.0.0.1:{server.port}/team",)}
        assert await reader.images("lab") == [*(f"app-{n}" for n in range(10)), "web"]
        assert [tag.name for tag in await reader.tags("lab", "web")] == [f"t{n}" for n in range(10)]


async def test_images_that_a_policy_names_are_not_asked_for(server):
    async with reader_of(server, images=("b", "a")) as reader:
        assert await reader.images("lab") == ["a", "b"]
    assert not server.requests


async def test_an_image_that_is_not_there(server):
    assert await tags_of(server) is None


async def test_an_image_without_tags(server):
    server.repository("team/web")
    assert await tags_of(server) == {}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            lambda: web.Response(text="<html>hello</html>", content_type="text/html"),
            "not what a registry answers",
        ),
        (lambda: web.json_response({"name": "team/web"}), "it has no list"),
        (lambda: web.json_response({"tags": ["a", 1]}), "not what a registry answers"),
        (lambda: web.json_response({"tags": ["a", "b", "a"]}), "'a' is listed twice"),
        (lambda: web.json_response({"tags": ["../a"]}), "a name that cannot be"),
        (lambda: web.json_response({"tags": []}, status=206), "HTTP 206 instead of 200"),
        (
            lambda: web.json_response(
                {"tags": ["a"]}, headers={"Link": '<http://127.0.0.1:9/v2/x>; rel="next"'}
            ),
            "the next page is said to be on another server, http://127.0.0.1:9",
        ),
        (
            lambda: web.json_response({"tags": ["a"]}, headers={"Link": '</elsewhere>; rel="next"'}),
            "the header 'Link' of a page cannot be read",
        ),
        (
            lambda: web.json_response(
                {"tags": []}, headers={"Link": '</v2/team/web/tags/list?n=1000>; rel="next"'}
            ),
            "the pages of the list do not end",
        ),
    ],
)
async def test_a_list_that_is_none_is_an_error(server, answer, said):
    server.before = lambda request: answer() if "/tags/" in request.path else None
    with pytest.raises(ListingError, match=said):
        await tags_of(server)


@pytest.mark.parametrize(
    ("document", "link", "said"),
    [
        ({"tags": ["v1"], "errors": [{"code": "UNKNOWN"}]}, None, "errors"),
        ({"name": "team/other", "tags": ["v1"]}, None, "of 'team/other'"),
        ({"tags": ["v1"]}, "</v2/team/other/tags/list?last=v1>; rel=next", "another list"),
    ],
)
async def test_a_list_of_something_else_is_an_error(server, document, link, said):
    server.image("team/web", "v1", OLD)
    headers = {} if link is None else {"Link": link}
    server.before = lambda request: (
        web.json_response(document, headers=headers) if request.path == "/v2/team/web/tags/list" else None
    )
    with pytest.raises(ListingError, match=said):
        await tags_of(server)


@pytest.mark.parametrize("size", [50, 100, 1000])
async def test_a_page_of_a_round_number_without_a_link_is_looked_behind(server, size):
    for number in range(size + 1):
        server.repository("team/web").tags[f"t{number:04}"] = digest_of(b"x")
    server.page_size = size

    def without_link(request, answers=server._answer):
        async def answer():
            found = await answers(request)
            found.headers.popall("Link", None)
            return found

        return answer() if request.path.endswith("/tags/list") else None

    server.before = without_link
    with pytest.raises(ListingError, match="has no link to another one"):
        await tags_of(server)


async def test_a_part_of_the_referrers_is_not_all_of_them(server):
    server.has_referrers = True
    server.image("team/web", "v1", OLD)
    document = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []})
    server.before = lambda request: (
        web.Response(status=206, text=document, content_type=INDEX) if "/referrers/" in request.path else None
    )
    with pytest.raises(ListingError, match="HTTP 206"):
        await tags_of(server, asks_referrers=True)


async def test_a_404_that_is_not_the_registrys_own_is_no_missing_image(server):
    server.before = lambda request: web.Response(status=404, text="404 page not found")
    with pytest.raises(ResponseError, match="404 page not found"):
        await tags_of(server)


async def test_what_answers_html_is_no_registry(server):
    server.before = lambda request: web.Response(text="<html>welcome</html>", content_type="text/html")
    async with reader_of(server) as reader:
        with pytest.raises(
            MalformedReplyError, match="is not a registry: it answers /v2/ with HTTP 200 and a page of HTML"
        ):
            await reader.registries()


async def test_a_registry_without_a_catalog_says_what_to_do(server):
    server.before = lambda request: (
        error(404, "NAME_UNKNOWN", "no catalog") if request.path == "/v2/_catalog" else None
    )
    async with reader_of(server) as reader:
        with pytest.raises(ListingError, match="name them under registries: lab: images"):
            await reader.images("lab")


# Facts


@pytest.mark.parametrize(
    ("created", "known"),
    [
        (OLD, OLD_MS),
        ("2024-05-06T09:08:09.123456789+02:00", OLD_MS + 123),
        (None, None),
        ("", None),
        (17, None),
        ("1970-01-01T00:00:00Z", None),
        ("1980-01-01T00:00:01Z", None),
        ("0001-01-01T00:00:00Z", None),
        ("2999-01-01T00:00:00Z", 32_472_144_000_000),
        ("yesterday", None),
    ],
)
async def test_a_time_is_what_the_configuration_says_if_that_can_be(server, created, known):
    server.image("team/web", "v1", created)
    tag = (await tags_of(server))["v1"]
    assert tag.updated == tag.created == known
    assert tag.size > 100
    assert tag.links == Links()


async def test_an_index_is_as_new_as_its_newest_platform(server):
    children = [
        server.image("team/web", None, OLD, "a"),
        server.image("team/web", None, "2024-06-01T00:00:00Z", "b"),
    ]
    server.index("team/web", "v1", children)
    tag = (await tags_of(server))["v1"]
    assert tag.updated == 1_717_200_000_000
    assert tag.links == Links(tuple(child["digest"] for child in children))
    sizes = [sum(len(b) for b in server.repository("team/web").blobs.values())]
    assert [tag.size] == sizes


async def test_indexes_within_indexes_are_one_picture(server):
    inner = server.index("team/web", None, [server.image("team/web", None, OLD, "a")])
    server.index("team/web", "v1", [inner, server.image("team/web", None, OLD, "b")])
    tag = (await tags_of(server))["v1"]
    assert len(tag.links.children) == 3


async def test_an_index_with_a_platform_that_was_never_pushed_is_of_unknown_age(server):
    there = server.image("team/web", None, OLD, "a")
    missing = {"digest": digest_of(b"nothing"), "size": 7, "mediaType": IMAGE}
    server.index("team/web", "v1", [there, missing])
    tag = (await tags_of(server))["v1"]
    assert (tag.updated, tag.size) == (None, None)


@pytest.mark.parametrize("created", [None, "1970-01-01T00:00:00Z", "yesterday"])
async def test_an_index_with_a_platform_of_unknown_age_is_of_unknown_age(server, created):
    children = [server.image("team/web", None, OLD, "a"), server.image("team/web", None, created, "b")]
    server.index("team/web", "v1", children)
    inner = server.index("team/web", None, children)
    server.index("team/web", "v2", [inner, server.image("team/web", None, OLD, "c")])
    found = await tags_of(server)
    assert (found["v1"].updated, found["v2"].updated) == (None, None)


@pytest.mark.parametrize("attested", ["itself", "an attestation", "first as a platform"])
async def test_what_only_says_that_it_is_an_attestation_is_a_platform(server, attested):
    old = server.image("team/web", None, OLD, "old")
    other = server.image("team/web", None, OLD, "other")
    unknown = server.image("team/web", None, None, "unknown")

    def attesting(child, subject):
        marks = {protocol.REFERENCE_TYPE: protocol.ATTESTATION, protocol.ATTESTED: subject["digest"]}
        return child | {"annotations": marks}

    children = {
        "itself": [old, attesting(unknown, unknown)],
        "an attestation": [old, attesting(other, old), attesting(unknown, other)],
        "first as a platform": [old, unknown, attesting(unknown, old)],
    }
    server.index("team/web", "v1", children[attested])
    assert (await tags_of(server))["v1"].updated is None


async def test_an_attestation_is_no_platform(server):
    platform, attestation = (server.image("team/web", None, when, "a") for when in (OLD, None))
    marked = {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": platform["digest"],
    }
    server.index("team/web", "v1", [platform, {**attestation, "annotations": marked}])
    elsewhere = {**marked, "vnd.docker.reference.digest": digest_of(b"another index")}
    server.index("team/web", "v2", [platform, {**attestation, "annotations": elsewhere}])
    found = await tags_of(server)
    assert (found["v1"].updated, found["v2"].updated) == (OLD_MS, None)


async def test_what_belongs_to_an_image_has_its_time(server):
    image = server.image("team/web", "v1", OLD)
    server.image("team/web", f"sha256-{image['digest'][7:]}.sig", None, "signature")
    server.image("team/web", "sbom", None, "sbom", subject=image)
    found = await tags_of(server)
    assert {tag.updated for tag in found.values()} == {OLD_MS}
    assert found["sbom"].links == Links(subject=image["digest"])


async def test_only_what_is_wanted_is_read(server):
    for number in range(4):
        server.image("team/web", f"t{number}", OLD)
    found = await tags_of(server, want=lambda names: Wanted(identity=False, times=()))
    assert [tag.digest for tag in found.values()] == [None] * 4
    assert len(server.requests) == 1
    found = await tags_of(server, want=lambda names: Wanted(times={"t1"}))
    assert [tag.updated for tag in found.values()] == [None, OLD_MS, None, None]
    assert None not in [tag.digest for tag in found.values()]
    assert sum("/blobs/" in path for _, path in server.requests) == 1


async def test_a_digest_that_was_read_before_is_not_read_again(server, tmp_path):
    for number in range(4):
        server.image("team/web", f"t{number}", OLD)
    for _ in range(2):
        server.requests.clear()
        known = KnownManifests(tmp_path)
        found = await tags_of(server, known=known)
        known.close()
        assert {tag.updated for tag in found.values()} == {OLD_MS}
    assert server.counts == {"GET": 1, "HEAD": 4}


async def test_a_server_that_does_not_tell_digests_is_read(server):
    image = server.image("team/web", "v1", OLD)

    def without_digest(request):
        data, kind = server.repository("team/web").manifests[image["digest"]]
        return (
            web.Response(body=data, headers={"Content-Type": kind}) if "/manifests/" in request.path else None
        )

    server.before = without_digest
    assert (await tags_of(server))["v1"].digest == image["digest"]


async def test_bytes_that_are_not_their_digest_decide_nothing(server):
    image = server.image("team/web", "v1", OLD)
    data, kind = server.repository("team/web").manifests[image["digest"]]
    server.repository("team/web").manifests[image["digest"]] = (data + b" ", kind)
    with pytest.raises(ListingError, match=r"the bytes of sha256:.* are others than its digest says"):
        await tags_of(server)


async def test_a_configuration_that_is_not_its_digest_decides_nothing(server):
    server.image("team/web", "v1", OLD)
    blobs = server.repository("team/web").blobs
    for digest, data in list(blobs.items()):
        blobs[digest] = data + b" "
    with pytest.raises(ListingError, match="are others than its digest says"):
        await tags_of(server)


async def test_a_manifest_of_schema_1_is_said_and_not_known(server):
    document = {"schemaVersion": 1, "name": "web", "tag": "v0", "fsLayers": [], "history": []}
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    server.manifest("team/web", json.dumps(document).encode(), "v0", kind)
    said = []
    found = await tags_of(server, warn=said.append)
    assert found["v0"].digest is None
    assert len(said) == 1
    assert "lab/web:v0" in said[0]
    assert "schema 1" in said[0]


async def test_a_manifest_of_an_unknown_type_is_said_and_not_known(server):
    server.manifest("team/web", b'{"schemaVersion": 2, "mediaType": "text/x"}', "v1", "text/x")
    server.image("team/web", "v2", OLD)
    said = []
    found = await tags_of(server, warn=said.append)
    assert found["v1"].digest is None
    assert found["v2"].digest is not None
    [sentence] = said
    assert sentence.startswith("lab/web:v1: a manifest of the unknown type 'text/x'")


async def test_a_tag_that_goes_while_it_is_read_is_not_there(server):
    server.image("team/web", "v1", OLD)
    server.image("team/web", "v2", OLD)

    def goes(request):
        if request.method == "HEAD" and request.path.endswith("/v1"):
            server.repository("team/web").tags.pop("v1", None)

    server.before = goes
    assert list(await tags_of(server)) == ["v2"]


async def test_a_tag_whose_manifest_stays_missing_is_an_error(server):
    image = server.image("team/web", "v1", OLD)
    server.before = lambda request: (
        error(404, "MANIFEST_UNKNOWN", "manifest unknown") if image["digest"] in request.path else None
    )
    with pytest.raises(ListingError, match="its manifest is missing, though the tag is there"):
        await tags_of(server)


async def test_a_blob_elsewhere_is_read_without_the_login(server):
    server.auth = "basic"
    server.image("team/web", "v1", OLD)
    with serving(OciServer()) as other:
        other.repositories = server.repositories
        server.before = lambda request: (
            web.Response(status=307, headers={"Location": other.url + request.path})
            if "/blobs/" in request.path
            else None
        )
        assert (await tags_of(server))["v1"].updated == OLD_MS
        assert other.authorizations == [None]


@pytest.mark.parametrize("where", ["http://registry.example/x", "ftp://127.0.0.1/x", ""])
async def test_a_blob_is_not_followed_anywhere(server, where):
    server.image("team/web", "v1", OLD)
    server.before = lambda request: (
        web.Response(status=307, headers={"Location": where}) if "/blobs/" in request.path else None
    )
    with pytest.raises(RedirectError if where else Exception):
        await tags_of(server)


async def test_referrers_without_a_tag_are_found_where_they_matter(server):
    server.has_referrers = True
    image = server.image("team/web", "v1", OLD)
    server.image("team/web", "v2", OLD)
    untagged = server.image("team/web", None, None, "sbom", subject=image)
    want = Wanted(referrers={"v1", "v2"})
    found = await tags_of(server, want=lambda names: want, asks_referrers=True)
    assert found["v1"].links == Links(untagged_referrers=(untagged["digest"],))
    assert found["v2"].links == Links()
    server.image("team/web", "sbom", None, "sbom", subject=image)
    found = await tags_of(server, want=lambda names: want, asks_referrers=True)
    assert found["v1"].links == Links()


async def test_the_tag_of_the_referrers_scheme_belongs_to_its_subject(server):
    image = server.image("team/web", "v1", OLD)
    sbom = server.image("team/web", None, None, "sbom", subject=image)
    name = image["digest"].replace(":", "-")
    server.index("team/web", name, [sbom])
    assert (await tags_of(server))[name].links == Links((sbom["digest"],), image["digest"])


# Deleting


async def test_a_tag_is_deleted_by_its_name(server):
    image = server.image("team/web", "v1", OLD)
    server.repository("team/web").tags["v2"] = image["digest"]
    assert await deleted(server, "v1", image["digest"]) == TAKEN
    assert server.tags("team/web") == ["v2"]


async def test_where_names_cannot_be_deleted_the_manifest_is(server):
    server.delete_by = "digest"
    image = server.image("team/web", "v1", OLD)
    other = server.image("team/web", "v2", OLD)
    async with transport_to(server) as transport:
        deleter = OciDeleter(transport)
        for name, digest in (("v1", image["digest"]), ("v2", other["digest"])):
            assert await delete_as_the_engine_does(deleter, name, digest) == TAKEN
    assert server.counts["DELETE"] == 3
    assert server.tags("team/web") == []


async def test_the_other_tags_of_a_manifest_may_have_been_deleted_with_it(server):
    server.delete_by = "digest"
    image = server.image("team/web", "v1", OLD)
    server.repository("team/web").tags["v2"] = image["digest"]
    async with transport_to(server) as transport:
        deleter = OciDeleter(transport, DeleteBy.DIGEST)
        assert not deleter.may_have_deleted("web", image["digest"])
        assert await deleter.delete(Target("lab", "web", "v1"), image["digest"]) == TAKEN
        assert deleter.may_have_deleted("web", image["digest"])
        assert not deleter.may_have_deleted("other", image["digest"])
    assert server.tags("team/web") == []


async def test_only_the_first_deletion_finds_out_what_a_registry_deletes(server):
    first = server.image("team/web", "v1", OLD)
    async with transport_to(server) as transport:
        deleter = OciDeleter(transport)
        waiting = []

        async def second():
            async with deleter.turn(Target("lab", "web", "v2"), "sha256:2"):
                waiting.append("v2")
                # A third one does not wait for it.
                async with deleter.turn(Target("lab", "web", "v3"), "sha256:3"):
                    waiting.append("v3")

        async with (
            anyio.create_task_group() as group,
            deleter.turn(Target("lab", "web", "v1"), first["digest"]),
        ):
            group.start_soon(second)
            await anyio.sleep(0)
            assert waiting == []
            await deleter.delete(Target("lab", "web", "v1"), first["digest"])
    assert waiting == ["v2", "v3"]


async def test_a_registry_that_deletes_by_name_only_never_gets_a_digest(server):
    server.delete_by = "digest"
    image = server.image("team/web", "v1", OLD)
    with pytest.raises(ResponseError, match="DIGEST_INVALID"):
        await deleted(server, "v1", image["digest"], DeleteBy.TAG)
    assert server.tags("team/web") == ["v1"]


async def test_a_registry_that_does_not_delete_says_so(server):
    server.delete_by = "nothing"
    image = server.image("team/web", "v1", OLD)
    with pytest.raises(ResponseError, match="UNSUPPORTED"):
        await deleted(server, "v1", image["digest"])


async def test_without_a_digest_no_manifest_is_deleted(server):
    server.delete_by = "digest"
    server.image("team/web", "v1", OLD)
    with pytest.raises(MalformedReplyError, match="its digest is not known"):
        await deleted(server, "v1")


# Logging in


async def test_a_login_that_is_refused_is_said_without_the_secret(server):
    server.auth = "basic"
    with pytest.raises(ResponseError) as caught:
        await tags_of(server, login=Login("alice", Secret("not-the-password"), "test"))
    assert caught.value.status == 401
    assert "not-the-password" not in str(caught.value)


async def test_an_answer_that_repeats_the_login_is_not_shown(server):
    secret = "s3cret-of-alice"
    server.before = lambda request: web.Response(
        status=500, text=f"{request.headers.get('Authorization')} {secret}"
    )
    server.auth = "basic"
    async with transport_to(server, login=Login("alice", Secret(secret), "test")) as transport:
        server.before = None
        with pytest.raises(ResponseError):
            await transport.send("GET", "/v2/", "x")
        server.before = lambda request: web.Response(
            status=500, text=f"{request.headers.get('Authorization')} {secret}"
        )
        with pytest.raises(ResponseError) as caught:
            await transport.send("GET", "/v2/", "x")
    assert secret not in str(caught.value)
    assert str(server.authorizations[-1]).removeprefix("Basic ") not in str(caught.value)


async def test_a_token_that_was_revoked_is_asked_for_again(server):
    server.auth = "bearer"
    server.image("team/web", "v1", OLD)
    async with transport_to(server) as transport:
        assert await OciDeleter(transport).delete(Target("lab", "web", "v1"), None) == TAKEN
        server.image("team/web", "v1", OLD)
        server.tokens.clear()
        assert await OciDeleter(transport).delete(Target("lab", "web", "v1"), None) == TAKEN


async def test_a_token_that_does_not_suffice_is_a_matter_of_permission(server):
    server.auth = "bearer"
    server.after = lambda request: server.tokens.clear() if request.path == "/token" else None
    async with transport_to(server) as transport:
        with pytest.raises(ResponseError, match="no access") as caught:
            await transport.send("GET", "/v2/team/web/tags/list", "repository:team/web:pull")
    assert caught.value.status == 403


# What others do meanwhile, and what is protected


@pytest.mark.parametrize("status", [400, 405])
async def test_a_protected_tag_is_not_deleted_with_its_manifest(server, status):
    first, second = server.image("team/web", "v1", OLD), server.image("team/web", "v2", OLD)
    server.before = lambda request: (
        error(status, "UNSUPPORTED", "tag is immutable")
        if request.method == "DELETE" and request.path.endswith("/v2")
        else None
    )
    async with transport_to(server) as transport:
        deleter = OciDeleter(transport)
        assert await deleter.delete(Target("lab", "web", "v1"), first["digest"]) == TAKEN
        with pytest.raises(ResponseError, match="immutable"):
            await deleter.delete(Target("lab", "web", "v2"), second["digest"])
    assert server.tags("team/web") == ["v2"]


async def test_a_manifest_whose_deletion_was_refused_was_not_deleted_by_us(server):
    server.delete_by = "digest"
    digest = server.image("team/web", "v1", OLD)["digest"]
    server.before = lambda request: (
        error(429, "TOOMANYREQUESTS", "slow down") if request.method == "DELETE" else None
    )
    async with transport_to(server) as transport:
        deleter = OciDeleter(transport, DeleteBy.DIGEST)
        for _ in range(2):
            with pytest.raises(ResponseError):
                await deleter.delete(Target("lab", "web", "v1"), digest)
        deleter.was_refused("web", digest)
        assert deleter.may_have_deleted("web", digest), "the other one may have been carried out"
        deleter.was_refused("web", digest)
        assert not deleter.may_have_deleted("web", digest)
        deleter.was_refused("web", digest)
        assert not deleter.may_have_deleted("web", digest)


async def test_a_deletion_whose_token_was_long_in_coming_is_not_sent(server, monkeypatch):
    monkeypatch.setattr(transports, "LONGEST_LOGIN_SECONDS", 0.1)
    server.auth = "bearer"
    server.image("team/web", "v1", OLD)

    async def slow(request):
        if request.path == "/token":
            await asyncio.sleep(0.2)

    server.before = slow
    async with transport_to(server) as transport:
        deleter = OciDeleter(transport, DeleteBy.TAG)
        with pytest.raises(ConnectError, match="a token was"):
            await deleter.delete(Target("lab", "web", "v1"), None)
        assert server.tags("team/web") == ["v1"]
        # By then the token is there.
        assert await deleter.delete(Target("lab", "web", "v1"), None) == TAKEN
    assert server.tags("team/web") == []


@pytest.mark.parametrize("path", ["/v2/_catalog", "/tags/list", "/manifests/v1", "/referrers/"])
async def test_what_a_cache_has_kept_decides_nothing(server, path):
    server.has_referrers = True
    server.image("team/web", "v1", OLD)

    def kept(request):
        if path in request.path:
            answer = web.json_response({"repositories": ["team/web"], "tags": ["v1"]})
            answer.headers["Age"] = "0, 7200"
            answer.headers["Date"] = format_datetime(datetime.now(UTC) - timedelta(hours=2))
            return answer
        return None

    server.before = kept
    async with reader_of(server, asks_referrers=True) as reader:

        async def read():
            await reader.images("lab")
            await reader.tags("lab", "web")

        with pytest.raises((ListingError, MalformedReplyError), match="a cache on the way"):
            await read()


async def test_an_answer_that_was_lost_does_not_make_siblings_gone(server):
    server.delete_by = "digest"
    image = server.image("team/web", "v1", OLD)
    server.repository("team/web").tags["v2"] = image["digest"]
    server.after = lambda request: (
        error(500, "UNKNOWN", "lost")
        if request.method == "DELETE" and "sha256:" in request.path and server.counts["DELETE"] == 1
        else None
    )
    async with transport_to(server) as transport:
        deleter = OciDeleter(transport, DeleteBy.DIGEST)
        with pytest.raises(ResponseError):
            await deleter.delete(Target("lab", "web", "v1"), image["digest"])
        assert deleter.may_have_deleted("web", image["digest"])


async def test_referrers_are_read_page_by_page(server):
    image = server.image("team/web", "v1", OLD)
    pages = [
        [server.image("team/web", "sbom", None, "a", subject=image)],
        [{**image, "digest": digest_of(b"x")}],
    ]

    def paged(request):
        if "/referrers/" not in request.path:
            return None
        number = int(request.query.get("page", 0))
        body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": pages[number]}).encode()
        link = {} if number else {"Link": f'<{request.path}?page=1>; rel="next"'}
        return web.Response(body=body, headers={"Content-Type": INDEX, **link})

    server.before = paged
    want = Wanted(referrers={"v1"})
    found = await tags_of(server, want=lambda names: want, asks_referrers=True)
    assert found["v1"].links.untagged_referrers == (digest_of(b"x"),)


NOT_FOUND = {
    "of a manifest that is there": lambda: error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
    "a page of HTML": lambda: web.Response(status=404, text="<html>", content_type="text/html"),
    "empty": lambda: web.Response(status=404),
    "text of a proxy": lambda: web.Response(status=404, text="404 page not found"),
}


@pytest.mark.parametrize("answer", NOT_FOUND.values(), ids=NOT_FOUND)
@pytest.mark.parametrize("first", [True, False])
async def test_a_404_that_does_not_say_there_are_no_referrers_is_an_error(server, answer, first):
    server.has_referrers = True
    server.image("team/web", "a", OLD)
    image = server.image("team/web", "b", OLD)
    server.image("team/web", None, None, "sbom", subject=image)
    digest = server.repository("team/web").tags["a" if first else "b"]
    server.before = lambda request: answer() if f"referrers/{digest}" in request.path else None
    want = Wanted(referrers={"a", "b"})
    with pytest.raises(ListingError, match="cannot be known whether the registry has the referrers API"):
        await tags_of(server, want=lambda names: want, asks_referrers=True)


async def test_one_404_of_a_manifest_is_asked_for_again(server):
    server.has_referrers = True
    image = server.image("team/web", "b", OLD)
    untagged = server.image("team/web", None, None, "sbom", subject=image)
    asked = []

    def once(request):
        if "referrers/" not in request.path:
            return None
        asked.append(request.path)
        return error(404, "NAME_UNKNOWN", "x") if len(asked) == 1 else None

    server.before = once
    found = await tags_of(server, want=lambda names: Wanted(referrers={"b"}), asks_referrers=True)
    assert found["b"].links.untagged_referrers == (untagged["digest"],)


@pytest.mark.parametrize(
    "answer",
    [
        lambda: error(404, "NOT_FOUND", "no such API"),
        lambda: web.Response(
            status=404, text="404 page not found", headers={"Docker-Distribution-Api-Version": "registry/2.0"}
        ),
    ],
    ids=["error of the specification", "distribution"],
)
async def test_a_registry_without_the_referrers_api_is_asked_once(server, answer):
    for name in ("a", "b", "c"):
        server.image("team/web", name, OLD)
    asked = []

    def none(request):
        if "referrers/" in request.path:
            asked.append(request.path)
            return answer()
        return None

    server.before = none
    found = await tags_of(server, asks_referrers=True)
    assert len(asked) == 1
    assert {tag.links for tag in found.values()} == {Links()}


async def test_signatures_in_a_repository_of_their_own_are_no_orphans(server):
    image = server.image("team/web", "v1", OLD)
    server.image("team/sigs", f"sha256-{image['digest'][7:]}.sig", None, "signature")
    said = []
    found = await tags_of(server, "sigs", warn=said.append)
    assert [tag.links.orphaned for tag in found.values()] == [False]
    assert "COSIGN_REPOSITORY" in said[0]


@pytest.mark.parametrize("kind", [None, IMAGE])
async def test_what_a_nested_index_consists_of_is_found_whatever_its_type_is_said_to_be(server, kind):
    leaf = server.image("team/web", "leaf", OLD)
    inner = server.index("team/web", None, [leaf])
    said = {"digest": inner["digest"], "size": inner["size"], **({} if kind is None else {"mediaType": kind})}
    server.index("team/web", "release", [said])
    found = await tags_of(server, want=lambda names: Wanted(times=()))
    assert leaf["digest"] in found["release"].links.children


async def test_pages_without_end_end(server):
    server.before = lambda request: (
        web.json_response(
            {"tags": []},
            headers={"Link": f'</v2/team/web/tags/list?last={len(server.requests)}>; rel="next"'},
        )
        if "/tags/" in request.path
        else None
    )
    with pytest.raises(ListingError, match="do not end"):
        await tags_of(server)


async def test_a_signed_url_is_not_shown(server):
    server.image("team/web", "v1", OLD)
    server.before = lambda request: web.Response(
        status=307, headers={"Location": "https://bucket.example/x?X-Amz-Signature=deadbeef"}
    )
    with pytest.raises(RedirectError) as caught:
        await tags_of(server)
    assert "https://bucket.example" in str(caught.value)
    assert "deadbeef" not in str(caught.value)


async def test_a_list_that_stands_twice_in_an_answer_is_an_error(server):
    server.image("team/web", "v1", OLD)
    twice = b'{"name": "team/web", "tags": ["kept", "v1"], "tags": ["v1"]}'
    server.before = lambda request: (
        web.Response(body=twice, content_type="application/json") if "/tags/" in request.path else None
    )
    with pytest.raises(ListingError, match="a key stands twice"):
        await tags_of(server)
