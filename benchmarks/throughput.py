"""DELETEs per second of one core without latency: pruner's engine against a bare loop and the limits.

"Per core" is per second of the client's own CPU time, so that neither a busy machine nor a slow sink, at
which a faster client only waits, brings the two closer together.
"""

from collections.abc import Callable
from functools import partial

from benchmarks.baselines import tools
from benchmarks.harness import Figure, Settings, client, compare, interleaved
from benchmarks.sink import Sink, fast_sink

DELETES = 10_000
WORKERS = 32
REPEATS = 7


def run(settings: Settings) -> list[Figure]:
    """Measure all clients against the same sink."""
    with fast_sink() as sink:
        cpu: dict[str, list[float]] = {}
        found = interleaved(_cases(sink, cpu), REPEATS)
        return _figures(found, cpu, sink)


def _cases(sink: Sink, cpu: dict[str, list[float]]) -> dict[str, Callable[[], float]]:
    modules = {
        "engine": ("benchmarks.engine", {}),
        "bare": ("benchmarks.baselines.bare", {}),
        "listing": ("benchmarks.engine", {"listing": True}),
        "protocol": ("benchmarks.baselines.protocol", {}),
    }
    cases: dict[str, Callable[[], float]] = {
        name: partial(_rate, cpu.setdefault(name, []), module, sink.port, **more)
        for name, (module, more) in modules.items()
    }
    if tools.wrk_rate(sink.port, WORKERS) is not None:
        cases["wrk"] = lambda: tools.wrk_rate(sink.port, WORKERS) or 0.0
    if tools.has_httpx():
        cases["httpx"] = lambda: (
            client("benchmarks.baselines.httpx_loop", port=sink.port, count=500, workers=WORKERS).rate
        )
    return cases


def _rate(cpu: list[float], module: str, port: int, **more: bool) -> float:
    sample = client(module, port=port, count=DELETES, workers=WORKERS, **more)
    cpu.append(sample.cpu * 1e6 / sample.count)
    return sample.rate


def _figures(found: dict[str, list[float]], cpu: dict[str, list[float]], sink: Sink) -> list[Figure]:
    note = f"sink: {sink.name}; {WORKERS} in flight, {DELETES:,} DELETEs"
    engine, bare = found["engine"], found["bare"]
    core = {name: [1e6 / each for each in values] for name, values in cpu.items()}
    figures = [
        compare(
            "per core, engine / bare aiohttp loop", core["engine"], core["bare"], at_least=1.9, note=note
        ),
        compare(
            "per core, engine that lists again by HTTP / bare",
            core["listing"],
            core["bare"],
            note="10 pages per image",
        ),
        compare(
            "per core, engine / hand-made protocol", core["engine"], core["protocol"], note="limit of Python"
        ),
        compare("CPU per DELETE, engine / bare", cpu["engine"], cpu["bare"], "{:.0f} us"),
        compare(
            "by the clock, engine / bare", engine, bare, note="flatters where the sink has too little core"
        ),
    ]
    if "wrk" in found:
        figures.append(
            compare("by the clock, engine / wrk", engine, found["wrk"], note="unsigned: limit of the machine")
        )
    if "httpx" in found:
        figures.append(compare("by the clock, engine / httpx", engine, found["httpx"], note="500 DELETEs"))
    return figures
