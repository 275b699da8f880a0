"""Signatures and listing JSON, in one process: microseconds against the plainest way to do the same."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable

from benchmarks import work
from benchmarks.harness import Figure, Settings, compare, cores, interleaved, pin
from pruner.registry.ncr import replies
from pruner.registry.ncr.credentials import Credentials
from pruner.registry.ncr.signing import Signer
from pruner.registry.secret import Secret

SIGNATURES = 20_000
PAGES = 100
REPEATS = 11


def run(settings: Settings) -> list[Figure]:
    """Measure signing and decoding."""
    pin(cores()[0])
    found = interleaved(
        {"signer": _sign, "bare": _sign_barely, "read": _read, "json": _load},
        REPEATS,
        warm=True,
    )
    per_tag = f"{work.PAGE_SIZE} tags a page"
    return [
        compare("signature, Signer / hmac.new", found["signer"], found["bare"], "{:.2f} us"),
        compare(
            "page decoded and made into checked tags / json.loads",
            found["read"],
            found["json"],
            "{:.0f} us",
            note=per_tag,
        ),
    ]


def _microseconds(times: int, work_once: Callable[[int], object]) -> float:
    started = time.process_time()
    for number in range(times):
        work_once(number)
    return (time.process_time() - started) * 1e6 / times


_TARGET = next(work.targets(1))
_SIGNER = Signer(Credentials(work.ACCESS_KEY, Secret(work.SECRET_KEY), "benchmark"))
_PAGE = work.page(1)


def _sign() -> float:
    return _microseconds(SIGNATURES, lambda n: _SIGNER.signature("DELETE", _TARGET, str(n)))


def _sign_barely() -> float:
    key = work.SECRET_KEY.encode()

    def once(n: int) -> str:
        text = f"DELETE {_TARGET}\n{n}\n{work.ACCESS_KEY}".encode()
        return base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()

    return _microseconds(SIGNATURES, once)


def _read() -> float:
    return _microseconds(PAGES, lambda n: replies.read_tag_page(_PAGE, "bench", "team/app"))


def _load() -> float:
    return _microseconds(PAGES, lambda n: json.loads(_PAGE))
