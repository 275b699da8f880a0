"""What hangs together in an image: from the facts of its manifests to the links of its tags."""

from collections.abc import Callable
from typing import Final

import msgspec

from pruner import names
from pruner.model import Links, Tag
from pruner.registry.oci.facts import Facts
from pruner.registry.oci.manifest_client import ManifestClient

_NO_LINKS: Final = Links()


def links_of(tag: str, facts: Facts) -> Links:
    """The links of a tag whose manifest says ``facts``."""
    subject = facts.subject or names.referrers_subject(tag)
    return Links(facts.children, subject) if facts.children or subject else _NO_LINKS


async def mark_orphans(
    manifests: ManifestClient, image: str, tags: dict[str, Tag], warn: Callable[[str], None]
) -> None:
    """Note in ``tags`` (by name) which signatures, say, belong to what is not there any more."""
    if tags and all(tag.subject is not None for tag in tags.values()):
        warn(
            f"{image} holds nothing but what belongs to images, which may be kept elsewhere (as with "
            f"COSIGN_REPOSITORY): none of it is taken for orphaned"
        )
        return
    there = {digest for tag in tags.values() for digest in tag.identities}
    there |= {child for tag in tags.values() if tag.links is not None for child in tag.links.children}
    for name, tag in list(tags.items()):
        if tag.subject is None or tag.links is None or tag.subject in there:
            continue
        if not await manifests.has(image, tag.subject):
            links = msgspec.structs.replace(tag.links, orphaned=True)
            tags[name] = msgspec.structs.replace(tag, links=links)
