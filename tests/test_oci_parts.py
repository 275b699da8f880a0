"""The parts of the OCI client that need no server: headers, manifests, URLs, logins, tokens and wants."""

import asyncio
import base64
import contextlib
import json
import os
import sqlite3
import time
from contextlib import closing, suppress
from urllib.parse import parse_qs, quote_plus, urlsplit

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_retention import (
    DIGESTS,
    FLOORS,
    NAMES,
    NOW,
    RULE,
    TAGS_AND_SIGNATURES,
    A,
    B,
    going,
    policies,
    rules,
    tag,
)

from pruner.errors import (
    CertificateError,
    ConnectError,
    CredentialsError,
    InputError,
    LostReplyError,
    MalformedReplyError,
    ResponseError,
)
from pruner.model import Links, Tag
from pruner.policy.needs import want_of
from pruner.registry.exchange import Answer
from pruner.registry.identity import Reach
from pruner.registry.oci import known as known_module
from pruner.registry.oci import login as login_module
from pruner.registry.oci import protocol
from pruner.registry.oci.auth import TOKENS_KEPT, Authorizer
from pruner.registry.oci.challenge import MOST_CHARACTERS, Challenge, challenges
from pruner.registry.oci.elsewhere import Elsewhere
from pruner.registry.oci.errors import says_missing
from pruner.registry.oci.known import Known, KnownManifests, cache_directory
from pruner.registry.oci.location import OciLocation, parse_location
from pruner.registry.oci.login import Login, find_login
from pruner.registry.oci.manifests import (
    MOST_CHILDREN,
    Blob,
    SchemaOneError,
    created_of,
    digest_of,
    is_digest,
    read_manifest,
)
from pruner.registry.oci.page_link import ForeignLinkError, next_target
from pruner.registry.oci.transport import OciTransport
from pruner.registry.secret import Secret

# Challenges.


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        ("Basic", [("basic", {})]),
        ("BASIC", [("basic", {})]),
        ('Basic realm="Registry Realm"', [("basic", {"realm": "Registry Realm"})]),
        ("Basic realm=registry", [("basic", {"realm": "registry"})]),
        ('bearer REALM="https://a/t",Service=s', [("bearer", {"realm": "https://a/t", "service": "s"})]),
        (
            'Bearer realm="https://a/t",service="s",scope="repository:a/b:pull,push"',
            [("bearer", {"realm": "https://a/t", "service": "s", "scope": "repository:a/b:pull,push"})],
        ),
        ('  Bearer   realm = "x" ,  service = "y"  ', [("bearer", {"realm": "x", "service": "y"})]),
        ('Bearer realm="x" service="y"', [("bearer", {"realm": "x", "service": "y"})]),
        ('Bearer realm="x",service="y",', [("bearer", {"realm": "x", "service": "y"})]),
        (r'Basic realm="a \"quoted\" back\\slash"', [("basic", {"realm": r'a "quoted" back\slash'})]),
        ('Basic realm=""', [("basic", {"realm": ""})]),
        ('Basic realm="한국"', [("basic", {"realm": "한국"})]),
        ('Basic realm="first", realm="second"', [("basic", {"realm": "first"})]),
        ('Basic realm="x", Bearer realm="y"', [("basic", {"realm": "x"}), ("bearer", {"realm": "y"})]),
        (
            'Negotiate, Basic realm="x",charset="UTF-8", Bearer realm="y"',
            [("negotiate", {}), ("basic", {"realm": "x", "charset": "UTF-8"}), ("bearer", {"realm": "y"})],
        ),
        ('Basic realm="a, Bearer realm=b"', [("basic", {"realm": "a, Bearer realm=b"})]),
        ('realm="of nothing", Basic', [("basic", {})]),
        ('Basic realm="never closed', [("basic", {}), ("realm", {})]),
        ('="x", Basic', []),
        (",,,", []),
        ("<html><body>401</body></html>", []),
        ("\0\x1b[31m", []),
    ],
)
def test_challenges(header, expected):
    assert challenges(header) == [Challenge(*each) for each in expected]


def test_no_more_of_a_challenge_is_read_than_a_header_may_have():
    header = "Basic x=" + "y" * MOST_CHARACTERS + ', Bearer realm="z"'
    assert [challenge.scheme for challenge in challenges(header)] == ["basic"]


@pytest.mark.parametrize(
    "part", ["a", "a ", "a=", 'a="', 'a="b",', '"', "\\", '\\"', "=", ",", ", ", "a\t", "a=b ", ' "', "a , "]
)
@pytest.mark.parametrize("start", ["", "Basic ", 'Basic a="'])
def test_long_nonsense_is_read_fast(part, start):
    before = time.process_time()
    challenges(start + part * MOST_CHARACTERS)
    assert time.process_time() - before < 1


HEADER_PIECES = ["Basic", "Bearer", " ", "realm", "=", '"', "\\", ",", "x", "https://a/t", ";", "\t", "é"]


@given(st.text() | st.lists(st.sampled_from(HEADER_PIECES)).map("".join))
def test_any_header_is_read(header):
    for scheme, parameters in challenges(header):
        assert scheme == scheme.lower() != ""
        assert all(name == name.lower() != "" for name in parameters)


PARAMETERS = st.dictionaries(
    st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.text(st.characters(exclude_characters="\n")), max_size=4
)


@given(st.lists(st.tuples(st.sampled_from(["Basic", "Bearer", "Digest"]), PARAMETERS), max_size=3))
def test_what_was_quoted_is_read_as_it_was(written):
    def quoted(value):
        return '"{}"'.format(value.replace("\\", r"\\").replace('"', r"\""))

    header = ", ".join(
        f"{scheme} " + ", ".join(f"{name}={quoted(value)}" for name, value in parameters.items())
        for scheme, parameters in written
    )
    expected = [Challenge(scheme.lower(), parameters) for scheme, parameters in written]
    if len(header) <= MOST_CHARACTERS:
        assert challenges(header) == expected


# Links to the next page.

ORIGIN = "https://registry.example:5000"
TARGET = "/v2/team/app/tags/list?n=2"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("", None),
        ('</v2/team/app/tags/list?n=2&last=b>; rel="next"', "/v2/team/app/tags/list?n=2&last=b"),
        ("</v2/_catalog?last=b>; rel=next", "/v2/_catalog?last=b"),
        ("</v2/_catalog?last=b>;rel=next", "/v2/_catalog?last=b"),
        ('</v2/_catalog?last=b>  ;  REL = "Next"', "/v2/_catalog?last=b"),
        ('</v2/_catalog?last=b>; rel="prev next"', "/v2/_catalog?last=b"),
        ('</v2/_catalog?last=b>; title="page 2, the next"; rel="next"', "/v2/_catalog?last=b"),
        ("< /v2/_catalog?last=b >; rel=next", "/v2/_catalog?last=b"),
        ("<?n=2&last=b>; rel=next", "/v2/team/app/tags/list?n=2&last=b"),
        ("<list?last=b>; rel=next", "/v2/team/app/tags/list?last=b"),
        ("<../tags/list?last=b>; rel=next", "/v2/team/app/tags/list?last=b"),
        (f"<{ORIGIN}/v2/_catalog?last=b>; rel=next", "/v2/_catalog?last=b"),
        ("<//registry.example:5000/v2/_catalog?last=b>; rel=next", "/v2/_catalog?last=b"),
        ("</v2/_catalog?last=b#part>; rel=next", "/v2/_catalog?last=b"),
        ("</v2/_catalog>; rel=next", "/v2/_catalog"),
        ("</v2/_catalog?last=a,b;c>; rel=next", "/v2/_catalog?last=a,b;c"),
        ("</v2/_catalog?last=a%2Fb>; rel=next", "/v2/_catalog?last=a%2Fb"),
        ('</v2/x?last=a>; rel="prev", </v2/x?last=c>; rel="next"', "/v2/x?last=c"),
        ('</v2/x?last=c>; rel="next", </v2/x?last=z>; rel="last"', "/v2/x?last=c"),
        ("</v2/x?last=c>; rel=next, </v2/x?last=c>; rel=next", "/v2/x?last=c"),
        ("</style.css>; rel=preload; as=style, </v2/x?last=c>; rel=next", "/v2/x?last=c"),
        ("</v2/x?last=c>; rel='next'", "/v2/x?last=c"),
        (r'</v2/x?last=c>; title="a\"b"; rel="next"', "/v2/x?last=c"),
        (" , ", None),
        ("<https://evil.example/v2/x>; rel=prev, </v2/x?last=c>; rel=next", "/v2/x?last=c"),
        ('</v2/_catalog?last=b>; rel="prev"', None),
        ('</v2/_catalog?last=b>; rel="nextish"', None),
    ],
)
def test_next_pages(header, expected):
    assert next_target(header, ORIGIN, TARGET) == expected


