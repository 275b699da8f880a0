"""Renders a template into one file, piece by piece, with its style sheet and script inside."""

import base64
import functools
import hashlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from pruner import __version__
from pruner.names import printable
from pruner.report.markdown import STORAGE_NOTE
from pruner.report.text import counted, date_text, size_text

if TYPE_CHECKING:
    from jinja2 import Environment

TEXT_LIMIT: Final = 1000
"""Longer texts from outside are cut; names are shorter."""

_TEMPLATES: Final = Path(__file__).parent / "templates"


def harmless(text: str, limit: int = TEXT_LIMIT) -> str:
    """``printable``, with a short way for the many texts that need nothing done."""
    return text if len(text) <= limit and text.isprintable() else printable(text, limit)


def write_page(file: IO[bytes], template: str, **facts: Any) -> None:
    """Render ``template`` to ``file`` without ever holding the whole page."""
    pieces = environment().get_template(template).generate(**facts)
    file.writelines(piece.encode() for piece in pieces)


@functools.cache
def environment() -> "Environment":
    """What the templates are compiled with, each once."""
    # Imported here: only those who ask for a page pay for it.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = _asset("page.css"), _asset("table.js")
    environment.globals.update(
        style=style,
        script=script,
        csp=_content_security_policy(style, script),
        tool=__version__,
        storage_note=STORAGE_NOTE,
    )
    environment.filters.update(counted=counted, size=size_text, moment=_moment, number=_number)
    return environment


def _finalize(value: Any) -> Any:
    """Make every text harmless that a template puts out; autoescaping comes after this.

    Markup, which is what ``|safe`` gives and the blocks of the template itself are, is left as it is.
    """
    return value if not isinstance(value, str) or hasattr(value, "__html__") else harmless(value)


def _asset(name: str) -> str:
    """A style sheet or script; without the line feed at its end, which the hash would have to know of."""
    return (_TEMPLATES / name).read_text(encoding="utf-8").strip()


def _content_security_policy(style: str, script: str) -> str:
    """Nothing may be loaded or sent, and no script or style runs but those of this page (CSP Level 3)."""
    rules = {
        "default-src": "'none'",
        "style-src": _source_hash(style),
        "script-src": _source_hash(script),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _source_hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _moment(moment: int | None) -> str:
    return f"{date_text(moment)} UTC" if moment is not None else "unknown"


def _number(value: float) -> str:
    return f"{value:,}"


def share_text(part: int, whole: int) -> str:
    """A share in per cent; nothing of nothing is 0 %."""
    return f"{part / whole:.1%}" if whole else "0.0%"
