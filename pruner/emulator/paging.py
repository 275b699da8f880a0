"""Pages of listings: reading ``page`` and ``pagesize``, and the envelope around the results."""

from collections.abc import Sequence
from typing import Any

import msgspec

from pruner.emulator.faults import Fault
from pruner.emulator.target import Call


class PageRequest(msgspec.Struct, frozen=True):
    """Which part of a listing is wanted; pages count from 1."""

    page: int
    size: int

    @property
    def start(self) -> int:
        """Return the position of the first item."""
        return (self.page - 1) * self.size

    @property
    def stop(self) -> int:
        """Return the position after the last item."""
        return self.page * self.size


def read_page(call: Call, default_size: int, maximum_size: int) -> PageRequest:
    """Read the paging of a request; ValueError carries the message of the refusal."""
    page = _positive("page", call.page, 1)
    size = _positive("pagesize", call.pagesize, default_size)
    if size > maximum_size:
        raise ValueError(f"pagesize must not be greater than {maximum_size}.")
    return PageRequest(page, size)


def _positive(name: str, text: str | None, default: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9) or int(text) == 0:
        raise ValueError(f"{name} must be a number greater than 0.")
    return int(text)


def envelope(wanted: PageRequest, count: int, results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the envelope of a page; ``count`` is the number of items in the whole listing."""
    return {
        "count": count,
        "next": wanted.page + 1 if wanted.stop < count else None,
        "previous": wanted.page - 1 if wanted.page > 1 else None,
        "results": results,
    }


def spoil(body: dict[str, Any], wanted: PageRequest, faults: Sequence[Fault]) -> None:
    """Alter an envelope as the faults say."""
    for fault in faults:
        results = body.get("results", [])
        match fault.action:
            case "repeat_item":
                results.extend([dict(item) for item in results[:1]])
            case "lose_item":
                del results[:1]
            case "wrong_count":
                body["count"] += fault.amount
            case "no_results":
                body.pop("results", None)
            case "same_next":
                body["next"] = wanted.page
            case "endless_next":
                body["next"] = wanted.page + 1
            case "string_next":
                body["next"] = None if body["next"] is None else str(body["next"])
            case _:
                # shift_delete and shift_insert changed the tags before the page was read.
                continue
