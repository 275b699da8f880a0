"""Errors that quote what an answer holds: a name or a link that cannot be may be a login that came back."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from pruner.errors import ListingError, MalformedReplyError
from pruner.text import HIDDEN, repeats


@contextmanager
def scrubbed(secrets: Callable[[], Iterable[str]]) -> Iterator[None]:
    """Read something; an error that repeats one of ``secrets`` says nothing of what was read."""
    try:
        yield
    except (ListingError, MalformedReplyError) as error:
        if repeats(str(error), secrets()):
            raise type(error)(f"an answer cannot be read {HIDDEN}") from None
        raise
