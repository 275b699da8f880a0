"""A long run under faults of many kinds: every target once, memory flat, nothing leaked."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from conftest import policy_text
from test_end_to_end import assert_consistent

from pruner.emulator import Fault

pytestmark = pytest.mark.slow

FAULTS = (
    Fault(action="status", method="DELETE", status=503, gateway_code=500, probability=0.002),
    Fault(action="status", method="DELETE", status=500, gateway_code=900, probability=0.002, commit=True),
    Fault(action="status", method="DELETE", status=504, gateway_code=510, probability=0.001, commit=True),
    Fault(action="reset", method="DELETE", probability=0.002),
    Fault(action="reset", method="DELETE", probability=0.002, commit=True),
    Fault(action="cut", method="DELETE", probability=0.001),
    Fault(action="status", method="DELETE", status=202, probability=0.001),
    Fault(action="status", method="DELETE", status=409, return_code=409, probability=0.0005),
    Fault(action="status", method="GET", status=500, gateway_code=900, probability=0.002),
)


# All warnings, as in Python's development mode, but not asyncio's own checks: these cost most.
WATCHED = ("-X", "faulthandler", "-W", "default", "-W", "error::ResourceWarning")


def soak(program, emulated, images, watched=WATCHED):
    """Run over so many images of 1,000 tags; the report and the peak memory in MiB."""
    emulator = emulated(seed=f"generate:1x{images}x1000", faults=FAULTS)
    registry = next(iter(emulator.store.registries))
    extra = "    limits: {keep_at_least: 0}\n    shared_digest: delete\n"
    rules = "[{tags: ['*'], older_than: 1m}]"
    policy = program.folder / f"{images}.yaml"
    policy.write_text(policy_text(delete=rules, extra=extra, registry=registry))
    peak = program.folder / f"{images}.peak"
    command = [sys.executable, *watched, "-m", "benchmarks.measured", peak, "run"]
    done = subprocess.run(
        [*map(str, command), str(policy), "--yes", "--rate", "100000", "--concurrency", "64"],
        capture_output=True,
        text=True,
        env={
            **program.env,
            "PRUNER_ENDPOINT": emulator.endpoint,
            "PYTHONPATH": str(Path(__file__).parent.parent),
        },
        cwd=program.folder,
        timeout=1500,
        check=False,
    )
    report = program.reports()[-1]
    assert_consistent(report, emulator, done)
    assert "Warning" not in done.stderr, done.stderr[-2000:]
    return (
        report,
        Counter(outcome["status"] for outcome in report["outcomes"]),
        json.loads(peak.read_text())["peak_mib"],
    )


def test_two_hundred_thousand_targets_take_hardly_more_memory_than_a_thousand(program, emulated):
    soak(program, emulated, 5, ("-X", "dev", "-W", "error::ResourceWarning"))
    _, _, small = soak(program, emulated, 1)
    report, counts, large = soak(program, emulated, 200)
    assert report["targets"] > 160_000
    settled = counts["deleted"] + counts["gone"] + counts["failed"]
    assert settled + counts["unknown"] == report["targets"]
    # A tag that could only be looked for in a list, which shifts under so many deletions; resume finds out.
    assert counts["unknown"] < 0.0001 * report["targets"]
    assert counts["failed"] < 0.002 * report["targets"]
    # 56 against 69 to 76 MiB: it differs from run to run. More than about 160 bytes left behind for each
    # target would pass this bound.
    assert large < 1.5 * small
