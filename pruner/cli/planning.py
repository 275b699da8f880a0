"""Making a plan for a command, from the registry or from a saved inventory. Sends no DELETE."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pruner.cli.connections import Connections
from pruner.cli.options import ConnectionOptions
from pruner.cli.talk import Talk
from pruner.errors import InputError
from pruner.files import atomic_file
from pruner.plan.build import PlanBuilder, PlanRequest
from pruner.plan.file import Plan, open_plan
from pruner.plan.guards import Guards
from pruner.plan.inventory import Take, check_registries, list_images
from pruner.plan.inventory_file import InventoryFile, replay
from pruner.plan.records import RegistryFacts
from pruner.plan.settings import settings_of
from pruner.plan.true_bytes import TrueBytes
from pruner.policy.policy import PolicySet
from pruner.policy.retention import RegistryPolicies


def indexed(
    policies: PolicySet, keep_at_least: int | None, facts: Mapping[str, RegistryFacts] | None = None
) -> dict[str, RegistryPolicies]:
    """The policies of each registry, of which ``facts`` may say more than the policies do."""
    described = {**policies.registries, **settings_of(facts or {})}
    return {
        registry: RegistryPolicies(
            policies.in_registry(registry),
            keep_at_least,
            takes_siblings=registry in described and described[registry].takes_siblings,
        )
        for registry in policies.registry_names
    }


@dataclass(frozen=True, slots=True)
class Source:
    """Where tags come from: a saved inventory, or the registry. ``now`` in epoch milliseconds."""

    connection: ConnectionOptions
    inventory: InventoryFile | None = None
    now: int | None = None

    @property
    def moment(self) -> int:
        """The moment that ages are judged at: as asked, else when the inventory was saved, else now."""
        if self.now is not None:
            return self.now
        return int(time.time() * 1000) if self.inventory is None else self.inventory.header.listed_at


async def feed_images(
    source: Source, policies: PolicySet, index: Mapping[str, RegistryPolicies], take: Take, talk: Talk
) -> None:
    """Give ``take`` every image that ``policies`` concern."""
    if source.inventory is not None:
        replay(source.inventory, index, take)
        return
    async with Connections(source.connection, policies.registries, talk) as connections:
        await connections.open(policies.registry_names)
        await check_registries(connections.readers())
        await list_images(connections.readers(), index, take, connections.concurrency)


async def plan_live(
    connections: Connections,
    policies: PolicySet,
    guards: Guards,
    path: Path,
    talk: Talk,
    *,
    true_bytes: bool = False,
) -> Plan:
    """List what ``policies`` concern, decide, and write a plan to ``path``, if asked with what is freed."""
    await connections.open(policies.registry_names)
    readers = connections.readers()
    await check_registries(readers)
    facts = {
        name: msgspec.structs.replace(known, undo=any(item.undo for item in policies.in_registry(name)))
        for name, known in connections.facts().items()
    }
    index = indexed(policies, guards.keep_at_least, facts)
    now = int(time.time() * 1000)
    request = PlanRequest(policies, facts, guards, now, now)
    with atomic_file(path) as file, tempfile.TemporaryDirectory(prefix="pruner-") as folder:
        blobs = {registry: reader.blobs_of for registry, reader in readers.items()}
        counter = TrueBytes(Path(folder), blobs) if true_bytes else None
        builder = PlanBuilder(request, index, file, counter)
        await list_images(readers, index, builder.take, connections.concurrency, all_facts=true_bytes)
        footer = builder.finish()
    talk.detail(f"listed {footer.tags_listed:,} tags of {footer.images_listed:,} images")
    return open_plan(path)


def plan_offline(source: Source, policies: PolicySet, guards: Guards, path: Path) -> Plan:
    """Decide from a saved inventory and write a plan to ``path``; touches no network."""
    inventory = source.inventory
    assert inventory is not None
    named = set(policies.registry_names)
    facts = {name: known for name, known in inventory.header.registries.items() if name in named}
    index = indexed(policies, guards.keep_at_least, facts)
    request = PlanRequest(policies, facts, guards, inventory.header.listed_at, source.moment)
    with atomic_file(path) as file:
        builder = PlanBuilder(request, index, file)
        replay(inventory, index, builder.take)
        builder.finish()
    return open_plan(path)


async def make_plan(
    source: Source,
    policies: PolicySet,
    guards: Guards,
    path: Path,
    talk: Talk,
    *,
    true_bytes: bool = False,
) -> Plan:
    """A plan from wherever ``source`` says."""
    if source.inventory is not None:
        if true_bytes:
            raise InputError("--true-bytes reads manifests, which an inventory does not have; leave one out")
        return plan_offline(source, policies, guards, path)
    async with Connections(source.connection, policies.registries, talk) as connections:
        return await plan_live(connections, policies, guards, path, talk, true_bytes=true_bytes)
