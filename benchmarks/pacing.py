"""Goodput and refusals of pruner's pacer and of its rivals on simulated servers, and a plot.

Latency varies by half up and down, and every figure is the median of five seeds; its quartiles' place holds
the worst and the best.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks import rivals
from benchmarks.harness import Figure, Settings
from benchmarks.simulation import Result, Simulation, World, allowance, simulate
from pruner.emulator.throttle import Bucket, InFlight, Limits, Noise, Window
from pruner.engine.hints import OF_LIMIT
from pruner.engine.pacer import Hint
from pruner.engine.pacing import AdaptivePacer

SEEDS = range(1, 6)
LATENCY = 0.03
JITTER = 0.5
PLOT = Path(__file__).parent.parent / "docs/images/pacing.svg"
_OURS = "pruner"
_CHANGE = ((40, 50), (80, 400))
_LONG_CHANGE = ((100, 50), (200, 400))
_BUCKET = Bucket(rate=200, burst=50)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A server for so many seconds, with the share of its allowance that is to be used."""

    limits: Limits
    seconds: int
    goal: float | None = None
    rate: float = 200.0
    """What the rivals that need to be told are told."""
    workers: int = 64
    latency: float = LATENCY
    others: float = 0.0

    def world(self, seed: int) -> World:
        """The server, with latency that varies."""
        return World(self.limits, self.latency, JITTER, seed, self.others)


COMPARED = {
    "200/s, burst 50": Scenario(Limits(bucket=_BUCKET), 120, 0.97),
    "200/s, Retry-After 1": Scenario(Limits(bucket=Bucket(rate=200, burst=50, retry_after=1)), 300, 0.95),
    "200, then 50, then 400/s": Scenario(
        Limits(bucket=Bucket(rate=200, burst=50, schedule=_CHANGE)), 120, 0.93
    ),
    "10/s, burst 10": Scenario(Limits(bucket=Bucket(rate=10, burst=10)), 300, 0.97, 10),
    "200/s, burst 2000": Scenario(Limits(bucket=Bucket(rate=200, burst=2000)), 120, 0.97),
    "1000 in 60 s, Retry-After 5": Scenario(
        Limits(window=Window(requests=1000, seconds=60, retry_after=5)), 600, 0.95, 16
    ),
    "16 in flight": Scenario(Limits(in_flight=InFlight(maximum=16)), 120, 0.85, 500),
    "no limit": Scenario(Limits(), 120, None, 2000),
}
SCENARIOS = COMPARED | {
    "0.2 % refused at random": Scenario(Limits(noise=Noise(share=0.002)), 120, 0.95),
    "2 % refused at random": Scenario(Limits(noise=Noise(share=0.02)), 120, 0.85),
    "2 % refused at random, 16 workers": Scenario(Limits(noise=Noise(share=0.02)), 120, 0.85, workers=16),
    "200/s and 0.2 % refused at random": Scenario(
        Limits(bucket=_BUCKET, noise=Noise(share=0.002)), 120, 0.95
    ),
    "200/s and 2 % refused at random": Scenario(Limits(bucket=_BUCKET, noise=Noise(share=0.02)), 120, 0.85),
    "the same change, Retry-After 1": Scenario(
        Limits(bucket=Bucket(rate=200, burst=50, schedule=_CHANGE, retry_after=1)), 120, 0.75
    ),
    "the same change in 300 s, Retry-After 1": Scenario(
        Limits(bucket=Bucket(rate=200, burst=50, schedule=_LONG_CHANGE, retry_after=1)), 300, 0.88
    ),
    "300 ms, 50, then 400/s": Scenario(
        Limits(bucket=Bucket(rate=50, burst=50, schedule=((40, 400),))), 120, 0.88, workers=256, latency=0.3
    ),
    "16 in flight, Retry-After 1": Scenario(Limits(in_flight=InFlight(maximum=16, retry_after=1)), 120, 0.8),
    "16 in flight, 503 and Retry-After 1": Scenario(
        Limits(in_flight=InFlight(maximum=16, retry_after=1, status=503)), 120, 0.8
    ),
    "16 in flight, 503": Scenario(Limits(in_flight=InFlight(maximum=16, status=503)), 120),
    "200/s, burst 1 (GCRA)": Scenario(Limits(bucket=Bucket(rate=200, burst=1)), 120, 0.9),
    "200/s, burst 2": Scenario(Limits(bucket=Bucket(rate=200, burst=2)), 120),
    "sliding window of 200 in 1 s": Scenario(Limits(sliding=Window(requests=200, seconds=1)), 120, 0.95),
    "sliding window of 1000 in 60 s": Scenario(Limits(sliding=Window(requests=1000, seconds=60)), 600, 0.95),
    "3000 in 60 s": Scenario(Limits(window=Window(requests=3000, seconds=60)), 600, 0.95),
    "200/s shared with another 60/s": Scenario(Limits(bucket=_BUCKET), 120, 0.95, others=60.0),
}
PACERS: dict[str, Callable[[float], object]] = {
    "backoff, jitter": lambda _: rivals.Backoff(),
    "fixed, twice too fast": lambda rate: rivals.Fixed(2 * rate),
    "fixed, half": lambda rate: rivals.Fixed(rate / 2),
    "AIMD": lambda _: rivals.Aimd(),
    "CUBIC (botocore)": lambda _: rivals.Cubic(),
}


