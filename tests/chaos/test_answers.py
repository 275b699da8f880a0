"""What a server may answer in the middle of a run, and what may happen to its tags meanwhile."""

import signal

import pytest
from conftest import HELD, policy_text, seed, until

from chaos.harness import (
    ALL,
    FAST,
    at,
    by_status,
    check_run,
    finished,
    images,
    nothing_deleted,
    post,
    resume,
    write_policy,
)
from pruner.emulator import Bucket, Fault, Limits, Quota


def run_all(program, *more, **env):
    """Run a policy that deletes everything."""
    return program("run", write_policy(program), "--yes", *FAST, *more, timeout=120, **env)


def answer(tag, times=1, **fields):
    """Answer so to the first DELETEs of a tag."""
    return Fault(action="status", method="DELETE", contains=f":{tag}", times=times, **fields)


@pytest.mark.rows(15)
def test_odd_bodies_of_a_delete_are_no_traceback(program, emulated, saw):
    bodies = {
        "t00001": {"status": 500, "body": "<html><h1>Bad</h1>", "content_type": "text/html"},
        "t00002": {"status": 502, "body": ""},
        "t00003": {"status": 500, "body": '{"error": {"errorCode": ', "gateway_code": None},
        "t00004": {"status": 503, "body": '{"error": {"errorCode": "500", "message": 7}}'},
        "t00005": {"status": 500, "body": '{"returnCode": "x"}', "content_type": "text/plain"},
        "t00006": {"status": 200, "body": "[[[["},
        "t00007": {"status": 500, "body": "\x00\x1b[31m\u202e", "content_type": "\x7f"},
        "t00008": {"status": 418, "body": "null"},
        "t00009": {"status": 404, "body": "<html>not found</html>", "content_type": "text/html"},
    }
    emulator = emulated(seed=images(a=20), faults=tuple(answer(tag, **what) for tag, what in bodies.items()))
    program = at(program, emulator)
    done = run_all(program)
    assert done.returncode == 1, done.stderr
    report = check_run(program, emulator, done)
    assert list(by_status(report, "failed")) == ["t00008"]
    assert report["counts"]["deleted"] == 19
    assert "\x1b" not in done.stdout + done.stderr
    saw(f"{len(bodies)} odd bodies of a DELETE: re-read and tried again, or failed with a cause")


LISTINGS = {
    "HTML": {"body": "<html>", "content_type": "text/html"},
    "mistyped": {"body": '{"count": 1, "next": null, "results": [{"name": 7}]}'},
}


@pytest.mark.rows(15)
@pytest.mark.parametrize("what", LISTINGS)
def test_an_odd_body_of_a_listing_is_refused(program, emulated, saw, what):
    odd = Fault(action="status", operation="list_tags", status=200, times=50, **LISTINGS[what])
    emulator = emulated(seed=images(a=20), faults=(odd,))
    program = at(program, emulator)
    done = run_all(program)
    nothing_deleted(program, emulator, done, done.returncode)
    assert done.returncode in (3, 5)
    saw(f"listing {what}: refused, nothing deleted")


@pytest.mark.rows(18)
def test_a_key_that_is_rotated_in_mid_run_stops_and_the_new_key_resumes(program, emulated, saw):
    emulator = emulated(seed=images(a=200))
    gate = emulator.hold("DELETE", after=30)
    program = at(program, emulator)
    process = program.start("run", write_policy(program), "--yes", *HELD)
    until(lambda: gate.held == 16, process)
    post(emulator, "keys", {"access_key": "AKNEW000000000000001", "secret_key": "new-secret"})
    gate.open()
    done = finished(process)
    assert done.returncode == 4, done.stderr
    report = check_run(program, emulator, done)
    assert report["counts"]["not_attempted"] == 200 - report["counts"]["deleted"] > 0
    assert resume(program).returncode == 4
    keys = {"NCLOUD_ACCESS_KEY_ID": "AKNEW000000000000001", "NCLOUD_SECRET_ACCESS_KEY": "new-secret"}
    done = resume(program, **keys)
    assert done.returncode == 0, done.stderr
    assert check_run(program, emulator, done)["counts"]["deleted"] == 200
    saw("exit code 4; the old key is refused again, the new key finishes")


