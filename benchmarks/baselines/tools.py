"""Programs of others: one curl per tag, and wrk as the limit of the machine. None where not installed."""

import importlib.util
import re
import shutil
import tempfile
import time
from pathlib import Path

from benchmarks import work
from benchmarks.harness import output

_LOOP = 'while read -r url; do curl -s -o /dev/null -X DELETE "$url"; done'
_WRK = 'wrk.method = "DELETE"\nwrk.path = "{}"\n'


def has_httpx() -> bool:
    """Whether httpx can be imported."""
    return importlib.util.find_spec("httpx") is not None


def curl_rate(port: int, count: int) -> float | None:
    """DELETEs per second of a shell loop; unsigned, which spares it an openssl per tag."""
    if shutil.which("curl") is None:
        return None
    with tempfile.TemporaryFile("w+") as urls:
        urls.writelines(f"http://127.0.0.1:{port}{target}\n" for target in work.targets(count))
        urls.seek(0)
        started = time.perf_counter()
        output(["sh", "-c", _LOOP], stdin=urls)
        return count / (time.perf_counter() - started)


def wrk_rate(port: int, connections: int, seconds: int = 1) -> float | None:
    """DELETEs per second of wrk with one thread; unsigned, and always the same path."""
    if shutil.which("wrk") is None:
        return None
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        script = Path(folder) / "delete.lua"
        script.write_text(_WRK.format(next(work.targets(1))))
        url = f"http://127.0.0.1:{port}"
        text = output(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url])
    match = re.search(r"Requests/sec:\s*([\d.]+)", text)
    return float(match[1]) if match else None
