"""A pair of access key and secret key, and what a key may consist of."""

import re
from dataclasses import dataclass, field
from typing import Final

from pruner.errors import CredentialsError
from pruner.registry.secret import Secret

KEY: Final = re.compile(r"[!-~]{1,1024}")
KEY_RULE: Final = "a key has only printable ASCII characters, no spaces and at most 1024 of them"
_IAM_PREFIX: Final = "ncp_iam_"
_SHOWN_HEAD: Final = 4
_SHOWN_TAIL: Final = 2


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """One key pair.

    ``source`` says in words where it comes from; ``expires`` is in epoch seconds, None for keys that do not
    expire by themselves (all but those of a Server Role). ``warnings`` name what is wrong there.
    """

    access_key: str
    secret: Secret
    source: str
    expires: float | None = None
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @property
    def masked_key(self) -> str:
        """The access key for people: ``AKID…01``. Never more than half of it; a short key not at all."""
        prefix = _IAM_PREFIX if self.access_key.startswith(_IAM_PREFIX) else ""
        shown = len(prefix) + _SHOWN_HEAD + _SHOWN_TAIL
        if shown * 2 > len(self.access_key):
            return "***"
        return f"{self.access_key[: len(prefix) + _SHOWN_HEAD]}…{self.access_key[-_SHOWN_TAIL:]}"

    def __repr__(self) -> str:
        return (
            f"Credentials(access_key={self.masked_key!r}, secret={self.secret!r}, "
            f"source={self.source!r}, expires={self.expires!r})"
        )


def clean_key(what: str, value: str) -> str:
    """``value`` without the space around it; CredentialsError, without the value, unless it can be a key."""
    value = value.strip()
    if KEY.fullmatch(value) is None:
        raise CredentialsError(f"{what} is malformed: {KEY_RULE}")
    return value
