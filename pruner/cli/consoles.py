"""Rich consoles for results and messages. They obey NO_COLOR, and fold to the width of a terminal."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_UNBOUNDED_WIDTH = 1_000_000


def result_console(*, stderr: bool = False) -> "Console":
    """A console on stdout (or stderr). Without a terminal it is plain, and no line of it is broken.

    A CI system would take foreign text for a command where a break puts it at the start of a line.
    """
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    is_terminal = stream.isatty()
    width = None if is_terminal else _UNBOUNDED_WIDTH
    return Console(file=stream, width=width, soft_wrap=not is_terminal, highlight=False, emoji=False)
