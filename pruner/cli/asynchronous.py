"""Starting the event loop: uvloop where it is installed."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

T = TypeVar("T")


def run_async(function: Callable[[], Awaitable[T]]) -> T:
    """Run ``function`` in a new event loop."""
    try:
        import uvloop
    except ImportError:
        return anyio.run(function)
    return anyio.run(function, backend_options={"loop_factory": uvloop.new_event_loop})
