"""Checking of request signatures, as the Ncloud API gateway does it (signature version 2)."""

import base64
import hmac
from collections.abc import Callable, Mapping
from typing import Final

from pruner.registry.ncr import protocol

MISSING: Final = "Authentication information are missing."
INVALID: Final = "Invalid authentication information."
EXPIRED: Final = "Invalid authentication information. The timestamp is out of the allowed range."


class SignatureVerifier:
    """Knows the accepted keys and tells a well signed request from a bad one."""

    def __init__(self, keys: Mapping[str, str], clock: Callable[[], float]) -> None:
        """Accept the secret keys by access key; ``clock`` gives seconds since the epoch."""
        self._secrets = {access: secret.encode() for access, secret in keys.items()}
        self._clock = clock

    def problem(self, method: str, target: str, headers: Mapping[str, str]) -> str | None:
        """Return why a request is refused, or None if it is signed well.

        ``target`` is the request target as it stood on the wire, with its percent-encoding and query.
        """
        timestamp = headers.get(protocol.HEADER_TIMESTAMP)
        access_key = headers.get(protocol.HEADER_ACCESS_KEY)
        signature = headers.get(protocol.HEADER_SIGNATURE)
        if not timestamp or not access_key or not signature:
            return MISSING
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 16):
            return INVALID
        if abs(self._clock() - int(timestamp) / 1000) > protocol.CLOCK_SKEW_LIMIT_SECONDS:
            return EXPIRED
        secret = self._secrets.get(access_key)
        if secret is None:
            return INVALID
        message = f"{method} {target}\n{timestamp}\n{access_key}".encode("utf-8", "surrogateescape")
        expected = base64.b64encode(hmac.digest(secret, message, "sha256"))
        if not hmac.compare_digest(expected, signature.encode("utf-8", "surrogateescape")):
            return INVALID
        return None
