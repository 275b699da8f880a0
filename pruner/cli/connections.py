"""From names of registries to open connections: endpoint, credentials, pacer, client. Closed together."""

import asyncio
import os
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from pruner.cli.options import ConnectionOptions
from pruner.cli.talk import Talk
from pruner.engine.access import RegistryAccess
from pruner.engine.gate import Gate
from pruner.engine.governor import Governor
from pruner.engine.hints import rate_hint, save_rate
from pruner.engine.pacing import AdaptivePacer
from pruner.engine.retry import Backoff
from pruner.errors import InputError
from pruner.plan.records import RegistryFacts
from pruner.policy.policy import RegistrySettings
from pruner.registry.clients import new_client, proxy_for
from pruner.registry.ncr.client import TAGS_AT_ONCE, NcrDeleter, NcrReader
from pruner.registry.ncr.credentials import CredentialSource, default_configure_path
from pruner.registry.ncr.endpoint import EXPERIMENTAL_REGIONS, Endpoint, parse_endpoint, region_endpoint
from pruner.registry.ncr.transport import Transport
from pruner.room import Room

if TYPE_CHECKING:
    from pruner.registry.base import TagReader

DEFAULT_RATE = float("inf")
DEFAULT_CONCURRENCY = 64
"""At 30 ms enough for 2,000 requests per second; the pacer finds where the server allows less."""


def endpoint_asked_for(options: ConnectionOptions) -> str | None:
    """The endpoint that the command line or the environment names, or None."""
    if options.endpoint and options.region:
        raise InputError(
            f"'{options.endpoint}' (--endpoint, PRUNER_ENDPOINT) and '{options.region}' (--region, "
            f"PRUNER_REGION) both say where the registry is; give one of them"
        )
    if options.endpoint:
        return str(parse_endpoint(options.endpoint, allow_plain_http=options.allow_plain_http))
    return str(region_endpoint(options.region)) if options.region else None


class _Place(NamedTuple):
    endpoint: Endpoint
    region: str | None
    profile: str | None


class _Connection(NamedTuple):
    access: RegistryAccess
    transport: Transport
    account: str


