"""Run pruner as ``python -m benchmarks.measured FILE ARGUMENT…`` and write its peak memory (MiB) to FILE."""

import contextlib
import resource
import sys
from pathlib import Path


def peak_mib() -> float:
    """The most memory this process held; the kernel's mark of it, since a parent's counts in getrusage."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run, then measure."""
    from pruner.cli import main as pruner

    report, *arguments = sys.argv[1:]
    try:
        pruner(arguments)
    finally:
        Path(report).write_text(str(peak_mib()))


if __name__ == "__main__":
    main()
