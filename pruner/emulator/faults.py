"""Scripted faults: rules that say which request goes wrong, how, and how often."""

import random
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, Literal, get_args

import msgspec

from pruner.emulator.target import LISTINGS, Call, Operation

WireAction = Literal["delay", "status", "reset", "hang", "drip", "cut"]
PageAction = Literal[
    "repeat_item",
    "lose_item",
    "wrong_count",
    "no_results",
    "same_next",
    "endless_next",
    "string_next",
    "shift_delete",
    "shift_insert",
]
ShapeAction = Literal[
    "seconds_times",
    "zero_times",
    "missing_times",
    "future_times",
    "missing_digest",
    "string_numbers",
]
HookAction = Literal["move", "remove"]

_WIRE_ACTIONS: Final = frozenset(get_args(WireAction))
_PAGE_ACTIONS: Final = frozenset(get_args(PageAction))
_SHAPE_ACTIONS: Final = frozenset(get_args(ShapeAction))
_HOOK_ACTIONS: Final = frozenset(get_args(HookAction))
_ACTIONS: Final = _WIRE_ACTIONS | _PAGE_ACTIONS | _SHAPE_ACTIONS | _HOOK_ACTIONS
_Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule: what it matches, how often it fires, and what happens then.

    Actions on the wire: ``delay`` waits ``seconds`` and goes on, ``status`` answers as described by the
    fields below, ``reset`` aborts the connection, ``hang`` never answers, ``drip`` sends the true answer one
    byte per ``seconds``, ``cut`` aborts in the middle of the true answer. With ``commit`` the operation is
    carried out first. ``drip`` and ``cut`` always commit.

    Actions on listings change what a page says, or (``shift_delete``, ``shift_insert``) the tags themselves
    just before a page after the first is read. They meet tag lists unless ``operation`` names another one.

    Hooks act once: ``move`` re-pushes the tag ``target`` (``registry/image:tag``), ``remove`` takes it away.
    """

    action: WireAction | PageAction | ShapeAction | HookAction
    method: str | None = None
    path: str | None = None
    """Shell pattern for the decoded path; ``*`` also matches slashes."""
    contains: str | None = None
    """Part of ``registry/image:tag``."""
    operation: Operation | None = None
    probability: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    times: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """How often it fires at most; None has no bound (hooks: once)."""
    after: Annotated[int, msgspec.Meta(ge=0)] = 0
    """How many matching requests pass untouched first."""
    seconds: _Seconds | None = None
    """``delay``: how long (default 1). ``drip``: between two bytes (default 1)."""
    commit: bool = False
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 500
    gateway_code: int | str | None = None
    """Gives the body the shape of a gateway error; a number stays a number in the JSON."""
    return_code: int | str | None = None
    """Gives the body the shape of a registry error."""
    message: str | None = None
    body: str | None = None
    """The body literally; wins over the codes."""
    body_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Pads the body with spaces to this many bytes."""
    content_type: str | None = None
    headers: Mapping[str, str] = {}
    target: str | None = None
    amount: int = 1
    """``wrong_count``: added to the count."""

    def __post_init__(self) -> None:
        """Refuse a rule that could never do what it says."""
        if self.action not in _ACTIONS:
            raise ValueError(f"no such action: {self.action}")
        if (self.action in _HOOK_ACTIONS) != (self.target is not None):
            raise ValueError("target belongs to move and remove, and they need one")
        if self.target is not None:
            split_subject(self.target)
        if self.operation is not None and self.changes_page and self.operation not in LISTINGS:
            raise ValueError(f"{self.action} needs an operation that lists")

    @property
    def changes_page(self) -> bool:
        """Whether it alters a page of a listing."""
        return self.action in _PAGE_ACTIONS

    @property
    def changes_shape(self) -> bool:
        """Whether it alters the fields of every item."""
        return self.action in _SHAPE_ACTIONS

    @property
    def is_hook(self) -> bool:
        """Whether it changes the stored tags and lets the request go on."""
        return self.action in _HOOK_ACTIONS

    @property
    def ends_request(self) -> bool:
        """Whether it decides the answer, so that no second rule of this kind can."""
        return self.action in _WIRE_ACTIONS and self.action != "delay"

    @property
    def carries_out(self) -> bool:
        """Whether the operation is carried out before the answer goes wrong."""
        return self.commit or self.action in {"drip", "cut"}

    def matches(self, call: Call) -> bool:
        """Tell whether the rule is about this request, leaving counting and chance aside."""
        if self.operation is None:
            if self.changes_page and call.operation is not Operation.LIST_TAGS:
                return False
            if self.changes_shape and call.operation not in {Operation.LIST_TAGS, Operation.TAG_DETAIL}:
                return False
        elif call.operation != self.operation:
            return False
        if self.action in {"shift_delete", "shift_insert"} and call.page in {None, "1"}:
            return False
        return (
            (self.method is None or self.method.upper() == call.method)
            and (self.path is None or fnmatchcase(call.path, self.path))
            and (self.contains is None or self.contains in call.subject)
        )


def split_subject(subject: str) -> tuple[str, str, str]:
    """Split ``registry/image:tag`` into its three parts; ValueError if one is missing."""
    registry, _, rest = subject.partition("/")
    image, _, tag = rest.partition(":")
    if not (registry and image and tag):
        raise ValueError(f"target must be registry/image:tag, not {subject!r}")
    return registry, image, tag


def parse_faults(value: str | bytes | Any) -> tuple[Fault, ...]:
    """Read a list of rules from JSON text or decoded JSON; ValueError says what is wrong and where."""
    try:
        if isinstance(value, str | bytes):
            return msgspec.json.decode(value, type=tuple[Fault, ...])
        return msgspec.convert(value, tuple[Fault, ...])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"faults: {error}") from error


class FaultScript:
    """A list of rules with their counts and dice."""

    def __init__(self, faults: Sequence[Fault], seed: int) -> None:
        """Start with all counts at zero; the same seed throws the same dice."""
        self.faults = tuple(faults)
        self._seen = [0] * len(self.faults)
        self._fired = [0] * len(self.faults)
        self._dice = random.Random(seed)  # noqa: S311 - chance for tests, not for secrets

    def firing(self, call: Call) -> list[Fault]:
        """Return the rules that fire on this request, at most one of them deciding the answer."""
        chosen: list[Fault] = []
        decided = False
        for index, fault in enumerate(self.faults):
            if (decided and fault.ends_request) or not fault.matches(call):
                continue
            if self._fires(index, fault):
                chosen.append(fault)
                decided = decided or fault.ends_request
        return chosen

    def _fires(self, index: int, fault: Fault) -> bool:
        self._seen[index] += 1
        times = 1 if fault.is_hook and fault.times is None else fault.times
        if self._seen[index] <= fault.after or (times is not None and self._fired[index] >= times):
            return False
        if fault.probability < 1.0 and self._dice.random() >= fault.probability:
            return False
        self._fired[index] += 1
        return True
