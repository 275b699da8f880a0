"""Previews of a plan: what would go and why, what stays. Streams; the order is the plan's."""

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from pruner.names import one_line
from pruner.plan.file import Plan
from pruner.plan.records import Entry, ImageRecord
from pruner.report.columns import Column, Row, column_lines, print_lines
from pruner.report.markdown import STORAGE_NOTE, cell, code_cell, table
from pruner.report.text import age_text, counted, date_text, inert_cell, size_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

TAGS_SHOWN: Final = 12
KEPT_SHOWN: Final = 20
_PIECE_CHARACTERS: Final = 64 * 1024
_COLUMNS: Final = (Column(share=4), Column(right=True), Column(right=True), Column(share=6, style="dim"))
CSV_COLUMNS: Final = (
    "registry",
    "image",
    "tag",
    "policy",
    "rule",
    "reason",
    "digest",
    "size",
    "updated",
    "last_pulled",
    "missing",
)


def totals_text(plan: Plan) -> str:
    """One sentence: how much goes and how much stays."""
    footer = plan.footer
    if plan.entries_left < footer.entries:
        return _part_text(plan)
    going = count_going(plan)
    missing = plan.entries_left - going
    parts = [
        f"{counted(going, 'tag')} of {counted(footer.images, 'image')} would go",
        f"{counted(footer.tags_listed - going, 'tag')} stay",
        f"{counted(footer.images_listed, 'image')} listed",
    ]
    if missing:
        parts.append(f"{counted(missing, 'target')} already gone")
    return f"{', '.join(parts)}. The tags that go refer to {size_text(footer.bytes)}."


def count_going(plan: Plan) -> int:
    """How many tags a plan deletes, without those that were not there when it was made."""
    return sum(1 for record in plan.records() if isinstance(record, Entry) and not record.missing)


def _part_text(plan: Plan) -> str:
    """The same of a shard, or of a plan that deletions were removed from."""
    images = going = size = 0
    for _, entries in plan.streamed_images():
        images += 1
        for entry in entries:
            going += not entry.missing
            size += entry.size or 0
    what = f"{counted(going, 'tag')} of {counted(images, 'image')} would go"
    return f"{what}, out of a plan of {plan.footer.entries:,}. They refer to {size_text(size)}."


def freed_text(plan: Plan) -> str:
    """How many bytes nothing refers to any more afterwards, by policy, and where that was not counted."""
    freed = plan.freed
    if freed is None:
        return ""
    said = []
    if freed.bytes is not None:
        parts = [f"{one_line(policy)} {size_text(size)}" for policy, size in sorted(freed.policies.items())]
        by_policy = f" ({', '.join(parts)})" if len(parts) > 1 else ""
        said.append(f"Of that, nothing else listed refers to {size_text(freed.bytes)}{by_policy}.")
    said += [
        f"Not counted: {one_line(registry)}, where {counted(count, 'manifest')} could not be read."
        for registry, count in freed.unread.items()
    ]
    return " ".join(said)


def show_table(plan: Plan, console: "Console", *, all_tags: bool = False) -> None:
    """The preview for a terminal: each image with the tags that go; long lists are folded."""
    print_lines(console, _table_lines(plan, console, all_tags))
    console.print(f"\n{totals_text(plan)}")
    if freed := freed_text(plan):
        console.print(freed, markup=False)
    console.print(f"[dim]{STORAGE_NOTE}[/]")


def _table_lines(plan: Plan, console: "Console", all_tags: bool) -> "Iterator[Text]":
    from rich.text import Text

    now = plan.header.decided_at
    for record, entries in plan.streamed_images():
        shown = list(entries if all_tags else islice(entries, TAGS_SHOWN))
        more = Tally.of(entries)
        text = image_text(record, Tally.of(shown).plus(more)) + _freed_by(plan, record)
        yield Text.assemble("\n", (f"{record.registry}/{record.image}", "bold"), f"  {text}")
        rows = [_entry_row(entry, now) for entry in shown]
        yield from column_lines(console, rows, _COLUMNS, indent="  ")
        if more.entries:
            yield Text(f"  … and {counted(more.entries, 'more tag')}: --all-tags, or --format csv", "dim")
    for number, kept in enumerate(plan.kept_targets()):
        if number == 0:
            yield Text("\nexplicit targets that stay all the same", "bold")
        if number >= KEPT_SHOWN and not all_tags:
            yield Text(f"  … and {plan.footer.kept_targets - number:,} more: --all-tags", "dim")
            break
        yield Text(f"  {one_line(f'{kept.registry}/{kept.image}:{kept.tag}: {kept.reason}')}")


