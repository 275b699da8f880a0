"""``python -m benchmarks [NAME...]``: run benchmarks and write ``results.json`` and ``results.md``."""

import argparse
import importlib
import time

from benchmarks.harness import Settings
from benchmarks.performance_page import write_section
from benchmarks.results import Results

BENCHMARKS = (
    "end_to_end",
    "many",
    "throughput",
    "latency",
    "signing",
    "deciding",
    "journal",
    "memory",
    "startup",
    "pacing",
)


def main() -> None:
    """Read the command line and do as it says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(BENCHMARKS)}")
    parser.add_argument("--full", action="store_true", help="the largest sizes; takes long")
    parser.add_argument("--update-calls", action="store_true", help="store the calls per DELETE anew")
    parser.add_argument("--profile", action="store_true", help="show where a DELETE spends its time")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    if options.update_calls:
        from benchmarks import calls

        print(calls.update())
    elif options.profile:
        from benchmarks import profile

        print(profile.table())
    else:
        run(options.names or BENCHMARKS, Settings(full=options.full))


def run(names: tuple[str, ...], settings: Settings) -> None:
    """Run benchmarks and write the results after each."""
    results = Results.load()
    for name in names:
        print(f"{name} …", flush=True)
        started = time.monotonic()
        figures = importlib.import_module(f"benchmarks.{name}").run(settings)
        results.take(name, time.monotonic() - started, figures)
        results.write()
        write_section(results)
        for figure in figures:
            print("  " + results.sentence(figure), flush=True)


if __name__ == "__main__":
    main()
