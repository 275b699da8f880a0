"""Where a registry is: the command line, then the environment, then the policies."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from pruner import names
from pruner.app.options import ConnectionOptions
from pruner.errors import InputError
from pruner.plan.records import RegistryFacts
from pruner.policy.policy import RegistrySettings
from pruner.registry.endpoint import Endpoint, parse_endpoint
from pruner.registry.ncr.endpoint import docker_registry_url, region_endpoint
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


def check_apart(places: Mapping[str, Place]) -> None:
    """Raise InputError if two names stand for the same images: what one protects the other would delete."""
    known = [(name, place) for name, place in sorted(places.items()) if isinstance(place, OciPlace)]
    for number, (name, place) in enumerate(known):
        for other, before in known[:number]:
            if place.at.overlaps(before.at):
                raise InputError(
                    f"registries '{other}' ({before.at}) and '{name}' ({place.at}) have images in common; "
                    f"call them by one name"
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
    own = settings.get(registry)
    region = options.region or (own.region if own else None)
    url = own.v2_url if own is not None and own.v2_url else None
    if url is None and region is not None:
        url = docker_registry_url(region, registry)
    if url is None:
        raise InputError(
            f"to keep manifests, or to put them back, say where registry '{registry}' speaks the Docker "
            f"Registry API: write v2_url under 'registries' in a policy"
        )
    return OciPlace(parse_location(url, allow_plain_http=options.allow_plain_http), None, "tag")