@pytest.mark.parametrize(
    "header",
    [
        "</v2/_catalog?last=b>",
        "</v2/_catalog?last=b>; relation=next",
        "</v2/_catalog?last=b>; title=next",
        "</v2/_catalog?last=b>; title=a b; rel=next",
        "/v2/_catalog?last=b; rel=next",
        "/style.css; rel=preload, </v2/_catalog?last=b>; rel=next",
        "</v2/x?last=c>; rel=next, </v2/x?last=d>; rel=next",
        "</v2/x?last=c>; rel=prev </v2/x?last=d>; rel=next",
        '</v2/x?last=c>; rel="next',
        "</v2/x?last=c>; rel=",
        "rel=next",
        "<html><body>nothing</body></html>",
        "</v2/x>; rel=last, " * 1000,
    ],
    ids=lambda text: text[:60],
)
def test_a_header_that_cannot_be_read_whole_is_an_error(header):
    with pytest.raises(ValueError):  # noqa: PT011 - it is no other than this
        next_target(header, ORIGIN, TARGET)


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/v2/x",
        "https://evil.example:5000/v2/x",
        "//evil.example/v2/x",
        "https://registry.example/v2/x",
        "https://registry.example:5001/v2/x",
        "http://registry.example:5000/v2/x",
        "https://registry.example.evil:5000/v2/x",
        "https://registry.example:5000@evil.example/v2/x",
        "https://user:password@registry.example:5000/v2/x",
        "ftp://registry.example:5000/v2/x",
        "file:///v2/x",
        "javascript:alert(1)",
    ],
)
def test_a_page_on_another_server_is_refused(link):
    with pytest.raises(ForeignLinkError):
        next_target(f"<{link}>; rel=next", ORIGIN, TARGET)


@pytest.mark.parametrize(
    "link",
    [
        "/",
        "/v2",
        "/v3/x",
        "/v2x/x",
        "/admin/v2/",
        "../../../../admin",
        "/v2/../admin",
        "/v2/_catalog?last=a b",
        "/v2/_catalog?last=\u202e",
        "/v2/_catalog?last=\x1b[31m",
        "/v2/한국",
        "https://[::1/v2/x",
    ],
)
def test_a_page_that_is_none_is_refused_as_such(link):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - it is no other than this
        next_target(f"<{link}>; rel=next", ORIGIN, TARGET)
    assert not isinstance(caught.value, ForeignLinkError)


@pytest.mark.parametrize(
    "part", ["<", "<>", "<>;", ";", " ", "; ", ";a=", ';a="', ";rel", "<>, ", "; rel = "]
)
@pytest.mark.parametrize("start", ["", "<", "</v2/x>", '</v2/x>; rel="'])
def test_a_long_header_of_links_is_read_fast(part, start):
    before = time.process_time()
    with suppress(ValueError):
        next_target(start + part * 10_000, ORIGIN, TARGET)
    assert time.process_time() - before < 1


URL_PIECES = [
    "https:",
    "http:",
    "//",
    "/",
    "registry.example",
    ":5000",
    "@",
    "evil",
    "..",
    ".",
    "v2",
    "?",
    "#",
]
URL_PIECES += ["\\", "[", "]", "%2e", " ", "\t", "é", "n=1", ";", ":"]


@given(st.text() | st.lists(st.sampled_from(URL_PIECES), max_size=12).map("".join))
def test_no_link_leads_away_from_the_registry(link):
    for header in (link, f"<{link}>; rel=next", f"<{ORIGIN}{link}>; rel=next", f"</v2/{link}>; rel=next"):
        try:
            found = next_target(header, ORIGIN, TARGET)
        except ValueError:
            continue
        if found is not None:
            parts = urlsplit(ORIGIN + found)
            assert f"{parts.scheme}://{parts.netloc}" == ORIGIN
            assert parts.path.startswith("/v2/")
            assert ".." not in parts.path.split("/")
            assert found.isascii()
            assert found.isprintable()
            assert " " not in found


# Manifests.

C = DIGESTS[2]
IMAGES = [protocol.OCI_MANIFEST, protocol.DOCKER_MANIFEST]
INDEXES = [protocol.OCI_INDEX, protocol.DOCKER_LIST]
ALL_TYPES = IMAGES + INDEXES


def descriptor(digest=A, size=7, media_type="application/octet-stream", **more):
    return {"mediaType": media_type, "digest": digest, "size": size, **more}


def document(kind, **changes):
    """A manifest of each type; None in ``changes`` takes a field out."""
    fields = {"schemaVersion": 2, "mediaType": kind}
    if kind in INDEXES:
        fields["manifests"] = [descriptor(A, 10, IMAGES[0], platform={"os": "linux"}), descriptor(B, 20)]
    else:
        fields |= {"config": descriptor(A, 10), "layers": [descriptor(B, 20), descriptor(C, 30)]}
    fields |= changes
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


@pytest.mark.parametrize("kind", IMAGES)
def test_an_image(kind):
    content = document(kind)
    found = read_manifest(content, kind)
    assert (found.media_type, found.size, found.is_index) == (kind, len(content), False)
    assert found.config == Blob(A, 10)
    assert found.layers == (Blob(B, 20), Blob(C, 30))
    assert found.blobs == (found.config, *found.layers)
    assert (found.children, found.subject) == ((), None)


@pytest.mark.parametrize("kind", INDEXES)
def test_an_index(kind):
    content = document(kind)
    found = read_manifest(content, kind)
    assert (found.media_type, found.size, found.is_index) == (kind, len(content), True)
    assert found.children == (Blob(A, 10, IMAGES[0]), Blob(B, 20, "application/octet-stream"))
    assert (found.blobs, found.subject) == ((), None)


@pytest.mark.parametrize("kind", ALL_TYPES)
def test_the_type_is_that_of_the_manifest_or_else_that_of_the_answer(kind):
    for given_type in (kind, kind.upper(), f"{kind}; charset=utf-8", f" {kind} "):
        assert read_manifest(document(kind, mediaType=None), given_type).media_type == kind
    for other in ("", "application/json", *ALL_TYPES):
        assert read_manifest(document(kind), other).media_type == kind


@pytest.mark.parametrize("kind", ALL_TYPES)
def test_what_a_manifest_belongs_to(kind):
    assert read_manifest(document(kind, subject=descriptor(C)), kind).subject == C


@pytest.mark.parametrize("kind", INDEXES)
def test_an_index_of_nothing(kind):
    found = read_manifest(document(kind, manifests=[]), kind)
    assert found.is_index
    assert found.children == ()


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("changes", [{"layers": None}, {"config": None}, {"layers": [], "config": None}])
def test_an_artifact_may_lack_layers_or_a_configuration(kind, changes):
    found = read_manifest(document(kind, **changes), kind)
    assert len(found.blobs) == 3 - sum({"config": 1, "layers": 2}[name] for name in changes)


def test_layers_that_are_elsewhere_do_not_count():
    layers = [descriptor(B, 20, urls=["https://elsewhere.example/layer"]), descriptor(C, 30, urls=[])]
    assert read_manifest(document(IMAGES[1], layers=layers), IMAGES[1]).layers == (Blob(C, 30),)


def test_fields_that_nobody_knows_are_skipped():
    more = {"artifactType": "x/y", "annotations": {"a": "b"}, "new": [1, {"deep": None}]}
    assert read_manifest(document(IMAGES[0], **more), IMAGES[0]).config == Blob(A, 10)


@pytest.mark.parametrize("kind", sorted(protocol.DOCKER_SCHEMA_1))
@pytest.mark.parametrize("content", [b'{"schemaVersion": 1}', b'{"schemaVersion": 2}', b"{}", b"", b"<html>"])
def test_schema_1_by_its_type(kind, content):
    with pytest.raises(SchemaOneError, match="schema 1, which is not supported"):
        read_manifest(content, kind)


@pytest.mark.parametrize("kind", ["", "application/json", IMAGES[1]])
def test_schema_1_by_its_version(kind):
    content = {"schemaVersion": 1, "name": "a", "tag": "b", "fsLayers": [{"blobSum": A}], "signatures": []}
    with pytest.raises(SchemaOneError, match="push the image again"):
        read_manifest(json.dumps(content).encode(), kind)


WRONG_DIGESTS = [
    "",
    "sha256:",
    f"sha256:{'a' * 63}",
    f"sha256:{'a' * 65}",
    f"sha256:{'A' * 64}",
    f"sha256:{'g' * 64}",
    f"sha512:{'a' * 128}",
    f"md5:{'a' * 32}",
    f"{A}\n",
    f" {A}",
    "a" * 64,
    "../../etc/passwd",
]
WRONG_SIZES = [-1, -(2**63), 1.5, "7", True, [], {}]
PLACES = [(IMAGES[0], "config"), (IMAGES[0], "layers"), (INDEXES[0], "manifests"), (IMAGES[0], "subject")]


@pytest.mark.parametrize("digest", WRONG_DIGESTS)
def test_a_digest_that_is_none(digest):
    assert not is_digest(digest)
    for kind, place in PLACES:
        wrong = descriptor(digest)
        with pytest.raises(MalformedReplyError, match="a digest that is none"):
            read_manifest(document(kind, **{place: [wrong] if place.endswith("s") else wrong}), kind)


@pytest.mark.parametrize("size", WRONG_SIZES)
@pytest.mark.parametrize(("kind", "place"), PLACES)
def test_a_size_that_is_none(size, kind, place):
    wrong = descriptor(A, size)
    with pytest.raises(MalformedReplyError):
        read_manifest(document(kind, **{place: [wrong] if place.endswith("s") else wrong}), kind)


@pytest.mark.parametrize("field", ["digest", "size"])
def test_what_has_no_digest_or_no_size(field):
    layer = descriptor()
    del layer[field]
    with pytest.raises(MalformedReplyError, match=field):
        read_manifest(document(IMAGES[0], layers=[layer]), IMAGES[0])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b"2",
        b'"text"',
        b"<!DOCTYPE html><html><body>Sign in</body></html>",
        b"{",
        b'{"schemaVersion": 2',
        b'{"schemaVersion": "2"}',
        b'{"mediaType": "x"}',
        b"\xff\xfe\x00",
        b'{"schemaVersion": 2, "mediaType": "\xff"}',
        b"\x1f\x8b\x08\x00",
        b"[" * 100_000,
        b'{"schemaVersion":2,"x":' + b"[" * 100_000,
        b'{"schemaVersion":2,"x":' + b'{"x":' * 100_000,
        b'{"schemaVersion":2,"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    ],
    ids=lambda content: repr(content[:24]),
)
@pytest.mark.parametrize("kind", ["", "text/html", *ALL_TYPES])
def test_what_is_no_manifest(content, kind):
    with pytest.raises(MalformedReplyError) as caught:
        read_manifest(content, kind)
    assert not isinstance(caught.value, SchemaOneError)


