"""A registry that speaks the OCI Distribution specification 1.1 (the Docker Registry HTTP API V2).

Source: github.com/opencontainers/distribution-spec, ``spec.md``, version 1.1; where servers follow the older
documents of distribution ("HTTP API V2", "Token Authentication"), those.
"""
