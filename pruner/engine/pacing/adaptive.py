"""A pacer that finds the server's rate, stays just under it, and follows when it changes. Pure.

A refusal says that the server's allowance is used up at that moment. Between two such moments what was
accepted, divided by the time, is the rate at which the allowance comes back, whatever burst the server
permits: it can be read, and need not be guessed (``reading``, ``estimate``).

* Start: from a modest rate, doubling until the first refusal (``climb``).
* Cruise: a little under the estimate for a hold time, which grows with what the last episode cost.
* Ramp: upwards, slowly at first and then faster, until the next refusal gives a fresh reading.
* Refused: one reaction per episode. Everybody pauses, then one request goes ahead alone, the canary
  (``pause``). Where a ramp ended as expected, going back to cruising is enough.
* Refusals that go on however slow one is are noise, and overlooked within bounds (``noise``).
* Refusals that come only when more requests are open than at nearly all that pass are a cap on requests in
  flight: that number is lowered, the rate is left alone (``in_flight``). It is lowered, too, while a
  noticeable share of the answers is 503; these say nothing of the rate, but may ask everybody to wait.

Times are monotonic seconds, rates requests per second.
"""

from typing import Final

from pruner.engine.pacer import Hint
from pruner.engine.pacing.climb import Climb
from pruner.engine.pacing.estimate import ends_ramp, explains, first, judge
from pruner.engine.pacing.gauge import Gauge
from pruner.engine.pacing.in_flight import InFlightCap
from pruner.engine.pacing.noise import Noise, Verdict
from pruner.engine.pacing.pause import Pause
from pruner.engine.pacing.reading import Reading
from pruner.engine.pacing.traffic import Traffic

_CATCH_UP_SECONDS: Final = 0.005
"""Timers fire late; this much of a missed schedule may be caught up at once, more would be a burst."""


