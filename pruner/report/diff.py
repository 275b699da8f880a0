"""Comparing two plans: what would newly go, what would newly stay. Streams both; plans are sorted."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from pruner.plan.file import Plan
from pruner.plan.records import Entry
from pruner.report.markdown import cell, code_cell, table


class Change(NamedTuple):
    """A tag whose fate differs: ``goes`` only by the second plan, or ``stays`` by it."""

    fate: Literal["goes", "stays"]
    entry: Entry


def _entries(plan: Plan) -> Iterator[Entry]:
    for record in plan.records():
        if isinstance(record, Entry) and not record.missing:
            yield record


def compare_plans(old: Plan, new: Plan) -> Iterator[Change]:
    """The differences, in the order of the plans."""
    left, right = _entries(old), _entries(new)
    a, b = next(left, None), next(right, None)
    while a is not None or b is not None:
        if b is None or (a is not None and a.target < b.target):
            assert a is not None
            yield Change("stays", a)
            a = next(left, None)
        elif a is None or b.target < a.target:
            yield Change("goes", b)
            b = next(right, None)
        else:
            a, b = next(left, None), next(right, None)


def diff_text(changes: list[Change]) -> Iterator[str]:
    """The differences as lines: ``+`` newly goes, ``-`` newly stays."""
    for change in changes:
        sign = "+" if change.fate == "goes" else "-"
        entry = change.entry
        yield f"{sign} {entry.target}  {entry.reason} ({entry.source})"
    goes = sum(1 for change in changes if change.fate == "goes")
    yield f"{goes} would newly go, {len(changes) - goes} would newly stay"


def diff_markdown(changes: list[Change]) -> str:
    """The differences as Markdown of bounded length, fit for a pull-request comment."""
    goes = [change.entry for change in changes if change.fate == "goes"]
    stays = [change.entry for change in changes if change.fate == "stays"]
    lines = [f"## pruner diff: {len(goes)} would newly go, {len(stays)} would newly stay", ""]
    for title, entries in (("newly goes", goes), ("newly stays", stays)):
        if entries:
            rows = [(code_cell(str(e.target)), cell(e.reason), cell(e.source)) for e in entries]
            lines += [*table((title, "rule", "where"), rows), ""]
    return "\n".join(lines) + "\n"


def same_places(old: Plan, new: Plan) -> bool:
    """Whether the registries that both plans are about are at the same endpoints."""
    places = old.header.registries
    return all(
        name not in places or places[name].endpoint == facts.endpoint
        for name, facts in new.header.registries.items()
    )
