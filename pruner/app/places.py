"""Where a registry is: the command line, then the environment, then the policies."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from pruner import names
from pruner.app.options import ConnectionOptions
from pruner.app.saying import Say
from pruner.engine.lock import LockScope
from pruner.errors import InputError, RefusedError
from pruner.plan.records import RegistryFacts
from pruner.policy.policy import RegistrySettings
from pruner.registry.endpoint import Endpoint, parse_endpoint
from pruner.registry.identity import canonical_host, identity_of
from pruner.registry.ncr.endpoint import docker_registry_url, is_ncr, ncr_host, region_endpoint, region_of
from pruner.registry.oci.location import OciLocation, parse_location


@dataclass(frozen=True, slots=True)
class NcrPlace:
    """An endpoint of NCR, and the profile whose key opens it."""

    at: Endpoint
    region: str | None
    profile: str | None

    def facts(self, own: RegistrySettings | None) -> RegistryFacts:
        """As a plan has it; ``own`` is what a policy says of the registry."""
        if own is None:
            return RegistryFacts(str(self.at), self.region, self.profile)
        return RegistryFacts(str(self.at), self.region, self.profile, v2_url=own.v2_url, graph=own.graph)


@dataclass(frozen=True, slots=True)
class OciPlace:
    """A registry of the OCI kind."""

    at: OciLocation
    images: tuple[str, ...] | None
    delete_by: Literal["auto", "tag", "digest"]

    def facts(self, own: RegistrySettings | None) -> RegistryFacts:
        """As a plan has it."""
        return RegistryFacts(str(self.at), type="oci", images=self.images, delete_by=self.delete_by)


Place = NcrPlace | OciPlace


def pulled_from(registry: str, place: Place, own: RegistrySettings | None) -> tuple[str, ...]:
    """Where workloads pull the images of a registry from, as far as it is known without asking it."""
    also = own.also_pulled_from if own is not None else ()
    if isinstance(place, OciPlace):
        return (place.at.place, *also)
    if place.region is None:
        return also
    return (docker_registry_url(place.region, registry).removeprefix("https://"), *also)


def with_limits(facts: RegistryFacts, own: RegistrySettings | None) -> RegistryFacts:
    """``facts`` with what a policy allows at most."""
    if own is None:
        return facts
    return msgspec.structs.replace(
        facts, concurrency=own.concurrency, requests_per_second=own.requests_per_second
    )


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


def with_oci(
    options: ConnectionOptions, settings: Mapping[str, RegistrySettings]
) -> dict[str, RegistrySettings]:
    """``settings`` and the registries that the command line describes.

    InputError for one that cannot be, or that a policy or a plan describes otherwise: what was decided there
    holds for that registry only.
    """
    found = dict(settings)
    for text in options.oci:
        name, equals, url = text.partition("=")
        if not equals:
            raise InputError(
                f"--oci '{names.printable(text)}': write NAME=URL, as in acme=https://registry.example.com"
            )
        names.check_registry(name)
        location = parse_location(url, allow_plain_http=options.allow_plain_http)
        known = settings.get(name)
        if known is None:
            found[name] = RegistrySettings(f"--oci {name}", type="oci", url=url)
        elif known.url is None or parse_location(known.url, allow_plain_http=True) != location:
            where = known.url or known.endpoint or known.region or "NCR"
            raise InputError(
                f"--oci says that registry '{name}' is at {location}, but {known.source} says {where}"
            )
    return found


def scopes_of(
    registry: str, place: Place, own: RegistrySettings | None, options: ConnectionOptions
) -> list[LockScope]:
    """What a registry is, however it is called and reached; an NCR registry also by its Docker host."""
    if isinstance(place, OciPlace):
        return [_oci_scope(registry, place.at)]
    api = f"{identity_of(place.at.origin)}{place.at.prefix}"
    found = [LockScope(registry, ("ncr", api, registry))]
    doors = [_v2_url_of(registry, options, own)]
    if registry and (region := region_of(place.at)) is not None:
        # Also where an endpoint is given in place of its region, and a v2_url in place of NCR's own.
        doors.append(docker_registry_url(region, registry))
    for door in dict.fromkeys(filter(None, doors)):
        found.append(_oci_scope(registry, parse_location(door, allow_plain_http=True)))
    return found


def _oci_scope(name: str, at: OciLocation) -> LockScope:
    namespace = tuple(at.namespace.split("/")) if at.namespace else ()
    return LockScope(name, ("oci", identity_of(at.origin), *namespace))


def scope_of_host(registry: str, host: str) -> LockScope:
    """A registry by a host, as ``host[/namespace]``, that workloads pull its images from."""
    name, _, namespace = host.partition("/")
    return LockScope(registry, ("oci", identity_of(f"https://{name}"), *filter(None, namespace.split("/"))))


def check_apart(scopes: Iterable[LockScope]) -> None:
    """Raise InputError if two names stand for the same images: what one protects the other would delete."""
    known = sorted(set(scopes))
    for number, scope in enumerate(known):
        for other in known[:number]:
            shorter = min(len(scope.parts), len(other.parts))
            if scope.name != other.name and scope.parts[:shorter] == other.parts[:shorter]:
                where = "/".join(max(scope.parts, other.parts, key=len)[1:])
                raise InputError(
                    f"registries '{other.name}' and '{scope.name}' are both at {where} and have images in "
                    f"common; call them by one name"
                )


def place_of(registry: str, options: ConnectionOptions, settings: Mapping[str, RegistrySettings]) -> Place:
    """Where ``registry`` is; InputError if nobody says so, or two say it differently."""
    own = settings.get(registry)
    if own is not None and own.type == "oci":
        return _oci(registry, options, own)
    profile = options.profile or (own.profile if own else None)
    plain = options.allow_plain_http
    if options.endpoint:
        return NcrPlace(parse_endpoint(options.endpoint, allow_plain_http=plain), None, profile)
    if options.region:
        return NcrPlace(region_endpoint(options.region), options.region, profile)
    if own is not None and own.endpoint:
        return NcrPlace(parse_endpoint(own.endpoint, allow_plain_http=plain), None, profile)
    if own is not None and own.region:
        return NcrPlace(region_endpoint(own.region), own.region, profile)
    what = f"registry '{registry}'" if registry else "the registry"
    raise InputError(
        f"where is {what}? Write its region or endpoint (or type: oci and url) under 'registries' in a "
        f"policy, or give --region, --endpoint or --oci"
    )


def _oci(registry: str, options: ConnectionOptions, own: RegistrySettings) -> OciPlace:
    if options.endpoint or options.region:
        raise InputError(
            f"--endpoint and --region are for NCR, but registry '{registry}' is of type oci "
            f"({own.source}); run its policies without them"
        )
    location = parse_location(own.url or "", allow_plain_http=options.allow_plain_http)
    return OciPlace(location, own.images, own.delete_by)


def ncr_door_of(
    registry: str, options: ConnectionOptions, settings: Mapping[str, RegistrySettings]
) -> OciPlace:
    """Where an NCR registry speaks the Docker Registry API; InputError if that is not known."""
    url = _v2_url_of(registry, options, settings.get(registry))
    if url is None:
        raise InputError(
            f"to keep manifests, or to put them back, say where registry '{registry}' speaks the Docker "
            f"Registry API: write v2_url under 'registries' in a policy"
        )
    return OciPlace(parse_location(url, allow_plain_http=options.allow_plain_http), None, "tag")


def _v2_url_of(registry: str, options: ConnectionOptions, own: RegistrySettings | None) -> str | None:
    if own is not None and own.v2_url:
        return own.v2_url
    region = options.region or (own.region if own else None)
    # An endpoint on the command line is another place than the policy's region.
    if region is None or options.endpoint:
        return None
    return docker_registry_url(region, registry)


def takes_ncr_key(at: OciLocation, options: ConnectionOptions) -> bool:
    """Whether NCR's key may be sent to a server: to NCR, and where the operator says so."""
    host = urlsplit(at.origin).hostname or ""
    is_ncr = ncr_host(host) is not None and at.origin.startswith("https:")
    return is_ncr or any(same_host(host, known) for known in options.key_hosts)