@pytest.mark.parametrize(
    "kind", ["", "application/json", "text/html", "application/vnd.cncf.helm.config.v1+json"]
)
def test_an_unknown_type(kind):
    with pytest.raises(MalformedReplyError, match="unknown type"):
        read_manifest(document(IMAGES[0], mediaType=None), kind)
    with pytest.raises(MalformedReplyError, match="unknown type 'x/y'"):
        read_manifest(document(IMAGES[0], mediaType="x/y"), IMAGES[0])


@pytest.mark.parametrize("kind", ALL_TYPES)
@pytest.mark.parametrize("version", [0, 3, -1, 2**70])
def test_an_unknown_version(kind, version):
    with pytest.raises(MalformedReplyError):
        read_manifest(document(kind, schemaVersion=version), kind)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [(kind, {"manifests": None}) for kind in INDEXES] + [(kind, {"manifests": []}) for kind in IMAGES],
)
def test_an_index_has_manifests_and_an_image_has_none(kind, changes):
    with pytest.raises(MalformedReplyError, match="not what its type says"):
        read_manifest(document(kind, **changes), kind)


def test_an_index_of_too_many():
    children = [descriptor()] * (MOST_CHILDREN + 1)
    with pytest.raises(MalformedReplyError, match="10,001 manifests"):
        read_manifest(document(INDEXES[0], manifests=children), INDEXES[0])
    assert read_manifest(document(INDEXES[0], manifests=children[1:]), INDEXES[0]).children[-1].digest == A


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(DIGESTS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text() | st.sampled_from(["digest", "size", "mediaType", "urls"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)
DOCUMENTS = st.fixed_dictionaries(
    {"schemaVersion": st.just(2) | JSON},
    optional={
        "mediaType": st.sampled_from(ALL_TYPES) | JSON,
        "manifests": st.lists(st.just(descriptor()) | JSON, max_size=2) | JSON,
        "config": st.just(descriptor()) | JSON,
        "layers": st.lists(st.just(descriptor()) | JSON, max_size=2) | JSON,
        "subject": st.just(descriptor()) | JSON,
    },
)


@given(st.binary() | DOCUMENTS.map(lambda fields: json.dumps(fields).encode()), st.sampled_from(ALL_TYPES))
def test_any_bytes_are_a_manifest_or_a_malformed_reply(content, kind):
    try:
        found = read_manifest(content, kind)
    except MalformedReplyError:
        return
    blobs = [*found.children, *found.blobs]
    assert all(is_digest(blob.digest) and blob.size >= 0 for blob in blobs)
    assert found.media_type in ALL_TYPES
    assert found.size == len(content)


def test_the_digest_of_bytes():
    assert digest_of(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert is_digest(digest_of(b"x"))


@pytest.mark.parametrize(
    ("config", "created"),
    [
        (b'{"created": "2026-01-02T03:04:05Z", "os": "linux"}', "2026-01-02T03:04:05Z"),
        (b'{"created": "2026-01-02T03:04:05.123456789Z"}', "2026-01-02T03:04:05.123456789Z"),
        (b'{"created": ""}', ""),
        (b'{"created": null}', None),
        (b'{"created": 1700000000}', None),
        (b'{"created": ["2026"]}', None),
        (b"{}", None),
        (b"", None),
        (b"[]", None),
        (b"null", None),
        (b"<html>", None),
        (b"\x7fELF\x02", None),
        (b'{"created": "\xff"}', None),
        (b'{"created": "\\ud800"}', None),
        (b"[" * 100_000, None),
        (b'{"x":' * 100_000, None),
    ],
    ids=lambda value: repr(value[:24]) if isinstance(value, bytes) else None,
)
def test_when_an_image_says_that_it_was_made(config, created):
    assert created_of(config) == created


@given(st.binary() | JSON.map(lambda value: json.dumps({"created": value}).encode()))
def test_any_configuration_has_a_time_or_none(config):
    assert isinstance(created_of(config), str | None)


# Locations.


@pytest.mark.parametrize(
    ("url", "origin", "namespace", "host"),
    [
        ("https://ghcr.io", "https://ghcr.io", "", "ghcr.io"),
        ("https://ghcr.io/", "https://ghcr.io", "", "ghcr.io"),
        ("https://ghcr.io/acme", "https://ghcr.io", "acme", "ghcr.io"),
        ("https://ghcr.io/acme/team.x/a_b//", "https://ghcr.io", "acme/team.x/a_b", "ghcr.io"),
        ("HTTPS://Registry.Example:5000/a", "https://registry.example:5000", "a", "registry.example:5000"),
        ("http://localhost:5000/a", "http://localhost:5000", "a", "localhost:5000"),
        ("http://[::1]:5000", "http://[::1]:5000", "", "[::1]:5000"),
        ("https://host/v2x", "https://host", "v2x", "host"),
        ("https://host/team/v2", "https://host", "team/v2", "host"),
        ("https://host/team/v2/app", "https://host", "team/v2/app", "host"),
    ],
)
def test_locations(url, origin, namespace, host):
    location = parse_location(url)
    assert location == OciLocation(origin, namespace)
    assert location.host == host
    assert parse_location(str(location)) == location


@pytest.mark.parametrize("url", ["https://host/v2", "https://host/v2/", "https://host/v2/acme"])
def test_v2_is_no_part_of_a_location(url):
    with pytest.raises(InputError, match="includes /v2; leave that out"):
        parse_location(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ghcr.io",
        "ghcr.io/acme",
        "docker://ghcr.io/acme",
        "https://",
        "https://user:password@host/acme",
        "https://host/acme?x=1",
        "https://host/acme#x",
        "https://host/../acme",
        "https://host/a//b",
        "https://host/Acme",
        "https://host/-acme",
        "https://host/acme-",
        "https://host/a..b",
        "https://host/a%2Fb",
        "https://host/_catalog",
        "https://host/한국",
        "https://host/acme\n",
        "https://host/acme\x1b[31m",
        f"https://host/{'a' * 256}",
        "https://host:0/acme",
        "https://host:port/acme",
        "http://host/acme",
    ],
)
def test_urls_that_are_no_location(url):
    with pytest.raises(InputError) as caught:
        parse_location(url)
    assert str(caught.value).isprintable()
    assert "password@" not in str(caught.value)


def test_plain_http_where_it_is_allowed():
    assert parse_location("http://host:5000/acme", allow_plain_http=True).origin == "http://host:5000"


@pytest.mark.parametrize(
    ("namespace", "image", "repository"),
    [("", "web", "web"), ("", "a/b", "a/b"), ("acme", "web", "acme/web"), ("a/b", "c/d", "a/b/c/d")],
)
def test_repositories_and_images(namespace, image, repository):
    location = OciLocation("https://host", namespace)
    assert location.repository(image) == repository
    assert location.image(repository) == image
    assert location.scope(image) == f"repository:{repository}:pull"
    assert location.scope(image, "pull,delete") == f"repository:{repository}:pull,delete"
    assert location.path(image, "manifests/v1") == f"/v2/{repository}/manifests/v1"


@pytest.mark.parametrize("repository", ["acme", "acmex/web", "other/web", "x/acme/web", ""])
def test_a_repository_outside_the_namespace_is_none_of_ours(repository):
    assert OciLocation("https://host", "acme").image(repository) is None


@given(st.text())
def test_any_text_is_a_location_or_an_input_error(text):
    for url in (text, f"https://host/{text}", f"https://{text}/acme"):
        try:
            location = parse_location(url)
        except InputError:
            continue
        assert parse_location(str(location)) == location


# Logins.

WORD = "s3cret-of-nobody"
HOST = "registry.example:5000"
LOCATION = OciLocation(ORIGIN, "acme")
USER_AND_WORD = base64.b64encode(f"robot:{WORD}".encode()).decode()


def general(user="robot", word=WORD):
    return {"PRUNER_OCI_USERNAME": user, "PRUNER_OCI_PASSWORD": word}


def special(name, user="robot", word=WORD):
    return {f"PRUNER_OCI_USERNAME_{name}": user, f"PRUNER_OCI_PASSWORD_{name}": word}


@pytest.fixture
def docker(tmp_path):
    """An environment with a Docker configuration and, perhaps, a helper named x."""

    def make(config=None, script=None, mode=0o755):
        env = {"DOCKER_CONFIG": str(tmp_path / "docker"), "PATH": f"{tmp_path}:/usr/bin:/bin"}
        if config is not None:
            (tmp_path / "docker").mkdir(exist_ok=True)
            text = config if isinstance(config, bytes) else json.dumps(config).encode()
            (tmp_path / "docker/config.json").write_bytes(text)
        if script is not None:
            path = tmp_path / "docker-credential-x"
            path.write_text(f"#!/bin/sh\nread -r host\n{script}\n")
            path.chmod(mode)
        return env

    return make


def answering(user="robot", word=WORD):
    return f"printf '%s' '{json.dumps({'ServerURL': HOST, 'Username': user, 'Secret': word})}'"


async def found(env, *names):
    login = await find_login(LOCATION, list(names) or ["main"], env)
    return None if login is None else (login.username, login.password.reveal(), login.is_identity_token)


@pytest.mark.parametrize(
    ("env", "user"),
    [
        ({}, None),
        (general(), "robot"),
        (special("MAIN"), "robot"),
        (general("all") | special("MAIN", "one"), "one"),
        (general("all") | special("OTHER", "one"), "all"),
        (general("all") | special("MY_REG", "second"), "second"),
        (special("MAIN", "first") | special("MY_REG", "second"), "first"),
        (general("all") | special("MAIN", "", ""), "all"),
        (general("", ""), None),
        ({"PRUNER_OCI_USERNAME_main": "x", "PRUNER_OCI_PASSWORD_main": WORD}, None),
    ],
)
async def test_logins_of_the_environment(env, user):
    assert await found(env, "main", "my-reg") == (user and (user, WORD, False))


async def test_the_environment_is_before_docker(docker):
    env = docker({"auths": {HOST: {"auth": USER_AND_WORD}}})
    assert await found(env) == ("robot", WORD, False)
    assert await found(env | general("other")) == ("other", WORD, False)


async def test_where_a_login_comes_from(docker):
    assert (await find_login(LOCATION, ["main"], special("MAIN"))).source == (
        "environment (PRUNER_OCI_USERNAME_MAIN, PRUNER_OCI_PASSWORD_MAIN)"
    )
    env = docker({"auths": {HOST: {"auth": USER_AND_WORD}}})
    assert (await find_login(LOCATION, [], env)).source == f"{env['DOCKER_CONFIG']}/config.json ({HOST})"
    env = docker({"credsStore": "x"}, answering())
    assert (await find_login(LOCATION, [], env)).source == f"docker-credential-x ({HOST})"


@pytest.mark.parametrize(
    ("env", "given_name", "missing"),
    [
        ({"PRUNER_OCI_USERNAME": "robot"}, "PRUNER_OCI_USERNAME", "PRUNER_OCI_PASSWORD"),
        (general("", WORD), "PRUNER_OCI_PASSWORD", "PRUNER_OCI_USERNAME"),
        (
            general() | {"PRUNER_OCI_USERNAME_MAIN": "robot"},
            "PRUNER_OCI_USERNAME_MAIN",
            "PRUNER_OCI_PASSWORD_MAIN",
        ),
        (
            general() | {"PRUNER_OCI_PASSWORD_MAIN": WORD},
            "PRUNER_OCI_PASSWORD_MAIN",
            "PRUNER_OCI_USERNAME_MAIN",
        ),
    ],
)
async def test_half_a_login_is_an_error(env, given_name, missing):
    with pytest.raises(CredentialsError) as caught:
        await found(env)
    assert str(caught.value) == f"{given_name} is set, but {missing} is not"


@pytest.mark.parametrize(
    ("user", "word"),
    [
        ("ro:bot", WORD),
        ("ro\nbot", WORD),
        ("robot\r", WORD),
        ("robot", f"{WORD}\n"),
        ("robot", f"{WORD}\0"),
        ("robot", f"\x7f{WORD}"),
    ],
)
async def test_a_login_that_no_header_can_hold(user, word):
    with pytest.raises(CredentialsError, match="PRUNER_OCI_PASSWORD") as caught:
        await found(general(user, word))
    assert WORD not in str(caught.value)


@pytest.mark.parametrize(
    "key", [HOST, f"https://{HOST}", f"https://{HOST}/", f"https://{HOST}/v2/", f"http://{HOST}"]
)
async def test_a_registry_in_the_configuration_of_docker(docker, key):
    assert await found(docker({"auths": {key: {"auth": USER_AND_WORD}}})) == ("robot", WORD, False)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"auth": USER_AND_WORD, "email": "a@b"}, ("robot", WORD, False)),
        ({"username": "robot", "password": WORD}, ("robot", WORD, False)),
        ({"auth": "", "username": "robot", "password": WORD}, ("robot", WORD, False)),
        ({"identitytoken": WORD}, ("<token>", WORD, True)),
        ({"auth": base64.b64encode(b"<token>:").decode(), "identitytoken": WORD}, ("<token>", WORD, True)),
        ({"auth": USER_AND_WORD, "identitytoken": ""}, ("robot", WORD, False)),
        ({"auth": base64.b64encode(f"robot:{WORD}\0\0".encode()).decode()}, ("robot", WORD, False)),
        ({"auth": base64.b64encode(b"a:b:c").decode()}, ("a", "b:c", False)),
        ({"auth": base64.b64encode("로봇:비밀".encode()).decode()}, ("로봇", "비밀", False)),
        ({}, None),
        ({"username": "robot"}, None),
        ({"auth": 7, "username": [], "password": None}, None),
        ("text", None),
        (None, None),
    ],
)
async def test_entries_of_the_configuration_of_docker(docker, entry, expected):
    assert await found(docker({"auths": {HOST: entry}})) == expected


