"""The emulator on the wire, driven by a signer of its own: nothing of the project's client is used here."""

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from conftest import until

from pruner.emulator import (
    DEMO_ACCESS_KEY,
    DEMO_SECRET_KEY,
    Bucket,
    Emulator,
    EmulatorConfig,
    Fault,
    InFlight,
    Limits,
    Noise,
    Operation,
    Quota,
    Window,
    parse_faults,
    parse_limits,
    running_in_thread,
)

NOW = 1_700_000_000.0
PREFIX = "/ncr/api/v2"
WEB = "/repositories/acme/ci%2Fweb"
SMALL: dict[str, Any] = {
    "registries": {
        "acme": {
            "images": {
                "ci/web": [
                    {"name": f"pr-{n}", "digest": f"sha256:{n:064x}", "age_days": n, "last_pulled": 5}
                    for n in range(1, 8)
                ],
                "shared": [{"name": name, "digest": "sha256:aa"} for name in ("latest", "main", "v1")],
            }
        },
        "sandbox": {"images": {"tmp/x": [{"name": "old", "updated": "2021-01-01T00:00:00Z"}]}},
    }
}


@dataclass
class Reply:
    """A reply as http.client saw it."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Clock:
    """A clock that stands until it is moved."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Signer:
    """Signs and sends requests to one emulator."""

    emulator: Emulator
    monotonic: Clock
    access_key: str = DEMO_ACCESS_KEY
    secret_key: str = field(default=DEMO_SECRET_KEY, repr=False)
    prefix: str = PREFIX

    def __call__(self, method: str, path: str, *, signed: str | None = None, at: float = NOW) -> Reply:
        """Send a request for ``path``, signed as if it were for ``signed``."""
        headers = self.headers(method, self.prefix + (path if signed is None else signed), at)
        return self.send(method, self.prefix + path, headers)

    def headers(self, method: str, target: str, at: float = NOW) -> dict[str, str]:
        """Return the headers of a signed request."""
        timestamp = str(round(at * 1000))
        message = f"{method} {target}\n{timestamp}\n{self.access_key}".encode()
        digest = hmac.new(self.secret_key.encode(), message, hashlib.sha256).digest()
        return {
            "x-ncp-apigw-timestamp": timestamp,
            "x-ncp-iam-access-key": self.access_key,
            "x-ncp-apigw-signature-v2": base64.b64encode(digest).decode(),
        }

    def send(self, method: str, target: str, headers: dict[str, str], body: bytes | None = None) -> Reply:
        """Send a request exactly as given."""
        address = self.emulator.origin.removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=60)
        try:
            connection.request(method, target, body=body, headers=headers)
            reply = connection.getresponse()
            return Reply(reply.status, reply.headers, reply.read())
        finally:
            connection.close()

    def tags(self, image: str = "ci%2Fweb") -> list[str]:
        """List the names of the tags of an image of acme."""
        body = self("GET", f"/repositories/acme/{image}/tags?page=1&pagesize=100").json
        return [item["name"] for item in body["results"]]

    def control(self, name: str, value: Any = None) -> Reply:
        """Send a control request, a POST if there is a value."""
        body = None if value is None else json.dumps(value).encode()
        return self.send("GET" if value is None else "POST", f"/_emulator/{name}", {}, body)


@contextlib.contextmanager
def emulated(**settings: Any) -> Iterator[Signer]:
    """Run an emulator with the small seed and clocks that stand."""
    monotonic = Clock(0.0)
    config = EmulatorConfig(**{"seed": SMALL, **settings})
    with running_in_thread(config, clock=Clock(), monotonic=monotonic) as emulator:
        yield Signer(emulator, monotonic)


# What the gateway accepts


