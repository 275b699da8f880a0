"""What earlier runs learnt of a server's rate, so that the next one does not start from nothing."""

import hashlib
from pathlib import Path
from typing import Final

import msgspec

from pruner.engine.pacer import Hint
from pruner.errors import InputError
from pruner.files import atomic_file, read_bytes

_FILE: Final = "rates.json"
_MAX_BYTES: Final = 1 << 20
OF_LIMIT: Final = 0.97
"""A run starts at this share of a limit that was found: the server may have changed."""
OF_PASSED: Final = 0.5
"""And at this share of what passed without a refusal, to double from there."""


class _Found(msgspec.Struct, frozen=True):
    rate: float
    limit: bool


def _read(state: Path) -> dict[str, _Found]:
    try:
        text = read_bytes(str(state / _FILE), _MAX_BYTES)
        return msgspec.json.decode(text, type=dict[str, _Found])
    except (OSError, msgspec.MsgspecError):
        # A hint that cannot be read is no hint; the pacer finds the rate by itself.
        return {}


def _key(endpoint: str, account: str) -> str:
    return hashlib.sha256(f"{endpoint}\n{account}".encode()).hexdigest()[:16]


def rate_hint(state: Path, endpoint: str, account: str) -> Hint | None:
    """Where an earlier run's pacer got to, or None."""
    found = _read(state).get(_key(endpoint, account))
    if found is None or not 0 < found.rate < 1e6:
        return None
    return Hint(found.rate * (OF_LIMIT if found.limit else OF_PASSED), found.limit)


def save_rate(state: Path, endpoint: str, account: str, rate: float, *, limit: bool) -> None:
    """Remember a rate for the next run: the server's ``limit``, or just what passed.

    A state directory that cannot be written loses only the hint.
    """
    rates = _read(state) | {_key(endpoint, account): _Found(round(rate, 2), limit)}
    try:
        with atomic_file(state / _FILE) as file:
            file.write(msgspec.json.encode(rates))
    except InputError:
        return
