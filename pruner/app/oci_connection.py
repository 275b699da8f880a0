"""Opening a registry of the OCI kind. Imported only where there is one."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Protocol

from pruner.app.places import OciPlace
from pruner.app.saying import Say
from pruner.engine.access import RegistryAccess
from pruner.engine.gate import Gate
from pruner.engine.governor import Governor
from pruner.registry.base import Attempts, TagReader
from pruner.registry.exchange import HttpClient
from pruner.registry.identity import Reach
from pruner.registry.ncr.credentials import Credentials
from pruner.registry.oci.auth import Authorizer
from pruner.registry.oci.client import OciReader
from pruner.registry.oci.deleter import DeleteBy, OciDeleter
from pruner.registry.oci.elsewhere import Elsewhere
from pruner.registry.oci.facts import FactsReader
from pruner.registry.oci.known import KnownManifests, cache_directory
from pruner.registry.oci.linked import LinkedReader
from pruner.registry.oci.login import Login, find_login
from pruner.registry.oci.manifest_client import ManifestClient
from pruner.registry.oci.transport import COMMON_HEADERS, OciTransport


class Opener(Protocol):
    """How clients are made, whatever they are for."""

    @property
    def timeout(self) -> float:
        """Seconds for one attempt."""

    def client(self, origin: str, common: Mapping[str, str], reach: Reach = Reach.LOOPBACK) -> HttpClient:
        """A client of an origin, whose requests all have the same headers, up to a reach."""

    def allow(self, origin: str) -> None:
        """Raise RefusedError for an origin that no login may be sent to."""


class NcrDoor:
    """The manifests of an NCR registry; ``stack`` closes it."""

    def __init__(
        self,
        place: OciPlace,
        login: Login | None,
        governor: Governor,
        opener: Opener,
        stack: AsyncExitStack,
    ) -> None:
        self.transport = _transport(place, login, opener, stack)
        self.manifests = ManifestClient(self.transport, governor)
        self._governor = governor

    @classmethod
    async def find(
        cls,
        registry: str,
        place: OciPlace,
        key: Credentials | None,
        governor: Governor,
        opener: Opener,
        stack: AsyncExitStack,
        env: Mapping[str, str],
    ) -> "NcrDoor":
        """With NCR's ``key`` or, where that may not be sent (None), with a login of its own, if any."""
        if key is None:
            login = await find_login(place.at, [registry], env)
        else:
            login = Login(key.access_key, key.secret, key.source)
        return cls(place, login, governor, opener, stack)

    def linked(self, reader: TagReader, known: KnownManifests, talk: Say) -> TagReader:
        """``reader``, whose tags get what their manifests say of one another."""
        facts = FactsReader(self.transport, self._governor, known)
        return LinkedReader(reader, facts, self.manifests, talk.warn)


def _transport(place: OciPlace, login: Login | None, opener: Opener, stack: AsyncExitStack) -> OciTransport:
    def new_client(origin: str, reach: Reach) -> HttpClient:
        return opener.client(origin, COMMON_HEADERS, reach)

    elsewhere = Elsewhere(place.at.origin, new_client, opener.allow)
    authorizer = Authorizer(elsewhere, login, timeout=opener.timeout)
    client = opener.client(place.at.origin, COMMON_HEADERS)
    transport = OciTransport(client, place.at, authorizer, elsewhere, timeout=opener.timeout)
    stack.push_async_callback(transport.close)
    return transport


class OciConnection:
    """What all commands need of one registry. ``timeout`` is in seconds, for one attempt."""

    def __init__(self, place: OciPlace, registries: list[str], login: Login | None, talk: Say) -> None:
        self._place = place
        self._registries = registries
        self._login = login
        self._talk = talk

    @classmethod
    async def find(
        cls, place: OciPlace, registries: list[str], env: Mapping[str, str], talk: Say
    ) -> "OciConnection":
        """With the login that is found for it; CredentialsError if that cannot be used."""
        login = await find_login(place.at, registries, env)
        who = (
            "none found, so access is anonymous"
            if login is None
            else f"{login.source}, user {login.username}"
        )
        talk.say(f"Credentials: {who}; registry {place.at}")
        return cls(place, registries, login, talk)

    @property
    def account(self) -> str:
        """Who works there."""
        return "" if self._login is None else self._login.username

    def open(self, opener: Opener, stack: AsyncExitStack) -> OciTransport:
        """A transport, which ``stack`` closes."""
        return _transport(self._place, self._login, opener, stack)

    def door(self, transport: OciTransport, attempts: Attempts) -> ManifestClient:
        """Where single manifests are read and put back."""
        return ManifestClient(transport, attempts)

    def access(
        self, transport: OciTransport, gate: Gate, governors: tuple[Governor, Governor], known: KnownManifests
    ) -> RegistryAccess:
        """Reader, reader that also works while a run is stopping, and deleter."""
        reader, drain_reader = (self._reader(transport, governor, known) for governor in governors)
        deleter = OciDeleter(transport, DeleteBy(self._place.delete_by))
        return RegistryAccess(reader, drain_reader, deleter, gate)

    def _reader(self, transport: OciTransport, governor: Governor, known: KnownManifests) -> OciReader:
        return OciReader(
            transport,
            governor,
            FactsReader(transport, governor, known),
            self._talk.warn,
            registry_names=self._registries,
            images=self._place.images,
            asks_referrers=self._place.delete_by != "tag",
        )


def known_manifests(env: Mapping[str, str], stack: AsyncExitStack) -> KnownManifests:
    """What was read of manifests before; ``stack`` writes what is new."""
    known = KnownManifests(cache_directory(env))
    stack.callback(known.close)
    return known
