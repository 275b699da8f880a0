"""Control requests below ``/_emulator/``: how a test scripts an emulator in another process."""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from pruner.emulator.answers import Answer, json_answer
from pruner.emulator.counters import Counters
from pruner.emulator.faults import Fault, parse_faults
from pruner.emulator.throttle import Limits, parse_limits

PREFIX = "/_emulator/"


class Controllable(Protocol):
    """What control requests can see and change of an emulator."""

    @property
    def counters(self) -> Counters:
        """Return the running totals."""

    @property
    def deleted_tags(self) -> list[tuple[str, str, str]]:
        """Return what was deleted."""

    def set_faults(self, faults: tuple[Fault, ...]) -> None:
        """Replace the fault rules."""

    def set_limits(self, limits: Limits) -> None:
        """Replace the limits."""

    def set_keys(self, access_key: str, secret_key: str) -> None:
        """Replace the accepted key."""

    def set_clock_offset(self, seconds: float) -> None:
        """Move the clock."""

    def move_tag(self, subject: str, digest: str | None = None) -> bool:
        """Re-push a tag."""


def control(emulator: Controllable, method: str, path: str, body: bytes) -> Answer:
    """Carry one control request out; what is wrong with it comes back as 400 with a message."""
    route = _ROUTES.get((method, path.removeprefix(PREFIX)))
    if route is None:
        return json_answer(404, {"message": f"no such control request: {method} {path}"})
    try:
        return route(emulator, body)
    except (ValueError, msgspec.MsgspecError) as error:
        return json_answer(400, {"message": str(error)})


def _counters(emulator: Controllable, _: bytes) -> Answer:
    return json_answer(200, emulator.counters.to_json())


def _deleted(emulator: Controllable, _: bytes) -> Answer:
    lines = [
        msgspec.json.encode(f"{registry}/{image}:{tag}") for registry, image, tag in emulator.deleted_tags
    ]
    return Answer(200, b"".join(line + b"\n" for line in lines), "application/x-ndjson")


def _faults(emulator: Controllable, body: bytes) -> Answer:
    emulator.set_faults(parse_faults(body))
    return _done()


def _limits(emulator: Controllable, body: bytes) -> Answer:
    emulator.set_limits(parse_limits(body))
    return _done()


def _move(emulator: Controllable, body: bytes) -> Answer:
    wanted = msgspec.json.decode(body, type=_Move)
    moved = emulator.move_tag(wanted.target, wanted.digest)
    return _done() if moved else json_answer(404, {"message": f"no such tag: {wanted.target}"})


def _keys(emulator: Controllable, body: bytes) -> Answer:
    wanted = msgspec.json.decode(body, type=_Keys)
    emulator.set_keys(wanted.access_key, wanted.secret_key)
    return _done()


def _clock(emulator: Controllable, body: bytes) -> Answer:
    emulator.set_clock_offset(msgspec.json.decode(body, type=_Clock).offset_seconds)
    return _done()


def _done() -> Answer:
    return json_answer(200, {"message": "done"})


class _Move(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    target: str
    digest: str | None = None


class _Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    access_key: str
    secret_key: str


class _Clock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    offset_seconds: float


_ROUTES: dict[tuple[str, str], Callable[[Any, bytes], Answer]] = {
    ("GET", "counters"): _counters,
    ("GET", "deleted"): _deleted,
    ("POST", "faults"): _faults,
    ("POST", "limits"): _limits,
    ("POST", "move"): _move,
    ("POST", "keys"): _keys,
    ("POST", "clock"): _clock,
}
