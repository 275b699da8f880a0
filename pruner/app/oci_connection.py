"""Opening a registry of the OCI kind. Imported only where there is one."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

from pruner.app.places import OciPlace
from pruner.app.saying import Say
from pruner.engine.access import RegistryAccess
from pruner.engine.gate import Gate
from pruner.engine.governor import Governor
from pruner.registry.base import Attempts, TagReader
from pruner.registry.exchange import HttpClient
from pruner.registry.ncr.credentials import Credentials
from pruner.registry.oci.auth import Authorizer
from pruner.registry.oci.client import OciReader
from pruner.registry.oci.deleter import DeleteBy, OciDeleter
from pruner.registry.oci.facts import FactsReader
from pruner.registry.oci.known import KnownManifests, cache_directory
from pruner.registry.oci.linked import LinkedReader
from pruner.registry.oci.login import Login, find_login
from pruner.registry.oci.manifest_client import ManifestClient
from pruner.registry.oci.transport import COMMON_HEADERS, OciTransport

NewClient = Callable[[str, Mapping[str, str]], HttpClient]
"""Makes a client of an origin, whose requests all have the same headers."""


class NcrDoor:
    """The manifests of an NCR registry, opened with the ``key`` of its API; ``stack`` closes it."""

    def __init__(
        self,
        place: OciPlace,
        key: Credentials,
        governor: Governor,
        new_client: NewClient,
        timeout: float,
        stack: AsyncExitStack,
    ) -> None:
        login = Login(key.access_key, key.secret, key.source)
        self.transport = _transport(place, login, new_client, timeout, stack)
        self.manifests = ManifestClient(self.transport, governor)
        self._governor = governor

    def linked(self, reader: TagReader, known: KnownManifests, talk: Say) -> TagReader:
        """``reader``, whose tags get what their manifests say of one another."""
        facts = FactsReader(self.transport, self._governor, known)
        return LinkedReader(reader, facts, self.manifests, talk.warn)


def _transport(
    place: OciPlace, login: Login | None, new_client: NewClient, timeout: float, stack: AsyncExitStack
) -> OciTransport:
    def elsewhere(origin: str) -> HttpClient:
        return new_client(origin, COMMON_HEADERS)

    authorizer = Authorizer(place.at.origin, login, elsewhere, timeout=timeout)
    client = elsewhere(place.at.origin)
    transport = OciTransport(client, place.at, authorizer, elsewhere, timeout=timeout)
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
        """With the login that there is for it, which is said; CredentialsError if that cannot be used."""
        login = await find_login(place.at, registries, env)
        who = "none found, so nobody logs in" if login is None else f"{login.source}, user {login.username}"
        talk.say(f"Credentials: {who}; registry {place.at}")
        return cls(place, registries, login, talk)

    @property
    def account(self) -> str:
        """Who works there."""
        return "" if self._login is None else self._login.username

    def open(self, new_client: NewClient, timeout: float, stack: AsyncExitStack) -> OciTransport:
        """A transport, which ``stack`` closes."""
        return _transport(self._place, self._login, new_client, timeout, stack)

    def door(self, transport: OciTransport, attempts: Attempts) -> ManifestClient:
        """Where single manifests are read and put back."""
        return ManifestClient(transport, attempts)

    def access(
        self, transport: OciTransport, gate: Gate, governors: tuple[Governor, Governor], known: KnownManifests
    ) -> RegistryAccess:
        """Reader, reader that also works while a run is stopping, and deleter."""
        reader, rechecker = (self._reader(transport, governor, known) for governor in governors)
        deleter = OciDeleter(transport, DeleteBy(self._place.delete_by))
        return RegistryAccess(reader, rechecker, deleter, gate)

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
