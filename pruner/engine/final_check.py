"""The final check: what a plan says of an image against what the image holds just before deleting. Pure.

A tag is deleted only if it still is what was planned, nothing uses it, and the rule of protection, asked
again with the tags that are there now, does not keep it. Everything else is left alone.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pruner.model import Outcome, ReasonKind, Status, Tag
from pruner.plan.records import Entry, ImageRecord
from pruner.policy.in_use import ImageUse
from pruner.policy.protecting import Terms, protect, short

_WORKLOAD = "a workload, when the plan was made"
CONFIRMED_BY_READING = "its DELETE was sent before the run was cut off, and it is not there any more"


class Checked(NamedTuple):
    """What is ready to be deleted, and what has ended without a DELETE."""

    ready: list[Entry]
    ended: list[tuple[Entry, Outcome]]


@dataclass(frozen=True, slots=True)
class Before:
    """What earlier sessions of the run may have deleted.

    ``claimed`` are the entries whose DELETE was begun and not refused, ``digests`` those of them that are
    deleted with all their tags.
    """

    claimed: Container[int] = ()
    digests: Container[str | None] = ()


@dataclass(frozen=True, slots=True)
class _Planned:
    """What selected a tag when the plan was made."""

    explicit: bool
    delete_shared: bool


def outcome_of(entry: Entry, status: Status, error: str | None = None, cause: str | None = None) -> Outcome:
    """The outcome of an entry for which nothing was sent."""
    return Outcome(entry.target, status, error=error, cause=cause, policy=entry.policy, size=entry.size)


def compare(
    record: ImageRecord,
    entries: Sequence[Entry],
    tags: Iterable[Tag] | None,
    *,
    before: Before = Before(),
    in_use: ImageUse | None = None,
    times_were_read: bool = True,
) -> Checked:
    """Compare the ``entries`` of one image that are still to do with its ``tags`` now (None: no image).

    A tag is left alone (``changed``) when it is not what was planned any more, when it is ``in_use``, when
    it was pulled and a rule asks for pulls, or when the rule of protection keeps it. ``times_were_read``
    says that the tags have their times; without it a digest stands for the time of its content.
    """
    now = list(tags or ())
    index_of = {tag.name: index for index, tag in enumerate(now)}
    used = _planned_use(record).protected(now) if record.used_tags or record.used_digests else {}
    used |= {} if in_use is None else in_use.protected(now)
    checked = Checked([], [])
    going: dict[int, Entry] = {}
    for entry in entries:
        index = index_of.get(entry.tag)
        if index is None:
            checked.ended.append((entry, _missing(entry, before)))
            continue
        change = used.get(entry.tag) or _change(record, entry, now[index], times_were_read)
        if change is None:
            going[index] = entry
        else:
            checked.ended.append((entry, outcome_of(entry, Status.CHANGED, change)))
    kept = _protected(record, now, going)
    for index, entry in going.items():
        if (reason := kept.get(index)) is None:
            checked.ready.append(entry)
        else:
            checked.ended.append((entry, outcome_of(entry, Status.CHANGED, reason)))
    return checked


def _missing(entry: Entry, before: Before) -> Outcome:
    ours = entry.seq in before.claimed or (entry.digest is not None and entry.digest in before.digests)
    if ours:
        return outcome_of(entry, Status.DELETED, CONFIRMED_BY_READING)
    return outcome_of(entry, Status.GONE)


def _protected(record: ImageRecord, now: Sequence[Tag], going: dict[int, Entry]) -> dict[int, str]:
    """Why entries stay by the rule of protection, which ranks by the times of the plan."""
    kinds = {
        index: _Planned(entry.kind is ReasonKind.EXPLICIT_TARGET, entry.delete_shared)
        for index, entry in going.items()
    }
    times: list[int | None] = [None] * len(now)
    for index, entry in going.items():
        times[index] = entry.updated
    terms = Terms(record.keep_at_least, record.takes_siblings)
    return {index: reason.text for index, reason in protect(now, kinds, times, terms).items()}


def _planned_use(record: ImageRecord) -> ImageUse:
    """What was in use when the plan was made."""
    use = ImageUse()
    for name in record.used_tags:
        use.add(name, None, _WORKLOAD)
    for digest in record.used_digests:
        use.add(None, digest, _WORKLOAD)
    return use


def change_of(entry: Entry, tag: Tag, *, times_were_read: bool) -> str | None:
    """Why a tag is not what was planned any more; None if it is."""
    if entry.missing:
        return "was not there when the plan was made, and is now"
    if tag.digest != entry.digest or set(tag.platforms or ()) != set(entry.platforms or ()):
        return "its digest is not the planned one: it was pushed again"
    if entry.manifest is not None and tag.manifest != entry.manifest:
        return "its manifest is not the planned one: it was pushed again"
    if not times_were_read:
        return None
    if tag.updated is None and entry.updated is not None:
        return "when it was last updated was known when the plan was made, and is not known now"
    if _is_later(tag.updated, entry.updated):
        return "was updated after the plan was made"
    return None


def _change(record: ImageRecord, entry: Entry, tag: Tag, times_were_read: bool) -> str | None:
    change = change_of(entry, tag, times_were_read=times_were_read)
    if change is not None:
        return change
    if entry.orphan and not tag.orphaned:
        return f"{short(tag.subject or '')}, which it belongs to, is there now"
    if not record.pulls or not times_were_read:
        return None
    if tag.last_pulled is None and entry.last_pulled is not None:
        return "when it was last pulled was known when the plan was made, and is not known now"
    if _is_later(tag.last_pulled, entry.last_pulled):
        return "was pulled after the plan was made, and a rule asks for that"
    return None


def _is_later(now: int | None, planned: int | None) -> bool:
    return now is not None and (planned is None or now > planned)
