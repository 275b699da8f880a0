"""What the engine needs to work on one registry."""

from dataclasses import dataclass

from pruner.engine.gate import Gate
from pruner.registry.base import TagDeleter, TagReader


@dataclass(frozen=True, slots=True)
class RegistryAccess:
    """Reader, deleter and gate of a registry.

    ``drain_reader`` reads like ``reader``, but also while a run is stopping: what was sent must be accounted
    for.
    """

    reader: TagReader
    drain_reader: TagReader
    deleter: TagDeleter
    gate: Gate
