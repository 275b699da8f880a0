"""Published constants of the OCI Distribution and Image specifications."""

from typing import Final

DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_SCHEMA_1: Final = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)
MANIFESTS: Final = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)
"""What a client that reads them all says it accepts; without it a server may convert, to another digest."""
INDEXES: Final = frozenset({OCI_INDEX, DOCKER_LIST})

# How BuildKit marks the attestations among the manifests of an index ("Image attestation storage").
REFERENCE_TYPE: Final = "vnd.docker.reference.type"
ATTESTATION: Final = "attestation-manifest"
ATTESTED: Final = "vnd.docker.reference.digest"

HEADER_DIGEST: Final = "Docker-Content-Digest"
HEADER_VERSION: Final = "Docker-Distribution-Api-Version"
"""Sent by registries with every answer, also where they know no such path."""

# Codes of errors, in the body ``{"errors": [{"code", "message", "detail"}]}``.
BLOB_UNKNOWN: Final = "BLOB_UNKNOWN"
DENIED: Final = "DENIED"
DIGEST_INVALID: Final = "DIGEST_INVALID"
MANIFEST_UNKNOWN: Final = "MANIFEST_UNKNOWN"
NAME_UNKNOWN: Final = "NAME_UNKNOWN"
UNAUTHORIZED: Final = "UNAUTHORIZED"
UNSUPPORTED: Final = "UNSUPPORTED"