class Connections:
    """The open connections of a command, one per (endpoint, profile)."""

    def __init__(
        self,
        options: ConnectionOptions,
        settings: Mapping[str, RegistrySettings],
        talk: Talk,
        env: Mapping[str, str] = os.environ,
        *,
        state: Path | None = None,
    ) -> None:
        endpoint_asked_for(options)
        self._options = options
        self._settings = settings
        self._talk = talk
        self._env = env
        self._state = state
        self._open: dict[_Place, _Connection] = {}
        self._places: dict[str, _Place] = {}
        self._stack = AsyncExitStack()
        self._room = Room(TAGS_AT_ONCE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def open(self, registries: list[str]) -> dict[str, RegistryAccess]:
        """Access to each of ``registries``; InputError or CredentialsError when that cannot be had."""
        for registry in registries:
            self._places[registry] = self._place(registry)
        for place in dict.fromkeys(self._places.values()):
            if place not in self._open:
                self._open[place] = await self._connect(place)
        return {registry: self._open[place].access for registry, place in self._places.items()}

    async def open_default(self) -> RegistryAccess:
        """Access to the endpoint that the command line names, for no registry in particular."""
        place = self._place("")
        self._open[place] = await self._connect(place)
        return self._open[place].access

    def _place(self, registry: str) -> _Place:
        """Where a registry is: the command line, then the environment, then the policies."""
        options, settings = self._options, self._settings.get(registry)
        profile = options.profile or (settings.profile if settings else None)
        plain = options.allow_plain_http
        if options.endpoint:
            return _Place(parse_endpoint(options.endpoint, allow_plain_http=plain), None, profile)
        if options.region:
            return _Place(region_endpoint(options.region), options.region, profile)
        if settings is not None and settings.endpoint:
            return _Place(parse_endpoint(settings.endpoint, allow_plain_http=plain), None, profile)
        if settings is not None and settings.region:
            return _Place(region_endpoint(settings.region), settings.region, profile)
        what = f"registry '{registry}'" if registry else "the registry"
        raise InputError(
            f"where is {what}? Write its region or endpoint under 'registries' in a policy, or give "
            f"--region or --endpoint"
        )

    async def _connect(self, place: _Place) -> _Connection:
        credentials = await CredentialSource.find(self._env, default_configure_path(self._env), place.profile)
        current = credentials.current
        self._talk.say(f"Credentials: {current.source}, key {current.masked_key}; endpoint {place.endpoint}")
        if place.region in EXPERIMENTAL_REGIONS:
            self._talk.warn(f"region {place.region} is experimental: its endpoint is not documented")
        if place.endpoint.is_plain_http and self._options.allow_plain_http:
            self._talk.warn("plain http: everybody on the way can read and repeat these requests")
        proxy = proxy_for(place.endpoint.origin, self._env)
        if proxy:
            self._talk.warn("a proxy is used; one that rewrites %2F breaks every signature (HTTP 401)")
        client = new_client(
            place.endpoint.origin, ca_bundle=self._options.ca_bundle, proxy=proxy, env=self._env
        )
        self._stack.push_async_callback(client.close)
        transport = Transport(client, place.endpoint, credentials, timeout=self._options.timeout)
        hint = None
        if self._state is not None:
            hint = rate_hint(self._state, str(place.endpoint), current.access_key)
        pacer = AdaptivePacer(self._rate(place), self.concurrency, hint)
        gate = Gate(pacer, asyncio.get_running_loop().time)
        backoff, dice = Backoff(), Random()  # noqa: S311 - jitter, not a secret
        reader = NcrReader(transport, Governor(gate, backoff, dice), self._room)
        rechecker = NcrReader(transport, Governor(gate, backoff, dice, essential=True))
        access = RegistryAccess(reader, rechecker, NcrDeleter(transport), gate)
        return _Connection(access, transport, current.access_key)

    def _at(self, place: _Place) -> list[RegistrySettings]:
        names = [name for name, own in self._places.items() if own == place]
        return [self._settings[name] for name in names if name in self._settings]

    def _rate(self, place: _Place) -> float:
        declared = [item.requests_per_second for item in self._at(place) if item.requests_per_second]
        return self._options.rate or min(declared, default=DEFAULT_RATE)

    @property
    def concurrency(self) -> int:
        """Most requests in flight."""
        declared = [item.concurrency for item in self._settings.values() if item.concurrency]
        return self._options.concurrency or min(declared, default=DEFAULT_CONCURRENCY)

    def lanes(self, registries: Iterable[str]) -> list[list[str]]:
        """``registries`` by the connection that they share."""
        found: dict[_Place, list[str]] = {}
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
                save_rate(self._state, str(place.endpoint), connection.account, rate, limit=limit)

    def facts(self) -> dict[str, RegistryFacts]:
        """Where each registry is, for the plan."""
        return {
            registry: RegistryFacts(str(place.endpoint), place.region, place.profile)
            for registry, place in sorted(self._places.items())
            if registry
        }

    def readers(self) -> "dict[str, TagReader]":
        """The reader of each registry."""
        return {registry: self._open[place].access.reader for registry, place in self._places.items()}

    def lock_scopes(self) -> list[tuple[str, str, str]]:
        """Endpoint, account and registry of everything that is open."""
        return [
            (str(place.endpoint), self._open[place].account, registry)
            for registry, place in self._places.items()
        ]

    @property
    def gates(self) -> list[Gate]:
        """The gates of all connections."""
        return [connection.access.gate for connection in self._open.values()]

    @property
    def requests_sent(self) -> int:
        """Requests sent so far, of every kind."""
        return sum(connection.transport.requests_sent for connection in self._open.values())
