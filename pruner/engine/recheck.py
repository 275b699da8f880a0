"""Comparing a plan with what an image holds now: what may still be deleted, and what is left alone. Pure."""

from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Sequence
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


def compare(
    entries: Sequence[Entry],
    planned: Collection[str],
    tags: Iterable[Tag] | None,
    claimed: Container[int] = (),
) -> Checked:
    """Compare the ``entries`` of one image that are still to do with its ``tags`` now (None: no image).

    ``planned`` are the names of all its tags in the plan, ``claimed`` the entries whose DELETE was begun
    by an earlier session. A tag is left alone (``changed``) when its digest is not the planned one, when
    it was pushed again, or when its digest is now also that of a tag outside the plan.
    """
    now = {tag.target.tag: tag for tag in tags or ()}
    outside: defaultdict[str | None, list[str]] = defaultdict(list)
    for name, present in now.items():
        if name not in planned:
            outside[present.digest].append(name)
    checked = Checked([], [])
    for entry in entries:
        tag = now.get(entry.tag)
        if tag is None:
            status = Status.DELETED if entry.seq in claimed else Status.GONE
            note = CONFIRMED_BY_READING if entry.seq in claimed else None
            checked.ended.append((entry, outcome_of(entry, status, note)))
            continue
        change = _change(entry, tag, outside)
        if change is None:
            checked.ready.append(entry)
        else:
            checked.ended.append((entry, outcome_of(entry, Status.CHANGED, change)))
    return checked


def _change(entry: Entry, tag: Tag, outside: dict[str | None, list[str]]) -> str | None:
    if entry.missing:
        return "was not there when the plan was made, and is now"
    if tag.digest != entry.digest:
        return "its digest is not the planned one: it was pushed again"
    if tag.updated is not None and (entry.updated is None or tag.updated > entry.updated):
        return "was updated after the plan was made"
    if entry.delete_shared:
        return None
    sharing = outside.get(tag.digest) or outside.get(None)
    return f"may now be the same image as '{sharing[0]}', which is not in the plan" if sharing else None
