"""A raw proxy on sockets: it stands before an emulator, passes requests on, and misbehaves as told."""

import contextlib
import re
import socket
import socketserver
import ssl
import struct
import threading
from collections import Counter
from urllib.parse import urlsplit

from conftest import reserved_port


class Exchange:
    """One request on one connection."""

    def __init__(self, proxy, client, head):
        self.proxy, self.client, self.head = proxy, client, head
        self.method, self.target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        self.tag = self.target.rpartition("/")[2] if "/tags/" in self.target else ""

    def forward(self, target=None):
        """Send the request on to the emulator; its whole answer."""
        where = urlsplit(self.proxy.emulator.origin)
        path = target or re.sub(r"^http://[^/]+", "", self.target)
        lines = self.head.split(b"\r\n")
        lines[0] = f"{self.method} {path} HTTP/1.1".encode("latin-1")
        kept = [line for line in lines[1:] if line and not line.lower().startswith(b"connection:")]
        with socket.create_connection((where.hostname, where.port), timeout=30) as upstream:
            upstream.sendall(b"\r\n".join([lines[0], *kept, b"Connection: close", b"", b""]))
            return b"".join(iter(lambda: upstream.recv(65536), b""))

    def send(self, data):
        with contextlib.suppress(OSError):
            self.client.sendall(data)
        return True

    def reset(self):
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.client.close()
        return True

    def silence(self):
        """Say nothing until the client has had enough."""
        self.client.settimeout(60)
        with contextlib.suppress(OSError):
            self.client.recv(1)
        return True

    def drip(self, data, seconds=0.1):
        """One byte at a time until the client has had enough."""
        self.client.settimeout(seconds)
        for number in range(len(data)):
            try:
                self.client.sendall(data[number : number + 1])
                if not self.client.recv(1):
                    return True
            except TimeoutError:
                continue
            except OSError:
                return True
        return True


class _Handler(socketserver.BaseRequestHandler):
    def handle(self):
        proxy = self.server.proxy
        proxy.connections += 1
        with contextlib.suppress(OSError):
            client = self.request
            client.settimeout(60)
            if proxy.tls is not None:
                client = proxy.tls.wrap_socket(client, server_side=True)
            with client:
                self._one_request(proxy, client)

    def _one_request(self, proxy, client):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            data = client.recv(65536)
            if not data:
                return
            head += data
        exchange = Exchange(proxy, client, head)
        proxy.heads.append(head)
        if proxy.behave is None or not proxy.behave(exchange):
            exchange.send(exchange.forward())


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256


class Proxy:
    """``behave(exchange)`` returns True when it has dealt with a request; others are passed on."""

    def __init__(self, emulator=None, behave=None, tls: ssl.SSLContext | None = None):
        self.emulator, self.behave, self.tls = emulator, behave, tls
        self.heads, self.connections, self.seen = [], 0, Counter()
        self._reserved = reserved_port()
        self.port = self._reserved.__enter__()
        self.start()

    def start(self):
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.proxy = self
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    @property
    def origin(self):
        return f"http{'' if self.tls is None else 's'}://127.0.0.1:{self.port}"

    @property
    def endpoint(self):
        return self.origin + urlsplit(self.emulator.endpoint).path

    def first_time(self, exchange):
        """Whether a request to this target with this method comes for the first time."""
        self.seen[exchange.method, exchange.target] += 1
        return self.seen[exchange.method, exchange.target] == 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self._reserved.__exit__(None, None, None)
