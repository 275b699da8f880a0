"""The limit of Python: a hand-made asyncio protocol that signs and believes whatever begins with a 204."""

import asyncio
import json
import sys
from collections.abc import Iterator

from benchmarks import work
from benchmarks.baselines.signing import signed
from benchmarks.loops import Stopwatch, run


class _Sending(asyncio.Protocol):
    def __init__(self, targets: Iterator[str], done: asyncio.Future[None]) -> None:
        self._targets = targets
        self._done = done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        target = next(self._targets, None)
        if target is None:
            self._done.set_result(None)
            return
        headers = "".join(f"{name}: {value}\r\n" for name, value in signed(target).items())
        self._transport.write(f"DELETE {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        if not data.startswith(b"HTTP/1.1 204"):
            raise SystemExit(data)
        self._send()


async def _main(port: int, count: int, workers: int) -> None:
    loop = asyncio.get_running_loop()
    targets = work.targets(count)
    done: list[asyncio.Future[None]] = [loop.create_future() for _ in range(workers)]
    stopwatch = Stopwatch()
    for future in done:
        await loop.create_connection(lambda f=future: _Sending(targets, f), "127.0.0.1", port)
    await asyncio.gather(*done)
    stopwatch.tell(count)


if __name__ == "__main__":
    run(_main(**json.loads(sys.argv[1])))