@pytest.mark.parametrize(
    "auth",
    [
        "!!!",
        USER_AND_WORD[:-3],
        base64.b64encode(WORD.encode()).decode(),
        base64.b64encode(b"\xff:\xff").decode(),
    ],
)
async def test_an_entry_that_cannot_be_read(docker, auth):
    with pytest.raises(CredentialsError, match="not base64 of user:password") as caught:
        await found(docker({"auths": {HOST: {"auth": auth}}}))
    assert WORD not in str(caught.value)
    assert auth not in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"auths": {}},
        {"auths": {"other.example": {"auth": USER_AND_WORD}}},
        {"auths": {"registry.example": {"auth": USER_AND_WORD}}},
        {"auths": None, "credHelpers": None, "credsStore": None},
        {"auths": [], "credHelpers": "x", "credsStore": 7},
        {"credHelpers": {"other.example": "missing", HOST: 7}, "credsStore": ""},
    ],
)
async def test_a_configuration_of_docker_without_a_login(docker, config):
    assert await found(docker(config)) is None


@pytest.mark.parametrize("content", [b"", b"{", b"<html>", b"\xff", b"[" * 100_000, b"[]", b"null", b'"x"'])
async def test_a_configuration_of_docker_that_is_none(docker, content):
    with pytest.raises(CredentialsError, match="docker login"):
        await found(docker(content))


async def test_a_configuration_of_docker_that_is_too_large(docker):
    with pytest.raises(CredentialsError, match="larger than 1 MiB"):
        await found(docker(b" " * (1 << 20) + b"{}"))


async def test_no_configuration_of_docker(docker, tmp_path):
    assert await found(docker()) is None
    (tmp_path / "file").touch()
    assert await found({"DOCKER_CONFIG": str(tmp_path / "file")}) is None
    assert await found({"HOME": str(tmp_path)}) is None


async def test_a_configuration_of_docker_that_cannot_be_read(docker, tmp_path):
    (tmp_path / "docker/config.json").mkdir(parents=True)
    with pytest.raises(CredentialsError, match="cannot be read"):
        await found(docker())


async def test_the_configuration_of_docker_in_the_home(tmp_path):
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(json.dumps({"auths": {HOST: {"auth": USER_AND_WORD}}}))
    assert await found({"HOME": str(tmp_path)}) == ("robot", WORD, False)


async def test_docker_hub_has_a_name_of_its_own(docker):
    env = docker({"auths": {"https://index.docker.io/v1/": {"auth": USER_AND_WORD}}})
    assert (
        await find_login(parse_location("https://registry-1.docker.io/acme"), [], env)
    ).username == "robot"
    assert await find_login(parse_location("https://other.example"), [], env) is None


@pytest.mark.parametrize("config", [{"credsStore": "x"}, {"credHelpers": {HOST: "x"}}])
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (answering(), ("robot", WORD, False)),
        (answering("<token>"), ("<token>", WORD, True)),
        ("echo 'credentials not found in native keychain'; exit 1", None),
        (f'[ "$1" = get ] && [ "$host" = {HOST} ] && {answering()}', ("robot", WORD, False)),
        (f"echo {WORD} >&2; {answering()}", ("robot", WORD, False)),
    ],
)
async def test_helpers(docker, config, script, expected):
    assert await found(docker(config, script)) == expected


@pytest.mark.parametrize("config", [{"credsStore": "x"}, {"credHelpers": {HOST: "x"}}])
@pytest.mark.parametrize(
    "script",
    [
        f"echo {WORD}; echo {WORD} >&2; exit 1",
        f"echo {WORD}; kill -9 $$",
        f"echo {WORD}",
        "exit 0",
        "echo '[]'",
        "echo null",
        "echo '\"Username\"'",
        f'echo \'{{"Username": "robot", "Secret": {{"x": "{WORD}"}}}}\'',
        f'echo \'{{"Secret": "{WORD}"}}\'',
        'echo \'{"Username": "robot", "Secret": ""}\'',
        answering("ro:bot"),
        f"printf '\\377{WORD}'",
        "printf '%100000s' | tr ' ' '['",
    ],
)
async def test_a_helper_that_fails_is_one_clear_error(docker, config, script):
    with pytest.raises(CredentialsError, match="docker-credential-x") as caught:
        await found(docker(config, script))
    assert WORD not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_helper_that_is_not_there(docker):
    with pytest.raises(CredentialsError, match="names docker-credential-x, which is not installed"):
        await found(docker({"credsStore": "x"}))


async def test_a_helper_that_cannot_be_run(docker):
    with pytest.raises(CredentialsError, match="docker-credential-x cannot be run"):
        await found(docker({"credsStore": "x"}, "exit 0", 0o644))


