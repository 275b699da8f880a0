"""httpx in its asynchronous form, signing; only where it is installed."""

import asyncio
import json
import sys
from collections.abc import Iterator

from benchmarks import work
from benchmarks.baselines.signing import signed
from benchmarks.loops import Stopwatch, run


async def _work(client: "object", port: int, targets: Iterator[str]) -> None:
    for target in targets:
        url = f"http://127.0.0.1:{port}{target}"
        response = await client.delete(url, headers=signed(target))  # type: ignore[attr-defined]
        if response.status_code != 204:
            raise SystemExit(f"HTTP {response.status_code}")


async def _main(port: int, count: int, workers: int) -> None:
    import httpx

    targets = work.targets(count)
    async with httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=None)) as client:
        stopwatch = Stopwatch()
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(_work(client, port, targets))
        stopwatch.tell(count)


if __name__ == "__main__":
    run(_main(**json.loads(sys.argv[1])))
