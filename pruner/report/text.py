"""Small pieces of text that previews and reports share."""

from datetime import UTC, datetime

from pruner import names
from pruner.policy.duration import format_age


def size_text(size: int | None) -> str:
    """Bytes for people, in powers of 1,000."""
    if size is None:
        return "?"
    value = float(size)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


def age_text(updated: int | None, now: int) -> str:
    """How long ago, both in epoch milliseconds."""
    return "?" if updated is None else format_age(max(0, now - updated))


def date_text(moment: int | None) -> str:
    """A moment (epoch milliseconds) as a date and time in UTC."""
    if moment is None:
        return ""
    try:
        return f"{datetime.fromtimestamp(moment / 1000, UTC):%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):
        # Beyond the year 9999, which a server or a file may well claim.
        return f"{moment} ms"


def counted(count: int, noun: str) -> str:
    """``1 tag``, ``2 tags``, ``1,000 tags``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def inert_cell(text: str) -> str:
    """Foreign text of a CSV file on one line, and so that no spreadsheet runs it (OWASP, "CSV Injection")."""
    shown = names.one_line(text)
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@")) else shown
