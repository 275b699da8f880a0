"""Standard input, output and error as the program needs them, whatever it was started with."""

import os
import sys
from typing import TextIO


def prepare_streams() -> None:
    """Open what is closed and let no character of a name or sentence break an output that cannot show it.

    A closed descriptor would be given to the next file or connection that is opened, which would then get
    what is printed.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or _null("r")
    sys.stdout = sys.stdout or _null("w")
    sys.stderr = sys.stderr or _null("w")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Let what is still buffered for standard output go nowhere, so that leaving does not fail on it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _null(mode: str) -> TextIO:
    # It stays open as long as the program runs.
    return open(os.devnull, mode, encoding="utf-8")  # type: ignore[return-value]  # noqa: PTH123
