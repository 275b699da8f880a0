"""Where NCR is: its regions by name."""

from typing import Final

from pruner import names
from pruner.errors import InputError
from pruner.registry.endpoint import Endpoint
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
