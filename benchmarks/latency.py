"""DELETEs per second at 30 ms of latency, by number in flight; and against doing one after another."""

from functools import partial

from benchmarks.baselines import tools
from benchmarks.harness import Figure, Settings, client, compare, interleaved
from benchmarks.sink import delayed_sink

LATENCY_SECONDS = 0.03
IN_FLIGHT = {16: 1.0, 64: 1.0, 256: 2.0}
"""Seconds that each number in flight ideally takes."""
SERIAL_TAGS = 30
CURL_TAGS = 50
REPEATS = 3


def run(settings: Settings) -> list[Figure]:
    """Measure engine and baselines against a sink that waits."""
    with delayed_sink(LATENCY_SECONDS) as sink:
        found = interleaved(_cases(sink.port), REPEATS)
    figures = [_against_ideal(found, level) for level in IN_FLIGHT]
    most = max(IN_FLIGHT)
    engine = found[f"engine {most}"]
    figures.append(
        compare(
            f"engine with {most} in flight / serial client",
            engine,
            found["serial"],
            at_least=60,
            note=f"{SERIAL_TAGS} tags, one connection",
        )
    )
    if "curl" in found:
        note = f"extrapolated from {CURL_TAGS} tags, unsigned"
        figures.append(
            compare(
                f"engine with {most} in flight / shell loop of curl",
                engine,
                found["curl"],
                at_least=25,
                note=note,
            )
        )
    return figures


def _cases(port: int) -> dict[str, partial[float]]:
    cases = {}
    for level, seconds in IN_FLIGHT.items():
        count = int(level / LATENCY_SECONDS * seconds)
        cases[f"engine {level}"] = partial(_rate, "engine", port, count, level)
        cases[f"bare {level}"] = partial(_rate, "baselines.bare", port, count, level)
    cases["serial"] = partial(_serial_rate, port)
    if tools.curl_rate(port, 1) is not None:
        cases["curl"] = partial(tools.curl_rate, port, CURL_TAGS)
    return cases


def _rate(module: str, port: int, count: int, workers: int) -> float:
    return client(f"benchmarks.{module}", port=port, count=count, workers=workers).rate


def _serial_rate(port: int) -> float:
    return client("benchmarks.baselines.serial", port=port, count=SERIAL_TAGS).rate


def _against_ideal(found: dict[str, list[float]], level: int) -> Figure:
    """Against the ideal by Little's law or the bare loop, whichever is lower."""
    ideal = level / LATENCY_SECONDS
    lower = [min(ideal, rate) for rate in found[f"bare {level}"]]
    return compare(
        f"{level} in flight: engine / min(ideal, bare)",
        found[f"engine {level}"],
        lower,
        at_least=0.95 if level == max(IN_FLIGHT) else None,
        note=f"ideal {ideal:,.0f}/s; sink: raw asyncio server, 30 ms",
    )
