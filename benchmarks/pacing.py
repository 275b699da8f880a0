"""Goodput and refusals of pruner's pacer and of its rivals on simulated servers, and a plot."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from benchmarks import rivals
from benchmarks.harness import Figure, Settings
from benchmarks.simulation import Result, Simulation, allowance
from pruner.emulator.throttle import Bucket, InFlight, Limits, Window
from pruner.engine.adaptive import AdaptivePacer

WORKERS = 64
LATENCY = 0.03
PLOT = Path(__file__).parent / "pacing.svg"

_CHANGE = ((40, 50), (80, 400))
SCENARIOS = {
    "200/s, burst 50": (Limits(bucket=Bucket(rate=200, burst=50)), 120, 200),
    "the same, Retry-After 1": (Limits(bucket=Bucket(rate=200, burst=50, retry_after=1)), 300, 200),
    "200, then 50, then 400/s": (Limits(bucket=Bucket(rate=200, burst=50, schedule=_CHANGE)), 120, 200),
    "10/s, burst 10": (Limits(bucket=Bucket(rate=10, burst=10)), 300, 10),
    "200/s, burst 2000": (Limits(bucket=Bucket(rate=200, burst=2000)), 120, 200),
    "1000 in 60 s, Retry-After 5": (Limits(window=Window(requests=1000, seconds=60, retry_after=5)), 600, 16),
    "16 in flight": (Limits(in_flight=InFlight(maximum=16)), 120, 500),
    "no limit": (Limits(), 120, 2000),
}
_OURS = "pruner"
PACERS: dict[str, Callable[[float], object]] = {
    _OURS: lambda _: AdaptivePacer(max_in_flight=WORKERS),
    "backoff, jitter": lambda _: rivals.Backoff(),
    "fixed, twice too fast": lambda rate: rivals.Fixed(2 * rate),
    "fixed, half": lambda rate: rivals.Fixed(rate / 2),
    "AIMD": lambda _: rivals.Aimd(),
    "CUBIC (botocore)": lambda _: rivals.Cubic(),
}
_GOALS = {"200/s, burst 50": 0.97, "10/s, burst 10": 0.97, "200, then 50, then 400/s": 0.93}


def run(settings: Settings) -> list[Figure]:
    """Simulate everything; one figure per scenario and pacer."""
    figures = []
    for name, (limits, seconds, rate) in SCENARIOS.items():
        best = allowance(limits, seconds, workers=WORKERS, latency=LATENCY)
        for pacer, make in PACERS.items():
            result = Simulation(make(rate), limits, workers=WORKERS, latency=LATENCY).run(seconds)
            goal = _GOALS.get(name) if pacer == _OURS else None
            figures.append(_figure(name, pacer, result, best, goal))
            if pacer == _OURS and "then" in name:
                PLOT.write_text(plot(result, limits))
    return figures


def _figure(name: str, pacer: str, result: Result, best: float, goal: float | None) -> Figure:
    share = result.accepted / best
    return Figure(
        f"{name}: goodput of {pacer}",
        share,
        share,
        share,
        1,
        f"{result.accepted:,}",
        f"{best:,.0f} allowed",
        at_least=goal,
        note=f"{result.refused_share:.2%} refused",
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