@pytest.mark.rows(19)
@pytest.mark.parametrize(
    "how", [{"status": 401, "gateway_code": 210}, {"status": 403}], ids=["401/210", "403"]
)
def test_a_registry_without_permission_stops_alone(program, emulated, saw, how):
    document = images(a=30)
    document["registries"]["other"] = images(a=30)["registries"]["acme"]
    denied = Fault(action="status", method="DELETE", contains="acme/", after=5, **how)
    emulator = emulated(seed=document, faults=(denied,))
    program = at(program, emulator)
    both = (
        policy_text(extra=ALL)
        + "  - name: q\n"
        + policy_text(registry="other", extra=ALL).split("name: p\n")[1]
    )
    done = program("run", write_policy(program, both), "--yes", *FAST)
    assert done.returncode == 4, done.stderr
    report = check_run(program, emulator, done)
    assert report["counts"]["deleted"] == 35
    assert list(report["registry_stops"]) == ["acme"]
    emulator.set_faults(())
    done = resume(program)
    assert done.returncode == 0
    assert check_run(program, emulator, done)["counts"]["deleted"] == 60
    saw("one registry stops with exit code 4, the other is finished, resume does the rest")


@pytest.mark.rows(20)
def test_a_clock_that_jumps_in_mid_run_is_told_by_the_date_header(program, emulated, saw):
    emulator = emulated(seed=images(a=200))
    gate = emulator.hold("DELETE", after=20)
    program = at(program, emulator)
    process = program.start("run", write_policy(program), "--yes", *HELD)
    until(lambda: gate.held == 16, process)
    post(emulator, "clock", {"offset_seconds": 1200})
    gate.open()
    done = finished(process)
    assert done.returncode == 4, done.stderr
    report = check_run(program, emulator, done)
    assert "the local clock is 20 minutes behind the server's" in report["stop"]["message"]
    post(emulator, "clock", {"offset_seconds": 0})
    assert check_run(program, emulator, resume(program))["counts"]["deleted"] == 200
    saw("jump of 20 minutes: exit code 4 and said, resumed once the clock is right")


@pytest.mark.rows(21, 22)
def test_a_404_of_the_gateway_is_never_taken_for_a_missing_tag(program, emulated, saw):
    lost = Fault(action="status", status=404, gateway_code=300, method="DELETE", after=40)
    emulator = emulated(seed=images(a=100), faults=(lost,))
    program = at(program, emulator)
    done = run_all(program)
    assert done.returncode == 5, done.stderr
    report = check_run(program, emulator, done)
    assert (report["counts"]["deleted"], report["counts"]["gone"]) == (40, 0)
    saw("exit code 5, nothing `gone`")


def refused_registry(program, emulated):
    """A run in a registry that answers 409 to everything."""
    conflict = Fault(action="status", status=409, return_code=409, message="locked", method="DELETE")
    emulator = emulated(seed=images(a=150), faults=(conflict,))
    program = at(program, emulator)
    done = run_all(program)
    return done, check_run(program, emulator, done)


@pytest.mark.rows(23)
def test_a_registry_that_refuses_every_tag_is_given_up(program, emulated, saw):
    _, report = refused_registry(program, emulated)
    assert 25 <= report["counts"]["failed"] <= 41
    assert {item.get("attempts", 0) for item in report["outcomes"]} <= {0, 1}
    assert "25 tags refused one after the other" in report["registry_stops"]["acme"]
    saw("409 for every tag: one attempt each, the registry is given up after 25")


@pytest.mark.rows(23)
def test_refusals_are_not_called_a_matter_of_credentials(program, emulated):
    done, _ = refused_registry(program, emulated)
    assert done.returncode == 1


WISHES = ["0", "-1", "Tue, 01 Jan 2019 00:00:00 GMT", "soon", "NaN", ""]


@pytest.mark.rows(24)
def test_odd_retry_after_values_do_not_stop_a_run(program, emulated, saw):
    refused = tuple(
        answer(f"t{number:05}", status=429, gateway_code=410, headers={"Retry-After": wish})
        for number, wish in enumerate(WISHES)
    )
    emulator = emulated(seed=images(a=30), faults=refused)
    program = at(program, emulator)
    # A wish that was taken for the longest wait there is would outlast the patience of this call.
    done = run_all(program)
    assert done.returncode == 0, done.stderr
    report = check_run(program, emulator, done)
    assert report["throttled"] == len(WISHES)
    saw(f"Retry-After {', '.join(repr(wish) for wish in WISHES)}: all deleted")


