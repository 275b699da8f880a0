"""From names of registries to open connections: endpoint, credentials, pacer, client. Closed together."""

import asyncio
import os
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from pruner.app.options import ConnectionOptions
from pruner.app.places import (
    NcrPlace,
    OciPlace,
    Place,
    check_apart,
    endpoint_asked_for,
    ncr_door_of,
    place_of,
    pulled_from,
    with_limits,
    with_oci,
)
from pruner.app.saying import Say
from pruner.app.sharing import Sharing
from pruner.engine.access import RegistryAccess
from pruner.engine.gate import Gate
from pruner.engine.governor import Governor
from pruner.engine.hints import rate_hint, save_rate
from pruner.engine.pacing import AdaptivePacer
from pruner.engine.presence import Presence
from pruner.engine.retry import Backoff
from pruner.plan.in_use import with_places
from pruner.plan.inventory import Places
from pruner.plan.records import RegistryFacts
from pruner.policy.policy import RegistrySettings
from pruner.registry.clients import new_client, proxy_for
from pruner.registry.exchange import JSON_HEADERS, HttpClient
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
        self._stack = AsyncExitStack()
        self._room = Room(TAGS_AT_ONCE)
        self._manifests: KnownManifests | None = None
        self._doors: dict[str, NcrDoor] = {}
        self._linked: dict[str, RegistryAccess] = {}
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
        pacer.limit_to(self._rate(place), self._in_flight)

    @property
    def _in_flight(self) -> int:
        """Most requests in flight of this process: its part of what was declared."""
        declared = self._declared_concurrency
        return self.concurrency if declared is None else max(1, declared // self.sharing.parts)

    async def open(self, registries: list[str]) -> dict[str, RegistryAccess]:
        """Access to each of ``registries``; InputError or CredentialsError when that cannot be had."""
        for registry in registries:
            self._places[registry] = self._place(registry)
        check_apart(self._places)
        for place in dict.fromkeys(self._places.values()):
            if place not in self._open:
                self._open[place] = await self._connect(place)
        return {registry: self._access(registry, place) for registry, place in self._places.items()}

    async def open_default(self) -> RegistryAccess:
        """Access to the endpoint that the command line names, for no registry in particular."""
        named = self._options.oci[0].partition("=")[0] if len(self._options.oci) == 1 else ""
        if named:
            return (await self.open([named]))[named]
        place = self._place("")
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
        client = self._client(place.at.origin, JSON_HEADERS)
        self._stack.push_async_callback(client.close)
        transport = Transport(client, place.at, credentials, timeout=self._options.timeout)
        gate, governor, essential = self._governed(place, current.access_key)
        reader = NcrReader(transport, governor, self._room)
        rechecker = NcrReader(transport, essential)
        access = RegistryAccess(reader, rechecker, NcrDeleter(transport), gate)
        return _Connection(access, transport, current.access_key, credentials=credentials)

    async def _connect_oci(self, place: OciPlace) -> _Connection:
        from pruner.app.oci_connection import OciConnection

        registries = [name for name, own in self._places.items() if own == place]
        opened = await OciConnection.find(place, registries, self._env, self._talk)
        self._warn_of_way(place.at.origin, "it sees the login unless the registry is https")
        transport = opened.open(self._client, self._options.timeout, self._stack)
        gate, *governors = self._governed(place, opened.account)
        access = opened.access(transport, gate, (governors[0], governors[1]), self._known())
        return _Connection(access, transport, opened.account, opened.door(transport, governors[0]))

    async def open_doors(self, registries: Iterable[str]) -> "dict[str, ManifestDoor]":
        """Where single manifests of open ``registries`` are read and put back; InputError if nobody says."""
        return {
            registry: self._open[self._places[registry]].door or self._ncr_door(registry).manifests
            for registry in registries
        }

    def _ncr_door(self, registry: str) -> "NcrDoor":
        if registry not in self._doors:
            from pruner.app.oci_connection import NcrDoor

            connection = self._open[self._places[registry]]
            assert connection.credentials is not None
            place = ncr_door_of(registry, self._options, self._settings)
            self._talk.say(f"Manifests of {registry}: {place.at}")
            _, governor, _ = self._governed(place, connection.account)
            key, timeout = connection.credentials.current, self._options.timeout
            self._doors[registry] = NcrDoor(place, key, governor, self._client, timeout, self._stack)
        return self._doors[registry]

    def _access(self, registry: str, place: Place) -> RegistryAccess:
        """What the engine needs of a registry; of NCR with what its manifests tell, if a policy asks."""
        access = self._open[place].access
        own = self._settings.get(registry)
        if own is None or not own.graph:
            return access
        if registry not in self._linked:
            linked = self._ncr_door(registry).linked(access.reader, self._known(), self._talk)
            self._linked[registry] = replace(access, reader=linked)
        return self._linked[registry]

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

    def _client(self, origin: str, common: Mapping[str, str]) -> HttpClient:
        return new_client(
            origin,
            ca_bundle=self._options.ca_bundle,
            proxy=proxy_for(origin, self._env),
            env=self._env,
            common=common,
        )

    def _governed(self, place: Place, account: str) -> tuple[Gate, Governor, Governor]:
        """A gate, and what reads through it: while all is well, and also while a run is stopping."""
        hint = None if self._state is None else rate_hint(self._state, str(place.at), account)
        pacer = AdaptivePacer(self._rate(place), self.concurrency, hint)
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

    @property
    def _declared_concurrency(self) -> int | None:
        declared = [item.concurrency for item in self._settings.values() if item.concurrency]
        return self._options.concurrency or min(declared, default=None)

    @property
    def concurrency(self) -> int:
        """Most requests in flight, those of others who share it included."""
        return self._declared_concurrency or DEFAULT_CONCURRENCY

    def lanes(self, registries: Iterable[str]) -> list[list[str]]:
        """``registries`` by the connection that they share."""
        found: dict[Place, list[str]] = {}
        for registry in registries:
            found.setdefault(self._places[registry], []).append(registry)
        return list(found.values())

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
        return {registry: self._access(registry, place).reader for registry, place in self._places.items()}

    def lock_scopes(self) -> list[tuple[str, str, str]]:
        """Endpoint, account and registry of everything that is open.

        What an OCI registry is called is nobody else's business, nor who logs in: its place is what counts.
        """
        return [self._lock_scope(registry, place) for registry, place in self._places.items()]

    def _lock_scope(self, registry: str, place: Place) -> tuple[str, str, str]:
        if isinstance(place, OciPlace):
            return str(place.at), "", place.at.host
        return str(place.at), self._open[place].account, registry

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
