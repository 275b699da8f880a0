"""What the program has to say while it works, whoever listens."""

from typing import Any, Protocol


class Say(Protocol):
    """Takes sentences at three levels. Nothing said here may hold a secret."""

    def say(self, text: str, **facts: Any) -> None:
        """What a user wants to know."""

    def detail(self, text: str, **facts: Any) -> None:
        """What a user wants to know who asked for more."""

    def warn(self, text: str, **facts: Any) -> None:
        """What may be wrong."""


class Silent:
    """Nobody listens."""

    def say(self, text: str, **facts: Any) -> None:
        """Drop it."""

    def detail(self, text: str, **facts: Any) -> None:
        """Drop it."""

    def warn(self, text: str, **facts: Any) -> None:
        """Drop it."""
