"""An embedded emulator of NAVER Cloud Container Registry (NCR) and of the API gateway in front of it.

It shares nothing with the client but the published constants of ``pruner.registry.ncr.protocol``, so that
a mistake in the client cannot hide behind the same mistake here.
"""

from pruner.emulator.background import running_in_thread
from pruner.emulator.config import DEMO_ACCESS_KEY, DEMO_SECRET_KEY, EmulatorConfig
from pruner.emulator.counters import Counters
from pruner.emulator.faults import Fault, parse_faults
from pruner.emulator.gate import Gate
from pruner.emulator.server import Emulator
from pruner.emulator.store import Image, Platform, Registry, Store, Tag
from pruner.emulator.target import Operation
from pruner.emulator.throttle import Bucket, InFlight, Limits, Noise, Quota, Window, parse_limits

__all__ = [
    "DEMO_ACCESS_KEY",
    "DEMO_SECRET_KEY",
    "Bucket",
    "Counters",
    "Emulator",
    "EmulatorConfig",
    "Fault",
    "Gate",
    "Image",
    "InFlight",
    "Limits",
    "Noise",
    "Operation",
    "Platform",
    "Quota",
    "Registry",
    "Store",
    "Tag",
    "Window",
    "parse_faults",
    "parse_limits",
    "running_in_thread",
]
