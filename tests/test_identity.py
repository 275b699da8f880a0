"""One registry, however its address is written; and how near a server is."""

import errno
import os
from pathlib import Path

import pytest

from pruner.app.options import ConnectionOptions
from pruner.app.places import NcrPlace, OciPlace, check_apart, same_host, scopes_of, takes_ncr_key
from pruner.engine.lock import LockScope, machine_folder, registry_locks
from pruner.errors import ConnectError, InputError, RefusedError
from pruner.registry.endpoint import parse_endpoint
from pruner.registry.identity import Reach, canonical_host, check_addresses, identity_of, reach_of_name
from pruner.registry.ncr.endpoint import region_endpoint
from pruner.registry.oci.elsewhere import MOST_SERVERS, Elsewhere
from pruner.registry.oci.location import parse_location

LOOPBACK = ["127.0.0.1", "127.9.8.7", "127.1", "0x7f.1", "2130706433", "0.0.0.0", "LOCALHOST.", "a.localhost"]
LOOPBACK += ["[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "ip6-localhost"]


@pytest.mark.parametrize("host", LOOPBACK)
def test_all_names_of_this_machine_are_one(host):
    assert identity_of(f"http://{host}:5000") == "localhost:5000"
    assert reach_of_name(host) is Reach.LOOPBACK


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://a.example", "https://A.example.:443"),
        ("http://a.example", "http://a.example:80"),
        ("https://a.example", "http://a.example"),
        ("https://1.2.0.3", "https://1.2.3"),
        ("https://[2606:4700::1]", "https://[2606:4700:0:0::1]:443"),
    ],
)
def test_spellings_of_one_server(one, other):
    assert identity_of(one) == identity_of(other)


@pytest.mark.parametrize(
    ("host", "reach"),
    [
        ("::127.0.0.1", Reach.LOOPBACK),
        ("64:ff9b::7f00:1", Reach.LOOPBACK),
        ("64:ff9b:1::7f00:1", Reach.LOOPBACK),
        ("::ffff:0:127.0.0.1", Reach.LOOPBACK),
        ("64:ff9b::a9fe:a9fe", Reach.LINK_LOCAL),
        ("2002:a9fe:a9fe::", Reach.LINK_LOCAL),
        ("fe80::1%eth0", Reach.LINK_LOCAL),
        ("2002:a00:1::", Reach.PRIVATE),
        ("fec0::1", Reach.PRIVATE),
        ("100.64.0.1", Reach.PRIVATE),
        ("224.0.0.1", Reach.PRIVATE),
        ("ff02::1", Reach.PRIVATE),
        ("64:ff9b::808:808", Reach.PUBLIC),
        ("2002:808:808::", Reach.PUBLIC),
        ("2606:4700::1111", Reach.PUBLIC),
        ("8.8.8.8", Reach.PUBLIC),
    ],
)
def test_how_near_an_address_is(host, reach):
    assert reach_of_name(host) is reach
    if reach is not Reach.PUBLIC:
        with pytest.raises(ConnectError):
            check_addresses("https://a.example", [host], Reach.PUBLIC)


def test_what_a_translator_leads_to_is_not_this_machine_for_a_login():
    assert canonical_host("64:ff9b::7f00:1") != "localhost"
    assert not same_host("64:ff9b::7f00:1", "localhost")


@pytest.mark.parametrize("host", [*LOOPBACK, "169.254.169.254", "[64:ff9b::a9fe:a9fe]", "10.1", "[fd00::1]"])
async def test_a_public_registry_does_not_lead_into_a_nearer_network(host):
    elsewhere = Elsewhere(
        "https://8.8.8.8", lambda origin, reach: pytest.fail("a client"), lambda origin: None
    )
    with pytest.raises(ConnectError, match="that is not followed"):
        await elsewhere.client(f"https://{host}:9000")


async def test_a_private_registry_leads_into_its_own_network_and_not_to_this_machine():
    made = []
    elsewhere = Elsewhere("https://10.0.0.1", lambda *of: made.append(of) or object(), lambda origin: None)
    await elsewhere.client("https://10.0.0.2")
    await elsewhere.client("https://10.0.0.2")
    assert made == [("https://10.0.0.2", Reach.PRIVATE)]
    with pytest.raises(ConnectError):
        await elsewhere.client("https://127.0.0.1")