async def test_a_helper_that_hangs(docker, monkeypatch):
    monkeypatch.setattr(login_module, "HELPER_SECONDS", 0.2)
    with pytest.raises(CredentialsError, match="docker-credential-x"):
        await found(docker({"credsStore": "x"}, "exec tail -f /dev/null"))


@pytest.mark.parametrize("helper", ["../x", "x/y", "x y", "x;y", "-\n", "x" * 65, "\x1b[31m"])
async def test_what_is_no_name_of_a_helper_is_not_run(docker, helper):
    with pytest.raises(CredentialsError, match="is not the name of a credential helper") as caught:
        await found(docker({"credsStore": helper}, answering()))
    assert str(caught.value).isprintable()


async def test_a_helper_of_one_registry_is_before_that_of_all(docker):
    env = docker({"credHelpers": {HOST: "x"}, "credsStore": "missing"}, answering())
    assert await found(env) == ("robot", WORD, False)


async def test_a_helper_that_knows_nothing_leaves_the_entries(docker):
    config = {"credsStore": "x", "auths": {HOST: {"auth": USER_AND_WORD}}}
    assert await found(docker(config, "echo credentials not found; exit 1")) == ("robot", WORD, False)


ASCII = st.text(st.characters(max_codepoint=127), max_size=20)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "auth": st.binary().map(lambda data: base64.b64encode(data).decode()) | ASCII | st.none(),
        "username": JSON,
        "password": JSON,
        "identitytoken": JSON,
    },
)


@settings(max_examples=50)
@given(entry=ENTRIES | JSON)
def test_any_entry_is_a_login_or_none_or_a_clear_error(tmp_path_factory, entry):
    folder = tmp_path_factory.getbasetemp()
    (folder / "config.json").write_text(json.dumps({"auths": {HOST: entry}}))
    try:
        login = asyncio.run(find_login(LOCATION, [], {"DOCKER_CONFIG": str(folder)}))
    except CredentialsError:
        return
    assert login is None or login.password


# What is known of manifests.

IMAGE = read_manifest(document(IMAGES[0], subject=descriptor(C)), IMAGES[0])
INDEX = read_manifest(document(INDEXES[0]), INDEXES[0])
KNOWN = {
    A: Known(IMAGE),
    B: Known(IMAGE, ""),
    C: Known(IMAGE, "2026-01-02T03:04:05Z"),
    digest_of(b""): Known(INDEX),
}


def kept(folder, known):
    """Put into a file what is known, and close it."""
    with closing(KnownManifests(folder)) as file:
        for digest, each in known.items():
            file.put(digest, each)


def read(folder, *digests):
    with closing(KnownManifests(folder)) as file:
        return [file.get(digest) for digest in digests]


def test_what_is_known_is_kept_between_openings(tmp_path):
    folder = tmp_path / "a/b"
    assert read(folder, *KNOWN) == [None] * 4
    kept(folder, KNOWN)
    assert read(folder, *KNOWN) == list(KNOWN.values())
    assert read(folder, digest_of(b"other")) == [None]


def test_what_is_known_better_replaces_what_was_known(tmp_path):
    kept(tmp_path, {A: Known(IMAGE)})
    kept(tmp_path, {A: Known(IMAGE, "2026")})
    assert read(tmp_path, A) == [Known(IMAGE, "2026")]


@pytest.mark.parametrize(
    "content", [b"garbage" * 1000, b"SQLite format 3\0" + b"\xff" * 5000, b"x", "folder"]
)
def test_a_damaged_file_saves_nothing_and_harms_nothing(tmp_path, content):
    path = tmp_path / "manifests-2.sqlite3"
    if content == "folder":
        path.mkdir()
    else:
        path.write_bytes(content)
    with closing(KnownManifests(tmp_path)) as file:
        assert file.get(A) is None
        file.put(A, KNOWN[A])
        file.flush()
        assert file.get(A) == KNOWN[A]


def test_a_file_that_was_cut_off(tmp_path):
    kept(tmp_path, {digest_of(str(number).encode()): Known(IMAGE) for number in range(500)})
    path = tmp_path / "manifests-2.sqlite3"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with closing(KnownManifests(tmp_path)) as file:
        for number in range(500):
            assert file.get(digest_of(str(number).encode())) in (None, Known(IMAGE))
        file.put(A, KNOWN[A])
        assert file.get(A) == KNOWN[A]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"<html>", b'{"media_type":"x"}', b"\xff", b'{"media_type":"\xff","size":1}', "text"],
)
def test_a_damaged_row_is_read_again(tmp_path, content):
    kept(tmp_path, KNOWN)
    with closing(sqlite3.connect(tmp_path / "manifests-2.sqlite3")) as file, file:
        file.execute("UPDATE manifests SET manifest = ? WHERE digest = ?", (content, A))
    assert read(tmp_path, A, B) == [None, KNOWN[B]]
    kept(tmp_path, {A: KNOWN[A]})
    assert read(tmp_path, A) == [KNOWN[A]]


def test_a_table_of_somebody_else(tmp_path):
    with closing(sqlite3.connect(tmp_path / "manifests-2.sqlite3")) as file, file:
        file.execute("CREATE TABLE manifests (other TEXT)")
    kept(tmp_path, KNOWN)
    assert read(tmp_path, A) == [None]


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    kept(tmp_path / "file/below", KNOWN)
    assert read(tmp_path / "file/below", A) == [None]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with closing(KnownManifests(tmp_path)) as file:
        file.put(A, KNOWN[A])
        assert file.get(A) == KNOWN[A]
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_nobody_may_write(tmp_path, monkeypatch):
    def connect(path, **options):
        return sqlite3.Connection(f"file:{path}?mode=ro", uri=True, **options)

    kept(tmp_path, KNOWN)
    monkeypatch.setattr(known_module.sqlite3, "connect", connect)
    with closing(KnownManifests(tmp_path)) as file:
        file.put(digest_of(b"new"), KNOWN[A])
        file.flush()
        assert file.get(digest_of(b"new")) == KNOWN[A]


def test_without_a_folder_it_is_in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with closing(KnownManifests(None)) as file:
        assert file.get(A) is None
        for digest, each in KNOWN.items():
            file.put(digest, each)
        file.flush()
        assert [file.get(digest) for digest in KNOWN] == list(KNOWN.values())
    assert list(tmp_path.iterdir()) == []


def numbered(count):
    return [digest_of(str(number).encode()) for number in range(count)]


def test_memory_is_bounded_and_what_was_asked_for_last_stays(monkeypatch):
    monkeypatch.setattr(known_module, "MOST_IN_MEMORY", 3)
    monkeypatch.setattr(known_module, "_WRITES_AT_ONCE", 1)
    first, *others = numbered(10)
    with closing(KnownManifests(None)) as file:
        file.put(first, Known(IMAGE))
        for digest in others:
            file.put(digest, Known(IMAGE))
            assert file.get(first) is not None
        assert [digest for digest in others if file.get(digest)] == others[-2:]


def test_what_left_the_memory_is_in_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(known_module, "MOST_IN_MEMORY", 3)
    with closing(KnownManifests(tmp_path)) as file:
        for number, digest in enumerate(numbered(500)):
            file.put(digest, Known(IMAGE, str(number)))
        assert [file.get(digest).created for digest in numbered(500)] == [str(n) for n in range(500)]


def test_the_file_is_bounded_and_the_newest_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(known_module, "MOST_ON_DISK", 10)
    monkeypatch.setattr(known_module, "_TRIMMED_AT_ONCE", 3)
    digests = numbered(14)
    for digest in digests:
        kept(tmp_path, {digest: Known(IMAGE)})
    present = [digest for digest, each in zip(digests, read(tmp_path, *digests), strict=True) if each]
    assert len(present) <= 10
    assert present == digests[-len(present) :]


def test_two_at_once(tmp_path):
    with closing(KnownManifests(tmp_path)) as one, closing(KnownManifests(tmp_path)) as other:
        one.put(A, KNOWN[A])
        other.put(A, KNOWN[A])
        other.put(B, KNOWN[B])
        one.flush()
        other.flush()
        assert (one.get(B), other.get(A)) == (KNOWN[B], KNOWN[A])
        one.put(C, KNOWN[C])
    assert read(tmp_path, A, B, C) == [KNOWN[A], KNOWN[B], KNOWN[C]]


def test_while_another_writes_nothing_is_kept_and_nothing_fails(tmp_path, monkeypatch):
    kept(tmp_path, {A: KNOWN[A]})
    connect = sqlite3.connect
    monkeypatch.setattr(known_module.sqlite3, "connect", lambda path, timeout: connect(path, timeout=0.01))
    with (
        closing(connect(tmp_path / "manifests-2.sqlite3")) as writer,
        closing(KnownManifests(tmp_path)) as file,
    ):
        writer.execute("BEGIN IMMEDIATE")
        file.put(B, KNOWN[B])
        file.flush()
        assert (file.get(A), file.get(B)) == (KNOWN[A], KNOWN[B])
        writer.rollback()
        file.put(C, KNOWN[C])
    assert read(tmp_path, A, C) == [KNOWN[A], KNOWN[C]]


def test_nothing_fails_after_closing(tmp_path):
    file = KnownManifests(tmp_path)
    file.close()
    file.put(A, KNOWN[A])
    file.flush()
    assert file.get(A) == KNOWN[A]
    assert file.get(B) is None
    file.close()


