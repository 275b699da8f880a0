"""Verified TLS."""

import ssl
from pathlib import Path

from pruner.errors import InputError
from pruner.files import check_regular
from pruner.names import shown_path


def tls_context(ca_bundle: str | None) -> ssl.SSLContext:
    """A verifying TLS context; ``ca_bundle`` is a PEM file or folder used instead of the system's."""
    if ca_bundle is None:
        return ssl.create_default_context()
    path = Path(ca_bundle)
    try:
        if path.is_dir():
            return ssl.create_default_context(capath=ca_bundle)
        check_regular(path)
        return ssl.create_default_context(cafile=ca_bundle)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or error
        raise InputError(f"CA bundle '{shown_path(ca_bundle)}' cannot be used: {reason}") from None
