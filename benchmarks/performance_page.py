"""The measured section of ``docs/performance.md``, out of the stored figures."""

import re
from pathlib import Path

from benchmarks.plots import CONCURRENCY, concurrency
from benchmarks.results import Results, machine, number, versions

PAGE = Path(__file__).parent.parent / "docs/performance.md"
START, END = "<!-- measured: start -->", "<!-- measured: end -->"
TABLE = "5,000 tags at 30 ms: "
_AFTER = """\
Of these only pruner decides what may go and looks at each image again just before, paces itself by what the
server accepts, sends no DELETE twice without knowing what became of the first, resumes after a crash, and
writes a report. The Go client lists and deletes with the same two journal lines per tag, and nothing else.
More in flight is faster where the server lets it; where it does not, the pacer finds its limit, of requests
per second or in flight. That is why the default is 64.

![Accepted requests per second while the limit changes](images/pacing.svg)

What the pacer makes of a limit that changes from 200 to 50 to 400 requests per second. How it does on other
servers and beside other ways of pacing, what a DELETE costs, memory, start-up:
`benchmarks/results.md`."""


def section(results: Results) -> str:
    """The text between the markers."""
    facts = machine()
    lines = [
        START,
        f"5,000 tags of 5 images, deleted from a server that takes 30 ms for each request, from the start "
        f"of the process to its end. Measured by `python -m benchmarks end_to_end` on {facts['cores']} cores "
        f"({facts['cpu']}), {versions()['python']}; medians of three.",
        "",
        "| way | seconds | CPU seconds |",
        "| --- | --- | --- |",
    ]
    for line in results.benchmarks.get("end_to_end", {}).get("figures", ()):
        if line["what"].startswith(TABLE):
            way = line["what"].removeprefix(TABLE) + (f" ({line['note']})" if line["note"] else "")
            cpu = line["measured"].removesuffix(" CPU-s")
            lines.append(f"| {way} | {number(line['value'])} | {cpu} |")
    return "\n".join([*lines, "", _AFTER, END])


def write_section(results: Results) -> None:
    """Replace what stands between the markers, and draw the plot of ``results.md``."""
    figures = results.benchmarks.get("latency", {}).get("figures")
    if figures:
        CONCURRENCY.write_text(concurrency(figures))
    text = PAGE.read_text()
    PAGE.write_text(re.sub(f"{START}.*{END}", lambda _: section(results), text, flags=re.DOTALL))