@pytest.mark.parametrize(
    ("env", "folder"),
    [
        ({"PRUNER_CACHE_DIR": "/c", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/c"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/ncr-pruner"),
        ({"HOME": "/h"}, "/h/.cache/ncr-pruner"),
        ({"PRUNER_CACHE_DIR": "", "XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/ncr-pruner"),
        ({}, "/.cache/ncr-pruner"),
    ],
)
def test_where_what_is_known_is_kept(env, folder):
    assert str(cache_directory(env)) == folder


# Tokens.

REALM = "https://auth.example/token"
BEARER = f'Bearer realm="{REALM}",service="registry"'
SCOPE = "repository:acme/web:pull"
LOGIN = Login("robot", Secret(WORD), "a test")
IDENTITY = Login("<token>", Secret("identity/of+nobody="), "a test", is_identity_token=True)
BASIC = f"Basic {USER_AND_WORD}"


def token_reply(token="t1", **more):
    return Answer(200, {}, json.dumps({"token": token, **more}).encode())


class TokenServer:
    """Answers with what it is told, one after the other; the last one repeats for ever."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.origins = []
        self.requests = []
        self.closed = 0

    def __call__(self, origin):
        self.origins.append(origin)
        return self

    async def exchange(self, method, target, headers, body=b""):
        self.requests.append((method, target, headers, body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        await asyncio.sleep(0)
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            return token_reply()
        if isinstance(answer, Exception):
            raise answer
        return answer(self.requests[-1]) if callable(answer) else answer

    async def close(self):
        self.closed += 1

    @property
    def scopes(self):
        return [parse_qs(urlsplit(target).query)["scope"] for _, target, _, _ in self.requests]


def counting():
    """Answers with a new token each time."""
    numbers = iter(range(1, 10_000))
    return lambda request: token_reply(f"t{next(numbers)}")


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def authorizer(server, login=LOGIN, *, origin=ORIGIN, timeout=5.0, clock=time.monotonic):
    return Authorizer(elsewhere(server, origin), login, timeout=timeout, clock=clock)


def elsewhere(new_client, origin=ORIGIN):
    """The clients of other servers, none of which has a name that is looked up."""
    found = Elsewhere(origin, lambda origin, reach: new_client(origin), lambda origin: None)
    found._reach = Reach.PUBLIC
    return found


async def test_nothing_is_sent_before_the_registry_asks():
    server = TokenServer(token_reply())
    assert await authorizer(server).header(SCOPE) is None
    assert server.requests == []


@pytest.mark.parametrize("offered", ["", "Negotiate", "Digest realm=x", "<html>", 'realm="x"'])
async def test_what_is_not_understood_is_not_answered(offered):
    asked = authorizer(TokenServer(token_reply()))
    assert await asked.answer(SCOPE, None, offered) is None
    assert await asked.header(SCOPE) is None


async def test_basic():
    server = TokenServer(token_reply())
    asked = authorizer(server)
    assert await asked.answer(SCOPE, None, 'Basic realm="x"') == BASIC
    assert await asked.header("repository:other:pull") == BASIC
    assert await asked.answer(SCOPE, BASIC, 'Basic realm="x"') is None
    assert server.requests == []


@pytest.mark.parametrize("login", [None, IDENTITY])
async def test_without_a_password_there_is_no_basic(login):
    asked = authorizer(TokenServer(token_reply()), login)
    assert await asked.answer(SCOPE, None, "Basic realm=x") is None
    assert await asked.header(SCOPE) is None


@pytest.mark.parametrize("offered", [f"{BEARER}, Basic realm=x", f"Basic realm=x, {BEARER}"])
async def test_a_token_is_preferred(offered):
    assert await authorizer(TokenServer(token_reply())).answer(SCOPE, None, offered) == "Bearer t1"


async def test_how_a_token_is_asked_for():
    server = TokenServer(token_reply())
    assert await authorizer(server).answer(SCOPE, None, BEARER) == "Bearer t1"
    [(method, target, headers, body)] = server.requests
    assert (method, body) == ("GET", b"")
    assert urlsplit(target).path == "/token"
    assert parse_qs(urlsplit(target).query) == {"scope": [SCOPE], "service": ["registry"]}
    assert headers["Authorization"] == BASIC
    assert server.origins == ["https://auth.example"]


async def test_nobody_asks_for_a_token_without_a_login():
    server = TokenServer(token_reply())
    assert await authorizer(server, None).answer(SCOPE, None, BEARER) == "Bearer t1"
    assert "Authorization" not in server.requests[0][2]


async def test_an_identity_token_is_posted():
    server = TokenServer(token_reply())
    assert await authorizer(server, IDENTITY).answer(SCOPE, None, BEARER) == "Bearer t1"
    [(method, target, headers, body)] = server.requests
    assert (method, target) == ("POST", "/token")
    assert "Authorization" not in headers
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert parse_qs(body.decode()) == {
        "grant_type": ["refresh_token"],
        "refresh_token": [IDENTITY.password.reveal()],
        "service": ["registry"],
        "scope": [SCOPE],
        "client_id": ["ncr-pruner"],
    }


@pytest.mark.parametrize(
    ("realm", "path", "query"),
    [
        ("https://auth.example", "/", {}),
        ("https://auth.example/a/b?account=x#part", "/a/b", {"account": ["x"]}),
        ("https://AUTH.example:8443/t", "/t", {}),
    ],
)
async def test_token_servers(realm, path, query):
    server = TokenServer(token_reply())
    assert await authorizer(server).answer(SCOPE, None, f'Bearer realm="{realm}"') == "Bearer t1"
    parts = urlsplit(server.requests[0][1])
    assert parts.path == path
    assert parse_qs(parts.query) == {"scope": [SCOPE], **query}


@pytest.mark.parametrize("realm", ["http://localhost:5001/t", "http://127.0.0.1/t", "https://[::1]/t"])
async def test_a_token_server_on_loopback_is_for_registries_on_loopback(realm):
    server = TokenServer(token_reply())
    near = Elsewhere("http://127.0.0.1:5000", lambda origin, reach: server(origin), lambda origin: None)
    asked = Authorizer(near, LOGIN, timeout=5.0)
    assert await asked.answer(SCOPE, None, f'Bearer realm="{realm}"') == "Bearer t1"
    with pytest.raises(ConnectError, match="leads to a loopback address"):
        await authorizer(server).answer(SCOPE, None, f'Bearer realm="{realm}"')


async def test_a_token_server_may_be_plain_http_where_the_registry_is():
    origin = "http://registry.example:5000"
    server = TokenServer(token_reply())
    asked = authorizer(server, origin=origin)
    assert await asked.answer(SCOPE, None, f'Bearer realm="{origin}/token"') == "Bearer t1"
    for elsewhere in ("http://registry.example/token", "http://auth.example:5000/token"):
        with pytest.raises(ConnectError, match="neither https nor on loopback"):
            await asked.answer(SCOPE, "Bearer t1", f'Bearer realm="{elsewhere}"')
    assert server.origins == [origin]


@pytest.mark.parametrize(
    "realm",
    [
        "",
        "token",
        "/token",
        "//auth.example/token",
        "http://auth.example/token",
        "http://registry.example:5000/token",
        "ftp://auth.example/token",
        "file:///etc/passwd",
        "https://",
        "https://[::1/token",
        "https://user:password@auth.example/token",
        "https://auth.example:0/token",
        "https://au th.example/token",
        "https://auth.example/to ken",
        "https://auth.example/token\x1b[31m",
        "https://auth.example/한국",
        "x" * 5000,
    ],
)
async def test_a_token_server_that_is_not_trusted_hears_nothing(realm):
    server = TokenServer(token_reply())
    with pytest.raises(ConnectError, match="the registry asks for a login at") as caught:
        await authorizer(server).answer(SCOPE, None, f'Bearer realm="{realm}"')
    assert str(caught.value).isprintable()
    assert WORD not in str(caught.value)
    assert server.requests == []


async def test_a_challenge_without_a_realm():
    with pytest.raises(ConnectError, match="asks for a login at another address"):
        await authorizer(TokenServer(token_reply())).answer(SCOPE, None, "Bearer")


async def test_many_who_ask_at_once_get_one_token():
    server = TokenServer(counting())
    asked = authorizer(server)
    assert set(await asyncio.gather(*[asked.answer(SCOPE, None, BEARER) for _ in range(100)])) == {
        "Bearer t1"
    }
    assert set(await asyncio.gather(*[asked.header(SCOPE) for _ in range(100)])) == {"Bearer t1"}
    assert len(server.requests) == 1


async def test_each_scope_has_its_token():
    server = TokenServer(counting())
    asked = authorizer(server)
    scopes = [f"repository:acme/{number}:pull" for number in range(5)]
    sent = await asyncio.gather(*[asked.answer(scope, None, BEARER) for scope in scopes * 3])
    assert sent == sent[:5] * 3
    assert len(set(sent)) == 5
    assert sorted(server.scopes) == [[scope] for scope in scopes]


async def test_a_refused_token_is_fetched_again_once():
    server = TokenServer(counting())
    asked = authorizer(server)
    first = await asked.answer(SCOPE, None, BEARER)
    assert set(await asyncio.gather(*[asked.answer(SCOPE, first, BEARER) for _ in range(20)])) == {
        "Bearer t2"
    }
    assert await asked.header(SCOPE) == "Bearer t2"
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("more", "life"),
    [
        ({"expires_in": 100}, 80),
        ({"expires_in": 100.0}, 80),
        ({}, 48),
        ({"expires_in": None}, 48),
        ({"expires_in": 0}, 48),
        ({"expires_in": 10**9}, 2880),
        ({"expires_in": 100, "issued_at": "2020-01-01T00:00:00Z"}, 80),
    ],
)
async def test_a_token_is_fetched_again_before_it_ends(more, life):
    clock = Clock()
    server = TokenServer(token_reply("t1", **more), token_reply("t2"))
    asked = authorizer(server, clock=clock)
    assert await asked.answer(SCOPE, None, BEARER) == "Bearer t1"
    clock.now += life - 0.01
    assert await asked.header(SCOPE) == "Bearer t1"
    clock.now += 0.02
    assert set(await asyncio.gather(*[asked.header(SCOPE) for _ in range(20)])) == {"Bearer t2"}
    assert len(server.requests) == 2


async def test_a_token_whose_life_is_below_zero_is_good_for_once():
    server = TokenServer(counting())
    server.answers = [token_reply("t1", expires_in=-5), token_reply("t2")]
    asked = authorizer(server)
    assert await asked.answer(SCOPE, None, BEARER) == "Bearer t1"
    assert await asked.header(SCOPE) == "Bearer t2"


@pytest.mark.parametrize(
    ("reply", "token"),
    [
        ({"token": "a"}, "a"),
        ({"access_token": "b"}, "b"),
        ({"token": "a", "access_token": "b"}, "a"),
        ({"token": "", "access_token": "b", "refresh_token": "c", "scope": 7}, "b"),
    ],
)
async def test_replies_of_a_token_server(reply, token):
    server = TokenServer(Answer(200, {}, json.dumps(reply).encode()))
    assert await authorizer(server).answer(SCOPE, None, BEARER) == f"Bearer {token}"


async def test_the_scope_that_the_registry_names_is_asked_for():
    server = TokenServer(token_reply())
    asked = authorizer(server)
    assert await asked.answer(SCOPE, None, f'{BEARER},scope="repository:acme/web:*"') == "Bearer t1"
    assert await asked.header(SCOPE) == "Bearer t1"
    assert server.scopes == [["repository:acme/web:*"]]


async def test_only_so_many_tokens_are_kept():
    server = TokenServer(counting())
    asked = authorizer(server)
    scopes = [f"repository:{number}:pull" for number in range(TOKENS_KEPT + 1)]
    for scope in scopes:
        await asked.answer(scope, None, BEARER)
    assert await asked.header(scopes[-1]) == f"Bearer t{TOKENS_KEPT + 1}"
    assert await asked.header(scopes[1]) == "Bearer t2"
    assert await asked.header(scopes[0]) == f"Bearer t{TOKENS_KEPT + 2}"
    assert len(server.requests) == TOKENS_KEPT + 2


@pytest.mark.parametrize(
    "error",
    [
        ConnectError("connection refused"),
        CertificateError("self-signed certificate"),
        LostReplyError("the connection broke"),
        MalformedReplyError("the answer is larger than 32 MiB"),
    ],
)
async def test_a_token_server_that_is_down(error):
    with pytest.raises(ConnectError) as caught:
        await authorizer(TokenServer(error)).answer(SCOPE, None, BEARER)
    assert str(caught.value) == f"the token server https://auth.example: {error}"


@pytest.mark.parametrize("status", [204, 302, 404, 405, 429, 500, 502, 503])
async def test_a_token_server_in_trouble(status):
    server = TokenServer(Answer(status, {}, f"<html>{WORD} {USER_AND_WORD}</html>".encode()))
    with pytest.raises(ConnectError) as caught:
        await authorizer(server).answer(SCOPE, None, BEARER)
    assert str(caught.value) == f"the token server https://auth.example answers HTTP {status}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b"[]",
        b"<!DOCTYPE html><html>Sign in</html>",
        b"\xff",
        b"[" * 100_000,
        b'{"token": ""}',
        b'{"token": 7}',
        b'{"token": "a\\nb"}',
        b'{"token": "a\\u0000"}',
        '{"token": "토큰"}'.encode(),
        json.dumps({"token": "x" * 70_000}).encode(),
        json.dumps({"error": WORD, "was": USER_AND_WORD}).encode(),
    ],
    ids=lambda body: repr(body[:20]),
)
async def test_a_token_server_without_a_token(body):
    with pytest.raises(ConnectError) as caught:
        await authorizer(TokenServer(Answer(200, {}, body))).answer(SCOPE, None, BEARER)
    assert str(caught.value) == "the token server https://auth.example answers without a token"


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>no</html>",
        b"\xff\x1b[31m",
        json.dumps({"errors": [{"code": "DENIED", "message": "wrong password"}]}).encode(),
        json.dumps({"details": "incorrect username or password"}).encode(),
    ],
)
async def test_a_login_that_a_token_server_refuses(status, body):
    with pytest.raises(ResponseError, match=f"from the token server: HTTP {status}") as caught:
        await authorizer(TokenServer(Answer(status, {}, body))).answer(SCOPE, None, BEARER)
    assert (caught.value.status, caught.value.layer, caught.value.code) == (401, "oci", "UNAUTHORIZED")
    assert str(caught.value).isprintable()


async def test_a_token_server_that_is_too_slow():
    server = TokenServer(asyncio.Event())
    with pytest.raises(ConnectError) as caught:
        await authorizer(server, timeout=0.01).answer(SCOPE, None, BEARER)
    assert str(caught.value) == "the token server https://auth.example does not answer"


async def test_after_a_failure_the_next_one_asks_again():
    server = TokenServer(ConnectError("refused"), Answer(503, {}, b""), token_reply())
    asked = authorizer(server)
    found = await asyncio.gather(
        *[asked.answer(SCOPE, None, BEARER) for _ in range(4)], return_exceptions=True
    )
    assert [type(each) for each in found] == [ConnectError, ConnectError, str, str]
    assert len(server.requests) == 3


async def test_one_that_gives_up_does_not_hold_up_the_others():
    server = TokenServer(asyncio.Event(), token_reply())
    asked = authorizer(server)
    first, second = (asyncio.create_task(asked.answer(SCOPE, None, BEARER)) for _ in range(2))
    while not server.requests:
        await asyncio.sleep(0)
    first.cancel()
    assert await second == "Bearer t1"
    assert first.cancelled()


def echo(template):
    """An answer that repeats what was sent to it, as servers do that help with debugging."""

    def answer(request):
        _, target, headers, body = request
        sent = headers.get("Authorization", "")
        told = template.format(word=WORD, sent=sent, basic=sent.removeprefix("Basic "), target=target)
        return Answer(401, {"X-Sent": sent}, told.encode() + body)

    return answer


@pytest.mark.parametrize(
    "template",
    [
        "{word}",
        "{sent}",
        "{basic}",
        "<html>{word}<b>{basic}</b></html>",
        '{{"errors": [{{"code": "UNAUTHORIZED", "message": "robot:{word} as {sent}"}}]}}',
        '{{"errors": [{{"code": "{word}", "message": "{basic}{basic}"}}]}}',
        '{{"errors": [{{"code": "X", "detail": "{word}"}}]}}',
    ],
)
async def test_no_error_shows_what_was_sent(template):
    with pytest.raises(ResponseError) as caught:
        await authorizer(TokenServer(echo(template))).answer(SCOPE, None, BEARER)
    for text in (str(caught.value), repr(caught.value), str(vars(caught.value))):
        assert WORD.lower() not in text.lower()
        assert USER_AND_WORD not in text


def test_what_no_message_may_show():
    server = TokenServer(token_reply())
    assert authorizer(server, None).secrets() == []
    assert authorizer(server).secrets() == [WORD, USER_AND_WORD]
    assert WORD not in repr(authorizer(server))


async def test_closing_closes_every_token_server():
    servers = {}

    def new_client(origin):
        servers[origin] = TokenServer(token_reply())
        return servers[origin]

    clients = elsewhere(new_client)
    asked = Authorizer(clients, LOGIN, timeout=5.0)
    sent = None
    for host in ("a", "b", "a"):
        sent = await asked.answer(SCOPE, sent, f'Bearer realm="https://{host}.example/t"')
    await clients.close()
    assert {origin: server.closed for origin, server in servers.items()} == {
        "https://a.example": 1,
        "https://b.example": 1,
    }


# What is wanted of an image's tags.


def wanted(*texts, names=NAMES):
    return want_of(policies(*texts))(names)


def test_where_nothing_can_go_names_are_enough():
    for texts in (
        [rules({"tags": ["none-*"]}, keep=[{"newest": 3}])],
        [rules({"tags": ["pr-*"], "semver": {}})],
        [rules({"tags": ["pr-*"], "digest_shared_with": ["none"]})],
        [{"targets": ["web:other"]}],
        [{"targets": ["elsewhere:pr-0"]}],
    ):
        assert wanted(*texts) == (False, (), (), False)
    assert wanted(rules({"tags": ["*"]}), names=[]) == (False, (), (), False)


def test_times_are_wanted_of_what_may_go():
    assert wanted(rules({"tags": ["pr-*"], "older_than": "14d"})) == (
        True,
        {"pr-0", "pr-1", "pr-2", "pr-3"},
        {"pr-0", "pr-1", "pr-2", "pr-3"},
        False,
    )
    assert wanted(rules({"semver": {"range": ">=1.2", "prerelease": True}})).times == {"v2.0.0-rc.1"}
    assert wanted(rules({"tags": ["latest"]}, {"tags": ["v1.*"]})).times == {"latest", "v1.0.0", "v1.1.0"}
    assert wanted(rules({"older_than": "14d"})).times == set(NAMES)
    assert wanted(rules({"not": {"tags": ["*-*"]}})).times == {"latest", "v1.0.0", "v1.1.0", "1.1.0"}


def test_times_are_wanted_of_what_a_keep_rule_ranks():
    keep = [{"tags": ["latest", "pr-*"], "newest": 2}, {"tags": ["sha-*"], "newer_than": "1d"}]
    assert wanted(rules({"tags": ["v*"]}, keep=keep)) == (
        True,
        {"v1.0.0", "v1.1.0", "v2.0.0-rc.1", "latest", "pr-0", "pr-1", "pr-2", "pr-3"},
        {"v1.0.0", "v1.1.0", "v2.0.0-rc.1"},
        False,
    )


def test_a_rank_inside_of_another_condition_wants_all_times():
    assert wanted(rules({"tags": ["pr-*"], "not": {"newest": 1}})).times is None
    assert wanted(rules({"tags": ["pr-*"]}, keep=[{"any": [{"newest": 1}]}])).times is None


def test_orphans_are_wanted_where_a_rule_asks_for_them():
    found = wanted(rules({"tags": ["sbom-*"], "orphaned": True}), names=["sbom-1", "v1"])
    assert found == (True, set(), {"sbom-1"}, True)


def test_of_an_explicit_target_what_belongs_to_it_is_wanted():
    found = wanted({"targets": ["web:latest", "web:none"]})
    assert found.identity
    assert "latest" in found.referrers
    assert "none" not in found.referrers


def known_of(tags, want):
    """What a registry tells that reads no more than ``want``, as the OCI reader does."""
    if not want.identity:
        return [Tag(item.target) for item in tags]
    found = []
    for item in tags:
        own = want.times is None or (want.times and item.subject is not None)
        if not own and item.name not in want.times:
            item = msgspec.structs.replace(item, size=None, created=None, updated=None)
        if item.links is not None and item.name not in want.referrers:
            links = msgspec.structs.replace(item.links, untagged_referrers=())
            item = msgspec.structs.replace(item, links=links if links != Links() else None)
        found.append(item)
    return found


def dated(tags):
    """Signatures without a time have that of what they belong to."""
    times = {}
    for item in tags:
        times[item.digest] = max(item.updated or 0, times.get(item.digest, 0))
    return [
        msgspec.structs.replace(item, updated=times.get(item.subject) or None)
        if item.subject is not None and item.updated is None
        else item
        for item in tags
    ]


UNTAGGED = Links(untagged_referrers=(digest_of(b"untagged"),))
LINKS = st.sampled_from([None, None, Links((A,)), Links((B, C)), Links(subject=A), Links((C,), B), UNTAGGED])


def linked(tags):
    each = st.lists(LINKS, min_size=len(tags), max_size=len(tags))
    return each.map(
        lambda links: [
            msgspec.structs.replace(item, links=link) for item, link in zip(tags, links, strict=True)
        ]
    )


DELETES = st.lists(RULE, min_size=1, max_size=2)
TARGETS = st.lists(st.sampled_from(NAMES), max_size=2)
SHARED = st.sampled_from(["keep", "delete"])
MANY = settings(max_examples=200)


def same_deletions(tags, found):
    want = want_of(found)([item.name for item in tags])
    assert going(dated(known_of(tags, want)), found) == going(dated(tags), found)


@MANY
@given(TAGS_AND_SIGNATURES.flatmap(linked), DELETES, st.lists(RULE, max_size=2), TARGETS, FLOORS, SHARED)
def test_what_is_wanted_is_enough_to_decide(tags, delete, keep, targets, floor, shared):
    found = [rules(*delete, keep=keep, limits={"keep_at_least": floor}, shared_digest=shared)]
    if targets:
        found.append({"targets": [f"web:{name}" for name in targets], "shared_digest": shared})
    same_deletions(tags, policies(*found))


@MANY
@given(TAGS_AND_SIGNATURES.flatmap(linked), st.lists(RULE, max_size=2), st.lists(RULE, max_size=2))
def test_what_may_go_is_always_looked_at(tags, delete, keep):
    found = policies(rules(*delete, {"tags": ["latest"]}, keep=keep))
    want = want_of(found)([item.name for item in tags])
    for name in going(tags, found):
        item = next(item for item in tags if item.name == name)
        assert want.identity
        assert want.needs_referrers(item)
        # The reader finds out the times of what belongs to an image wherever any are wanted.
        assert want.times is None or name in want.times or (item.subject is not None and want.times)


def test_less_is_wanted_where_less_is_enough():
    tags = [tag("pr-0", 30), tag("latest", 0), tag("v1.0.0", 1)]
    found = policies(rules({"tags": ["pr-*"], "older_than": "14d"}))
    known = known_of(tags, want_of(found)([item.name for item in tags]))
    assert [item.name for item in known if item.updated is None] == ["latest", "v1.0.0"]
    assert going(known, found) == going(tags, found) == {"pr-0"}
    assert {item.updated for item in known} <= {None, NOW - 30 * 86_400_000}


# Answers and texts as some servers have them.


class Answering:
    """A registry that answers everything so."""

    def __init__(self, answer):
        self.answer = answer

    async def exchange(self, method, target, headers, body=b""):
        return self.answer

    async def close(self):
        pass


async def test_an_identity_token_does_not_hide_what_is_missing():
    client = Answering(Answer(404, {}, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"x"}]}'))
    asked = authorizer(TokenServer(token_reply()), IDENTITY)
    transport = OciTransport(client, LOCATION, asked, elsewhere(lambda origin: client), timeout=1)
    with pytest.raises(ResponseError) as caught:
        await transport.send("GET", "/v2/acme/web/manifests/v1", SCOPE)
    assert says_missing(caught.value)


@pytest.mark.parametrize("word", ["id+tok/en=", 'pa"ss\\word', "error", "wonder land"])
@pytest.mark.parametrize("is_token", [False, True])
async def test_a_server_that_repeats_the_secret_does_not_give_it_away(word, is_token):
    def repeating(request):
        said = f"{request[3].decode()} {word} {quote_plus(word)}"
        return Answer(401, {}, json.dumps({"errors": [{"code": "DENIED", "message": said}]}).encode())

    asked = authorizer(TokenServer(repeating), Login("u", Secret(word), "x", is_token))
    with pytest.raises(ResponseError) as caught:
        await asked.answer(SCOPE, None, BEARER)
    said = str(caught.value).replace("from the token server", "")
    assert word not in said
    assert quote_plus(word) not in said


@pytest.mark.parametrize("script", ["exit 1", answering()])
async def test_a_helper_that_does_not_read_its_input(docker, script, tmp_path):
    env = docker({"credsStore": "x"}, "exit 0")
    (tmp_path / "docker-credential-x").write_text(f"#!/bin/sh\nexec 0<&-\n{script}\n")
    for _ in range(10):
        with contextlib.suppress(CredentialsError):
            await find_login(LOCATION, [], env)


async def test_a_helper_that_takes_too_long_is_said_to(docker, monkeypatch):
    monkeypatch.setattr(login_module, "HELPER_SECONDS", 0.2)
    with pytest.raises(CredentialsError, match="did not answer within"):
        await find_login(LOCATION, [], docker({"credsStore": "x"}, "exec tail -f /dev/null"))


async def test_a_login_that_is_no_text(docker):
    with pytest.raises(CredentialsError, match="log in again"):
        await find_login(LOCATION, [], docker({"auths": {HOST: {"auth": "ключ"}}}))
    with pytest.raises(CredentialsError, match="not valid text"):
        await find_login(LOCATION, ["x"], general("u", "\udcff"))


@pytest.mark.parametrize(
    "content",
    [
        b'{"schemaVersion":2,"mediaType":"\\u001b[31m"}',
        b'{"schemaVersion":2,"config":{"digest":"\\u001b[31m","size":1}}',
    ],
)
def test_foreign_text_in_an_error_can_be_printed(content):
    with pytest.raises(MalformedReplyError) as caught:
        read_manifest(content, protocol.OCI_MANIFEST)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "reply",
    [
        {"token": None, "access_token": "x"},
        {"token": "x", "expires_in": "300"},
        {"token": "x", "expires_in": "soon"},
    ],
)
async def test_a_token_in_another_form(reply):
    server = TokenServer(Answer(200, {}, json.dumps(reply).encode()))
    assert await authorizer(server).answer(SCOPE, None, BEARER) == "Bearer x"


def test_a_scheme_with_one_value_does_not_hide_the_next():
    found = challenges('Negotiate abc==, Basic realm="x"')
    assert found == [("negotiate", {}), ("basic", {"realm": "x"})]


def test_what_stands_in_quotes_is_no_relation():
    assert next_target('</v2/x>; rel=up; title="; rel=next"', "https://h", "/v2/y") is None


@pytest.mark.parametrize("origin", ["https://h:443", "https://H", "https://h"])
def test_the_same_server_in_other_words(origin):
    assert next_target(f"<{origin}/v2/x>; rel=next", "https://h", "/v2/y") == "/v2/x"


async def test_the_keys_of_ncr_open_its_other_door(tmp_path):
    keys = {"NCLOUD_ACCESS_KEY_ID": "AKID", "NCLOUD_SECRET_ACCESS_KEY": "word", "HOME": str(tmp_path)}
    for host, opened in (
        ("acme.kr.ncr.ntruss.com", True),
        ("acme.ncr.gov-ntruss.com", True),
        ("registry.example.com", False),
        ("acme.kr.ncr.ntruss.com.evil.example", False),
    ):
        login = await find_login(parse_location(f"https://{host}"), ["x"], keys)
        assert (login is not None) is opened
