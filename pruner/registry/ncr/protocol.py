"""Published constants of the NCR API v2 and the Ncloud API gateway, shared by client and emulator.

Only names and numbers that the vendor documents stand here, no logic, so that a mistake in the client
cannot hide behind the same mistake in the emulator.

Sources: api.ncloud-docs.com (``compute-containerregistry``, ``common-ncpapi``) and
api-gov.ncloud-docs.com (``containerregistry-getimages``, ``api-call-lgc-errorhandling``).
"""

from typing import Final

HEADER_TIMESTAMP: Final = "x-ncp-apigw-timestamp"
HEADER_ACCESS_KEY: Final = "x-ncp-iam-access-key"
HEADER_SIGNATURE: Final = "x-ncp-apigw-signature-v2"
HEADER_TRACE_ID: Final = "x-ncp-trace-id"

CLOCK_SKEW_LIMIT_SECONDS: Final = 300
"""The gateway refuses a timestamp further than this from its own clock."""

REGION_PREFIXES: Final = {
    "KR": "/ncr/api/v2",
    "SGN": "/ncr/sgn-api/v2",
    "JPN": "/ncr/jpn-api/v2",
    "gov-KR": "/ncr/kr/v2",
    "gov-KRS": "/ncr/krs/v2",
    "fin-KR": "/ncr/api/v2",
}
"""Path prefix before ``/repositories``, by region name."""

# Gateway error codes. They are not HTTP statuses: code 300 arrives with status 404, code 400 with 429.
GATEWAY_BAD_REQUEST: Final = 100
GATEWAY_AUTHENTICATION_FAILED: Final = 200
GATEWAY_PERMISSION_DENIED: Final = 210
GATEWAY_FORBIDDEN: Final = 230
GATEWAY_NOT_FOUND: Final = 300
GATEWAY_QUOTA_EXCEEDED: Final = 400
GATEWAY_THROTTLE_LIMITED: Final = 410
GATEWAY_RATE_LIMITED: Final = 420
GATEWAY_ENTITY_TOO_LARGE: Final = 430
GATEWAY_ENDPOINT_ERROR: Final = 500
GATEWAY_ENDPOINT_TIMEOUT: Final = 510
GATEWAY_UNEXPECTED_ERROR: Final = 900

# Words that the API puts where the gateway has a number.
RESOURCE_NOT_READY: Final = "ResourceNotReady"
RESOURCE_IN_USE: Final = "ResourceInUse"
RESOURCE_NOT_FOUND: Final = "ResourceNotFound"
CODE_WORDS: Final = frozenset({RESOURCE_NOT_READY, RESOURCE_IN_USE, RESOURCE_NOT_FOUND})
