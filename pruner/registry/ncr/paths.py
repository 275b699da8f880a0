"""Request paths below an endpoint, out of checked names. No path of an image or registry DELETE exists."""

from functools import lru_cache
from urllib.parse import quote

from pruner import names
from pruner.model import Target


def registries_path() -> str:
    """The list of registries."""
    return "/repositories"


def images_path(registry: str) -> str:
    """The list of a registry's images."""
    names.check_registry(registry)
    return f"/repositories/{registry}"


@lru_cache(maxsize=1024)
def tags_path(registry: str, image: str) -> str:
    """The list of an image's tags; the image name is one segment, encoded once (``hello%2Fworld``)."""
    names.check_registry(registry)
    names.check_image(image)
    return f"/repositories/{registry}/{quote(image, safe='')}/tags"


def tag_path(target: Target) -> str:
    """One tag. A Target is valid by construction, so the tag is never empty and needs no encoding."""
    return f"{tags_path(target.registry, target.image)}/{target.tag}"