@pytest.mark.rows(24)
@pytest.mark.parametrize("wish", ["1000000000", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_wish_to_wait_for_years_does_not_hold_up_a_signal(program, emulated, saw, wish):
    busy = Fault(
        action="status",
        method="DELETE",
        status=429,
        gateway_code=410,
        after=20,
        headers={"Retry-After": wish},
    )
    emulator = emulated(seed=images(a=60), faults=(busy,))
    program = at(program, emulator)
    process = program.start("run", write_policy(program), "--yes", *FAST)
    until(lambda: emulator.counters.faults >= 1, process)
    process.send_signal(signal.SIGTERM)
    done = finished(process, 30)
    assert done.returncode == 143, done.stderr
    report = check_run(program, emulator, done)
    assert report["counts"]["deleted"] == 20
    emulator.set_faults(())
    assert check_run(program, emulator, resume(program))["counts"]["deleted"] == 60
    saw(f"Retry-After {wish}: a signal ends the wait, resumed")


@pytest.mark.rows(25)
def test_a_quota_that_is_used_up_ends_the_run_and_a_new_one_resumes_it(program, emulated, saw):
    emulator = emulated(seed=images(a=200), limits=Limits(quota=Quota(requests=80)))
    program = at(program, emulator)
    done = run_all(program)
    assert done.returncode == 6, done.stderr
    report = check_run(program, emulator, done)
    assert 60 < report["counts"]["deleted"] < 80
    assert report["counts"]["failed"] == report["counts"]["unknown"] == 0
    assert resume(program).returncode == 6
    post(emulator, "limits", {})
    done = resume(program)
    assert done.returncode == 0, done.stderr
    assert check_run(program, emulator, done)["counts"]["deleted"] == 200
    saw("exit code 6 twice, then a new quota: resumed to the end")


@pytest.mark.rows(26)
def test_a_storm_of_5xx_is_waited_out(program, emulated, saw):
    emulator = emulated(seed=images(a=300))
    gate = emulator.hold("DELETE", after=50)
    program = at(program, emulator)
    process = program.start("run", write_policy(program), "--yes", *HELD)
    until(lambda: gate.held == 16, process)
    post(emulator, "faults", [{"action": "status", "status": 503, "gateway_code": 500}])
    gate.open()
    until(lambda: emulator.counters.faults >= 16, process)
    # Open by now: what still comes are probes, a second or more apart.
    until(lambda: emulator.counters.faults > 16, process)
    post(emulator, "faults", [])
    done = finished(process)
    assert done.returncode == 0, done.stderr
    report = check_run(program, emulator, done)
    assert report["counts"]["deleted"] == 300
    saw("5xx for everything until the breaker probes: all deleted in the end")


@pytest.mark.rows(27)
def test_a_500_for_a_missing_tag_is_gone(program, emulated, saw):
    vanish = tuple(
        Fault(action="remove", method="DELETE", target=f"acme/a:t{number:05}", after=3)
        for number in range(20, 24)
    )
    emulator = emulated(seed=images(a=30), faults=vanish, missing_tag_status=500)
    program = at(program, emulator)
    done = program("run", write_policy(program), "--yes", "--concurrency", "1", "--rate", "10000")
    assert done.returncode == 0, done.stderr
    assert check_run(program, emulator, done)["counts"]["gone"] == 4
    saw("4 tags taken away by others: `gone`")


@pytest.mark.rows(28)
def test_siblings_that_the_server_untags_are_reported_and_kept_ones_stay(program, emulated, saw):
    tags = [{"name": f"t{number:05}", "digest": f"sha256:{number // 3:064x}"} for number in range(30)]
    kept = [{"name": "latest", "digest": f"sha256:{0:064x}"}]
    emulator = emulated(seed=seed({"a": tags + kept}), untag_siblings=True)
    program = at(program, emulator)
    text = policy_text(delete="[{tags: ['t*']}]", extra=ALL)
    done = program("run", write_policy(program, text), "--yes", *FAST)
    assert done.returncode == 0, done.stderr
    report = check_run(program, emulator, done)
    assert report["targets"] == 27
    assert report["counts"]["deleted"] == emulator.counters.deleted == 9
    assert report["counts"]["gone"] == emulator.counters.siblings_untagged == 18
    assert sorted(emulator.store.tag_names("acme", "a")) == ["latest", "t00000", "t00001", "t00002"]
    saw("kept digest untouched; 18 siblings that went along are `gone`")


SHIFTS = ["repeat_item", "lose_item", "wrong_count", "no_results", "same_next", "endless_next"]


@pytest.mark.rows(29)
@pytest.mark.parametrize("action", SHIFTS)
def test_a_listing_that_never_holds_together_is_refused(program, emulated, saw, action):
    emulator = emulated(seed=images(a=230), faults=(Fault(action=action),))
    program = at(program, emulator)
    done = run_all(program)
    nothing_deleted(program, emulator, done, 3)
    saw(f"{action}: refused, nothing deleted")


@pytest.mark.rows(29)
def test_a_listing_that_shifts_once_is_read_again(program, emulated, saw):
    once = tuple(Fault(action=action, times=1) for action in ("shift_insert", "repeat_item", "wrong_count"))
    emulator = emulated(seed=images(a=230), faults=once[:1])
    program = at(program, emulator)
    text = policy_text(delete="[{tags: ['t*']}]", extra=ALL)
    done = program("run", write_policy(program, text), "--yes", *FAST)
    assert done.returncode == 0, done.stderr
    assert check_run(program, emulator, done)["counts"]["deleted"] == 230
    assert emulator.store.tag_names("acme", "a") == ["inserted-1"]
    saw("a push while being paged: listed again, the new tag stays")


@pytest.mark.rows(29)
def test_an_image_whose_second_listing_does_not_hold_together_is_left_alone(program, emulated, saw):
    # Each image is listed once for the plan; the faults begin with the listing before the deletion.
    broken = Fault(action="wrong_count", path="*/b/tags*", after=1)
    emulator = emulated(seed=images(a=20, b=20), faults=(broken,))
    program = at(program, emulator)
    done = run_all(program)
    assert done.returncode == 1, done.stderr
    report = check_run(program, emulator, done)
    assert (report["counts"]["deleted"], report["counts"]["failed"]) == (20, 20)
    assert {item["cause"] for item in by_status(report, "failed").values()} == {"listing"}
    saw("broken only when listed again: that image fails, the other is finished")


@pytest.mark.rows(10, 29)
def test_a_tag_is_looked_for_again_when_its_list_shifts(program, emulated, saw):
    lost = Fault(action="status", method="DELETE", contains=":t00003", gateway_code=900, commit=True, times=1)
    unclear = Fault(action="status", operation="tag_detail", return_code=500)
    # Listed for the plan and before the deletion; then a whole look-up that does not hold together.
    shifting = Fault(action="wrong_count", after=2, times=3)
    emulator = emulated(seed=images(a=10), faults=(lost, unclear, shifting))
    program = at(program, emulator)
    done = run_all(program)
    assert done.returncode == 0, done.stderr
    assert check_run(program, emulator, done)["counts"]["deleted"] == 10
    saw("an answer lost and a list that shifts: looked for again, `deleted`")


@pytest.mark.rows(29)
def test_a_registry_that_cannot_be_listed_again_says_why(program, emulated, saw):
    odd = Fault(action="status", status=418, message="no tea", operation="list_tags", after=1)
    emulator = emulated(seed=images(a=20), faults=(odd,))
    program = at(program, emulator)
    done = run_all(program)
    assert done.returncode != 0
    report = check_run(program, emulator, done)
    assert report["counts"]["not_attempted"] == 20
    assert "no tea" in str(report["registry_stops"]) + str(report["stop"])
    saw("listing refused in mid-run: said why")


@pytest.mark.rows(30)
def test_tags_pushed_again_in_mid_run_are_left_alone(program, emulated, saw):
    pushed = tuple(
        Fault(action="move", method="DELETE", target=f"acme/h:t{number:05}") for number in range(5)
    )
    # More images than are listed ahead, so that the last one is listed after the first DELETE.
    names = dict.fromkeys("abcdefgh", 10)
    emulator = emulated(seed=images(**names), faults=pushed)
    program = at(program, emulator)
    done = program("run", write_policy(program), "--yes", "--concurrency", "1", "--rate", "10000")
    assert done.returncode == 0, done.stderr
    report = check_run(program, emulator, done)
    assert report["counts"]["changed"] == 5
    assert len(emulator.store.tag_names("acme", "h")) == 5
    saw("5 tags pushed again after the plan: `changed`, still there")


@pytest.mark.rows(9, 10, 11, 16, 24, 26)
def test_everything_at_once_under_a_limit(program, emulated, saw):
    chances = {"method": "DELETE", "probability": 0.02}
    faults = (
        Fault(action="reset", **chances),
        Fault(action="reset", commit=True, **chances),
        Fault(action="cut", **chances),
        Fault(action="status", status=202, **chances),
        Fault(action="status", status=202, commit=True, **chances),
        Fault(action="status", status=503, gateway_code=500, **chances),
        Fault(action="status", status=500, return_code=500, commit=True, **chances),
        Fault(action="status", status=429, gateway_code=420, headers={"Retry-After": "-1"}, **chances),
        Fault(action="status", method="GET", status=500, gateway_code=900, probability=0.05),
    )
    limits = Limits(bucket=Bucket(rate=1500, burst=60))
    emulator = emulated(seed=images(a=100, b=100), faults=faults, limits=limits)
    program = at(program, emulator)
    done = run_all(program, "--concurrency", "64")
    assert done.returncode in (0, 1), done.stderr
    report = check_run(program, emulator, done)
    assert emulator.counters.deleted >= 195
    saw(f"{report['targets']} targets with nine faults at random and a limit: all accounted for")
