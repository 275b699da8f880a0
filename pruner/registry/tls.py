"""Verified TLS."""

import ssl
from pathlib import Path

from pruner.errors import InputError


def tls_context(ca_bundle: str | None) -> ssl.SSLContext:
    """A verifying TLS context; ``ca_bundle`` is a PEM file or folder used instead of the system's."""
    if ca_bundle is None:
        return ssl.create_default_context()
    path = Path(ca_bundle)
    try:
        if path.is_dir():
            return ssl.create_default_context(capath=ca_bundle)
        return ssl.create_default_context(cafile=ca_bundle)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"CA bundle '{ca_bundle}' cannot be used: {error}") from None
