"""Comparing a plan with what an image holds now: what may still be deleted, and what is left alone. Pure."""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple

from pruner.model import Outcome, ReasonKind, Status, Tag
from pruner.plan.records import Entry, ImageRecord
from pruner.policy.in_use import ImageUse
from pruner.policy.retention import short

_WORKLOAD = "a workload, when the plan was made"
CONFIRMED_BY_READING = "its DELETE was sent before the run was cut off, and it is not there any more"


class Checked(NamedTuple):
    """What is ready to be deleted, and what has ended without a DELETE."""

    ready: list[Entry]
    ended: list[tuple[Entry, Outcome]]


def outcome_of(entry: Entry, status: Status, error: str | None = None, cause: str | None = None) -> Outcome:
    """The outcome of an entry for which nothing was sent."""
    return Outcome(entry.target, status, error=error, cause=cause, policy=entry.policy, size=entry.size)


def compare(
    record: ImageRecord,
    entries: Sequence[Entry],
    tags: Iterable[Tag] | None,
    claimed: Container[int] = (),
    claimed_digests: Container[str | None] = (),
    in_use: ImageUse | None = None,
) -> Checked:
    """Compare the ``entries`` of one image that are still to do with its ``tags`` now (None: no image).

    ``claimed`` are the entries whose DELETE was begun by an earlier session, ``claimed_digests`` the digests
    of those that take their siblings along. A tag is left alone (``changed``) when its digest is not the
    planned one, when it was pushed again, when it is ``in_use``, when it was pulled and the policy asks for
    that, when a tag that stays may be the same image, or when too few would stay.
    """
    now = {tag.target.tag: tag for tag in tags or ()}
    used = _planned_use(record).protected(now.values()) if record.used_tags or record.used_digests else {}
    used |= {} if in_use is None else in_use.protected(now.values())
    checked = Checked([], [])
    ready: dict[str, Entry] = {}
    for entry in entries:
        tag = now.get(entry.tag)
        if tag is None:
            ours = entry.seq in claimed or (entry.digest is not None and entry.digest in claimed_digests)
            status = Status.DELETED if ours else Status.GONE
            note = CONFIRMED_BY_READING if ours else None
            checked.ended.append((entry, outcome_of(entry, status, note)))
        elif (change := used.get(entry.tag) or _change(record, entry, tag)) is not None:
            checked.ended.append((entry, outcome_of(entry, Status.CHANGED, change)))
        else:
            ready[entry.tag] = entry
    # Leaving one tag alone can be what endangers another, so this goes on until nothing changes.
    while kept := _endangering(record, ready, now) or _last_ones(record, ready, now):
        for name, why in kept.items():
            entry = ready.pop(name)
            checked.ended.append((entry, outcome_of(entry, Status.CHANGED, why)))
    checked.ready.extend(ready.values())
    return checked


def _planned_use(record: ImageRecord) -> ImageUse:
    """What was in use when the plan was made."""
    use = ImageUse()
    for name in record.used_tags:
        use.add(name, None, _WORKLOAD)
    for digest in record.used_digests:
        use.add(None, digest, _WORKLOAD)
    return use


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
    counted = [name for name, tag in now.items() if tag.subject is None]
    staying = sum(1 for name in counted if name not in ready)
    missing = min(record.keep_at_least, len(counted)) - staying
    by_rule = [name for name in counted if name in ready and ready[name].kind != ReasonKind.EXPLICIT_TARGET]
    if missing <= 0:
        return {}
    newest = sorted(by_rule, key=lambda name: (-(ready[name].updated or 0), name))[:missing]
    why = f"tags that were to stay are gone, and {record.keep_at_least} stay at least (keep_at_least)"
    return dict.fromkeys(newest, why)


class _Staying:
    """The tags that stay, by what they say of the others. The first of several is named."""

    def __init__(self, ready: Container[str], now: Mapping[str, Tag]) -> None:
        self.by_digest: dict[str | None, str] = {}
        self.by_child: dict[str, str] = {}
        self.by_platform: dict[str, str] = {}
        self.by_subject: dict[str, str] = {}
        for name, tag in now.items():
            if name in ready:
                continue
            self.by_digest.setdefault(tag.digest, name)
            for platform in tag.platforms or ():
                self.by_platform.setdefault(platform, name)
            if tag.links is not None:
                for child in tag.links.children:
                    self.by_child.setdefault(child, name)
                if tag.links.subject is not None:
                    self.by_subject.setdefault(tag.links.subject, name)


def _endangering(record: ImageRecord, ready: Mapping[str, Entry], now: Mapping[str, Tag]) -> dict[str, str]:
    """The entries whose DELETE might take a tag along that stays, or what belongs to it, and why."""
    staying = _Staying(ready, now)
    found = {}
    for name, entry in ready.items():
        if (why := _linked(entry, now[name], staying)) is not None:
            found[name] = why
        if not staying.by_digest or (entry.delete_shared and not record.takes_siblings):
            continue
        if (whole := staying.by_platform.get(entry.digest or "")) is not None:
            found[name] = f"{short(entry.digest or '')} is part of '{whole}', which stays"
        sibling = staying.by_digest.get(entry.digest) or staying.by_digest.get(None)
        if entry.digest is None:
            sibling = next(iter(staying.by_digest.values()))
        if sibling is not None:
            found[name] = f"may now be the same image as '{sibling}', which stays"
    return found


def _linked(entry: Entry, tag: Tag, staying: _Staying) -> str | None:
    """Why a tag stays because of what it consists of, belongs to, or what belongs to it."""
    by_rule = entry.kind is not ReasonKind.EXPLICIT_TARGET
    subject, digest = tag.subject, entry.digest or ""
    if entry.orphan and not tag.orphaned:
        return f"{short(subject or '')}, which it belongs to, is there now"
    if by_rule and subject is not None:
        owner = staying.by_digest.get(subject) or staying.by_digest.get(None)
        if owner is not None:
            return f"is or may be attached to '{owner}', which stays"
    if digest in staying.by_child:
        return f"{short(digest)} is part of '{staying.by_child[digest]}', which stays"
    if digest in staying.by_subject:
        return f"'{staying.by_subject[digest]}' belongs to {short(digest)} and stays"
    if tag.links is not None and tag.links.untagged_referrers:
        return f"{short(tag.links.untagged_referrers[0])}, which no tag names, belongs to it and would stay"
    return None
