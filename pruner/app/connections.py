"""From names of registries to open connections: endpoint, credentials, pacer, client. Closed together."""

import asyncio
import os
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from math import ceil
from pathlib import Path
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from pruner.app.options import ConnectionOptions
from pruner.app.places import (
    NcrPlace,
    OciPlace,
    Place,
    announce,
    check_apart,
    check_host,
    endpoint_asked_for,
    ncr_door_of,
    place_of,
    pulled_from,
    scope_of_host,
    scopes_of,
    takes_ncr_key,
    with_limits,
    with_oci,
)
from pruner.app.saying import Say
from pruner.app.sharing import Sharing
from pruner.engine.access import RegistryAccess
from pruner.engine.gate import Gate
from pruner.engine.governor import Governor
from pruner.engine.hints import rate_hint, save_rate
from pruner.engine.lock import LockScope
from pruner.engine.pacing import AdaptivePacer
from pruner.engine.presence import Presence
from pruner.engine.retry import Backoff
from pruner.plan.in_use import with_places
from pruner.plan.inventory import Places, check_registries
from pruner.plan.records import RegistryFacts
from pruner.policy.policy import RegistrySettings
from pruner.registry.clients import new_client, proxy_for
from pruner.registry.exchange import JSON_HEADERS, HttpClient
from pruner.registry.identity import Reach
from pruner.registry.ncr.client import TAGS_AT_ONCE, NcrDeleter, NcrReader
from pruner.registry.ncr.credentials import CredentialSource, default_configure_path
from pruner.registry.ncr.endpoint import EXPERIMENTAL_REGIONS
from pruner.registry.ncr.transport import Transport
from pruner.room import Room

if TYPE_CHECKING:
    from pruner.app.oci_connection import NcrDoor
    from pruner.registry.base import ManifestDoor, TagReader
    from pruner.registry.oci.known import KnownManifests

DEFAULT_RATE = float("inf")
DEFAULT_CONCURRENCY = 64
"""At 30 ms enough for 2,000 requests per second; the pacer finds where the server allows less."""
WAIT_FOR_TURN_SECONDS = 5.0
"""A worker waits no longer than about this for its turn under a declared rate."""


class _Sends(Protocol):
    requests_sent: int


class _Connection(NamedTuple):
    access: RegistryAccess
    transport: _Sends
    account: str
    door: "ManifestDoor | None" = None
    credentials: CredentialSource | None = None


