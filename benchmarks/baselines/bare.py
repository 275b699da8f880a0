"""A tuned aiohttp loop that signs, but does not pace, time out, retry, journal or report."""

import asyncio
import json
import sys
from collections.abc import Iterator

import aiohttp
from yarl import URL

from benchmarks import work
from benchmarks.baselines.signing import signed
from benchmarks.loops import Stopwatch, run


async def _work(session: aiohttp.ClientSession, port: int, targets: Iterator[str]) -> None:
    for target in targets:
        url = URL.build(scheme="http", host="127.0.0.1", port=port, path=target, encoded=True)
        async with session.request("DELETE", url, headers=signed(target), allow_redirects=False) as response:
            if response.status != 204:
                raise SystemExit(f"HTTP {response.status}")


async def _main(port: int, count: int, workers: int) -> None:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        auto_decompress=False,
    ) as session:
        targets = work.targets(count)
        stopwatch = Stopwatch()
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(_work(session, port, targets))
        stopwatch.tell(count)


if __name__ == "__main__":
    run(_main(**json.loads(sys.argv[1])))
