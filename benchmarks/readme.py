"""The performance section of the README, out of the stored figures."""

import re
from pathlib import Path
from typing import Any

from benchmarks.plots import CONCURRENCY, concurrency
from benchmarks.results import Results, machine, number, versions

README = Path(__file__).parent.parent / "README.md"
START, END = "<!-- measured: start -->", "<!-- measured: end -->"
_PLOT = "DELETEs per second by requests in flight"
_PARTS = ("throughput", "latency", "deciding", "memory", "startup")


def section(results: Results) -> str:
    """The text between the markers."""
    facts = machine()
    lines = [
        START,
        f"Measured by `python -m benchmarks` on {facts['cores']} cores ({facts['cpu']}), "
        f"{versions()['python']}, aiohttp {versions()['aiohttp']}; ratios to something measured interleaved "
        f"in the same run. All figures: [`benchmarks/results.md`](benchmarks/results.md).",
        "",
        "| measured | result | goal |",
        "| --- | --- | --- |",
    ]
    for part in _PARTS:
        for line in results.benchmarks.get(part, {}).get("figures", ()):
            if line["met"] is not None or part == "memory":
                lines.append(f"| {line['what']} | {_value(line, part)} | {_goal(line)} |")
    plot = [
        "DELETEs per second at 30 ms, by requests in flight:",
        "",
        f"![{_PLOT}](benchmarks/concurrency.svg)",
    ]
    return "\n".join([*lines, "", *plot, "", *_pacing(results), END])


def _value(line: dict[str, Any], part: str) -> str:
    value = f"{number(line['value'])} {line['unit']}"
    if part != "memory":
        return value
    return f"{value} ({line['measured']} / {line['against']} at {line['note'].split(', images')[0]})"


def _goal(line: dict[str, Any]) -> str:
    if line["met"] is None:
        return ""
    bound = f">= {line['at_least']:g}" if line["at_least"] is not None else f"<= {line['at_most']:g}"
    return f"{bound}{'' if line['met'] else ', missed'}"


def _pacing(results: Results) -> list[str]:
    """Goodput and refused share per simulated server, one column per way of pacing."""
    figures = results.benchmarks.get("pacing", {}).get("figures", ())
    rows: dict[str, dict[str, str]] = {}
    for line in figures:
        if ": goodput of " not in line["what"]:
            continue
        server, pacer = line["what"].split(": goodput of ")
        refused = line["note"].removesuffix(" refused")
        rows.setdefault(server, {})[pacer] = f"{line['value']:.1%} / {refused}"
    most = max((len(row) for row in rows.values()), default=0)
    rows = {server: row for server, row in rows.items() if len(row) == most}
    if not rows:
        return []
    pacers = list(next(iter(rows.values())))
    return [
        "How much of a server's allowance is used, and the share of requests refused, simulated with 64 "
        "workers at 30 ms:",
        "",
        f"| server | {' | '.join(pacers)} |",
        f"| --- |{' --- |' * len(pacers)}",
        *(f"| {server} | {' | '.join(row[pacer] for pacer in pacers)} |" for server, row in rows.items()),
        "",
        "![Accepted requests per second while the limit changes](benchmarks/pacing.svg)",
    ]


def write_section(results: Results) -> None:
    """Replace what stands between the markers, and draw the plot that it shows."""
    figures = results.benchmarks.get("latency", {}).get("figures")
    if figures:
        CONCURRENCY.write_text(concurrency(figures))
    text = README.read_text()
    README.write_text(re.sub(f"{START}.*{END}", lambda _: section(results), text, flags=re.DOTALL))
