"""The time after which a command has to end."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pruner.clock import running_clock
from pruner.errors import ExitCode, PrunerError


class DeadlineError(PrunerError):
    """The time was over before anything was deleted."""

    exit_code = ExitCode.PARTIAL


@dataclass(frozen=True, slots=True)
class Deadline:
    """A command that began at ``began`` (seconds of the running clock) has to end after ``seconds``."""

    seconds: float
    began: float

    @property
    def left(self) -> float:
        """Seconds until then; below 0 when it is over."""
        return self.began + self.seconds - running_clock()

    @property
    def sentence(self) -> str:
        """That it is over."""
        return f"the deadline of {self.seconds:.0f} s has passed"


@contextmanager
def before(deadline: Deadline | None) -> Iterator[None]:
    """Do something that deletes nothing; DeadlineError if the time is over meanwhile."""
    if deadline is None:
        yield
        return
    import anyio

    try:
        with anyio.fail_after(max(0.0, deadline.left)):
            yield
    except TimeoutError:
        raise DeadlineError(f"{deadline.sentence} before the first deletion; nothing was deleted") from None