class Connections:
    """The open connections of a command, one per (endpoint, profile)."""

    def __init__(
        self,
        options: ConnectionOptions,
        settings: Mapping[str, RegistrySettings],
        talk: Say,
        env: Mapping[str, str] = os.environ,
        *,
        state: Path | None = None,
        presence: Presence | None = None,
    ) -> None:
        endpoint_asked_for(options)
        self._options = options
        self._settings = with_oci(options, settings)
        self._talk = talk
        self._env = env
        self._state = state
        self.sharing = Sharing(presence if self._is_limited else None, talk, self._limit_all)
        self._open: dict[Place, _Connection] = {}
        self._gates: list[tuple[Place, Gate]] = []
        self._places: dict[str, Place] = {}
        """Where each registry is that was resolved."""
        self._announced: set[Place] = set()
        self._stack = AsyncExitStack()
        self._room = Room(TAGS_AT_ONCE)
        self._manifests: KnownManifests | None = None
        self._doors: dict[str, NcrDoor] = {}
        self._access: dict[str, RegistryAccess] = {}
        """Of each registry that is open."""
        self._warned: set[str] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    @property
    def _is_limited(self) -> bool:
        """Whether somebody says how much all that work on the account may send together."""
        own = self._options
        rate, number = own.rate or float("inf"), own.concurrency
        declared = any(item.requests_per_second or item.concurrency for item in self._settings.values())
        return rate < float("inf") or number is not None or declared

    def _limit_all(self) -> list[Gate]:
        for place, gate in self._gates:
            self._limit(place, gate)
        return self.gates

    def _limit(self, place: Place, gate: Gate) -> None:
        pacer = gate.pacer
        assert isinstance(pacer, AdaptivePacer)
        pacer.limit_to(self._rate(place), self._in_flight(place))

    def _in_flight(self, place: Place) -> int:
        """Most requests in flight of this process at an endpoint: its part of what was declared."""
        declared = self._declared_concurrency(place)
        return DEFAULT_CONCURRENCY if declared is None else max(1, declared // self.sharing.parts)

    def resolve(self, registries: Iterable[str]) -> None:
        """Find out where ``registries`` are, and say so where it is not NCR; nothing is sent.

        InputError where nothing says where a registry is, or where two of them are the same.
        """
        for registry in registries:
            self._places[registry] = self._place(registry)
        check_apart(self.lock_scopes())
        for place in dict.fromkeys(self._places.values()):
            if place not in self._announced:
                announce(place, self._options, self._talk)
                self._announced.add(place)

    async def open(self, registries: list[str]) -> dict[str, RegistryAccess]:
        """Access to each of ``registries``; InputError or CredentialsError when that cannot be had."""
        self.resolve(registries)
        for place in dict.fromkeys(self._places.values()):
            if place not in self._open:
                self._open[place] = await self._connect(place)
        for registry, place in self._places.items():
            if registry not in self._access:
                self._access[registry] = await self._access_to(registry, place)
        return dict(self._access)

    async def check_registries(self) -> Places:
        """Where the images of everything that is open are pulled from.

        UnknownRegistryError for a registry that the account does not have, InputError where two registries
        turn out to be the same.
        """
        places = await check_registries(self.readers())
        hosts = [scope_of_host(name, host) for name, found in places.ours.items() for host in found]
        check_apart([*self.lock_scopes(), *hosts])
        return places

    async def open_default(self) -> RegistryAccess:
        """Access to the endpoint that the command line names, for no registry in particular."""
        named = self._options.oci[0].partition("=")[0] if len(self._options.oci) == 1 else ""
        if named:
            return (await self.open([named]))[named]
        place = self._place("")
        announce(place, self._options, self._talk)
        self._open[place] = await self._connect(place)
        return self._open[place].access

    def _place(self, registry: str) -> Place:
        return place_of(registry, self._options, self._settings)

    async def _connect(self, place: Place) -> _Connection:
        if isinstance(place, OciPlace):
            return await self._connect_oci(place)
        return await self._connect_ncr(place)

    async def _connect_ncr(self, place: NcrPlace) -> _Connection:
        credentials = await CredentialSource.find(self._env, default_configure_path(self._env), place.profile)
        current = credentials.current
        self._talk.say(f"Credentials: {current.source}, key {current.masked_key}; endpoint {place.at}")
        for warning in set(current.warnings) - self._warned:
            self._talk.warn(warning)
        self._warned.update(current.warnings)
        if place.region in EXPERIMENTAL_REGIONS:
            self._talk.warn(f"region {place.region} is experimental: its endpoint is not documented")
        self._warn_of_way(place.at.origin, "one that rewrites %2F breaks every signature (HTTP 401)")
        client = self.client(place.at.origin, JSON_HEADERS)
        self._stack.push_async_callback(client.close)
        transport = Transport(client, place.at, credentials, timeout=self._options.timeout)
        gate, governor, essential = self._governed(place, current.access_key)
        reader = NcrReader(transport, governor, self._room)
        drain_reader = NcrReader(transport, essential)
        access = RegistryAccess(reader, drain_reader, NcrDeleter(transport), gate)
        return _Connection(access, transport, current.access_key, credentials=credentials)

    async def _connect_oci(self, place: OciPlace) -> _Connection:
        from pruner.app.oci_connection import OciConnection

        registries = [name for name, own in self._places.items() if own == place]
        opened = await OciConnection.find(place, registries, self._env, self._talk)
        self._warn_of_way(place.at.origin, "it sees the login unless the registry is https")
        transport = opened.open(self, self._stack)
        gate, *governors = self._governed(place, opened.account)
        access = opened.access(transport, gate, (governors[0], governors[1]), self._known())
        return _Connection(access, transport, opened.account, opened.door(transport, governors[0]))

    async def open_doors(self, registries: Iterable[str]) -> "dict[str, ManifestDoor]":
        """Where single manifests of open ``registries`` are read and put back.

        InputError where that is not known, UnreachableError where nothing answers.
        """
        doors: dict[str, ManifestDoor] = {}
        for registry in registries:
            connection = self._open[self._places[registry]]
            if connection.door is not None:
                doors[registry] = connection.door
                continue
            door = await self._ncr_door(registry)
            # Before anything is asked or deleted: retrying it for each tag would take for ever.
            await door.manifests.check_reachable()
            doors[registry] = door.manifests
        return doors

    def names_platforms(self, registry: str) -> bool:
        """Whether lists of a registry name the digest of a platform, and not always that of the manifest."""
        return isinstance(self._places[registry], NcrPlace)

    async def _ncr_door(self, registry: str) -> "NcrDoor":
        if registry not in self._doors:
            from pruner.app.oci_connection import NcrDoor

            connection = self._open[self._places[registry]]
            assert connection.credentials is not None
            place = ncr_door_of(registry, self._options, self._settings)
            check_host(place.at.origin, self._options)
            key = connection.credentials.current if takes_ncr_key(place.at, self._options) else None
            self._talk.say(
                f"Manifests of {registry}: {place.at}"
                f"{'' if key is not None else ', which is not NCR and does not get its key'}"
            )
            _, governor, _ = self._governed(place, connection.account)
            self._doors[registry] = await NcrDoor.find(
                registry, place, key, governor, self, self._stack, self._env
            )
        return self._doors[registry]

    async def _access_to(self, registry: str, place: Place) -> RegistryAccess:
        """What the engine needs of a registry; of NCR with what its manifests tell, if a policy asks."""
        access = self._open[place].access
        own = self._settings.get(registry)
        if own is None or not own.graph:
            return access
        door = await self._ncr_door(registry)
        reader = door.linked(access.reader, self._known(), self._talk)
        drain_reader = door.linked(access.drain_reader, self._known(), self._talk)
        return replace(access, reader=reader, drain_reader=drain_reader)

    def _known(self) -> "KnownManifests":
        """What was read of manifests before."""
        if self._manifests is None:
            from pruner.app.oci_connection import known_manifests

            self._manifests = known_manifests(self._env, self._stack)
        return self._manifests

    def _warn_of_way(self, origin: str, proxied: str) -> None:
        """Say who can read what is sent; ``proxied`` says what a proxy does."""
        if origin.startswith("http://") and self._options.allow_plain_http:
            self._talk.warn("plain http: everybody on the way can read and repeat these requests")
        if proxy_for(origin, self._env):
            self._talk.warn(f"a proxy is used; {proxied}")

    @property
    def timeout(self) -> float:
        """Seconds for one attempt."""
        return self._options.timeout

    def allow(self, origin: str) -> None:
        """Raise RefusedError for an origin that no login may be sent to."""
        check_host(origin, self._options)

    def client(self, origin: str, common: Mapping[str, str], reach: Reach = Reach.LOOPBACK) -> HttpClient:
        """A client of an origin, whose requests all have the same headers, up to a reach."""
        return new_client(
            origin,
            ca_bundle=self._options.ca_bundle,
            proxy=proxy_for(origin, self._env),
            env=self._env,
            common=common,
            reach=reach,
        )

    def _governed(self, place: Place, account: str) -> tuple[Gate, Governor, Governor]:
        """A gate, and what reads through it: while all is well, and also while a run is stopping."""
        hint = None if self._state is None else rate_hint(self._state, str(place.at), account)
        pacer = AdaptivePacer(self._rate(place), self._concurrency_at(place), hint)
        gate = Gate(pacer, asyncio.get_running_loop().time)
        self._limit(place, gate)
        self._gates.append((place, gate))
        backoff, dice = Backoff(), Random()  # noqa: S311 - jitter, not a secret
        return gate, Governor(gate, backoff, dice), Governor(gate, backoff, dice, essential=True)

    def _at(self, place: Place) -> list[RegistrySettings]:
        names = [name for name, own in self._places.items() if own == place]
        return [self._settings[name] for name in names if name in self._settings]

    def _rate(self, place: Place) -> float:
        declared = [item.requests_per_second for item in self._at(place) if item.requests_per_second]
        return (self._options.rate or min(declared, default=DEFAULT_RATE)) / self.sharing.parts

    def _declared_concurrency(self, place: Place) -> int | None:
        declared = [item.concurrency for item in self._at(place) if item.concurrency]
        return self._options.concurrency or min(declared, default=None)

    def _concurrency_at(self, place: Place) -> int:
        """Most requests in flight at an endpoint, those of others who share it included."""
        return self._declared_concurrency(place) or DEFAULT_CONCURRENCY

    def concurrency_of(self, registry: str) -> int:
        """Most requests in flight at the endpoint of a registry."""
        return self._concurrency_at(self._places[registry])

    def workers_of(self, registry: str) -> int:
        """How many deletions are under way at the endpoint of a registry.

        No more than a declared rate lets out in a few seconds: a checked tag must not wait long for its turn.
        """
        place = self._places[registry]
        rate = self._rate(place)
        most = self._concurrency_at(place)
        return most if rate == float("inf") else min(most, max(1, ceil(rate * WAIT_FOR_TURN_SECONDS)))

    def lanes(self, registries: Iterable[str]) -> dict[str, list[str]]:
        """``registries`` by the connection that they share, each by the first of them."""
        found: dict[Place, list[str]] = {}
        for registry in registries:
            found.setdefault(self._places[registry], []).append(registry)
        return {names[0]: names for names in found.values()}

    def remember_rates(self) -> None:
        """Keep what the pacers found for the next run."""
        for place, connection in self._open.items():
            pacer = connection.access.gate.pacer
            if self._state is None or not isinstance(pacer, AdaptivePacer):
                continue
            if (rate := pacer.estimate or pacer.peak) is not None:
                limit = pacer.estimate is not None
                save_rate(self._state, str(place.at), connection.account, rate, limit=limit)

    def facts(self, places: Places) -> dict[str, RegistryFacts]:
        """Where each registry is, for the plan; ``places`` are where images are pulled from."""
        found = {}
        for registry, place in sorted(self._places.items()):
            if registry:
                own = self._settings.get(registry)
                known = (*places.ours.get(registry, ()), *pulled_from(registry, place, own))
                found[registry] = with_limits(with_places(place.facts(own), known), own)
        return found

    def readers(self) -> "dict[str, TagReader]":
        """The reader of each registry."""
        return {registry: access.reader for registry, access in self._access.items()}

    def lock_scopes(self) -> list[LockScope]:
        """The lock scopes of all registries that were resolved, independent of keys and of names."""
        return [
            scope
            for registry, place in self._places.items()
            for scope in scopes_of(registry, place, self._settings.get(registry), self._options)
        ]

    @property
    def gates(self) -> list[Gate]:
        """The gates of all connections."""
        return [gate for _, gate in self._gates]

    @property
    def requests_sent(self) -> int:
        """Requests sent so far, of every kind."""
        transports = [connection.transport for connection in self._open.values()]
        transports += [door.transport for door in self._doors.values()]
        return sum(transport.requests_sent for transport in transports)
