"""What is said on stderr, beside the results on stdout: sentences, or JSON lines for machines."""

import json
import sys
import time
from typing import Any, Final

import click

from pruner.names import inert, one_line

LOG_FORMATS: Final = ("text", "json")


class Talk:
    """Says things on stderr at three levels. Nothing said here may hold a secret."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False, as_json: bool = False) -> None:
        self.quiet = quiet
        self.verbose = verbose
        self.as_json = as_json

    def say(self, text: str, **facts: Any) -> None:
        """What a user wants to know."""
        if not self.quiet:
            self._emit("info", text, facts)

    def detail(self, text: str, **facts: Any) -> None:
        """What a user wants to know who asked for more."""
        if self.verbose:
            self._emit("debug", text, facts)

    def warn(self, text: str, **facts: Any) -> None:
        """What may be wrong."""
        self._emit("warning", text, facts)

    def error(self, text: str, **facts: Any) -> None:
        """Why a command ended."""
        self._emit("error", text, facts)

    def _emit(self, level: str, text: str, facts: dict[str, Any]) -> None:
        if self.as_json:
            line = json.dumps({"time": round(time.time(), 3), "level": level, "message": text, **facts})
            # The same in JSON, where a CI system sees no command in it.
            line = line.replace("##", "\\u0023#")
        else:
            prefix = {"warning": "pruner: warning: ", "error": "pruner: "}.get(level, "")
            line = inert(prefix + _indented(text))
        print(line, file=sys.stderr, flush=True)


def _indented(text: str) -> str:
    """``text`` whose further lines begin with two blanks: only its first can be taken for a message."""
    first, *rest = text.split("\n")
    return "\n".join([first, *(line if line.startswith("  ") else f"  {line}" for line in rest)])


def show(line: str) -> None:
    """Print one line of a result on stdout, whatever foreign text it holds."""
    click.echo(one_line(line))
