"""Deciding 1,000,000 tags with the three example policies, without I/O; against a loop of plain regexes."""

import re
import time

from benchmarks.harness import ROOT, Figure, Settings, compare, cores, pin, quartiles
from pruner.emulator.generated import GeneratedTags
from pruner.model import Action, Tag, Target
from pruner.policy.image_policies import RegistryPolicies
from pruner.policy.loader import load_policies
from pruner.policy.retention import decide

IMAGES = 1000
TAGS = 1000
BLOCKS = 10
BUDGET_SECONDS = 10
NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000
REGISTRY = "acme"
EXAMPLES = ("ci-builds.yaml", "releases.yaml", "one-off.yaml")


def run(settings: Settings) -> list[Figure]:
    """Decide image by image; each is given to both, one after the other."""
    pin(cores()[0])
    policies = load_policies([str(ROOT / "policies" / name) for name in EXAMPLES])
    index = RegistryPolicies(policies.in_registry(REGISTRY), None)
    ours, plain, deleted = [], [], 0
    for block in range(BLOCKS):
        own, other, count = _block(index, range(block * IMAGES // BLOCKS, (block + 1) * IMAGES // BLOCKS))
        ours.append(own)
        plain.append(other)
        deleted += count
    low, middle, high = (each * BLOCKS for each in quartiles(ours))
    note = f"{deleted:,} of {IMAGES * TAGS:,} tags would go"
    return [
        Figure(
            f"{IMAGES * TAGS:,} tags, CPU seconds of one core",
            sum(ours),
            low,
            high,
            BLOCKS,
            f"{middle:.1f} s",
            f"{BUDGET_SECONDS} s",
            at_most=BUDGET_SECONDS,
            unit="s",
            note=note,
        ),
        compare("CPU, deciding / loop of plain regexes", ours, plain, "{:.3f} s", note="100,000 tags each"),
    ]


def _block(index: RegistryPolicies, images: range) -> tuple[float, float, int]:
    """CPU seconds of both ways for some images, and how many tags would go."""
    own = other = 0.0
    deleted = 0
    for number in images:
        image = _image(number)
        tags = _tags(image, number)
        started = time.process_time()
        decisions = decide(tags, index.of(image), NOW_MS)
        between = time.process_time()
        _plainly(tags)
        other += time.process_time() - between
        own += between - started
        deleted += sum(decision.action is Action.DELETE for decision in decisions)
    return own, other, deleted


def _image(number: int) -> str:
    """Half of the images are builds, half are releases, and a few are named by explicit targets."""
    if number < 2:
        return ("legacy/api", "hello/world")[number]
    return f"{'ci' if number % 2 else 'product'}/app-{number}"


def _tags(image: str, number: int) -> list[Tag]:
    """Pull requests, commits, versions, releases, dates and signatures, over 400 days."""
    return [
        Tag(Target(REGISTRY, image, tag.name), tag.digest, tag.size, None, tag.last_updated)
        for tag in GeneratedTags(TAGS, f"0/1/{number}", NOW_MS).page(0, TAGS)
    ]


_DELETE = re.compile(r"pr-.*|sha-[0-9a-f]{7}|v[0-9].*")
_KEEP = re.compile(r"latest|main|stable|release-.*")


def _plainly(tags: list[Tag]) -> list[str]:
    """What a short script would do: two regexes and an age; no ranks, shared digests or reasons."""
    oldest = NOW_MS - 14 * DAY_MS
    return [
        tag.target.tag
        for tag in tags
        if _DELETE.fullmatch(tag.target.tag)
        and not _KEEP.fullmatch(tag.target.tag)
        and tag.updated is not None
        and tag.updated < oldest
    ]