class AdaptivePacer:
    """One per (endpoint, credential). ``ceiling`` bounds the rate, ``max_in_flight`` the open requests.

    ``hint`` is where an earlier run got to: near the server's limit, or what passed without a refusal.
    """

    START_RATE: Final = 60.0
    MIN_RATE: Final = 0.05
    CRUISE: Final = 0.99
    CAREFUL_CRUISE: Final = 0.995
    """Cruising is at this share of the estimate; carefully, where a refusal costs a ``Retry-After``."""
    RECENT_SECONDS: Final = 0.2
    REMEMBERED: Final = 4096
    """Requests whose moments are remembered, to read the rate from."""
    FEWEST_RECENT: Final = 10
    """Requests that must have been sent lately for their answers to be expected."""
    SLOTS_AFTER_RAMP: Final = 3.0
    """So many slots are left out after the refusal that ends a ramp."""
    NOTICEABLE_SECONDS: Final = 0.1
    """A pause that is longer, the canary's way included, may have filled the allowance."""
    LONGEST_DENIAL: Final = 10.0
    """A server that denies for longer than it takes to send so many requests has a lower rate than read."""

    def __init__(
        self, ceiling: float = float("inf"), max_in_flight: int = 512, hint: Hint | None = None
    ) -> None:
        self._ceiling = ceiling
        self._rate = min(ceiling, hint.rate if hint else self.START_RATE)
        self._estimate: float | None = None
        self._undisputed: float | None = None
        self._before_trial = self._rate
        self._cruise = self.CRUISE
        self._next = float("-inf")
        self._reacted_at = float("-inf")
        self._pause = Pause()
        self._traffic = Traffic(max(max_in_flight, self.REMEMBERED), self.RECENT_SECONDS)
        self._gauge = Gauge()
        self._climb = Climb()
        self._noise = Noise()
        self._cap = InFlightCap(max_in_flight)
        self._allowed = self.max_in_flight = max_in_flight
        if hint is not None and hint.is_limit:
            self._believe(hint.rate)
            self._climb.resume(float("-inf"))

    def limit_to(self, ceiling: float, max_in_flight: int) -> None:
        """From now on at most ``ceiling`` and, of what was allowed at first, ``max_in_flight``."""
        is_bound = self._rate >= self._ceiling
        self._ceiling = ceiling
        # What was as fast as it was allowed to be may at once be as fast as it is allowed to be now.
        known = ceiling if self._estimate is None else self._estimate * self._cruise
        self._rate = min(known if is_bound else self._rate, ceiling)
        self._allowed = max_in_flight
        self._bound_in_flight()

    def _bound_in_flight(self) -> None:
        self.max_in_flight = min(self._cap.bound, self._allowed)

    @property
    def ceiling(self) -> float:
        """The most requests per second that are ever granted."""
        return self._ceiling

    @property
    def rate(self) -> float:
        """Requests per second that are granted now."""
        return self._rate

    @property
    def estimate(self) -> float | None:
        """The server's rate as far as it is known; None before the first refusal."""
        return self._estimate

    @property
    def peak(self) -> float | None:
        """The highest rate that passed; None if too little was sent to tell."""
        return self._traffic.peak

    @property
    def paused_until(self) -> float:
        """The moment before which nothing is granted."""
        return self._pause.until

    @property
    def _is_cruising(self) -> bool:
        """Whether the rate is not above what the estimate allows."""
        return self._estimate is None or self._rate <= 1.001 * self._cruise * self._estimate

    def reserve(self, now: float) -> float:
        """Grant a slot (0.0) or say how many seconds are left; infinite while a canary is on its way."""
        if (left := self._pause.left(now)) > 0.0:
            return left
        if now < self._next:
            return self._next - now
        self._accelerate(now)
        self._next = max(self._next, now - _CATCH_UP_SECONDS) + 1.0 / self._rate
        self._gauge.granted(now)
        self._traffic.granted(now)
        self._pause.granted(now)
        return 0.0

    def _accelerate(self, now: float) -> None:
        """Raise the rate where nothing was refused for long enough."""
        if self._noise.trial_due:
            self._begin_trial()
        if not self._noise.is_calm:
            return
        climb = self._climb.start if self._estimate is None else self._climb.ramp
        higher = climb(now, self._rate)
        if higher > self._rate:
            self._raise_to(higher, now)
        if self._cap.is_lowered:
            self._cap.creep(now)
            self._bound_in_flight()

    def _raise_to(self, rate: float, now: float) -> None:
        """A higher rate, but never above twice what is really being sent, nor above the ceiling."""
        used = self._traffic.rate(now)
        if used is not None:
            rate = min(rate, max(2.0 * used, self._rate))
        elif self._rate * self.RECENT_SECONDS >= self.FEWEST_RECENT:
            # The answers to what was sent at this rate are not here yet.
            return
        self._rate = min(rate, self._ceiling)

    def _believe(self, estimate: float) -> None:
        """Cruise at what this estimate allows."""
        self._estimate = max(min(self.MIN_RATE, self._ceiling), estimate)
        self._rate = min(self._ceiling, self._estimate * self._cruise)

    def on_accepted(self, now: float, sent_at: float, in_flight: int = 0) -> None:
        """A request was let through."""
        self._traffic.accepted(now)
        if not self._noise.on_trial:
            self._cap.accepted(in_flight)
        was_noisy = self._noise.is_noisy
        if (verdict := self._noise.accepted()) is not None:
            self._conclude(now, verdict, was_noisy=was_noisy)
        if self._pause.is_canary(sent_at):
            if max(now - sent_at, self._pause.cost) > self.NOTICEABLE_SECONDS:
                self._gauge.paused(now - sent_at)
            self._pause.passed()
            self._doubt(now)
            # Not at once: a server without a burst has just spent its allowance on the canary.
            self._next = max(self._next, now)
            self._climb.hold(now, self._rate, self._pause.cost - 2.0 / self._rate)

    def _doubt(self, now: float) -> None:
        """A server that let nothing pass for long has a lower rate than was read: a window, say."""
        if self._estimate is not None and self._pause.denied * self._estimate > self.LONGEST_DENIAL:
            self._believe(min(self._estimate, self._gauge.over_denial(now)))
            self._gauge.open(now, self._traffic)

    def on_ended(self, now: float, sent_at: float) -> None:
        """A request ended without an answer of the limiter: lost, failed or cancelled."""
        if self._pause.is_canary(sent_at):
            self._pause.lost()

    def on_refused(self, now: float, sent_at: float, retry_after: float | None, in_flight: int = 0) -> None:
        """A request was refused; ``retry_after`` in seconds, if the server said so."""
        self._gauge.refused(sent_at)
        if self._pause.is_canary(sent_at):
            self._noise.denied()
            self._wait(now, retry_after)
        elif sent_at <= self._reacted_at:
            self._extend_pause(now, retry_after)
        elif retry_after or not self._noise.overlooks(
            self._rate, cruising=self._is_cruising, starting=self._estimate is None
        ):
            self._react(now, sent_at, retry_after, in_flight)
        else:
            self._cap.overlooked()

    def on_overloaded(
        self, now: float, sent_at: float, retry_after: float | None, in_flight: int = 0
    ) -> None:
        """A request was answered with 503."""
        if self._pause.is_canary(sent_at):
            self._pause.lost()
            if retry_after:
                self._wait(now, retry_after)
        elif sent_at <= self._reacted_at:
            self._extend_pause(now, retry_after)
        elif self._cap.overloaded(now, in_flight, retry_after or 0.0) or retry_after:
            self._reacted_at = now
            self._pause.episode()
            self._bound_in_flight()
            if retry_after:
                self._wait(now, retry_after)

    def _extend_pause(self, now: float, retry_after: float | None) -> None:
        """For what was sent before the last reaction: the same episode, but perhaps a longer pause."""
        if retry_after is not None:
            self._gauge.paused(self._pause.extend(now, retry_after))

    def _react(self, now: float, sent_at: float, retry_after: float | None, in_flight: int) -> None:
        """The allowance is used up: read the rate, slow down, pause; or it was something else."""
        self._reacted_at = now
        self._pause.episode()
        self._stop_trial()
        cruising, ramped = self._is_cruising, ends_ramp(self._rate, self._estimate)
        if not retry_after and self._noise.suspects(cruising=cruising):
            self._begin_trial()
            return
        reading = self._gauge.read(sent_at, self._traffic, drained=cruising)
        # At the end of a ramp more are open than before in any case.
        ramp_is_over = retry_after and not cruising and explains(reading, self._estimate or 0.0, self._rate)
        capped = not ramp_is_over and self._cap.refused(now, in_flight, retry_after or 0.0)
        self._bound_in_flight()
        known = self._estimate is not None
        if not capped:
            if not cruising or not self._noise.has_lone:
                self._undisputed = self._estimate
            self._cruise = self.CAREFUL_CRUISE if retry_after else self.CRUISE
            self._believe(self._judged(now, sent_at, reading))
        if not retry_after and (ramped or (capped and known)):
            # Where it was expected: no need for a canary.
            self._next = max(self._next, now + self.SLOTS_AFTER_RAMP / self._rate)
            self._climb.hold(now, self._rate)
            return
        self._wait(now, retry_after)

    def _judged(self, now: float, sent_at: float, reading: Reading | None) -> float:
        """The new estimate."""
        used = self._traffic.rate(now)
        if reading is None or self._estimate is None:
            self._gauge.open(sent_at, self._traffic)
            return first(self._rate, used)
        judged = judge(reading, self._estimate, self._rate, used, self._cruise)
        if judged.settled:
            self._gauge.open(sent_at, self._traffic)
            tell = self._climb.proved if judged.proved else self._climb.surprised
            tell()
        return judged.estimate

    def _wait(self, now: float, retry_after: float | None) -> None:
        """Pause everybody, then send one canary."""
        self._pause.wait(now, 1.0 / self._rate, retry_after)
        if retry_after:
            self._gauge.paused(self._pause.until - now)
        self._reacted_at = now
        self._climb.wait()

    def _begin_trial(self) -> None:
        """Go half as fast, to see whether the refusals go on."""
        self._before_trial = self._rate
        self._rate = max(min(self.MIN_RATE, self._ceiling), 0.5 * self._rate)
        self._noise.begin_trial(self._rate)

    def _stop_trial(self) -> None:
        """Something was refused that has to be obeyed."""
        if self._noise.on_trial:
            self._noise.abandon_trial()
            self._rate = self._before_trial

    def _conclude(self, now: float, verdict: Verdict, *, was_noisy: bool) -> None:
        """A trial is over: back to the rate before it, or before the refusals that led to it."""
        self._rate = self._before_trial
        self._climb.hold(now, self._rate)
        if verdict is Verdict.LIMIT:
            return
        self._climb.resume(now)
        if not was_noisy and self._undisputed is not None:
            self._believe(self._undisputed)
        if not was_noisy and not self._climb.limit_seen:
            self._estimate = None
