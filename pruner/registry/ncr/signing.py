"""API gateway signature v2.

``stringToSign = METHOD " " target "\\n" timestamp "\\n" access-key``, HMAC-SHA256 with the secret key,
Base64. ``target`` is path and query exactly as they go over the wire. Source: api.ncloud-docs.com
``common-ncpapi``; the percent-encoded form is confirmed by the vendor's own Go SDK (``hmac/hmac.go``).
"""

import binascii
import hashlib
import hmac

from pruner.registry.ncr.credentials import Credentials
from pruner.registry.ncr.protocol import HEADER_ACCESS_KEY, HEADER_SIGNATURE, HEADER_TIMESTAMP


class Signer:
    """Signs requests with one key pair. The HMAC is keyed once and copied for each request."""

    __slots__ = ("_access_key", "_keyed", "_tail")

    def __init__(self, credentials: Credentials) -> None:
        self._access_key = credentials.access_key
        self._tail = f"\n{credentials.access_key}"
        self._keyed = hmac.new(credentials.secret.reveal().encode(), digestmod=hashlib.sha256)

    def __repr__(self) -> str:
        return "Signer(…)"

    def signature(self, method: str, target: str, timestamp: str) -> str:
        """The signature of a request; ``timestamp`` in epoch milliseconds, as it is sent."""
        keyed = self._keyed.copy()
        keyed.update(f"{method} {target}\n{timestamp}{self._tail}".encode())
        return binascii.b2a_base64(keyed.digest(), newline=False).decode("ascii")

    def headers(self, method: str, target: str, timestamp: str) -> dict[str, str]:
        """The three headers of a signed request."""
        return {
            HEADER_TIMESTAMP: timestamp,
            HEADER_ACCESS_KEY: self._access_key,
            HEADER_SIGNATURE: self.signature(method, target, timestamp),
        }
