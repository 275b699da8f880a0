"""Self-contained HTML pages of a plan and of a run: one file, no network, light, dark and on paper.

Everything from a registry passes through ``page.harmless`` and autoescaping, and a strict
Content-Security-Policy stands behind them.
"""

from pruner.report.html.plan_page import write_plan_page
from pruner.report.html.run_page import RunPage

__all__ = ["RunPage", "write_plan_page"]
