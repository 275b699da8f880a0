"""What a registry has accepted (202) is not deleted yet: the image's list says what became of it.

An image is listed once when its last DELETE was accepted, and a few times more while tags are still there,
since some registries delete later. Source: RFC 9110, section 15.3.3.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from pruner.engine.feed import Accepted
from pruner.engine.relisting import list_again
from pruner.engine.state import RunState
from pruner.errors import PrunerError
from pruner.model import Outcome, Status
from pruner.plan.records import Entry, ImageRecord
from pruner.registry.base import TagReader, Wanted

WAITS: Final = (0.0, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each list; a registry that deletes later has so long for it."""
MOST_ACCEPTED: Final = 10_000
"""Deletions of one image that wait to be confirmed; with more of them the image is listed in between."""
STILL_THERE: Final = "the registry accepted its DELETE (HTTP 202), and the tag is still there"
NOT_SEEN: Final = "the registry accepted its DELETE (HTTP 202), and whether it was carried out cannot be seen"
_NAMES_ONLY: Final = Wanted(identity=False, times=(), referrers=(), orphans=False)


async def confirm(
    accepted: Sequence[Accepted],
    record: ImageRecord,
    reader: TagReader,
    state: RunState,
    ended: Callable[[Entry, Outcome], None],
) -> None:
    """Find out what became of deletions of the image of ``record``; give ``ended`` the outcome of each.

    A run that stops does not wait for a registry that deletes later: those end as ``unknown``.
    """
    left = {item.entry.tag: item for item in accepted}
    all_go = record.entries >= record.tags
    try:
        for wait in WAITS:
            if wait and await state.sleep(wait):
                break
            tags = await list_again(
                reader, record, lambda names: _NAMES_ONLY, state.sleep, may_be_empty=all_go
            )
            there = {tag.name for tag in tags or ()}
            for name in [name for name in left if name not in there]:
                _deleted(left.pop(name), ended)
            if not left:
                return
        for name, item in list(left.items()):
            now = await reader.tag(item.entry.target)
            if now is None or now.digest != item.entry.digest:
                # Pushed again by somebody else after it was deleted.
                _deleted(item, ended)
            else:
                status = Status.FAILED if state.stop_kind is None else Status.UNKNOWN
                ended(item.entry, _undone(item, status, STILL_THERE))
            del left[name]
    except PrunerError as error:
        for item in left.values():
            ended(item.entry, _undone(item, Status.UNKNOWN, f"{NOT_SEEN}: {error}"))


def _deleted(item: Accepted, ended: Callable[[Entry, Outcome], None]) -> None:
    ended(item.entry, item.outcome)


def _undone(item: Accepted, status: Status, error: str) -> Outcome:
    return msgspec.structs.replace(item.outcome, status=status, error=error, cause="accepted")
