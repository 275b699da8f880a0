"""The soak: two hundred thousand named targets with faults of every kind, watched from outside."""

import threading
import time

import pytest

from chaos.harness import (
    at,
    check_run,
    descriptors,
    finished,
    memory_mib,
    resume,
)
from pruner.emulator import Fault

IMAGES, TAGS = 200, 1000
FAULTS = (
    Fault(action="status", method="DELETE", status=503, gateway_code=500, probability=0.002),
    Fault(action="status", method="DELETE", status=500, gateway_code=900, probability=0.002, commit=True),
    Fault(action="status", method="DELETE", status=504, body="<html>", probability=0.001, commit=True),
    Fault(action="reset", method="DELETE", probability=0.002),
    Fault(action="reset", method="DELETE", probability=0.002, commit=True),
    Fault(action="cut", method="DELETE", probability=0.001),
    Fault(action="status", method="DELETE", status=202, probability=0.001),
    Fault(action="status", method="DELETE", status=202, probability=0.001, commit=True),
    Fault(action="status", method="DELETE", status=409, return_code=409, probability=0.0005),
    Fault(action="status", method="DELETE", status=400, body="{", probability=0.0005),
    Fault(action="status", method="DELETE", status=429, gateway_code=410, probability=0.0005),
    Fault(action="status", method="GET", status=500, gateway_code=900, probability=0.002),
    Fault(action="reset", method="GET", probability=0.002),
    Fault(action="repeat_item", probability=0.0005),
    Fault(action="wrong_count", probability=0.0005),
)


@pytest.mark.slow
@pytest.mark.rows(40)
def test_two_hundred_thousand_named_targets_keep_memory_and_descriptors_flat(program, emulated, saw):
    document = {
        f"i{image:03}": [{"name": f"t{tag:04}", "age_days": 9} for tag in range(TAGS)]
        for image in range(IMAGES)
    }
    emulator = emulated(seed={"registries": {"acme": {"images": document}}}, faults=FAULTS)
    program = at(program, emulator)
    targets = program.folder / "targets.txt"
    targets.write_text("".join(f"acme/{i}:{tag['name']}\n" for i, tags in document.items() for tag in tags))
    arguments = ("delete", "--from", targets, "--yes", "--rate", "100000", "--concurrency", "64")
    # As in development mode, but for asyncio's own checks: they take three times as long as all the rest.
    process = program.start(*arguments, PYTHONMALLOC="debug", PYTHONWARNINGS="default,error::ResourceWarning")
    memory, files = [], []
    ended = []
    reader = threading.Thread(target=lambda: ended.append(finished(process, 1800)))
    reader.start()
    while reader.is_alive():
        if emulator.counters.deleted > 5000:
            memory.append(memory_mib(process.pid))
            files.append(descriptors(process.pid))
        time.sleep(0.25)
    [done] = ended
    memory, files = [size for size in memory if size], [count for count in files if count]
    faults, report = emulator.counters.faults, check_run(program, emulator, done)
    assert "Warning" not in done.stderr, done.stderr[-2000:]
    assert report["targets"] == IMAGES * TAGS
    counts = report["counts"]
    assert counts["deleted"] + counts["gone"] + counts["failed"] + counts["unknown"] == report["targets"]
    assert counts["failed"] < 0.02 * report["targets"]
    # A tag whose image could not be listed while so much of it was deleted; on a server in health it can.
    assert counts["unknown"] < 0.0001 * report["targets"]
    emulator.set_faults(())
    again = check_run(program, emulator, resume(program))
    assert again["counts"]["unknown"] == again["counts"]["not_attempted"] == 0
    early, late = max(memory[: len(memory) // 4]), max(memory[len(memory) // 4 :])
    assert late < 1.2 * early + 10, (early, late)
    assert max(files) < 64 + 40
    assert files[len(files) // 2] <= max(files[: len(files) // 4]) + 20
    saw(f"200000 targets, {faults:,} faults: memory {early:.0f} MiB in the first quarter, "
        f"{late:.0f} MiB after, at most {max(files)} descriptors")  # fmt: skip