@pytest.mark.parametrize(
    ("host", "known", "is_same"),
    [
        ("a.example", "*.example", True),
        ("example", "*.example", False),
        ("badexample", "*.example", False),
        ("a.example", "*", False),
        ("a.example", "*.", False),
        ("A.EXAMPLE.", "a.example", True),
    ],
)
def test_hosts_that_an_operator_names(host, known, is_same):
    assert same_host(host, known) is is_same


def test_the_key_of_ncr_goes_to_ncr_over_https_only():
    options = ConnectionOptions()
    assert takes_ncr_key(parse_location("https://acme.kr.ncr.ntruss.com"), options)
    for url in ("http://acme.kr.ncr.ntruss.com", "https://kr.ncr.ntruss.com.evil.example"):
        assert not takes_ncr_key(parse_location(url, allow_plain_http=True), options)


def oci(url):
    return scopes_of(
        "one", OciPlace(parse_location(url, allow_plain_http=True), None, "tag"), None, ConnectionOptions()
    )


def ncr(at, region=None, registry="acme"):
    return scopes_of(registry, NcrPlace(at, region, None), None, ConnectionOptions(region=region))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (oci("http://127.0.0.1:5000"), oci("http://a.localhost:5000")),
        (oci("http://127.0.0.1:5000"), oci("http://[::1]:5000/team")),
        (oci("https://A.example:443/team/a"), oci("https://a.example/team")),
        (ncr(region_endpoint("KR")), oci("https://acme.kr.ncr.ntruss.com")),
        (ncr(region_endpoint("KR"), "KR"), ncr(parse_endpoint(str(region_endpoint("KR"))))),
        (ncr(region_endpoint("SGN"), "SGN"), oci("https://ACME.sg.ncr.ntruss.com./app")),
    ],
)
@pytest.mark.parametrize("turn", [1, -1])
def test_two_runs_on_one_registry_exclude_each_other(tmp_path, one, other, turn):
    first, second = (one, other)[::turn]
    with (
        registry_locks(tmp_path / "a", first, "first"),
        pytest.raises(RefusedError, match="is being worked on by"),
        registry_locks(tmp_path / "b", second, "second"),
    ):
        pytest.fail("both at once")
    with registry_locks(tmp_path / "b", second, "second"):
        pass


def test_two_namespaces_and_two_registries_do_not(tmp_path):
    first = [*oci("https://a.example/team"), *ncr(region_endpoint("KR"), "KR")]
    second = [*oci("https://a.example/tea"), *ncr(region_endpoint("KR"), "KR", "other")]
    with registry_locks(tmp_path, first, "first"), registry_locks(tmp_path, second, "second"):
        pass


def test_two_names_for_one_registry_are_refused():
    with pytest.raises(InputError, match="call them by one name"):
        check_apart([*ncr(region_endpoint("KR")), *oci("https://acme.kr.ncr.ntruss.com/app")])
    check_apart([LockScope("a", ("oci", "h", "a")), LockScope("b", ("oci", "h", "b"))])


async def test_a_registry_leads_to_a_bounded_number_of_servers():
    elsewhere = Elsewhere("https://8.8.8.8", lambda origin, reach: object(), print)
    for number in range(MOST_SERVERS):
        await elsewhere.client(f"https://8.8.4.4:{1000 + number}")
    with pytest.raises(ConnectError, match="more than 64 other servers"):
        await elsewhere.client("https://8.8.4.4")
    await elsewhere.client("https://8.8.4.4:1000")


def test_a_folder_of_locks_that_cannot_be_made_is_an_error(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(InputError, match="No space left"):
        machine_folder(tmp_path)
    monkeypatch.undo()
    assert machine_folder(tmp_path / "missing") is None


@pytest.mark.parametrize("kind", ["link", "file", "mode"])
def test_a_folder_of_locks_that_is_not_private_is_refused(tmp_path, kind):
    path = tmp_path / f"pruner-{os.getuid()}"
    if kind == "link":
        (tmp_path / "own").mkdir(mode=0o700)
        path.symlink_to(tmp_path / "own")
    elif kind == "file":
        path.write_text("")
    else:
        path.mkdir()
        path.chmod(0o750)
    with pytest.raises(InputError, match="does not belong to this user alone"):
        machine_folder(tmp_path)


def test_a_note_that_cannot_be_written_is_an_error_and_leaves_the_lock_free(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    scopes = [LockScope("a", ("oci", "note.example"))]
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(InputError, match="No space left"), registry_locks(tmp_path, scopes, "first"):
            pytest.fail("held")
    with registry_locks(tmp_path, scopes, "second"):
        pass
