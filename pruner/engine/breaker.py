"""A circuit breaker for a server that fails over and over. Pure; monotonic seconds."""

from typing import Final


class Breaker:
    """Opens after several failures in a row, lets one request through per pause, closes on a success."""

    THRESHOLD: Final = 10
    FIRST_PAUSE_SECONDS: Final = 1.0
    LONGEST_PAUSE_SECONDS: Final = 30.0

    def __init__(self) -> None:
        self._failures = 0
        self._pause = 0.0
        self._until = float("-inf")
        self._probing = False
        self.open_since: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether the server is taken to be down."""
        return self._pause > 0.0

    def wait(self, now: float) -> float:
        """0.0 if a request may go out, otherwise the seconds until asking again makes sense."""
        if not self.is_open:
            return 0.0
        if now < self._until:
            return self._until - now
        return self._pause if self._probing else 0.0

    def sent(self) -> None:
        """A request goes out; while open it is the only one."""
        self._probing = self.is_open

    def succeeded(self) -> None:
        """Any answer of a working server."""
        self._failures = 0
        self._pause = 0.0
        self._probing = False
        self.open_since = None

    def failed(self, now: float) -> None:
        """A connection error, a lost reply or a 5xx."""
        self._failures += 1
        if self._failures < self.THRESHOLD or (self.is_open and not self._probing):
            return
        self._pause = min(max(self._pause * 2, self.FIRST_PAUSE_SECONDS), self.LONGEST_PAUSE_SECONDS)
        self._until = now + self._pause
        self.open_since = now if self.open_since is None else self.open_since
        self._probing = False

    def abandoned(self) -> None:
        """The probe ended without saying anything of the server."""
        self._probing = False
