"""Servers that take DELETEs as fast as they come: nginx where it is installed, else a raw asyncio one.

The asyncio one also delays its answers, which nginx cannot. Both answer 204 to every DELETE and pages of
one tag list to ``GET …/tags?page=N``; the asyncio one lists its registry and images as well.
"""

import asyncio
import contextlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import work
from benchmarks.harness import cores, start

_DELETED = b"HTTP/1.1 204 No Content\r\n\r\n"
_PAGE = re.compile(rb"GET [^ ]*[?&]page=(\d+)")
_CONFIGURATION = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  open_file_cache max=100;
  default_type application/json;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ return 204; }}
    location ~ /tags$ {{ root {folder}; try_files /page-$arg_page.json =404; }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Sink:
    """A server that runs, and what it is."""

    port: int
    name: str


def nginx() -> str | None:
    """The path of nginx, or None."""
    return shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


@contextlib.contextmanager
def fast_sink() -> Iterator[Sink]:
    """The fastest sink there is, on the server's core."""
    if nginx() is None:
        with delayed_sink(0.0) as sink:
            yield sink
        return
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        port = _free_port()
        work.write_pages(Path(folder))
        configuration = Path(folder) / "nginx.conf"
        configuration.write_text(_CONFIGURATION.format(folder=folder, port=port))
        command = [str(nginx()), "-p", folder, "-c", str(configuration)]
        with _running(command, port):
            yield Sink(port, "nginx")


@contextlib.contextmanager
def delayed_sink(seconds: float, images: int = 1, tags: int = work.TAGS_PER_IMAGE) -> Iterator[Sink]:
    """A raw asyncio server on the server's core that answers after ``seconds``.

    It lists so many ``images`` of so many ``tags`` each.
    """
    port = _free_port()
    arguments = map(str, (port, seconds, images, tags))
    with _running([sys.executable, "-m", "benchmarks.sink", *arguments], port):
        yield Sink(port, "raw asyncio server")


def deletes_of(sink: Sink) -> int:
    """How many DELETEs a delayed sink has seen."""
    with urllib.request.urlopen(f"http://127.0.0.1:{sink.port}/deletes", timeout=10) as answer:
        return int(answer.read())


@contextlib.contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    process = start(command, cores()[1], stderr=subprocess.DEVNULL)
    try:
        _await_port(port)
        yield
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _await_port(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise SystemExit("the sink does not start")


class _Answering(asyncio.Protocol):
    """Answers each request of a connection after a delay; requests have no bodies."""

    deletes = 0
    """Of all connections."""

    def __init__(self, delay: float, pages: list[bytes], lists: dict[bytes, bytes]) -> None:
        self._delay = delay
        self._pages = pages
        self._lists = lists
        self._rest = b""
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *requests, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for request in requests:
            if request.startswith(b"DELETE "):
                _Answering.deletes += 1
                answer = _DELETED
            else:
                answer = self._page(request)
            if self._delay:
                self._loop.call_later(self._delay, self._transport.write, answer)
            else:
                self._transport.write(answer)

    def _page(self, request: bytes) -> bytes:
        if request.startswith(b"GET /deletes "):
            return b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n%9d" % _Answering.deletes
        match = _PAGE.match(request)
        path = request.split(b" ", 2)[1].partition(b"?")[0]
        body = self._lists.get(path) or (self._pages[int(match[1]) - 1] if match else b"{}")
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def _serve(port: int, delay: float, images: int, tags: int) -> None:
    pages = [work.page(number + 1, tags) for number in range(-(-tags // work.PAGE_SIZE))]
    server = await asyncio.get_running_loop().create_server(
        lambda: _Answering(delay, pages, work.name_lists(images)), "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


def main(arguments: list[str]) -> None:
    """Serve until terminated: PORT, SECONDS, how many IMAGES there are and TAGS of each."""
    from benchmarks.loops import run

    port, seconds, images, tags = arguments
    run(_serve(int(port), float(seconds), int(images), int(tags)))


if __name__ == "__main__":
    main(sys.argv[1:])
