"""The work that all clients do: the same DELETEs, as paths, as a plan, and as the pages of a tag list."""

import json
from collections.abc import Iterator
from pathlib import Path

PREFIX = "/ncr/api/v2"
REGISTRY = "bench"
TAGS_PER_IMAGE = 1000
PAGE_SIZE = 100
UPDATED_MS = 1_700_000_000_000
ACCESS_KEY = "AKIDEXAMPLE000000001"
SECRET_KEY = "SKEXAMPLE0000000000000000000000000000001"


def image_name(number: int) -> str:
    """The name of an image; its slash makes every path hold a ``%2F``."""
    return f"team/app-{number:04d}"


def tag_name(number: int) -> str:
    """The name of a tag."""
    return f"build-{number:05d}"


def digest(number: int) -> str:
    """The digest of a tag, which no other tag of the image has."""
    return f"sha256:{number:064x}"


def targets(count: int) -> Iterator[str]:
    """The paths of ``count`` DELETEs, encoded."""
    for number in range(count):
        image, tag = divmod(number, TAGS_PER_IMAGE)
        yield f"{PREFIX}/repositories/{REGISTRY}/team%2Fapp-{image:04d}/tags/{tag_name(tag)}"


def page(number: int, tags: int = TAGS_PER_IMAGE) -> bytes:
    """A page (from 1) of the list of ``tags`` tags that every image has."""
    first = (number - 1) * PAGE_SIZE
    items = [
        {
            "name": tag_name(tag),
            "digest": digest(tag),
            "full_size": 20_000_000 + tag,
            "last_updated": UPDATED_MS,
            "images": [],
        }
        for tag in range(first, min(first + PAGE_SIZE, tags))
    ]
    following = number + 1 if number * PAGE_SIZE < tags else None
    return json.dumps({"count": tags, "next": following, "results": items}).encode()


def name_lists(images: int) -> dict[bytes, bytes]:
    """The lists of registries and of images, each on one page, by their paths."""
    found = {}
    for path, named in (("", [REGISTRY]), (f"/{REGISTRY}", [image_name(n) for n in range(images)])):
        body = {"count": len(named), "next": None, "results": [{"name": name} for name in named]}
        found[f"{PREFIX}/repositories{path}".encode()] = json.dumps(body).encode()
    return found


def write_pages(folder: Path) -> None:
    """Write the tag list as files ``page-1.json`` and so on."""
    for number in range(1, TAGS_PER_IMAGE // PAGE_SIZE + 1):
        (folder / f"page-{number}.json").write_bytes(page(number))