def run(settings: Settings) -> list[Figure]:
    """Simulate everything: long runs, short ones, several processes, and what rivals do."""
    figures = [
        _long_runs(name, scenario, _OURS, lambda _, workers=scenario.workers: _pacer(workers), scenario.goal)
        for name, scenario in SCENARIOS.items()
    ]
    figures += [
        _long_runs(name, scenario, pacer, make, None)
        for name, scenario in COMPARED.items()
        for pacer, make in PACERS.items()
    ]
    changing = SCENARIOS["200, then 50, then 400/s"]
    result = simulate(_pacer(64), changing.world(1), changing.seconds)
    PLOT.write_text(plot(result, changing.limits))
    return figures + _short_runs() + [line for count in (2, 4) for line in _shared(count)]


def _pacer(workers: int, hint: Hint | None = None) -> AdaptivePacer:
    return AdaptivePacer(max_in_flight=workers, hint=hint)


def _long_runs(
    name: str, scenario: Scenario, pacer: str, make: Callable[[float], object], goal: float | None
) -> Figure:
    """Accepted of what was allowed."""
    results = [
        simulate(make(scenario.rate), scenario.world(seed), scenario.seconds, workers=scenario.workers)
        for seed in SEEDS
    ]
    best = allowance(scenario.world(1), scenario.seconds, scenario.workers)
    refused = statistics.median(result.refused_share for result in results)
    accepted = statistics.median(result.accepted for result in results)
    return _figure(
        f"{name}: goodput of {pacer}",
        [result.accepted / best for result in results],
        goal,
        f"{accepted:,.0f}",
        f"{best:,.0f} allowed",
        f"{refused:.2%} refused",
    )


def _short_runs() -> list[Figure]:
    """4,000 requests from nothing, and again with what the first run learnt."""
    figures = []
    for rate, goal in ((200, 0.97), (1000, 0.85)):
        limits = Limits(bucket=Bucket(rate=rate, burst=50))
        best = (4000 - 50) / rate
        first, again = [], []
        for seed in SEEDS:
            world = World(limits, LATENCY, JITTER, seed)
            pacer = _pacer(64)
            first.append(simulate(pacer, world, 600, requests=4000).seconds)
            assert pacer.estimate is not None
            hint = Hint(OF_LIMIT * pacer.estimate, is_limit=True)
            again.append(simulate(_pacer(64, hint), world, 600, requests=4000).seconds)
        for what, seconds, aim in (("first run", first, goal), ("second run", again, 0.95)):
            figures.append(
                _figure(
                    f"4,000 requests at {rate}/s, {what}: share of the shortest time",
                    [best / taken for taken in seconds],
                    aim,
                    f"{statistics.median(seconds):.1f} s",
                    f"{best:.1f} s",
                )
            )
    return figures


