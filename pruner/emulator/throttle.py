"""Limits of the gateway: token bucket, windows, quota, requests in flight, and refusals at random."""

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Annotated, Any, Final

import msgspec

from pruner.emulator.answers import Answer, gateway_error
from pruner.registry.ncr import protocol

_Positive = Annotated[float, msgspec.Meta(gt=0)]
_Count = Annotated[int, msgspec.Meta(ge=0)]
RetryAfter = int | str | None
"""Value of a ``Retry-After`` header, in seconds or literally (also nonsense); None sends no header."""


class Bucket(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token bucket: 429 with code 410 when it is empty."""

    rate: _Positive
    """Requests per second."""
    burst: Annotated[float, msgspec.Meta(ge=1)] = 1.0
    """Requests that may come at once after a quiet time."""
    schedule: tuple[tuple[float, _Positive], ...] = ()
    """Further rates as ``(seconds since the limits were set, requests per second)``, in time order."""
    retry_after: RetryAfter = None


class Window(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A window: 429 with code 420 once ``requests`` came within ``seconds``."""

    requests: _Count
    seconds: _Positive = 1.0
    retry_after: RetryAfter = None


class Noise(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Refusals that have nothing to do with the rate: 429 with code 410 for a share of the requests."""

    share: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    retry_after: RetryAfter = None


class Quota(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A budget that never comes back: 429 with code 400 after ``requests``."""

    requests: _Count
    retry_after: RetryAfter = None


class InFlight(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bound on open requests: 429 with code 410, or 503 with code 500, above ``maximum``."""

    maximum: Annotated[int, msgspec.Meta(ge=1)]
    status: int = 429
    retry_after: RetryAfter = None

    def __post_init__(self) -> None:
        """Refuse a status that no gateway gives here."""
        if self.status not in {429, 503}:
            raise ValueError("status must be 429 or 503")


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All limits of an emulator; None means no such limit."""

    bucket: Bucket | None = None
    window: Window | None = None
    """Windows that follow one another."""
    sliding: Window | None = None
    """A window that ends at every moment."""
    noise: Noise | None = None
    quota: Quota | None = None
    in_flight: InFlight | None = None


NO_LIMITS: Final = Limits()


def parse_limits(value: str | bytes | Any) -> Limits:
    """Read limits from JSON text or from already decoded JSON; ValueError says what is wrong and where."""
    try:
        if isinstance(value, str | bytes):
            return msgspec.json.decode(value, type=Limits)
        return msgspec.convert(value, Limits)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"limits: {error}") from error


class Throttle:
    """The state behind a set of limits."""

    def __init__(self, limits: Limits, monotonic: Callable[[], float], dice: Random | None = None) -> None:
        """Start with full buckets and untouched quotas; ``monotonic`` gives seconds."""
        self.limits = limits
        self._dice = dice or Random()  # noqa: S311 - refusals at random, not a secret
        self._monotonic = monotonic
        self._since = self._refilled = self._window_start = monotonic()
        self._tokens = limits.bucket.burst if limits.bucket else 0.0
        self._window_count = 0
        self._lately: deque[float] = deque()
        self._used = 0

    def refusal(self, in_flight: int) -> Answer | None:
        """Return the refusal of one more request, or None and take it into account.

        ``in_flight`` is the number of open requests, this one included.
        """
        limits = self.limits
        if limits is NO_LIMITS:
            return None
        now = self._monotonic()
        if limits.quota and self._used >= limits.quota.requests:
            return _refused(429, protocol.GATEWAY_QUOTA_EXCEEDED, limits.quota.retry_after)
        if limits.in_flight and in_flight > limits.in_flight.maximum:
            return _in_flight_refused(limits.in_flight)
        if limits.noise and self._dice.random() < limits.noise.share:
            return _refused(429, protocol.GATEWAY_THROTTLE_LIMITED, limits.noise.retry_after)
        if refusal := self._rate_refusal(now):
            return refusal
        self._used += 1
        self._window_count += 1
        return None

    def _rate_refusal(self, now: float) -> Answer | None:
        """Return the refusal of one more request for its speed, or None and take it into account."""
        limits = self.limits
        if limits.window and not self._window_has_room(limits.window, now):
            return _refused(429, protocol.GATEWAY_RATE_LIMITED, limits.window.retry_after)
        if limits.sliding and not self._has_room_lately(limits.sliding, now):
            return _refused(429, protocol.GATEWAY_RATE_LIMITED, limits.sliding.retry_after)
        if limits.bucket and not self._take_token(limits.bucket, now):
            return _refused(429, protocol.GATEWAY_THROTTLE_LIMITED, limits.bucket.retry_after)
        if limits.sliding:
            self._lately.append(now)
        return None

    def _has_room_lately(self, window: Window, now: float) -> bool:
        while self._lately and now - self._lately[0] >= window.seconds:
            self._lately.popleft()
        return len(self._lately) < window.requests

    def _window_has_room(self, window: Window, now: float) -> bool:
        if now - self._window_start >= window.seconds:
            self._window_start = now - (now - self._window_start) % window.seconds
            self._window_count = 0
        return self._window_count < window.requests

    def _take_token(self, bucket: Bucket, now: float) -> bool:
        gained = self._gained(bucket, self._refilled - self._since, now - self._since)
        self._tokens = min(bucket.burst, self._tokens + gained)
        self._refilled = now
        # A client on the exact rate must not be refused because floats do not add up to a whole token.
        if self._tokens < 1.0 - 1e-9:
            return False
        self._tokens -= 1.0
        return True

    @staticmethod
    def _gained(bucket: Bucket, start: float, end: float) -> float:
        """Return the tokens gained between two moments, each in seconds since the limits were set."""
        tokens = 0.0
        rate = bucket.rate
        for moment, next_rate in bucket.schedule:
            if moment >= end:
                break
            if moment > start:
                tokens += (moment - start) * rate
                start = moment
            rate = next_rate
        return tokens + (end - start) * rate


def _in_flight_refused(limit: InFlight) -> Answer:
    code = protocol.GATEWAY_THROTTLE_LIMITED if limit.status == 429 else protocol.GATEWAY_ENDPOINT_ERROR
    return _refused(limit.status, code, limit.retry_after)


def _refused(status: int, code: int, retry_after: RetryAfter) -> Answer:
    headers = None if retry_after is None else {"Retry-After": str(retry_after)}
    return gateway_error(status, str(code), headers=headers)
