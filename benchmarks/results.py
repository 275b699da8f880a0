"""The machine, the versions and the figures, as JSON and as a Markdown table."""

import importlib.metadata
import json
import os
import platform
import re
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from benchmarks.baselines.tools import has_httpx
from benchmarks.harness import Figure, cores
from benchmarks.sink import nginx

FOLDER = Path(__file__).parent
JSON = FOLDER / "results.json"
MARKDOWN = FOLDER / "results.md"
_PACKAGES = ("aiohttp", "httptools", "anyio", "msgspec", "yarl", "google-re2", "uvloop", "httpx")
_COLUMNS = ("measured", "result", "quartiles", "goal", "ours", "against", "n", "note")
_HEAD = f"| {' | '.join(_COLUMNS)} |\n|{' --- |' * len(_COLUMNS)}"


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    client, server = cores()
    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "client_core": client,
        "server_core": server,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1] if match else platform.machine()


def versions() -> dict[str, str]:
    """The versions of everything that is measured or measured against; what is not there is left out."""
    found = {"python": f"{platform.python_implementation()} {platform.python_version()}"}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    for name, command in {
        "nginx": [nginx() or "nginx", "-v"],
        "curl": ["curl", "-V"],
        "wrk": ["wrk", "-v"],
        "go": ["go", "version"],
    }.items():
        if version := _version(command):
            found[name] = version
    return found


def _version(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    match = re.search(r"\d+(?:\.\d+)+", done.stdout + done.stderr)
    return match[0] if match else None


class Results:
    """Figures by benchmark. Those of other benchmarks are kept if they are of the same machine."""

    def __init__(self, benchmarks: dict[str, Any]) -> None:
        self._benchmarks = benchmarks

    @classmethod
    def load(cls) -> Self:
        """What is stored, if it was measured here."""
        try:
            stored = json.loads(JSON.read_bytes())
        except (OSError, ValueError):
            return cls({})
        same = stored.get("machine") == machine() and stored.get("versions") == versions()
        return cls(stored["benchmarks"] if same else {})

    def take(self, name: str, seconds: float, figures: list[Figure]) -> None:
        """Add or replace the figures of a benchmark."""
        lines = [{**asdict(figure), "met": figure.met} for figure in figures]
        self._benchmarks[name] = {"seconds": round(seconds, 1), "figures": lines}

    @property
    def benchmarks(self) -> dict[str, Any]:
        """The stored figures by benchmark."""
        return self._benchmarks

    def write(self) -> None:
        """Write both files."""
        whole = {"machine": machine(), "versions": versions(), "benchmarks": self._benchmarks}
        JSON.write_text(json.dumps(whole, indent=2) + "\n")
        MARKDOWN.write_text(self._markdown())

    def _markdown(self) -> str:
        facts = machine()
        place = "different cores" if facts["client_core"] != facts["server_core"] else "the same core"
        lines = [
            "<!-- Written by python -m benchmarks. -->",
            f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, {facts['system']}; "
            f"client and server on {place}.",
            "",
            ", ".join(f"{name} {version}" for name, version in versions().items())
            + ("." if has_httpx() else "; httpx is not installed."),
            "",
            "Every result is the median of ratios of neighbouring measurements (x), unless it has a unit; "
            "'ours' and 'against' are medians of the two sides, which drift with the machine.",
        ]
        for name, part in self._benchmarks.items():
            lines += ["", f"## {name}", "", _HEAD]
            lines += [_row(line) for line in part["figures"]]
        return "\n".join(lines) + "\n"

    def sentence(self, figure: Figure) -> str:
        """A figure for the terminal."""
        verdict = {None: "", True: ", met", False: ", MISSED"}[figure.met]
        goal = _goal(asdict(figure))
        return (
            f"{figure.what}: {number(figure.value)} {figure.unit}{f' (goal {goal}{verdict})' if goal else ''}"
        )


def number(value: float) -> str:
    """Three significant digits, and thousands."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _goal(line: dict[str, Any]) -> str:
    if line["at_least"] is not None:
        return f">= {line['at_least']:g}"
    return "" if line["at_most"] is None else f"<= {line['at_most']:g}"


def _row(line: dict[str, Any]) -> str:
    goal = _goal(line)
    if goal:
        goal += " met" if line["met"] else " **missed**"
    spread = f"{number(line['low'])} to {number(line['high'])}"
    result = f"{number(line['value'])} {line['unit']}"
    cells = (
        line["what"],
        result,
        spread,
        goal,
        line["measured"],
        line["against"],
        line["repeats"],
        line["note"],
    )
    return "| " + " | ".join(map(str, cells)) + " |"
