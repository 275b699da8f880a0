"""Making a plan for a command: connect, check the registries, list, decide, write."""

import time
from pathlib import Path

from pruner.cli.connections import Connections
from pruner.cli.talk import Talk
from pruner.files import atomic_file
from pruner.plan.build import PlanBuilder, PlanRequest
from pruner.plan.file import Plan, open_plan
from pruner.plan.guards import Guards
from pruner.plan.inventory import check_registries, list_images
from pruner.policy.policy import PolicySet
from pruner.policy.retention import RegistryPolicies


async def make_plan(
    connections: Connections, policies: PolicySet, guards: Guards, path: Path, talk: Talk
) -> Plan:
    """List what ``policies`` concern, decide, and write a plan to ``path``. Sends no DELETE."""
    await connections.open(policies.registry_names)
    readers = connections.readers()
    await check_registries(readers)
    indexed = {
        registry: RegistryPolicies(policies.in_registry(registry), guards.keep_at_least)
        for registry in policies.registry_names
    }
    request = PlanRequest(policies, connections.facts(), guards, int(time.time() * 1000))
    with atomic_file(path) as file:
        builder = PlanBuilder(request, indexed, file)
        await list_images(readers, indexed, builder.take)
        footer = builder.finish()
    talk.detail(f"listed {footer.tags_listed:,} tags of {footer.images_listed:,} images")
    return open_plan(path)
