"""Showing a preview in the form that was asked for."""

import sys

from pruner.cli.consoles import result_console
from pruner.plan.file import Plan
from pruner.report import preview


def show_preview(plan: Plan, form: str, *, all_tags: bool = False) -> None:
    """Write the preview of ``plan`` to stdout."""
    if form == "json":
        for piece in preview.json_lines(plan):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    elif form == "csv":
        for text in preview.csv_lines(plan):
            sys.stdout.write(text)
    elif form == "html":
        from pruner.report.html import write_plan_page

        write_plan_page(plan, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    elif form == "markdown":
        for text in preview.markdown_lines(plan):
            sys.stdout.write(text)
    else:
        preview.show_table(plan, result_console(), all_tags=all_tags)
    sys.stdout.flush()
