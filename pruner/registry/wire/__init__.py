"""HTTP/1.1 straight over asyncio and llhttp: the way of direct connections.

It promises:

* A request is written once, on a connection that carries nothing else; it is never sent again, and no
  redirect is followed. What it was answered is what came after it on its connection.
* A connection is used again only if the answer before was whole and said nothing against it, the server has
  neither closed it nor sent anything unasked for, and it was idle for no longer than 30 seconds.
* TLS is verified. A host's addresses are tried as RFC 8305 says (happy eyeballs).
* What a server sends is bounded: heads, trailers and interim answers to 64 KiB, bodies as ``exchange`` says.
  An answer that is not HTTP, or breaks off, is an error; an error status counts even if its body breaks off.

It does not know proxies, HTTP/2, compression, cookies, redirects, upgrades or streamed bodies.
"""

from pruner.registry.wire.client import WireClient

__all__ = ["WireClient"]
