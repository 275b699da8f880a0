"""Plots of stored figures, as SVG that fits light and dark pages."""

import re
from pathlib import Path
from typing import Any

CONCURRENCY = Path(__file__).parent / "concurrency.svg"
_COLORS = {"pruner": "#2563eb", "the lower of ideal and bare loop": "#d97706"}


def _rate(text: str) -> float:
    match = re.search(r"[\d,.]+", text)
    return float(match[0].replace(",", "")) if match else 0.0


def concurrency(figures: list[dict[str, Any]]) -> str:
    """DELETEs per second at 30 ms by requests in flight: bars of both sides of each figure."""
    rows = [
        (match[1], _rate(line["measured"]), _rate(line["against"]))
        for line in figures
        if (match := re.match(r"(\d+) in flight", line["what"]))
    ]
    top = max(max(ours, theirs) for _, ours, theirs in rows)
    parts = []
    for number, (flight, ours, theirs) in enumerate(rows):
        y = 40 + 70 * number
        parts.append(f'<text x="92" y="{y + 24}" text-anchor="end">{flight} in flight</text>')
        for line, (name, rate) in enumerate(zip(_COLORS, (ours, theirs), strict=True)):
            width = 460 * rate / top
            place = y + 22 * line
            parts.append(
                f'<rect x="100" y="{place}" width="{width:.1f}" height="18" fill="{_COLORS[name]}"/>'
            )
            parts.append(f'<text x="{106 + width:.1f}" y="{place + 14}">{rate:,.0f}/s</text>')
    legend = "".join(
        f'<text x="{100 + 110 * number}" y="20" style="fill:{color}">{name}</text>'
        for number, (name, color) in enumerate(_COLORS.items())
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 680 {50 + 70 * len(rows)}" role="img" '
        f'aria-label="DELETEs per second by requests in flight">\n'
        f"<style>text{{font:12px sans-serif;fill:#888}}</style>\n{legend}\n{''.join(parts)}\n</svg>\n"
    )