def announce(place: Place, options: ConnectionOptions, talk: Say) -> None:
    """Say where signed requests go if that is not NCR, and refuse it if the operator named other hosts."""
    check_host(place.at.origin, options)
    if isinstance(place, NcrPlace) and not is_ncr(place.at):
        talk.say(f"Signed requests go to {place.at}, which is not an address of NCR")


def check_host(origin: str, options: ConnectionOptions) -> None:
    """Raise RefusedError unless ``--only-host`` allows authenticated requests to the host of ``origin``."""
    host = urlsplit(origin).hostname or ""
    if options.only_hosts and not any(same_host(host, known) for known in options.only_hosts):
        raise RefusedError(
            f"refused, nothing was sent: {names.printable(host)} is not one of the hosts that --only-host or "
            f"PRUNER_ONLY_HOSTS allows ({', '.join(map(names.printable, options.only_hosts))})"
        )


def same_host(host: str, known: str) -> bool:
    """Whether a host is the one that is named; ``*.example.com`` names all below it."""
    if known.startswith("*."):
        return canonical_host(host).endswith(f".{canonical_host(known[2:])}")
    return canonical_host(host) == canonical_host(known)


def foreign_hosts(settings: Mapping[str, RegistrySettings]) -> Iterator[str]:
    """What is said of each host that a policy names in place of NCR's."""
    for name, own in settings.items():
        if own.endpoint and not is_ncr(parse_endpoint(own.endpoint, allow_plain_http=True)):
            yield f"{own.source}: requests of registry '{name}' go to {own.endpoint}, which is not NCR"
        if own.v2_url and ncr_host(urlsplit(own.v2_url).hostname or "") is None:
            yield (
                f"{own.source}: v2_url of registry '{name}' is not a host of NCR, so NCR's key is not sent "
                f"there; it needs a login of its own"
            )
