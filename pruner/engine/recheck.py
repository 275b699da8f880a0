"""Comparing a plan with what an image holds now: what may still be deleted, and what is left alone. Pure."""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple

from pruner.model import Outcome, Status, Tag
from pruner.plan.records import Entry

CONFIRMED_BY_READING = "its DELETE was sent before the run was cut off, and it is not there any more"


class Checked(NamedTuple):
    """What is ready to be deleted, and what has ended without a DELETE."""

    ready: list[Entry]
    ended: list[tuple[Entry, Outcome]]


def outcome_of(entry: Entry, status: Status, error: str | None = None, cause: str | None = None) -> Outcome:
    """The outcome of an entry for which nothing was sent."""
    return Outcome(entry.target, status, error=error, cause=cause, policy=entry.policy, size=entry.size)


def compare(entries: Sequence[Entry], tags: Iterable[Tag] | None, claimed: Container[int] = ()) -> Checked:
    """Compare the ``entries`` of one image that are still to do with its ``tags`` now (None: no image).

    ``claimed`` are the entries whose DELETE was begun by an earlier session. A tag is left alone
    (``changed``) when its digest is not the planned one, when it was pushed again, or when a tag that
    stays may be the same image.
    """
    now = {tag.target.tag: tag for tag in tags or ()}
    checked = Checked([], [])
    ready: dict[str, Entry] = {}
    for entry in entries:
        tag = now.get(entry.tag)
        if tag is None:
            status = Status.DELETED if entry.seq in claimed else Status.GONE
            note = CONFIRMED_BY_READING if entry.seq in claimed else None
            checked.ended.append((entry, outcome_of(entry, status, note)))
        elif (change := _change(entry, tag)) is not None:
            checked.ended.append((entry, outcome_of(entry, Status.CHANGED, change)))
        else:
            ready[entry.tag] = entry
    # Leaving one tag alone can be what endangers another, so this goes on until nothing changes.
    while endangering := _endangering(ready, now):
        for name, why in endangering.items():
            entry = ready.pop(name)
            checked.ended.append((entry, outcome_of(entry, Status.CHANGED, why)))
    checked.ready.extend(ready.values())
    return checked


def _change(entry: Entry, tag: Tag) -> str | None:
    if entry.missing:
        return "was not there when the plan was made, and is now"
    if tag.digest != entry.digest:
        return "its digest is not the planned one: it was pushed again"
    if tag.updated is not None and (entry.updated is None or tag.updated > entry.updated):
        return "was updated after the plan was made"
    return None


def _endangering(ready: Mapping[str, Entry], now: Mapping[str, Tag]) -> dict[str, str]:
    """The entries whose DELETE might take a tag along that stays, and why."""
    staying: dict[str | None, str] = {}
    for name, tag in now.items():
        if name not in ready:
            staying.setdefault(tag.digest, name)
    if not staying:
        return {}
    found = {}
    for name, entry in ready.items():
        if entry.delete_shared:
            continue
        sibling = staying.get(entry.digest) or staying.get(None)
        if entry.digest is None:
            sibling = next(iter(staying.values()))
        if sibling is not None:
            found[name] = f"may now be the same image as '{sibling}', which stays"
    return found