class Tally(NamedTuple):
    """How many deletions there are, and how many of them are of tags that are there."""

    entries: int = 0
    going: int = 0

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> "Tally":
        """Count ``entries``."""
        total = going = 0
        for entry in entries:
            total += 1
            going += not entry.missing
        return cls(total, going)

    def plus(self, other: "Tally") -> "Tally":
        """Both together."""
        return Tally(self.entries + other.entries, self.going + other.going)


def image_text(record: ImageRecord, tally: Tally) -> str:
    """How many tags of an image go and stay."""
    if record.missing:
        return f"no such image: {counted(tally.entries, 'target')} already gone"
    return f"{tally.going} of {counted(record.tags, 'tag')} go, {record.tags - tally.going} stay"


def _freed_by(plan: Plan, record: ImageRecord) -> str:
    """What an image's deletions free, if anything was counted in its registry."""
    if plan.freed is None or record.registry in plan.freed.unread:
        return ""
    return f", frees {size_text(plan.freed_images.get((record.registry, record.image), 0))}"


def _entry_row(entry: Entry, now: int) -> Row:
    age = "already gone" if entry.missing else age_text(entry.updated, now)
    size = "" if entry.missing else size_text(entry.size)
    return entry.tag, age, size, f"{entry.reason}  ({entry.source})"


def json_lines(plan: Plan) -> Iterator[bytes]:
    """The preview as one JSON document, in pieces."""
    encode = msgspec.json.encode
    totals = msgspec.to_builtins(plan.footer)
    summary = {name: value for name, value in totals.items() if name not in ("type", "sha256", "check")}
    if plan.freed is not None:
        summary["freed"] = {"bytes": plan.freed.bytes, "policies": plan.freed.policies}
        summary["freed"]["unread"] = plan.freed.unread
    yield b'{"format":"ncr-pruner.preview","version":1,"summary":' + encode(summary) + b',"images":[\n'
    separator = b""
    for record, entries in plan.streamed_images():
        image = {"registry": record.registry, "image": record.image, "tags": record.tags}
        if plan.freed is not None and record.registry not in plan.freed.unread:
            image["freed"] = plan.freed_images.get((record.registry, record.image), 0)
        yield separator + encode(image)[:-1] + b',"entries":['
        deletions, comma = 0, b""
        for entry in entries:
            yield comma + encode(_plain_entry(entry))
            deletions += not entry.missing
            comma = b","
        yield b'],"deletions":' + encode(deletions) + b"}"
        separator = b",\n"
    kept = [
        {"registry": item.registry, "image": item.image, "tag": item.tag, "reason": item.reason}
        for item in plan.kept_targets()
    ]
    yield b'\n],"kept_targets":' + encode(kept) + b"}\n"


def _plain_entry(entry: Entry) -> dict[str, Any]:
    facts = msgspec.to_builtins(entry)
    return {
        name: value for name, value in facts.items() if name not in ("type", "registry", "image", "check")
    }


def csv_lines(plan: Plan) -> Iterator[str]:
    """The preview as CSV, in pieces."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(CSV_COLUMNS)
    for record in plan.records():
        if isinstance(record, Entry):
            writer.writerow(_csv_row(record))
        if buffer.tell() > _PIECE_CHARACTERS:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _csv_row(entry: Entry) -> list[Any]:
    return [
        entry.registry,
        entry.image,
        entry.tag,
        *map(inert_cell, (entry.policy, entry.source, entry.reason, entry.digest or "")),
        "" if entry.size is None else entry.size,
        date_text(entry.updated),
        date_text(entry.last_pulled),
        "yes" if entry.missing else "",
    ]


def markdown_lines(plan: Plan) -> Iterator[str]:
    """The preview as Markdown of bounded length, fit for a pull-request comment."""
    said = " ".join(filter(None, (totals_text(plan), cell(freed_text(plan)), STORAGE_NOTE)))
    yield f"## pruner plan\n\n{said}\n\n"
    rows = []
    for record, entries in plan.streamed_images():
        sources, going = set(), 0
        for entry in entries:
            sources.add(entry.source)
            going += not entry.missing
        rules = sorted(sources)
        shown = ", ".join(map(cell, rules[:3])) + (" …" if len(rules) > 3 else "")
        name = code_cell(f"{record.registry}/{record.image}")
        freed = _freed_by(plan, record).removeprefix(", frees ")
        rows.append((name, str(going), str(record.tags - going), *([freed] if plan.freed else []), shown))
    columns = ("image", "go", "stay", *(["frees"] if plan.freed else []), "rules")
    yield "\n".join(table(columns, rows)) + "\n"
    kept = [
        (code_cell(f"{record.registry}/{record.image}:{record.tag}"), cell(record.reason))
        for record in plan.kept_targets()
    ]
    if kept:
        yield "\n" + "\n".join(table(("explicit target that stays", "why"), kept)) + "\n"
