"""Reading of seeds: what an emulator holds when it starts."""

import gzip
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from pruner.emulator.demo import demo_store
from pruner.emulator.generated import DAY_MS, generated_store
from pruner.emulator.store import Image, ListedTags, Platform, Registry, Store, Tag


def open_seed(seed: str | Mapping[str, Any], now_ms: int) -> Store:
    """Return the store of a seed; ages are relative to ``now_ms``, milliseconds since the epoch.

    A seed is ``demo``, ``generate:REGISTRIESxIMAGESxTAGS[,seed=N]``, a JSON document (decoded, or the path
    of one) or the path of a JSON Lines file. ValueError or OSError say why it cannot be used.
    """
    if isinstance(seed, Mapping):
        return _document_store(seed, now_ms)
    if seed == "demo":
        return demo_store(now_ms)
    if seed.startswith("generate:"):
        return generated_store(seed, now_ms)
    path = Path(seed)
    if {".jsonl", ".ndjson"} & set(path.suffixes):
        return _lines_store(path, now_ms)
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    return _document_store(document, now_ms)


def _document_store(document: Mapping[str, Any], now_ms: int) -> Store:
    """Read ``{"registries": {NAME: {"images": {NAME: [TAG, ...]}}}}``."""
    try:
        return Store(
            Registry(
                registry,
                [
                    Image(image, ListedTags(_tag(entry, f"{registry}/{image}", now_ms) for entry in entries))
                    for image, entries in content.get("images", {}).items()
                ],
                now_ms - 365 * DAY_MS,
            )
            for registry, content in document["registries"].items()
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the seed does not have the expected form: {error!r}") from error


def _lines_store(path: Path, now_ms: int) -> Store:
    """Read one tag per line, each with the names of its ``registry`` and ``image``.

    Lines of another ``type`` than ``tag``, as saved inventories have, hold no tag; an image line makes an
    image that may have none.
    """
    found: dict[str, dict[str, list[Tag]]] = {}
    for number, entry in _lines(path):
        if entry.get("type") in {"header", "footer"}:
            continue
        try:
            registry, image = str(entry["registry"]), str(entry["image"])
            if entry.get("type") == "image":
                found.setdefault(registry, {}).setdefault(image, [])
                continue
            tag = _tag(entry, f"{registry}/{image}", now_ms)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {number}: {error!r}") from error
        found.setdefault(registry, {}).setdefault(image, []).append(tag)
    return Store(
        Registry(
            name, [Image(image, ListedTags(tags)) for image, tags in images.items()], now_ms - 365 * DAY_MS
        )
        for name, images in found.items()
    )


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: not JSON: {error}") from error


def _tag(entry: Mapping[str, Any], image: str, now_ms: int) -> Tag:
    """Read one tag; without a digest it gets one of its own, without a time its age is unknown."""
    name = str(entry["name"])
    size = int(entry.get("size", 1_000_000))
    digest = entry.get("digest") or f"sha256:{sha256(f'{image}:{name}'.encode()).hexdigest()}"
    updated = _milliseconds(entry.get("updated", 0))
    if "age_days" in entry:
        updated = now_ms - round(float(entry["age_days"]) * DAY_MS)
    pulled = entry.get("last_pulled")
    listed = entry.get("platforms") or ()
    # An inventory names the digests of a tag beside its own; the own one is of a platform as well.
    own = (digest,) if listed and isinstance(listed[0], str) else ()
    platforms = tuple(_platform(item, digest, size) for item in (*own, *listed))
    return Tag(name, digest, size, updated, None if pulled is None else _milliseconds(pulled), platforms)


def _platform(item: str | Mapping[str, Any], digest: str, size: int) -> Platform:
    """Read one platform; of a saved inventory only its digest is known."""
    known = {"digest": item} if isinstance(item, str) else item
    return Platform(
        known.get("architecture", "amd64"),
        known.get("os", "linux"),
        known.get("digest", digest),
        int(known.get("size", size)),
    )


def _milliseconds(value: int | float | str) -> int:
    """Read a moment: milliseconds since the epoch, or ISO 8601 (UTC if it does not say)."""
    if isinstance(value, int | float):
        return int(value)
    moment = datetime.fromisoformat(value)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