def test_request_signed_with_openssl_is_accepted() -> None:
    target = f"{PREFIX}{WEB}/tags?page=2&pagesize=3"
    message = f"GET {target}\n1700000000000\n{DEMO_ACCESS_KEY}".encode()
    command = ["openssl", "dgst", "-sha256", "-hmac", DEMO_SECRET_KEY, "-binary"]
    digest = subprocess.run(command, input=message, capture_output=True, check=True).stdout
    headers = {
        "X-NCP-APIGW-Timestamp": "1700000000000",
        "X-NCP-IAM-Access-Key": DEMO_ACCESS_KEY,
        "X-NCP-APIGW-Signature-V2": base64.b64encode(digest).decode(),
    }
    with emulated() as send:
        reply = send.send("GET", target, headers)
    assert reply.status == 200
    assert [item["name"] for item in reply.json["results"]] == ["pr-4", "pr-5", "pr-6"]
    assert reply.headers["Date"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert len(reply.headers["x-ncp-trace-id"]) == 32


@pytest.mark.parametrize(
    ("signed", "at", "access", "secret"),
    [
        ("/repositories/acme/ci/web/tags/pr-1", NOW, DEMO_ACCESS_KEY, DEMO_SECRET_KEY),
        ("/repositories/acme/ci%2fweb/tags/pr-1", NOW, DEMO_ACCESS_KEY, DEMO_SECRET_KEY),
        ("/repositories/acme/ci%252Fweb/tags/pr-1", NOW, DEMO_ACCESS_KEY, DEMO_SECRET_KEY),
        (None, NOW - 301, DEMO_ACCESS_KEY, DEMO_SECRET_KEY),
        (None, NOW + 301, DEMO_ACCESS_KEY, DEMO_SECRET_KEY),
        (None, NOW, "AKIDEXAMPLE000000002", DEMO_SECRET_KEY),
        (None, NOW, DEMO_ACCESS_KEY, "another secret"),
    ],
)
def test_badly_signed_delete_is_refused_and_deletes_nothing(
    signed: str | None, at: float, access: str, secret: str
) -> None:
    with emulated() as send:
        send.access_key, send.secret_key = access, secret
        reply = send("DELETE", f"{WEB}/tags/pr-1", signed=signed, at=at)
        assert reply.status == 401
        assert reply.json["error"]["errorCode"] == "200"
        assert reply.json["error"]["message"] == "Authentication Failed"
        assert send.emulator.counters.unauthenticated == 1
        assert send.emulator.counters.deleted == 0


def test_request_without_headers_is_refused() -> None:
    with emulated() as send:
        reply = send.send("GET", f"{PREFIX}/repositories", {})
    assert reply.json["error"]["details"] == "Authentication information are missing."


def test_timestamp_is_judged_by_the_offset_clock() -> None:
    with emulated(clock_offset_seconds=600) as send:
        refused = send("GET", "/repositories")
        assert refused.status == 401
        assert refused.headers["Date"] == "Tue, 14 Nov 2023 22:23:20 GMT"
        assert send("GET", "/repositories", at=NOW + 600).status == 200
        send.emulator.set_clock_offset(0)
        assert send("GET", "/repositories").status == 200


@pytest.mark.parametrize(
    ("method", "path", "signed", "status"),
    [
        ("GET", "/repositories/acme/ci/web/tags/pr-1", None, 404),
        ("GET", "/repositories/acme/ci%2fweb/tags/pr-1", None, 200),
        ("GET", "/repositories/acme/ci%252Fweb/tags/pr-1", None, 404),
        ("GET", "//repositories", None, 404),
        ("GET", "/repositories/acme/ci%2Fweb/tags/", None, 404),
        ("DELETE", "/repositories/acme/%2e%2e/tags/pr-1", None, 404),
        ("POST", "/repositories/acme", None, 404),
    ],
)
def test_target_is_read_as_it_stood_on_the_wire(
    method: str, path: str, signed: str | None, status: int
) -> None:
    with emulated() as send:
        assert send(method, path, signed=signed).status == status


def test_unknown_prefix_is_a_gateway_404_and_an_unknown_name_is_not() -> None:
    with emulated() as send:
        for path in ("/repositories/none", "/repositories/acme/none/tags", f"{WEB}/tags/none"):
            reply = send("GET", path)
            assert (reply.status, reply.json["returnCode"]) == (404, "404")
        assert send.emulator.counters.missing == 3
        send.prefix = "/ncr/usw-api/v2"
        assert send("GET", "/repositories").json == {
            "error": {"errorCode": "300", "message": "Not Found Exception", "details": "URL not found."}
        }


@pytest.mark.parametrize("region", ["KR", "SGN", "JPN", "gov-KR", "gov-KRS"])
def test_every_region_is_served(region: str) -> None:
    with emulated() as send:
        send.prefix = send.emulator.endpoint_for(region).removeprefix(send.emulator.origin)
        assert send("GET", "/repositories").json["count"] == 2


def test_only_active_regions_are_served() -> None:
    with emulated(regions=("gov-KRS",)) as send:
        assert send.emulator.endpoint.endswith("/ncr/krs/v2")
        assert send("GET", "/repositories").status == 404


# What the registry service does


def test_listings_and_details_have_their_documented_fields() -> None:
    with emulated() as send:
        registry = send("GET", "/repositories").json["results"][0]
        assert registry["end_point"] == "acme.kr.ncr.ntruss.com"
        assert send("GET", "/repositories/acme/info").json == registry
        image = send("GET", "/repositories/acme").json["results"][0]
        assert (image["name"], image["namespace"]) == ("ci/web", "acme")
        assert send("GET", WEB).json["tag_mutability_enabled"] is True
        tag = send("GET", f"{WEB}/tags/pr-3").json
        assert tag == send("GET", f"{WEB}/tags").json["results"][2]
        assert tag["last_updated"] == NOW * 1000 - 3 * 86_400_000
        assert tag["images"][0]["latest_pulled"] == 5
        assert {"digest", "full_size", "id", "image_id", "repository", "creator", "v2"} <= tag.keys()


def test_pages_are_numbered_and_linked() -> None:
    with emulated(page_size_default=3) as send:
        pages = [send("GET", f"{WEB}/tags?page={page}").json for page in (1, 2, 3, 4)]
    assert [(page["previous"], page["next"]) for page in pages] == [(None, 2), (1, 3), (2, None), (3, None)]
    assert [len(page["results"]) for page in pages] == [3, 3, 1, 0]
    assert {page["count"] for page in pages} == {7}


@pytest.mark.parametrize("query", ["page=0", "page=-1", "page=x", "pagesize=0", "pagesize=101", "page="])
def test_bad_paging_is_refused(query: str) -> None:
    with emulated(page_size_max=100) as send:
        reply = send("GET", f"{WEB}/tags?{query}")
    assert (reply.status, reply.json["returnCode"]) == (400, "400")


def test_deleted_tag_is_gone_and_a_second_delete_is_counted() -> None:
    with emulated() as send:
        reply = send("DELETE", f"{WEB}/tags/pr-3")
        assert (reply.status, reply.body) == (204, b"")
        assert "Content-Type" not in reply.headers
        assert send("DELETE", f"{WEB}/tags/pr-3").status == 404
        assert send("DELETE", f"{WEB}/tags/never").status == 404
        assert send.tags() == ["pr-1", "pr-2", "pr-4", "pr-5", "pr-6", "pr-7"]
        assert send.emulator.deleted_tags == [("acme", "ci/web", "pr-3")]
        counters = send.control("counters").json
        assert counters["requests"] == 4
        assert counters["by_operation"] == {"delete_tag": 3, "list_tags": 1}
        assert counters["by_status"] == {"204": 1, "404": 2, "200": 1}
        assert (counters["deleted"], counters["missing"], counters["duplicate_deletes"]) == (1, 2, 1)
        assert send.control("deleted").body == b'"acme/ci/web:pr-3"\n'


def test_missing_tag_may_be_a_500() -> None:
    with emulated(missing_tag_status=500) as send:
        reply = send("DELETE", f"{WEB}/tags/never")
        assert (reply.status, reply.json["returnCode"]) == (500, "500")


@pytest.mark.parametrize("path", [WEB, "/repositories/acme"])
def test_delete_of_image_or_registry_is_counted_and_refused(path: str) -> None:
    with emulated(faults=(Fault(action="status"),)) as send:
        send("DELETE", path)
        send.emulator.set_faults(())
        assert send("DELETE", path).status == 403
        assert send.emulator.counters.forbidden_deletes == 2
        assert len(send.tags()) == 7


def test_siblings_go_only_if_asked_for() -> None:
    for untag, left in ((False, ["main", "v1"]), (True, [])):
        with emulated(untag_siblings=untag) as send:
            assert send("DELETE", "/repositories/acme/shared/tags/latest").status == 204
            assert send.tags("shared") == left
            assert send.emulator.counters.siblings_untagged == 2 - len(left)
            assert send.emulator.counters.deleted == 1


def test_denied_registry_and_read_only_key() -> None:
    with emulated(deny_registries=("sandbox",), read_only=True) as send:
        assert send("GET", "/repositories/sandbox").json["returnCode"] == "403"
        assert send("GET", "/repositories/acme").status == 200
        reply = send("DELETE", f"{WEB}/tags/pr-1")
        assert (reply.status, reply.json["error"]["errorCode"]) == (401, "210")
    with emulated(deny_registries=("sandbox",), deny_with="gateway") as send:
        assert send("GET", "/repositories/sandbox").json["error"]["errorCode"] == "210"


def test_rotated_key_is_refused_from_then_on() -> None:
    with emulated() as send:
        assert send.control("keys", {"access_key": "new", "secret_key": "other"}).status == 200
        assert send("GET", "/repositories").status == 401
        send.access_key, send.secret_key = "new", "other"
        assert send("GET", "/repositories").status == 200


# Limits


def codes(replies: list[Reply]) -> list[str | int]:
    """Return the gateway code of each refusal and the status of everything else."""
    return [reply.json["error"]["errorCode"] if reply.status >= 400 else reply.status for reply in replies]


def test_bucket_refills_at_its_rate_and_follows_its_schedule() -> None:
    bucket = Bucket(rate=2, burst=2, schedule=((10, 1), (20, 4)), retry_after="garbage")
    with emulated(limits=Limits(bucket=bucket)) as send:
        replies = [send("GET", "/repositories") for _ in range(3)]
        assert codes(replies) == [200, 200, "410"]
        assert replies[2].headers["Retry-After"] == "garbage"
        assert send.emulator.counters.throttled == 1
        accepted = []
        for now in (0.5, 10.5, 11, 11.5, 12.5, 20.5, 20.75, 21):
            send.monotonic.now = now
            accepted.append(sum(send("GET", "/repositories").status == 200 for _ in range(3)))
        assert accepted == [1, 2, 0, 1, 1, 2, 1, 1]


def test_window_and_quota_have_their_codes() -> None:
    with emulated(limits=Limits(window=Window(requests=2, seconds=10, retry_after=-1))) as send:
        replies = [send("GET", "/repositories") for _ in range(3)]
        assert codes(replies) == [200, 200, "420"]
        assert replies[2].headers["Retry-After"] == "-1"
        send.monotonic.now = 10
        assert send("GET", "/repositories").status == 200
        send.emulator.set_limits(Limits(quota=Quota(requests=1)))
        send.monotonic.now = 1e9
        assert codes([send("GET", "/repositories") for _ in range(3)]) == [200, "400", "400"]


def test_a_sliding_window_ends_at_every_moment() -> None:
    with emulated(limits=Limits(sliding=Window(requests=2, seconds=10))) as send:
        found = []
        for now in (0, 6, 7, 10, 11, 16):
            send.monotonic.now = now
            found += codes([send("GET", "/repositories")])
        assert found == [200, 200, "420", 200, "420", 200]


def test_refusals_at_random_have_nothing_to_do_with_the_rate() -> None:
    with emulated(limits=Limits(noise=Noise(share=0.5, retry_after=2))) as send:
        replies = [send("GET", "/repositories") for _ in range(60)]
        assert {*codes(replies)} == {200, "410"}
        assert {reply.headers["Retry-After"] for reply in replies if reply.status == 429} == {"2"}


@pytest.mark.parametrize(("status", "code"), [(429, "410"), (503, "500")])
def test_requests_in_flight_are_bounded(status: int, code: str) -> None:
    hang = Fault(action="hang", contains="sandbox")
    with emulated(limits=Limits(in_flight=InFlight(maximum=1, status=status)), faults=(hang,)) as send:
        address = send.emulator.origin.removeprefix("http://")
        waiting = http.client.HTTPConnection(address, timeout=60)
        target = f"{PREFIX}/repositories/sandbox"
        waiting.request("GET", target, headers=send.headers("GET", target))
        until(lambda: send.emulator.counters.faults)
        reply = send("GET", "/repositories")
        assert (reply.status, reply.json["error"]["errorCode"]) == (status, code)
        assert send.emulator.counters.max_in_flight == 2
        waiting.close()


# Gates


@contextlib.contextmanager
def sending(send: Signer, *calls: tuple[str, str]) -> Iterator[list[Future[Reply]]]:
    """Send each request in a thread of its own while the block lasts; all have been answered after it."""
    with ThreadPoolExecutor(len(calls)) as threads:
        yield [threads.submit(send, *call) for call in calls]


def test_a_gate_holds_what_it_is_for_until_it_opens() -> None:
    with emulated() as send:
        gate = send.emulator.hold("DELETE", after=1)
        assert send("DELETE", f"{WEB}/tags/pr-1").status == 204
        with sending(send, *(("DELETE", f"{WEB}/tags/pr-{n}") for n in (2, 3))) as replies:
            gate.wait(2)
            assert gate.held == 2
            assert send.tags() == [f"pr-{n}" for n in range(2, 8)]
            gate.open()
        assert [reply.result().status for reply in replies] == [204, 204]
        assert gate.held == 0
        assert send("DELETE", f"{WEB}/tags/pr-4").status == 204
        # The two that were held, and the list.
        assert send.emulator.counters.max_in_flight == 3


def test_a_gate_stands_before_everything_else() -> None:
    with emulated() as send:
        gate = send.emulator.hold(matches=lambda call: call.subject == "acme/ci/web:pr-1")
        with sending(send, ("GET", f"{WEB}/tags/pr-1")) as replies:
            gate.wait()
            send.emulator.set_keys("AKNEW000000000000001", "new-secret")
            gate.open()
        assert replies[0].result().status == 401


def test_a_request_whose_client_leaves_is_held_no_longer_and_never_carried_out() -> None:
    target = f"{PREFIX}{WEB}/tags/pr-1"
    with emulated() as send:
        gate = send.emulator.hold("DELETE")
        address = send.emulator.origin.removeprefix("http://")
        with contextlib.closing(http.client.HTTPConnection(address, timeout=60)) as connection:
            connection.request("DELETE", target, headers=send.headers("DELETE", target))
            gate.wait()
        until(lambda: gate.held == 0)
        gate.open()
        assert "pr-1" in send.tags()


def test_a_gate_that_nobody_comes_to_says_so() -> None:
    with emulated() as send, pytest.raises(TimeoutError, match="0 requests are held, not 1"):
        send.emulator.hold().wait(seconds=0)


def test_the_end_of_the_server_opens_its_gates() -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(contextlib.ExitStack())
        send = server.enter_context(emulated())
        gate = send.emulator.hold()
        replies = stack.enter_context(sending(send, ("GET", "/repositories")))
        gate.wait()
        server.close()
        assert gate.held == 0
        with contextlib.suppress(OSError, http.client.HTTPException):
            replies[0].result()


# Faults on the wire


@pytest.mark.parametrize("commit", [False, True])
def test_reset_before_and_after_the_commit(commit: bool) -> None:
    with emulated(faults=(Fault(action="reset", method="DELETE", commit=commit),)) as send:
        with pytest.raises(ConnectionResetError):
            send("DELETE", f"{WEB}/tags/pr-1")
        assert ("pr-1" not in send.tags()) is commit
        assert send.emulator.counters.deleted == commit
        assert send.emulator.counters.by_status["aborted"] == 1


def test_answer_cut_in_the_middle_of_body_or_headers() -> None:
    with emulated(faults=(Fault(action="cut", times=2),)) as send:
        with pytest.raises(http.client.IncompleteRead):
            send("GET", f"{WEB}/tags")
        assert "Server" not in send("DELETE", f"{WEB}/tags/pr-1").headers
        assert "pr-1" not in send.tags()


@pytest.mark.parametrize(
    ("fields", "status", "content_type", "body"),
    [
        ({"gateway_code": "500", "status": 503}, 503, "application/json", b'{"error":{"errorCode":"500"'),
        ({"gateway_code": 900}, 500, "application/json", b'{"error":{"errorCode":900'),
        ({"return_code": "409", "status": 409}, 409, "application/json", b'{"returnCode":"409"'),
        ({"status": 502, "body": "<html>", "content_type": "text/html"}, 502, "text/html", b"<html>"),
        ({"status": 500, "body": ""}, 500, "application/json", b""),
        ({"status": 200}, 200, None, b""),
        ({"status": 202, "commit": True}, 202, None, b""),
        ({"status": 504, "commit": True, "gateway_code": 510}, 504, "application/json", b'{"error"'),
    ],
)
def test_described_status(fields: dict[str, Any], status: int, content_type: str, body: bytes) -> None:
    rules = parse_faults(json.dumps([{"action": "status", "method": "DELETE", **fields}]))
    with emulated(faults=rules) as send:
        reply = send("DELETE", f"{WEB}/tags/pr-1")
        assert reply.status == status
        assert reply.body.startswith(body)
        if content_type:
            assert reply.headers["Content-Type"].startswith(content_type)
        assert ("pr-1" not in send.tags()) is fields.get("commit", False)


def test_redirect_and_huge_body() -> None:
    redirect = Fault(action="status", status=307, headers={"Location": "http://other/"}, times=1)
    huge = Fault(action="status", status=500, body_bytes=10_000_000)
    with emulated(faults=(redirect, huge)) as send:
        assert send("GET", "/repositories").headers["Location"] == "http://other/"
        assert len(send("GET", "/repositories").body) == 10_000_000


def test_drip_sends_the_true_answer_in_the_end() -> None:
    with emulated(faults=(Fault(action="drip", seconds=0),)) as send:
        assert send("GET", "/repositories").json["count"] == 2
        assert send("DELETE", f"{WEB}/tags/pr-1").status == 204


def test_delay_goes_on_to_the_true_answer() -> None:
    with emulated(latency_seconds=0.001, faults=(Fault(action="delay", seconds=0.001),)) as send:
        assert send("GET", "/repositories").status == 200
        assert send.emulator.counters.faults == 1


def test_hang_lasts_until_the_client_leaves_and_does_not_hold_the_server() -> None:
    target = f"{PREFIX}{WEB}/tags/pr-1"
    with emulated(faults=(Fault(action="hang", method="DELETE", commit=True),)) as send:
        address = send.emulator.origin.removeprefix("http://")
        with contextlib.closing(http.client.HTTPConnection(address, timeout=0.05)) as connection:
            connection.request("DELETE", target, headers=send.headers("DELETE", target))
            with pytest.raises(TimeoutError):
                connection.getresponse()
            until(lambda: send.emulator.counters.deleted == 1)
        assert "pr-1" not in send.tags()


# Which requests a rule meets


def test_rules_are_matched_counted_and_limited() -> None:
    rule = Fault(action="status", method="get", path="*/tags/pr-[12]", after=1, times=2)
    with emulated(faults=(rule,)) as send:
        found = [send("GET", f"{WEB}/tags/pr-{n}").status for n in (1, 2, 3, 1, 2)]
    assert found == [200, 500, 200, 500, 200]


def test_rule_matches_part_of_a_subject_or_an_operation() -> None:
    rules = (
        Fault(action="status", contains="ci/web:pr-1"),
        Fault(action="status", operation=Operation.LIST_IMAGES),
    )
    with emulated(faults=rules) as send:
        paths = (f"{WEB}/tags/pr-1", f"{WEB}/tags/pr-2", "/repositories/acme", "/repositories")
        assert [send("GET", path).status for path in paths] == [500, 200, 500, 200]


def test_chance_is_the_same_for_the_same_seed() -> None:
    runs = []
    for _ in range(2):
        with emulated(faults=(Fault(action="status", probability=0.5),), seed_random=7) as send:
            runs.append([send("GET", "/repositories").status for _ in range(20)])
    assert runs[0] == runs[1]
    assert set(runs[0]) == {200, 500}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("[", "faults: Input data was truncated"),
        ([{"action": "explode"}], "Invalid enum value 'explode' - at `$[0].action`"),
        ([{"action": "reset", "tmes": 1}], "unknown field `tmes`"),
        ([{"action": "move", "target": "web"}], "target must be registry/image:tag, not 'web'"),
        ([{"action": "move"}], "target belongs to move and remove"),
        ([{"action": "lose_item", "operation": "delete_tag"}], "needs an operation that lists"),
    ],
)
def test_bad_rules_are_refused_with_a_reason(value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_faults(value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"bucket": {"rate": 0}}, "at `$.bucket.rate`"),
        ({"window": {}}, "missing required field `requests`"),
        ({"in_flight": {"maximum": 1, "status": 418}}, "status must be 429 or 503"),
        (b"\xff", "limits:"),
    ],
)
def test_bad_limits_are_refused_with_a_reason(value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_limits(value)


# Listings that go wrong


def listing(send: Signer, page: int = 1) -> dict[str, Any]:
    """Read one page of three tags."""
    body = send("GET", f"{WEB}/tags?page={page}&pagesize=3").json
    assert isinstance(body, dict)
    return body


@pytest.mark.parametrize(
    ("action", "check"),
    [
        (
            "repeat_item",
            lambda body: [i["name"] for i in body["results"]] == ["pr-1", "pr-2", "pr-3", "pr-1"],
        ),
        ("lose_item", lambda body: [i["name"] for i in body["results"]] == ["pr-2", "pr-3"]),
        ("wrong_count", lambda body: body["count"] == 8),
        ("no_results", lambda body: "results" not in body),
        ("same_next", lambda body: body["next"] == 1),
        ("string_next", lambda body: body["next"] == "2"),
        ("seconds_times", lambda body: body["results"][0]["last_updated"] == NOW - 86_400),
        ("zero_times", lambda body: body["results"][0]["images"][0]["updated"] == 0),
        ("missing_times", lambda body: "last_updated" not in body["results"][0]),
        ("future_times", lambda body: body["results"][0]["last_updated"] > NOW * 1000),
        ("missing_digest", lambda body: "digest" not in body["results"][0]),
        ("string_numbers", lambda body: body["results"][0]["full_size"] == "1000000"),
    ],
)
def test_spoiled_page(action: str, check: Any) -> None:
    with emulated(faults=parse_faults([{"action": action, "times": 1}])) as send:
        send("GET", "/repositories/acme")
        assert check(listing(send))
        assert not check(listing(send))


def test_next_that_never_ends() -> None:
    with emulated(faults=(Fault(action="endless_next"),)) as send:
        assert [listing(send, page)["next"] for page in (1, 3, 99)] == [2, 4, 100]


@pytest.mark.parametrize(
    ("action", "second"),
    [("shift_delete", ["pr-5", "pr-6", "pr-7"]), ("shift_insert", ["pr-3", "pr-4", "pr-5"])],
)
def test_listing_shifts_between_pages(action: str, second: list[str]) -> None:
    with emulated(faults=parse_faults([{"action": action, "times": 1}])) as send:
        assert [item["name"] for item in listing(send, 1)["results"]] == ["pr-1", "pr-2", "pr-3"]
        assert [item["name"] for item in listing(send, 2)["results"]] == second


def test_tag_is_moved_after_some_requests_or_on_demand() -> None:
    rule = Fault(action="move", target="acme/ci/web:pr-1", after=1)
    with emulated(faults=(rule,)) as send:
        first, second, third = (send("GET", f"{WEB}/tags/pr-1").json for _ in range(3))
        assert first["digest"] != second["digest"] == third["digest"]
        assert second["last_updated"] == second["images"][0]["updated"] == NOW * 1000
        assert send.control("move", {"target": "acme/ci/web:pr-1", "digest": "sha256:ff"}).status == 200
        assert send("GET", f"{WEB}/tags/pr-1").json["digest"] == "sha256:ff"
        assert send.control("move", {"target": "acme/ci/web:none"}).status == 404


def test_control_replaces_faults_and_limits() -> None:
    with emulated() as send:
        assert send.control("faults", [{"action": "status", "status": 503}]).status == 200
        assert send("GET", "/repositories").status == 503
        assert send.control("faults", []).status == 200
        assert send.control("limits", {"quota": {"requests": 0}}).status == 200
        assert send("GET", "/repositories").status == 429
        assert send.control("limits", {"quota": 1}).status == 400
        assert send.control("clock", {"offset_seconds": 400}).status == 200
        assert send("GET", "/repositories").status == 401
        assert send.control("nothing").status == 404
