"""Comparing a plan with what an image holds now: what may still be deleted, and what is left alone. Pure."""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple

from pruner.model import Outcome, ReasonKind, Status, Tag
from pruner.plan.records import Entry, ImageRecord
from pruner.policy.retention import attachment_subject

CONFIRMED_BY_READING = "its DELETE was sent before the run was cut off, and it is not there any more"


class Checked(NamedTuple):
    """What is ready to be deleted, and what has ended without a DELETE."""

    ready: list[Entry]
    ended: list[tuple[Entry, Outcome]]


def outcome_of(entry: Entry, status: Status, error: str | None = None, cause: str | None = None) -> Outcome:
    """The outcome of an entry for which nothing was sent."""
    return Outcome(entry.target, status, error=error, cause=cause, policy=entry.policy, size=entry.size)


def compare(
    record: ImageRecord, entries: Sequence[Entry], tags: Iterable[Tag] | None, claimed: Container[int] = ()
) -> Checked:
    """Compare the ``entries`` of one image that are still to do with its ``tags`` now (None: no image).

    ``claimed`` are the entries whose DELETE was begun by an earlier session. A tag is left alone
    (``changed``) when its digest is not the planned one, when it was pushed again, when it was pulled and
    the policy asks for that, when a tag that stays may be the same image, or when too few would stay.
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
        elif (change := _change(record, entry, tag)) is not None:
            checked.ended.append((entry, outcome_of(entry, Status.CHANGED, change)))
        else:
            ready[entry.tag] = entry
    # Leaving one tag alone can be what endangers another, so this goes on until nothing changes.
    while kept := _endangering(ready, now) or _last_ones(record, ready, now):
        for name, why in kept.items():
            entry = ready.pop(name)
            checked.ended.append((entry, outcome_of(entry, Status.CHANGED, why)))
    checked.ready.extend(ready.values())
    return checked


def _change(record: ImageRecord, entry: Entry, tag: Tag) -> str | None:
    if entry.missing:
        return "was not there when the plan was made, and is now"
    if tag.digest != entry.digest:
        return "its digest is not the planned one: it was pushed again"
    if _is_later(tag.updated, entry.updated):
        return "was updated after the plan was made"
    if record.pulls and _is_later(tag.last_pulled, entry.last_pulled):
        return "was pulled after the plan was made, and a rule asks for that"
    return None


def _is_later(now: int | None, planned: int | None) -> bool:
    return now is not None and (planned is None or now > planned)


def _last_ones(record: ImageRecord, ready: Mapping[str, Entry], now: Mapping[str, Tag]) -> dict[str, str]:
    """The newest of what rules select, as many as have to stay because others went meanwhile."""
    counted = [name for name in now if attachment_subject(name) is None]
    staying = sum(1 for name in counted if name not in ready)
    missing = min(record.keep_at_least, len(counted)) - staying
    by_rule = [name for name in counted if name in ready and ready[name].kind != ReasonKind.EXPLICIT_TARGET]
    if missing <= 0:
        return {}
    newest = sorted(by_rule, key=lambda name: (-(ready[name].updated or 0), name))[:missing]
    why = f"tags that were to stay are gone, and {record.keep_at_least} stay at least (keep_at_least)"
    return dict.fromkeys(newest, why)


def _endangering(ready: Mapping[str, Entry], now: Mapping[str, Tag]) -> dict[str, str]:
    """The entries whose DELETE might take a tag along that stays, or its signature, and why."""
    staying: dict[str | None, str] = {}
    for name, tag in now.items():
        if name not in ready:
            staying.setdefault(tag.digest, name)
    if not staying:
        return {}
    found = {}
    for name, entry in ready.items():
        subject = None if entry.kind is ReasonKind.EXPLICIT_TARGET else attachment_subject(name)
        if subject is not None and (owner := staying.get(subject) or staying.get(None)):
            found[name] = f"is or may be attached to '{owner}', which stays"
        if entry.delete_shared:
            continue
        sibling = staying.get(entry.digest) or staying.get(None)
        if entry.digest is None:
            sibling = next(iter(staying.values()))
        if sibling is not None:
            found[name] = f"may now be the same image as '{sibling}', which stays"
    return found
