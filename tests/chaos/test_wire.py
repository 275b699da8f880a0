"""Faults on raw sockets: a proxy in front of the emulator breaks connections in every way."""

import datetime
import socket
import ssl

import pytest
import trustme
from conftest import HELD, read_until, until

from chaos.harness import (
    FAST,
    at,
    by_status,
    check_run,
    finished,
    images,
    measured,
    nothing_deleted,
    write_policy,
)
from chaos.wire import Proxy

SHORT = ("--timeout", "0.7")


def only(first, *tags):
    """Misbehave at the first DELETE of some tags, and pass everything else on."""

    def behave(exchange):
        if exchange.method == "DELETE" and exchange.tag in tags and exchange.proxy.first_time(exchange):
            return first(exchange)
        return None

    return behave


def reset_before(exchange):
    return exchange.reset()


def reset_after(exchange):
    exchange.forward()
    return exchange.reset()


def silent_before(exchange):
    return exchange.silence()


def silent_after(exchange):
    exchange.forward()
    return exchange.silence()


def cut_headers(exchange):
    answer = exchange.forward()
    return exchange.send(answer[: len(answer) // 2])


def cut_body(exchange):
    exchange.forward()
    return exchange.send(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"a":')


def cut_before(exchange):
    return exchange.send(b"HTTP/1.1 204 No Con")


def drip_before(exchange):
    return exchange.drip(b"HTTP/1.1 204 No Content\r\n\r\n")


def drip_after(exchange):
    return exchange.drip(exchange.forward())


def huge_body(exchange):
    head = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 10000000\r\n\r\n"
    return exchange.send(head + b"x" * 10_000_000)


def endless_headers(exchange):
    exchange.client.settimeout(20)
    exchange.send(b"HTTP/1.1 204 No Content\r\n")
    try:
        while True:
            exchange.client.sendall(b"X-More: and more\r\n" * 1000)
    except OSError:
        return True


FAULTS = {
    "reset before": (9, reset_before, 2),
    "reset after": (10, reset_after, 1),
    "silent after": (10, silent_after, 1),
    "cut headers": (11, cut_headers, 1),
    "cut body": (11, cut_body, 1),
    "cut before": (11, cut_before, 2),
    "silent": (12, silent_before, 2),
    "drip before": (13, drip_before, 2),
    "drip after": (13, drip_after, 1),
    "huge body": (14, huge_body, 2),
    "endless headers": (14, endless_headers, 2),
}
SAYS_OFTEN = "from pruner.cli import main, progress; progress.LINE_SECONDS = 0.05; main()"
BROKEN = {"t00002", "t00011", "t00029"}


@pytest.mark.rows(9, 10, 11, 12, 13, 14)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_answer_is_decided_by_reading_the_tag_again(program, emulated, saw, fault):
    row, first, attempts = FAULTS[fault]
    emulator = emulated(seed=images(a=30))
    with Proxy(emulator, only(first, *BROKEN)) as proxy:
        program = at(program, proxy)
        done, peak = measured(program, "run", write_policy(program), "--yes", *SHORT, *FAST)
    assert done.returncode == 0, done.stderr
    report = check_run(program, emulator, done)
    outcomes = by_status(report, "deleted")
    assert {tag for tag, item in outcomes.items() if item["attempts"] > attempts} == set()
    assert {outcomes[tag]["attempts"] for tag in BROKEN} == {attempts}
    assert report["counts"]["deleted"] == 30
    assert peak < 150
    saw(f"{fault}: deleted once, {attempts} attempt{'s' * (attempts > 1)}", row)


@pytest.mark.rows(11, 13)
@pytest.mark.parametrize("how", ["cut", "drip"])
def test_a_listing_that_breaks_off_is_read_again_and_never_half_believed(program, emulated, saw, how):
    def behave(exchange):
        if "/tags?" not in exchange.target or not exchange.proxy.first_time(exchange):
            return None
        answer = exchange.forward()
        return exchange.send(answer[: len(answer) // 2]) if how == "cut" else exchange.drip(answer)

    emulator = emulated(seed=images(a=120))
    with Proxy(emulator, behave) as proxy:
        program = at(program, proxy)
        done = program("run", write_policy(program), "--yes", *SHORT, *FAST)
    assert done.returncode == 0, done.stderr
    assert check_run(program, emulator, done)["counts"]["deleted"] == 120
    saw(f"listing {how} in the middle: read again, complete", 11 if how == "cut" else 13)


@pytest.mark.rows(8, 9)
def test_a_server_that_goes_away_and_comes_back_is_waited_for(program, emulated, saw):
    emulator = emulated(seed=images(a=200))
    gate = emulator.hold("DELETE", after=30)
    with Proxy(emulator) as proxy:
        program = at(program, proxy)
        process = program.start("run", write_policy(program), "--yes", *HELD, python=("-c", SAYS_OFTEN))
        until(lambda: gate.held == 16, process)
        proxy.stop()
        gate.open()
        read_until(process.stderr, "waiting: the server does not work")
        proxy.start()
        done = finished(process)
    assert done.returncode == 0, done.stderr
    report = check_run(program, emulator, done)
    assert report["counts"]["deleted"] == 200
    assert report["retries"] > 0
    saw("connections refused in mid-run: waited, all deleted")


@pytest.mark.rows(8)
@pytest.mark.parametrize("what", ["no such host", "unreachable"])
def test_an_endpoint_that_cannot_be_reached_is_named(program, saw, what):
    endpoint = {
        "no such host": "https://no-such-host.invalid",
        "unreachable": "https://240.0.0.1",
    }[what]
    done = program("run", write_policy(program), "--yes", "--endpoint", f"{endpoint}/ncr/api/v2", timeout=120)
    assert done.returncode == 5, done.stderr
    assert endpoint in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not list(program.state.glob("runs/*"))
    saw(f"{what}: exit code 5, the host is named")


@pytest.mark.rows(17)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_to_another_host_is_not_followed(program, emulated, saw, status):
    emulator = emulated(seed=images(a=60))
    with Proxy(emulator) as elsewhere:

        def behave(exchange):
            if exchange.method == "DELETE" and emulator.counters.deleted >= 20:
                where = f"{elsewhere.origin}{exchange.target}".encode()
                return exchange.send(b"HTTP/1.1 %d X\r\nLocation: %s\r\n\r\n" % (status, where))
            return None

        with Proxy(emulator, behave) as proxy:
            program = at(program, proxy)
            done = program("run", write_policy(program), "--yes", *FAST)
    assert done.returncode == 5, done.stderr
    report = check_run(program, emulator, done)
    assert elsewhere.connections == 0
    assert report["counts"]["not_attempted"] > 0
    assert "never sent elsewhere" in report["stop"]["message"]
    saw(f"{status}: exit code 5, no connection to the other host")


# TLS


def context_of(authority, *names, **options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **options).configure_cert(context)
    return context


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def bundle(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.mark.rows(38)
@pytest.mark.parametrize("what", ["unknown authority", "expired", "wrong name", "not trusted by the system"])
def test_a_certificate_that_cannot_be_trusted_is_refused(program, emulated, saw, authority, bundle, what):
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    tls = {
        "unknown authority": lambda: context_of(trustme.CA(), "127.0.0.1"),
        "expired": lambda: context_of(authority, "127.0.0.1", not_after=yesterday),
        "wrong name": lambda: context_of(authority, "ncr.example"),
        "not trusted by the system": lambda: context_of(authority, "127.0.0.1"),
    }[what]()
    options = () if what == "not trusted by the system" else ("--ca-bundle", bundle)
    emulator = emulated(seed=images(a=5))
    with Proxy(emulator, tls=tls) as proxy:
        program = at(program, proxy)
        done = program("run", write_policy(program), "--yes", *options, *FAST)
        assert proxy.heads == []
    nothing_deleted(program, emulator, done, 5)
    assert "the TLS certificate cannot be trusted" in done.stderr
    saw(f"{what}: exit code 5, not one request sent")


@pytest.mark.rows(38)
def test_a_certificate_that_is_swapped_in_mid_run_stops_the_run(program, emulated, saw, authority, bundle):
    emulator = emulated(seed=images(a=80))

    def behave(exchange):
        if emulator.counters.deleted >= 30:
            exchange.proxy.tls = context_of(trustme.CA(), "127.0.0.1")

    with Proxy(emulator, behave, context_of(authority, "127.0.0.1")) as proxy:
        program = at(program, proxy)
        done = program("run", write_policy(program), "--yes", "--ca-bundle", bundle, *FAST)
    assert done.returncode == 5, done.stderr
    report = check_run(program, emulator, done)
    assert report["counts"]["not_attempted"] > 0
    assert "cannot be trusted" in report["stop"]["message"]
    saw("swapped in mid-run: stopped, exit code 5")


# Proxies of the environment. A name that only the proxy knows, because loopback is never proxied.

BEHIND = ("--endpoint", "http://ncr.test/ncr/api/v2", "--allow-plain-http")
DEEP = "version: 1\npolicies:\n  - name: p\n    registry: acme\n    targets: ['deep/er/image:t00001']\n"


@pytest.mark.rows(39)
def test_a_proxy_of_the_environment_is_used_with_a_warning(program, emulated, saw):
    emulator = emulated(seed=images(**{"deep/er/image": 3}))
    with Proxy(emulator) as proxy:
        done = program("run", write_policy(program, DEEP), "--yes", *BEHIND, *FAST, HTTP_PROXY=proxy.origin)
    assert done.returncode == 0, done.stderr
    assert "a proxy is used; one that rewrites %2F breaks every signature" in done.stderr
    assert check_run(program, emulator, done)["counts"]["deleted"] == 1
    saw("an honest proxy: used, with a warning")


@pytest.mark.rows(39)
def test_a_proxy_that_rewrites_slashes_is_a_clear_error(program, emulated, saw):
    def behave(exchange):
        if "%2F" in exchange.target:
            target = "/" + exchange.target.split("/", 3)[3].replace("%2F", "/")
            return exchange.send(exchange.forward(target))
        return None

    emulator = emulated(seed=images(**{"deep/er/image": 3}))
    with Proxy(emulator, behave) as proxy:
        done = program("run", write_policy(program, DEEP), "--yes", *BEHIND, *FAST, HTTP_PROXY=proxy.origin)
    assert done.returncode in (4, 5), (done.returncode, done.stderr)
    nothing_deleted(program, emulator, done, done.returncode)
    assert "a proxy is used; one that rewrites %2F breaks every signature" in done.stderr
    saw("%2F rewritten: refused before the first DELETE, the warning names the cause")


@pytest.mark.rows(39)
def test_a_proxy_that_is_not_there_is_a_clear_error(program, emulated, saw, closed_port):
    emulator = emulated(seed=images(a=3))
    proxy = f"http://127.0.0.1:{closed_port}"
    done = program("run", write_policy(program), "--yes", *BEHIND, *FAST, HTTP_PROXY=proxy, timeout=120)
    nothing_deleted(program, emulator, done, 5)
    assert "no connection" in done.stderr
    saw("unreachable: exit code 5")


def test_the_proxy_of_these_tests_is_transparent(emulated):
    emulator = emulated(seed=images(a=1))
    with Proxy(emulator) as proxy, socket.create_connection(("127.0.0.1", proxy.port)) as client:
        client.sendall(b"GET /_emulator/counters HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")
