"""Many small images, and many endpoints: what has to wait for nothing does not.

Whole processes, as in ``end_to_end``.
"""

import contextlib
import statistics
import tempfile
from pathlib import Path

from benchmarks import work
from benchmarks.end_to_end import LATENCY_SECONDS, pruner, spend_on
from benchmarks.harness import Figure, Settings
from benchmarks.sink import delayed_sink
from pruner.emulator import Bucket, EmulatorConfig, Limits, running_in_thread

IMAGES = 1_000
TAGS = 2
IN_FLIGHT = 64
ENDPOINTS = 20
RATE = 50
TAGS_PER_ENDPOINT = 500
REPEATS = 3


def run(settings: Settings) -> list[Figure]:
    """1,000 images of two tags; 20 endpoints beside one."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        return [_small_images(Path(folder)), _endpoints(Path(folder))]


def _small_images(folder: Path) -> Figure:
    """Against the time in which so many requests, so many at once, can be answered at all."""
    requests = 2 + 2 * IMAGES + IMAGES * TAGS
    ideal = requests * LATENCY_SECONDS / IN_FLIGHT
    with delayed_sink(LATENCY_SECONDS, IMAGES, TAGS) as sink:
        spent = [
            pruner(folder, sink.port, IMAGES * TAGS, "--concurrency", str(IN_FLIGHT)).wall
            for _ in range(REPEATS)
        ]
    return Figure(
        f"{IMAGES:,} images of {TAGS} tags at 30 ms, {IN_FLIGHT} in flight: run",
        statistics.median(spent),
        min(spent),
        max(spent),
        REPEATS,
        f"{statistics.median(spent):.2f} s",
        f"{ideal:.2f} s ideal",
        at_most=3.5,
        unit="s",
        note="with one core; imports, decisions and report included",
    )


def _endpoints(folder: Path) -> Figure:
    """The time that 20 endpoints take by that of one, each limited to the same rate."""
    ratios = []
    for _ in range(REPEATS):
        one, all_of_them = (_endpoints_seconds(folder, count) for count in (1, ENDPOINTS))
        ratios.append(all_of_them / one)
    return Figure(
        f"{ENDPOINTS} endpoints of {TAGS_PER_ENDPOINT} tags, each at {RATE}/s / one such endpoint",
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        REPEATS,
        f"{all_of_them:.1f} s",
        f"{one:.1f} s",
        at_most=1.2,
    )


def _endpoints_seconds(folder: Path, count: int) -> float:
    """Wall seconds of one run over ``count`` registries at an endpoint each."""
    tags = [{"name": work.tag_name(n), "age_days": 100} for n in range(TAGS_PER_ENDPOINT)]
    limits = Limits(bucket=Bucket(rate=RATE, burst=10))
    with contextlib.ExitStack() as stack:
        registries, policies = "", ""
        for number in range(count):
            seed = {"registries": {f"r{number}": {"images": {"web": tags}}}}
            server = stack.enter_context(running_in_thread(EmulatorConfig(seed=seed, limits=limits)))
            registries += f"  r{number}: {{endpoint: '{server.endpoint}'}}\n"
            policies += (
                f"  - {{name: p{number}, registry: r{number}, images: ['**'], delete: [{{tags: ['*']}}],\n"
                f"     limits: {{keep_at_least: 0}}}}\n"
            )
        policy = folder / "endpoints.yaml"
        policy.write_text(f"version: 1\nregistries:\n{registries}policies:\n{policies}")
        return spend_on(policy, folder).wall
