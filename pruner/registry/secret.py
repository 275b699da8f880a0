"""A text that is used but never shown."""

import hmac
from typing import Final, NoReturn

_MASK: Final = "***"


class Secret:
    """A secret text. Only ``reveal`` gives it out: printing, formatting and pickling never do.

    Two secrets are compared in constant time. An empty secret is false. Copies are the secret itself.
    """

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        """The secret itself. The caller must neither print nor store it."""
        return self.__text

    def __repr__(self) -> str:
        return f"Secret({_MASK})"

    def __str__(self) -> str:
        return _MASK

    def __format__(self, spec: str) -> str:
        # The width or precision that a format asks for must not tell anything either.
        return _MASK

    def __bool__(self) -> bool:
        return bool(self.__text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_bytes(self.__text), _bytes(other.__text))

    def __hash__(self) -> int:
        return hash((Secret, self.__text))

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: object) -> "Secret":
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Secret has no state to give out")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
