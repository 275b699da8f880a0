"""One signed request after another over one connection, the way ``ncr-clean-tag`` works."""

import http.client
import json
import sys

from benchmarks import work
from benchmarks.baselines.signing import signed
from benchmarks.loops import Stopwatch


def _main(port: int, count: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    stopwatch = Stopwatch()
    for target in work.targets(count):
        connection.request("DELETE", target, headers=signed(target))
        response = connection.getresponse()
        response.read()
        if response.status != 204:
            raise SystemExit(f"HTTP {response.status}")
    stopwatch.tell(count)


if __name__ == "__main__":
    _main(**json.loads(sys.argv[1]))
