"""What earlier runs learnt of a server's rate, so that the next one does not start from nothing."""

import hashlib
from pathlib import Path
from typing import Final

import msgspec

from pruner.errors import InputError
from pruner.files import atomic_file

_FILE: Final = "rates.json"
_USED: Final = 0.7
"""A run starts at this share of what was found: the server may have changed."""


def _read(state: Path) -> dict[str, float]:
    try:
        return msgspec.json.decode((state / _FILE).read_bytes(), type=dict[str, float])
    except (OSError, msgspec.MsgspecError):
        # A hint that cannot be read is no hint; the pacer finds the rate by itself.
        return {}


def _key(endpoint: str, account: str) -> str:
    return hashlib.sha256(f"{endpoint}\n{account}".encode()).hexdigest()[:16]


def rate_hint(state: Path, endpoint: str, account: str) -> float | None:
    """A rate (requests per second) to start at, or None."""
    found = _read(state).get(_key(endpoint, account))
    return found * _USED if found is not None and 0 < found < 1e6 else None


def save_rate(state: Path, endpoint: str, account: str, rate: float) -> None:
    """Remember a rate for the next run; a state directory that cannot be written loses only the hint."""
    rates = _read(state) | {_key(endpoint, account): round(rate, 2)}
    try:
        with atomic_file(state / _FILE) as file:
            file.write(msgspec.json.encode(rates))
    except InputError:
        return
