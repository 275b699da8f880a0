"""Making a plan for a command, from the registry or from a saved inventory. Sends no DELETE."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from pruner import names
from pruner.app.connections import Connections
from pruner.app.options import ConnectionOptions, InUseOptions
from pruner.app.places import with_limits, with_oci
from pruner.app.proving import Proved, prove
from pruner.app.saying import Say
from pruner.errors import InputError
from pruner.files import atomic_file
from pruner.model import Target
from pruner.plan.build import PlanBuilder, PlanRequest
from pruner.plan.file import Plan, open_plan
from pruner.plan.guards import Guards
from pruner.plan.in_use import with_places
from pruner.plan.inventory import ImageListing, Take, list_images
from pruner.plan.inventory_file import InventoryFile, replay
from pruner.plan.records import RegistryFacts
from pruner.plan.settings import settings_of
from pruner.plan.true_bytes import TrueBytes
from pruner.policy.explain import Explanation, explain_image
from pruner.policy.image_policies import RegistryPolicies
from pruner.policy.in_use import InUse, of_registry
from pruner.policy.policy import PolicySet, RegistrySettings
from pruner.report.text import counted
from pruner.tasks import in_thread_if_long


def indexed(
    policies: PolicySet, keep_at_least: int | None, more: Mapping[str, RegistrySettings] | None = None
) -> dict[str, RegistryPolicies]:
    """The policies of each registry, of which somebody may know ``more`` than the policies say."""
    described = {**policies.registries, **(more or {})}
    return {
        registry: RegistryPolicies(
            policies.in_registry(registry),
            keep_at_least,
            takes_siblings=registry in described and described[registry].takes_siblings,
        )
        for registry in policies.registry_names
    }


def protect(index: Mapping[str, RegistryPolicies], in_use: InUse) -> None:
    """From now on, what is in use stays."""
    for registry, policies in index.items():
        policies.protect(of_registry(in_use, registry))


class Planned(NamedTuple):
    """A plan, what was in use when it was made, and the proof of that."""

    plan: Plan
    in_use: InUse
    proved: Proved | None


@dataclass(frozen=True, slots=True)
class Source:
    """Where tags come from: a saved inventory, or the registry. ``now`` in epoch milliseconds.

    Without ``in_use`` nobody asks for a proof of that, not even if a policy does: nothing will be deleted.
    """

    connection: ConnectionOptions
    inventory: InventoryFile | None = None
    now: int | None = None
    in_use: InUseOptions | None = None

    def prove(self, policies: PolicySet) -> Proved | None:
        """The proof of what is in use, if one is asked for; RefusedError says what is missing."""
        if self.in_use is None:
            return None
        return prove(policies, self.in_use, self.moment, is_live=self.inventory is None)

    @property
    def moment(self) -> int:
        """The moment that ages are judged at: as asked, else when the inventory was saved, else now."""
        if self.now is not None:
            return self.now
        return int(time.time() * 1000) if self.inventory is None else self.inventory.header.listed_at

    def registries(self, policies: PolicySet) -> dict[str, RegistrySettings]:
        """What is known of the registries: by the inventory or the command line, and by the policies."""
        if self.inventory is not None:
            return settings_of(facts_of(self.inventory, policies))
        return with_oci(self.connection, policies.registries)


async def feed_images(
    source: Source, policies: PolicySet, index: Mapping[str, RegistryPolicies], take: Take, talk: Say
) -> None:
    """Give ``take`` every image that ``policies`` concern, and protect in ``index`` what is in use."""
    proved = source.prove(policies)
    if source.inventory is not None:
        facts = facts_of(source.inventory, policies)
        if proved is not None:
            protect(index, proved.in_use(facts))
        replay(source.inventory, index, take)
        return
    async with Connections(source.connection, policies.registries, talk) as connections:
        await connections.open(policies.registry_names)
        places = await connections.check_registries()
        if proved is not None:
            protect(index, proved.in_use(connections.facts(places), places.others))
        await list_images(connections.readers(), index, take, connections.concurrency_of)


def _now_ms() -> int:
    return int(time.time() * 1000)


async def plan_live(
    connections: Connections,
    policies: PolicySet,
    guards: Guards,
    path: Path,
    talk: Say,
    *,
    in_use: InUseOptions | None = None,
    true_bytes: bool = False,
) -> Planned:
    """List what ``policies`` concern, decide, and write a plan to ``path``, if asked with what is freed."""
    now = _now_ms()
    proved = prove(policies, in_use or InUseOptions(), now)
    await connections.open(policies.registry_names)
    readers = connections.readers()
    places = await connections.check_registries()
    facts = {
        name: msgspec.structs.replace(known, undo=any(item.undo for item in policies.in_registry(name)))
        for name, known in connections.facts(places).items()
    }
    used = proved.in_use(facts, places.others) if proved is not None else {}
    index = indexed(policies, guards.keep_at_least, settings_of(facts))
    protect(index, used)
    request = PlanRequest(policies, facts, guards, now, _now_ms, proved.facts if proved is not None else None)
    with atomic_file(path) as file, tempfile.TemporaryDirectory(prefix="pruner-") as folder:
        blobs = {registry: reader.blobs_of for registry, reader in readers.items()}
        counter = TrueBytes(Path(folder), blobs) if true_bytes else None
        builder = PlanBuilder(request, index, file, counter)
        at_once = connections.concurrency_of
        await list_images(readers, index, builder.take_live, at_once, all_facts=true_bytes)
        footer = builder.finish()
    _say_in_use(proved, builder.in_use, talk)
    talk.detail(f"listed {footer.tags_listed:,} tags of {footer.images_listed:,} images")
    return Planned(await in_thread_if_long(footer.entries, open_plan, path), used, proved)


def _say_in_use(proved: Proved | None, tags: int, talk: Say | None) -> None:
    if proved is not None and talk is not None:
        read = ", ".join(names.printable(source.name) for source in proved.proof.sources)
        uses = counted(len(proved.proof.uses), "use")
        talk.say(f"In use: {uses} of images read in {read}; {counted(tags, 'tag')} stay for that")


def facts_of(inventory: InventoryFile, policies: PolicySet) -> dict[str, RegistryFacts]:
    """What an inventory, and the policies, say of the registries that the policies act on.

    InputError if a policy asks for more than an inventory has, and would decide otherwise than live.
    """
    facts = {}
    for name in policies.registry_names:
        if name in inventory.header.registries:
            facts[name] = _as_policies_say(inventory.header.registries[name], policies, name)
    return facts


def _as_policies_say(facts: RegistryFacts, policies: PolicySet, name: str) -> RegistryFacts:
    """What an inventory says of a registry, and what only policies say: how it is to be treated."""
    undo = any(item.undo for item in policies.in_registry(name))
    own = policies.registries.get(name)
    if own is None:
        return msgspec.structs.replace(facts, undo=undo)
    if own.graph and not facts.graph:
        raise InputError(
            f"{own.source}: 'graph: true' of registry '{name}' reads manifests, which the inventory does not "
            f"have; leave one out"
        )
    facts = with_limits(with_places(facts, own.also_pulled_from), own)
    if own.type != facts.type:
        return msgspec.structs.replace(facts, undo=undo)
    return msgspec.structs.replace(
        facts, undo=undo, delete_by=own.delete_by, v2_url=own.v2_url, graph=own.graph
    )


def plan_offline(
    source: Source, policies: PolicySet, guards: Guards, path: Path, talk: Say | None = None
) -> Plan:
    """Decide from a saved inventory and write a plan to ``path``; touches no network."""
    inventory = source.inventory
    assert inventory is not None
    proved = source.prove(policies)
    facts = facts_of(inventory, policies)
    index = indexed(policies, guards.keep_at_least, settings_of(facts))
    if proved is not None:
        protect(index, proved.in_use(facts))
    listed_at, known = inventory.header.listed_at, proved.facts if proved is not None else None
    request = PlanRequest(policies, facts, guards, listed_at, lambda: source.moment, known)
    with atomic_file(path) as file:
        builder = PlanBuilder(request, index, file)
        replay(inventory, index, builder.take)
        builder.finish()
    _say_in_use(proved, builder.in_use, talk)
    return open_plan(path)


async def make_plan(
    source: Source,
    policies: PolicySet,
    guards: Guards,
    path: Path,
    talk: Say,
    *,
    true_bytes: bool = False,
) -> Plan:
    """A plan from wherever ``source`` says."""
    if source.inventory is not None:
        if true_bytes:
            raise InputError("--true-bytes reads manifests, which an inventory does not have; leave one out")
        return plan_offline(source, policies, guards, path, talk)
    async with Connections(source.connection, policies.registries, talk) as connections:
        planned = await plan_live(
            connections, policies, guards, path, talk, in_use=source.in_use, true_bytes=true_bytes
        )
    return planned.plan


async def explain_tags(
    source: Source,
    policies: PolicySet,
    take: Callable[[Explanation], None],
    targets: Sequence[Target] | None,
    keep_at_least: int | None,
    talk: Say,
) -> None:
    """Give ``take`` why each of ``targets`` goes or stays, or each tag that policies concern (None).

    Decides as a plan would. InputError names what is not there.
    """
    index = indexed(policies, keep_at_least, source.registries(policies))
    explainer = _Explainer(index, source.moment, targets, take)
    await feed_images(source, policies, explainer.index, explainer.image, talk)
    explainer.finish()


class _Explainer:
    """Explains images as they come."""

    def __init__(
        self,
        index: dict[str, RegistryPolicies],
        now: int,
        targets: Sequence[Target] | None,
        take: Callable[[Explanation], None],
    ) -> None:
        self.index = index
        self._now = now
        self._take = take
        self._wanted: dict[tuple[str, str], set[str]] = {}
        for target in targets or ():
            self._wanted.setdefault((target.registry, target.image), set()).add(target.tag)
        self._all = targets is None

    def image(self, listing: ImageListing) -> None:
        """Explain what is wanted of one image."""
        wanted = self._wanted.get((listing.registry, listing.image), set())
        if not wanted and not self._all:
            return
        policies = self.index[listing.registry].of(listing.image)
        only = None if self._all else frozenset(wanted)
        for explanation in explain_image(listing.tags or (), policies, self._now, only):
            self._take(explanation)
            wanted.discard(Target.parse(explanation.target).tag)

    def finish(self) -> None:
        """Say what could not be explained."""
        missing = [
            f"{registry}/{image}:{name}"
            for (registry, image), tags in sorted(self._wanted.items())
            for name in sorted(tags)
        ]
        if missing:
            raise InputError(f"not there, or of an image that no policy concerns: {', '.join(missing)}")
