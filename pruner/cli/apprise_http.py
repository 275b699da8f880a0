"""What Apprise's HTTP requests may do: what those of pruner itself may.

Apprise sends with ``requests``, which follows redirects, and takes logins from ~/.netrc and proxies from the
environment. Its plugins make their own sessions, so the library is restricted for the whole process.
"""

import functools
import ipaddress
from typing import Any
from urllib.parse import urlsplit


@functools.cache
def restrict_requests() -> None:
    """From now on: no redirects, no logins from ~/.netrc, no proxy for this machine, always verified."""
    import requests.adapters
    import requests.exceptions
    import requests.sessions

    sessions: Any = requests.sessions
    adapter: Any = requests.adapters.HTTPAdapter
    send = adapter.send

    @functools.wraps(send)
    def restricted(self: Any, request: Any, *args: Any, **options: Any) -> Any:
        if not options.get("verify", True) and request.url.lower().startswith("https:"):
            raise requests.exceptions.SSLError("certificates are always verified")
        if _is_this_machine(urlsplit(request.url).hostname or ""):
            options["proxies"] = None
        return send(self, request, *args, **options)

    adapter.send = restricted
    # A session that is redirected more often raises TooManyRedirects, and sends nothing.
    sessions.DEFAULT_REDIRECT_LIMIT = 0
    sessions.get_netrc_auth = lambda url, raise_errors=False: None


def _is_this_machine(host: str) -> bool:
    """Whether ``host`` is a loopback address, in any notation, or may be: no proxy reads what is for it."""
    host = host.rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost") or host.startswith("127."):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