def _shared(count: int) -> list[Figure]:
    """Processes on one account, begun one after the other, and one that joins after a minute."""
    totals, shares, late = [], [], []
    for seed in SEEDS:
        world = World(Limits(bucket=_BUCKET), LATENCY, JITTER, seed)
        accepted = [result.accepted for result in _processes(world, count, 0.7 * (count - 1)).run(300)]
        totals.append(sum(accepted) / allowance(world, 300))
        shares.append(min(accepted) / max(accepted))
        last = _processes(world, count, 60.0).run(180)[-1]
        late.append(last.accepted_between(120, 180) / 60 / (200 / count))
    name = f"{count} processes on one account"
    return [
        _figure(f"{name}: goodput of all", totals, 0.95),
        _figure(f"{name}: the smallest share of the largest", shares, 0.5),
        _figure(f"{name}: what one that joins late has of its fair share in its second minute", late, 0.5),
    ]


def _processes(world: World, count: int, last_at: float) -> Simulation:
    """``count`` processes; the last begins at ``last_at``, in seconds."""
    simulation = Simulation(world)
    for number in range(count - 1):
        simulation.start(_pacer(64), at=0.7 * number)
    simulation.start(_pacer(64), at=last_at)
    return simulation


def _figure(
    what: str,
    values: list[float],
    goal: float | None,
    measured: str = "",
    against: str = "",
    note: str = "",
) -> Figure:
    return Figure(
        what,
        statistics.median(values),
        min(values),
        max(values),
        len(values),
        measured,
        against,
        at_least=goal,
        note=note,
    )


def plot(result: Result, limits: Limits) -> str:
    """Accepted requests per second under a changing limit, as SVG that fits light and dark pages."""
    assert limits.bucket is not None
    seconds, height, width = int(result.seconds), 220, 720
    top = 450
    x = [60 + second * (width - 80) / seconds for second in range(seconds)]

    def y(rate: float) -> float:
        return height - 30 - rate * (height - 50) / top

    edges = [(0.0, limits.bucket.rate), *limits.bucket.schedule, (float(seconds), 0.0)]
    steps = " ".join(
        f"M{60 + a * (width - 80) / seconds:.1f},{y(rate):.1f} H{60 + b * (width - 80) / seconds:.1f}"
        for (a, rate), (b, _) in pairwise(edges)
    )
    line = " ".join(
        f"{moment:.1f},{y(min(rate, top)):.1f}" for moment, rate in zip(x, result.by_second, strict=False)
    )
    marks = "".join(
        f'<circle cx="{x[second]:.1f}" cy="{height - 26}" r="{min(4, 1 + count / 2):.1f}"/>'
        for second, count in enumerate(result.refused_by_second[:seconds])
        if count
    )
    ticks = "".join(
        f'<text x="52" y="{y(rate) + 4:.0f}" text-anchor="end">{rate}</text>'
        for rate in (0, 100, 200, 300, 400)
    )
    times = "".join(
        f'<text x="{60 + t * (width - 80) / seconds:.0f}" y="{height - 6}" text-anchor="middle">{t} s</text>'
        for t in range(0, seconds + 1, 20)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="Accepted requests per second while the limit changes from 200 to 50 to 400">\n'
        f"<style>text{{font:12px sans-serif;fill:#888}}</style>\n"
        f'<path d="{steps}" stroke="#d97706" stroke-width="2" stroke-dasharray="5 4" fill="none"/>\n'
        f'<polyline points="{line}" stroke="#2563eb" stroke-width="1.8" fill="none"/>\n'
        f'<g fill="#dc2626">{marks}</g>\n{ticks}{times}\n'
        f'<text x="70" y="16">dashed: the limit; line: accepted requests per second; dots: refusals</text>\n'
        f"</svg>\n"
    )
