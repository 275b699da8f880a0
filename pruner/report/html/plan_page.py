"""The page of a plan: what would go and why, for a person who has to agree to it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Final, NamedTuple

from pruner.model import ReasonKind
from pruner.plan.file import Plan, edits_text
from pruner.plan.records import Entry, ImageRecord, KeptTarget
from pruner.report.html.page import share_text, write_page
from pruner.report.html.pictures import AgeHistogram, Segment, bar
from pruner.report.html.rows import MAX_ROWS, Column, Row, row_pieces

MAX_IMAGES: Final = 500
MAX_KEPT: Final = 500
MAX_REASONS: Final = 500

COLUMNS: Final = (
    Column("image", "name", 13, choice="all images"),
    Column("tag", "name", 11),
    Column("age", "age", 6),
    Column("size", "size", 6),
    Column("last pull", "moment", 9),
    Column("policy", "text", 8, choice="all policies"),
    Column("rule", "place", 11),
    Column("reason", "text", 16),
    Column("digest", "name", 13),
)


@dataclass(slots=True)
class ImageShare:
    """How much of one image goes. ``absent`` counts targets that are not there."""

    name: str
    tags: int
    missing: bool
    going: int = 0
    absent: int = 0

    @property
    def staying(self) -> int:
        """How many tags are left."""
        return self.tags - self.going

    @property
    def share(self) -> str:
        """How much goes, in per cent."""
        return share_text(self.going, self.tags)

    @property
    def bar(self) -> list[Segment]:
        """The picture of it."""
        return bar((("going", self.going), ("staying", self.staying)))


class _Why(NamedTuple):
    policy: str
    source: str
    kind: ReasonKind


@dataclass(slots=True)
class ReasonCount:
    """Deletions for one reason; ``example`` is what the first of them says."""

    why: _Why
    example: str
    varied: bool = False
    count: int = 0
    bytes: int | None = None

    def take(self, entry: Entry) -> None:
        """Count one more."""
        self.count += 1
        self.bytes = _sum(self.bytes, entry.size)
        self.varied = self.varied or entry.reason != self.example


@dataclass(slots=True)
class PlanCount:
    """What a plan says, counted in one pass. Holds images and reasons, never the deletions."""

    listed_at: int
    images: list[ImageShare] = field(default_factory=list)
    reasons: dict[_Why, ReasonCount] = field(default_factory=dict)
    ages: AgeHistogram = field(default_factory=AgeHistogram)
    kept: list[KeptTarget] = field(default_factory=list)
    kept_count: int = 0
    bytes: int | None = None
    sizes_unknown: int = 0

    @property
    def going(self) -> int:
        """Tags that would be deleted."""
        return sum(image.going for image in self.images)

    @property
    def absent(self) -> int:
        """Targets that are not there any more."""
        return sum(image.absent for image in self.images)

    @property
    def size(self) -> int | None:
        """What is known of the bytes that go; None if nothing is, 0 if nothing goes."""
        return self.bytes if self.sizes_unknown else self.bytes or 0

    @classmethod
    def of(cls, plan: Plan) -> "PlanCount":
        """Count ``plan``."""
        count = cls(plan.header.listed_at)
        for record in plan.records():
            if isinstance(record, ImageRecord):
                name = f"{record.registry}/{record.image}"
                count.images.append(ImageShare(name, record.tags, record.missing))
            elif isinstance(record, Entry):
                count._take(record)
            elif isinstance(record, KeptTarget):
                count._take_kept(record)
        return count

    def _take(self, entry: Entry) -> None:
        self._take_reason(entry)
        if entry.missing:
            self.images[-1].absent += 1
            return
        self.images[-1].going += 1
        self.bytes = _sum(self.bytes, entry.size)
        self.sizes_unknown += entry.size is None
        self.ages.take(_age(entry, self.listed_at))

    def _take_reason(self, entry: Entry) -> None:
        source = entry.source
        if entry.kind is ReasonKind.EXPLICIT_TARGET:
            # Each of a million named targets has a line of its own; the file is enough here.
            source = source.rpartition(":")[0] or source
        why = _Why(entry.policy, source, entry.kind)
        self.reasons.setdefault(why, ReasonCount(why, entry.reason)).take(entry)

    def _take_kept(self, record: KeptTarget) -> None:
        self.kept_count += 1
        if len(self.kept) < MAX_KEPT:
            self.kept.append(record)


def _sum(bytes_known: int | None, size: int | None) -> int | None:
    """The sum of what is known; None as long as nothing is."""
    return bytes_known if size is None else (bytes_known or 0) + size


def _age(entry: Entry, listed_at: int) -> int | None:
    return None if entry.updated is None else max(0, listed_at - entry.updated)


def write_plan_page(plan: Plan, file: IO[bytes]) -> None:
    """Write the page of ``plan``. The same plan gives the same bytes."""
    count = PlanCount.of(plan)
    reasons = sorted(count.reasons.values(), key=lambda reason: (-reason.count, reason.why))
    write_page(
        file,
        "plan.html.j2",
        plan=plan,
        count=count,
        images=sorted(count.images, key=lambda image: (-image.going, image.name))[:MAX_IMAGES],
        staying=plan.footer.tags_listed - count.going,
        untouched=plan.footer.images_listed - len(count.images),
        reasons=reasons[:MAX_REASONS],
        reasons_cut=len(reasons) - MAX_REASONS,
        edits=edits_text(plan.edits) if plan.edits.altered else "",
        columns=COLUMNS,
        rows=row_pieces(plan_rows(plan), MAX_ROWS),
        row_count=plan.entries_left,
        rows_written=min(plan.entries_left, MAX_ROWS),
        where_all="the plan file, and in pruner plan --format csv",
    )


def plan_rows(plan: Plan) -> Iterator[Row]:
    """The deletions as rows of the table, in the order of the plan."""
    listed_at = plan.header.listed_at
    for entry in plan.records():
        if isinstance(entry, Entry):
            yield (
                f"{entry.registry}/{entry.image}",
                entry.tag,
                _age(entry, listed_at),
                entry.size,
                entry.last_pulled,
                entry.policy,
                entry.source,
                entry.reason,
                entry.digest,
            )
