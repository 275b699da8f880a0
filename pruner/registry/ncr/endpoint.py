"""Where NCR is: its regions by name."""

import re
from enum import Enum, auto
from typing import Final

from pruner import names
from pruner.errors import InputError
from pruner.registry.endpoint import Endpoint
from pruner.registry.identity import identity_of
from pruner.registry.ncr.protocol import REGION_PREFIXES

_HOSTS: Final = {
    "KR": "ncr.apigw.ntruss.com",
    "SGN": "ncr.apigw.ntruss.com",
    "JPN": "ncr.apigw.ntruss.com",
    "gov-KR": "gov-ncr.apigw.gov-ntruss.com",
    "gov-KRS": "gov-ncr.apigw.gov-ntruss.com",
    "fin-KR": "ncr.apigw.fin-ntruss.com",
}
EXPERIMENTAL_REGIONS: Final = frozenset({"fin-KR"})
_WITHOUT_NCR: Final = frozenset({"USWN", "DEN"})
_DOCKER_HOSTS: Final = {
    "KR": "kr.ncr.ntruss.com",
    "SGN": "sg.ncr.ntruss.com",
    "JPN": "jp.ncr.ntruss.com",
    "gov-KR": "ncr.gov-ntruss.com",
    "gov-KRS": "ncr.gov-ntruss.com",
    "fin-KR": "ncr.fin-ntruss.com",
}


_PULLED_FROM: Final = re.compile(
    r"[a-z0-9-]+\.(?:(?:kr|sg|jp)\.)?(private-)?ncr\.(?:ntruss|gov-ntruss|fin-ntruss)\.com"
)


class NcrHost(Enum):
    """What a host of NCR that images are pulled from is called after."""

    PUBLIC = auto()
    """The registry."""
    PRIVATE = auto()
    """Nothing that a person chose."""


def ncr_host(host: str) -> NcrHost | None:
    """Of which kind a host is; None for one that is not of NCR."""
    match = _PULLED_FROM.fullmatch(host)
    if match is None:
        return None
    return NcrHost.PRIVATE if match[1] else NcrHost.PUBLIC


def is_ncr(endpoint: Endpoint) -> bool:
    """Whether requests to an endpoint reach NCR, and nobody else."""
    return endpoint.origin in {f"https://{host}" for host in _HOSTS.values()}


def region_of(endpoint: Endpoint) -> str | None:
    """The region whose endpoint it is, however it is written; None for another one."""
    host = identity_of(endpoint.origin)
    found = [
        name for name, prefix in REGION_PREFIXES.items() if (host, endpoint.prefix) == (_HOSTS[name], prefix)
    ]
    return found[0] if found else None


def docker_registry_url(region: str, registry: str) -> str:
    """Where a registry speaks the Docker Registry API; its host has its name."""
    return f"https://{registry}.{_DOCKER_HOSTS[region]}"


def region_endpoint(region: str) -> Endpoint:
    """The endpoint of a region by name; InputError for a region without NCR."""
    if region in REGION_PREFIXES:
        return Endpoint(f"https://{_HOSTS[region]}", REGION_PREFIXES[region])
    known = ", ".join(REGION_PREFIXES)
    if region.upper() in _WITHOUT_NCR:
        raise InputError(
            f"region '{region}' has no NCR endpoint that is known; known are {known}; "
            f"if you know the URL, give it as endpoint"
        )
    raise InputError(f"region '{names.printable(region, 40)}' is not known; known are {known}")
