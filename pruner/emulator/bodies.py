"""JSON bodies of the registry service, with all documented fields."""

from collections.abc import Callable, Sequence
from typing import Any, Final
from zlib import crc32

from pruner.emulator.faults import Fault
from pruner.emulator.store import OCI_MANIFEST, Image, Platform, Registry, Tag

_FUTURE_MS: Final = 30 * 86_400_000
_TIMES: Final = ("last_updated", "created", "updated", "latest_pulled")


def registry_fields(registry: Registry) -> dict[str, Any]:
    """Return one item of the list of registries."""
    private_id = f"{crc32(registry.name.encode()):08x}"
    return {
        "name": registry.name,
        "bucket": f"{registry.name}-bucket",
        "created": registry.created,
        "end_point": f"{registry.name}.kr.ncr.ntruss.com",
        "end_point_enabled": True,
        "private_end_point": f"{private_id}.kr.private-ncr.ntruss.com",
        "private_id": private_id,
        "public_reg_status": False,
        "scan_on_push_enabled": False,
        "status": "running",
        "storage_type": "objectStorage",
        "usage": "0",
    }


def image_fields(registry: Registry, image: Image) -> dict[str, Any]:
    """Return one item of the list of images."""
    newest = image.tags.page(0, 1)
    return {
        "name": image.name,
        "namespace": registry.name,
        "description": image.description,
        "last_updated": newest[0].last_updated if newest else registry.created,
        "pull_count": 0,
        "star_count": 0,
        "status": 1,
        "repository_type": "image",
        "user": "emulator",
        "can_edit": True,
        "is_automated": False,
        "is_private": True,
    }


def image_detail_fields(registry: Registry, image: Image) -> dict[str, Any]:
    """Return the detail of an image."""
    return {
        **image_fields(registry, image),
        "full_description": image.description,
        "private_id": f"{crc32(registry.name.encode()):08x}",
        "tag_mutability_enabled": True,
    }


def tag_fields(registry: str, image: str, tag: Tag) -> dict[str, Any]:
    """Return one item of a tag list, which is also the detail of a tag.

    As NCR's documents of API v3 say, ``digest`` is that of the platform that represents the tag, and never
    that of an index.
    """
    image_id = crc32(f"{registry}/{image}".encode())
    platforms = tag.platforms or (Platform("amd64", "linux", tag.digest, tag.size, OCI_MANIFEST),)
    return {
        "name": tag.name,
        "digest": _representative(platforms).digest,
        "full_size": tag.size,
        "id": crc32(tag.name.encode(), image_id),
        "image_id": image_id,
        "repository": crc32(registry.encode()),
        "creator": "emulator",
        "last_updater": "emulator",
        "last_updated": tag.last_updated,
        "v2": True,
        "images": [_platform_fields(tag, platform) for platform in platforms],
    }


def _representative(platforms: Sequence[Platform]) -> Platform:
    """Return the platform for linux/amd64, else the first."""
    amd64 = (item for item in platforms if (item.os, item.architecture) == ("linux", "amd64"))
    return next(amd64, platforms[0])


def _platform_fields(tag: Tag, platform: Platform) -> dict[str, Any]:
    return {
        "architecture": platform.architecture,
        "os": platform.os,
        "digest": platform.digest,
        "size": platform.size,
        "created": tag.last_updated,
        "updated": tag.last_updated,
        "latest_pulled": tag.latest_pulled,
        "mediaType": platform.media_type,
        "features": "",
        "os_features": "",
        "os_version": "",
        "variant": "",
    }


def misshape(item: dict[str, Any], faults: Sequence[Fault], now_ms: int) -> None:
    """Alter the fields of an item, and of its platforms, as the faults say."""
    for fault in faults:
        for part in (item, *item.get("images", ())):
            _SHAPES[fault.action](part, now_ms)


def _change_times(part: dict[str, Any], change: Callable[[int], int]) -> None:
    for name in _TIMES:
        if isinstance(part.get(name), int):
            part[name] = change(part[name])


def _drop_times(part: dict[str, Any], _: int) -> None:
    for name in _TIMES:
        part.pop(name, None)


def _numbers_to_strings(part: dict[str, Any], _: int) -> None:
    for name, value in part.items():
        if isinstance(value, int) and not isinstance(value, bool):
            part[name] = str(value)


_SHAPES: Final[dict[str, Callable[[dict[str, Any], int], None]]] = {
    "seconds_times": lambda part, _: _change_times(part, lambda value: value // 1000),
    "zero_times": lambda part, _: _change_times(part, lambda _: 0),
    "future_times": lambda part, now_ms: _change_times(part, lambda _: now_ms + _FUTURE_MS),
    "missing_times": _drop_times,
    "missing_digest": lambda part, _: part.pop("digest", None),
    "string_numbers": _numbers_to_strings,
}
