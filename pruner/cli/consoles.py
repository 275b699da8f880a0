"""Rich consoles for results and for talk; both obey NO_COLOR and fold to the terminal's width."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_WIDTH_WITHOUT_TERMINAL = 120


def result_console(*, stderr: bool = False) -> "Console":
    """A console on stdout (or stderr); without a terminal it is plain and of a fixed width."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDTH_WITHOUT_TERMINAL
    return Console(file=stream, width=width, highlight=False, emoji=False)
