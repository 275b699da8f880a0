"""How many function calls one DELETE costs: a figure that does not depend on the machine.

The engine runs with everything real but the wire: the event loop hands out connections whose other end is
a function that answers 204 at once. Calls are counted for two numbers of DELETEs; the slope is what one
costs, without what starting costs.
"""

import asyncio
import json
import platform
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pruner
from benchmarks import engine

STORED = Path(__file__).parent / "calls_per_delete.json"
TOLERANCE = 0.10
FEW, MANY = 100, 400
WORKERS = 8
_OWN = str(Path(pruner.__file__).parent)
_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class _Wire(asyncio.Transport):
    """A connection that answers each request with 204 in the next turn of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._closing = False

    def write(self, data: Any) -> None:
        if bytes(data).endswith(b"\r\n\r\n"):
            self._loop.call_soon(self._protocol.data_received, _ANSWER)

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True
        self._loop.call_soon(self._protocol.connection_lost, None)

    abort = close


class _Loop(asyncio.SelectorEventLoop):
    """A loop whose connections are wires, whoever asks for them."""

    async def create_connection(self, protocol_factory: Callable[[], Any], *args: Any, **more: Any) -> Any:
        protocol = protocol_factory()
        wire = _Wire(self, protocol)
        protocol.connection_made(wire)
        if more.get("sock") is not None:
            more["sock"].close()
        return wire, protocol


def calls_per_delete() -> dict[str, float]:
    """Function calls per DELETE: those made by or into pruner's own code, and all."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Nobody accepts; the kernel completes the handshake of clients that bring their own socket.
        port = listener.getsockname()[1]
        few, many = _count(port, FEW), _count(port, MANY)
    return {kind: (many[kind] - few[kind]) / (MANY - FEW) for kind in ("own", "all")}


def _count(port: int, deletes: int) -> Counter[str]:
    counts: Counter[str] = Counter()

    def counting(frame: Any, event: str, argument: Any) -> None:
        if event in ("call", "c_call"):
            counts["all"] += 1
            if frame.f_code.co_filename.startswith(_OWN):
                counts["own"] += 1

    async def job() -> None:
        with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
            carried_out = await engine.prepare(Path(folder), port, deletes, WORKERS)
            sys.setprofile(counting)
            try:
                await carried_out.run()
            finally:
                sys.setprofile(None)
            await carried_out.finish()

    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(job())
    return counts


def versions() -> dict[str, str]:
    """What the count of all calls also depends on."""
    return {"python": platform.python_version(), "aiohttp": version("aiohttp"), "anyio": version("anyio")}


def update() -> str:
    """Store the figure anew, and say what it is."""
    figures = {kind: round(value, 1) for kind, value in calls_per_delete().items()}
    STORED.write_text(json.dumps({**figures, "versions": versions()}, indent=2) + "\n")
    return f"{figures['own']} calls per DELETE by pruner's own code, {figures['all']} in all"
