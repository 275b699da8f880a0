"""Serving metrics to Prometheus while a run is on."""

import socket
import socketserver
import threading
from collections.abc import Callable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from pruner.errors import InputError

_POLL_SECONDS = 0.05


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    # Nobody who keeps a connection open keeps the end of a run waiting.
    daemon_threads = True
    block_on_close = False


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    timeout = 5

    def log_message(self, *_: Any) -> None:
        """A scrape is nothing to talk about."""


class MetricsServer:
    """Answers ``/metrics`` with what ``scrape`` gives, from a thread of its own.

    InputError if nothing can listen at ``host`` and ``port`` (0: any).
    """

    def __init__(self, host: str, port: int, scrape: Callable[[], bytes]) -> None:
        def answer(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
            if environ["PATH_INFO"] not in ("/", "/metrics"):
                start("404 Not Found", [("Content-Type", "text/plain")])
                return [b"metrics are at /metrics\n"]
            start("200 OK", [("Content-Type", "text/plain; version=0.0.4; charset=utf-8")])
            return [scrape()]

        kind = _Server6 if ":" in host else _Server
        try:
            self._server = make_server(host, port, answer, server_class=kind, handler_class=_Quiet)
        except OSError as error:
            raise InputError(f"--metrics-listen {host}:{port}: {error.strerror or error}") from None
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True, args=(_POLL_SECONDS,)).start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
