"""A pacer that finds the server's rate, stays just under it, and follows when it changes. Pure.

A refusal says that the server's allowance is used up at that moment. Between two such moments what was
accepted, divided by the time, is the rate at which the allowance comes back, whatever burst the server
permits: it can be read, and need not be guessed. Time that the server asked to wait may or may not have
filled the allowance, so it gives a lower reading (counting the pauses) and an upper one (not counting them).

* Start: from a modest rate, doubling every second until the first refusal.
* Cruise: a little under the estimate for a hold time, which grows with what the last episode cost.
* Ramp: upwards, slowly at first and then faster, until the next refusal gives a fresh reading.
* Refused: one reaction per episode. Everybody pauses, then one request goes ahead alone (the canary);
  while it is refused the pause doubles.
* Refusals that come only when more requests are open than ever passed before are a cap on requests in
  flight: that number is lowered, the rate is left alone. It is lowered, too, while a noticeable share of
  the answers is 503; these say nothing of the rate, but may ask everybody to wait.

Times are monotonic seconds, rates requests per second.
"""

from collections import deque
from typing import Final

_CATCH_UP_SECONDS: Final = 0.005
"""Timers fire late; this much of a missed schedule may be caught up at once, more would be a burst."""


class AdaptivePacer:
    """One per (endpoint, credential). ``ceiling`` bounds the rate, ``max_in_flight`` the open requests.

    ``hint`` is a rate that an earlier run found.
    """

    START_RATE: Final = 20.0
    DOUBLING_SECONDS: Final = 0.5
    MIN_RATE: Final = 0.05
    CRUISE: Final = 0.985
    """Cruising is at this share of the estimate."""
    HOLD_SECONDS: Final = 2.0
    HOLD_SLOW: Final = 4500.0
    """Seconds times the rate squared: at 10/s half a minute, so that few of few requests are refused."""
    FIRST_TRUST: Final = 5.0
    HOLD_PER_PAUSE: Final = 80.0
    """The hold is so many times the pause that the last episode cost, once the estimate has proved right."""
    LONGEST_HOLD_SECONDS: Final = 300.0
    LONGEST_PAUSE_SECONDS: Final = 5.0
    """Between two canaries, where the server does not say how long."""
    FIRST_STEP: Final = 0.03
    STEP_GROWTH: Final = 3.0
    LEAP: Final = 2.0
    """A ramp that got so far above the estimate shows that the server's rate has changed."""
    RECENT_SECONDS: Final = 0.5
    READING_REQUESTS: Final = 20
    IN_FLIGHT_MEMORY_SECONDS: Final = 2.0
    IN_FLIGHT_CREEP_SECONDS: Final = 10.0
    OVERLOADED_SHARE: Final = 0.05
    OVERLOADED_MEMORY: Final = 50
    """Answers over which the share of 503 is taken; single ones among many are the server's own trouble."""

    def __init__(
        self, ceiling: float = float("inf"), max_in_flight: int = 512, hint: float | None = None
    ) -> None:
        self._ceiling = ceiling
        self._rate = min(ceiling, hint or self.START_RATE)
        self._estimate: float | None = None
        self._next = float("-inf")
        self._started: float | None = None
        self._reacted_at = float("-inf")
        self.paused_until = float("-inf")
        self._pause = 0.0
        self._canary_due = False
        self._canary_sent: float | None = None
        self._hold_until = float("inf")
        self._step = self.FIRST_STEP
        self._step_at = 0.0
        self._mark: float | None = None
        self._granted = 0
        self._refused = 0
        self._grants: deque[float] = deque(maxlen=max_in_flight)
        self._paused = 0.0
        self._recent: deque[float] = deque()
        self._limit = max_in_flight
        self.max_in_flight = max_in_flight
        self._passed: deque[tuple[float, int]] = deque()
        self._lowered_at = float("-inf")
        self._overloaded = 0.0
        self._trust = self.FIRST_TRUST

    @property
    def rate(self) -> float:
        """Requests per second that are granted now."""
        return self._rate

    @property
    def estimate(self) -> float | None:
        """The server's rate as far as it is known; None before the first refusal."""
        return self._estimate

    def reserve(self, now: float) -> float:
        """Grant a slot (0.0) or say how many seconds are left; infinite while a canary is on its way."""
        if self._canary_sent is not None:
            return float("inf")
        if now < self.paused_until:
            return self.paused_until - now
        if now < self._next:
            return self._next - now
        self._accelerate(now)
        self._next = max(self._next, now - _CATCH_UP_SECONDS) + 1.0 / self._rate
        self._granted += 1
        self._grants.append(now)
        if self._canary_due:
            self._canary_due = False
            self._canary_sent = now
        return 0.0

    def _accelerate(self, now: float) -> None:
        """Raise the rate where nothing was refused for long enough."""
        if self._started is None:
            self._started = self._step_at = now
        if self._estimate is None:
            if now - self._step_at >= self.DOUBLING_SECONDS:
                self._step_at = now
                self._raise_to(self._rate * 2, now)
        elif now >= self._hold_until and now - self._step_at >= 1.0:
            self._step_at = now
            self._raise_to(self._rate * (1.0 + self._step), now)
            self._step = min(1.0, self._step * self.STEP_GROWTH)
        if self.max_in_flight < self._limit and now - self._lowered_at >= self.IN_FLIGHT_CREEP_SECONDS:
            self._lowered_at = now
            self.max_in_flight += 1

    def _raise_to(self, rate: float, now: float) -> None:
        """A higher rate, but never above twice what is really being sent, nor above the ceiling."""
        used = self._sending(now)
        if used is not None:
            rate = min(rate, max(2.0 * used, self._rate))
        elif self._rate * self.RECENT_SECONDS >= self.READING_REQUESTS / 2:
            # The answers to what was sent at this rate are not here yet.
            return
        self._rate = min(rate, self._ceiling)

    def _sending(self, now: float) -> float | None:
        """Accepted requests per second over the last moments; None if they are too few to tell."""
        while self._recent and now - self._recent[0] > self.RECENT_SECONDS:
            self._recent.popleft()
        count = len(self._recent)
        return count / self.RECENT_SECONDS if count >= self.READING_REQUESTS / 4 else None

    def on_accepted(self, now: float, sent_at: float, in_flight: int = 0) -> None:
        """A request was let through."""
        self._recent.append(now)
        if now - self._recent[0] > self.RECENT_SECONDS:
            self._recent.popleft()
        self._note_passed(now, in_flight)
        self._overloaded -= self._overloaded / self.OVERLOADED_MEMORY
        if self._is_canary(sent_at):
            self._canary_sent = None
            self._pause = 0.0
            # Not at once: a server without a burst has just spent its allowance on the canary.
            self._next = max(self._next, now)
            self._hold(now)

    def _note_passed(self, now: float, in_flight: int) -> None:
        """Remember the most open requests at which one passed lately: a descending queue of maxima."""
        while self._passed and self._passed[-1][1] <= in_flight:
            self._passed.pop()
        self._passed.append((now, in_flight))
        while now - self._passed[0][0] > self.IN_FLIGHT_MEMORY_SECONDS:
            self._passed.popleft()

    def _is_canary(self, sent_at: float) -> bool:
        """Whether this is the request that goes ahead alone; others may still be on their way back."""
        return self._canary_sent is not None and sent_at >= self._canary_sent

    def on_ended(self, now: float, sent_at: float) -> None:
        """A request ended without an answer of the limiter: lost, failed or cancelled."""
        if self._is_canary(sent_at):
            self._canary_sent = None
            self._canary_due = True

    def on_refused(self, now: float, sent_at: float, retry_after: float | None, in_flight: int = 0) -> None:
        """A request was refused; ``retry_after`` in seconds, if the server said so."""
        if self._mark is not None and sent_at > self._mark:
            self._refused += 1
        if self._is_canary(sent_at):
            self._canary_sent = None
            self._wait(now, retry_after)
        elif sent_at <= self._reacted_at:
            self._extend_pause(now, retry_after)
        elif self._is_cap(now, in_flight):
            self._lower(now, in_flight, retry_after)
        else:
            self._react(now, sent_at, retry_after)

    def on_overloaded(
        self, now: float, sent_at: float, retry_after: float | None, in_flight: int = 0
    ) -> None:
        """A request was answered with 503."""
        self._overloaded += (1.0 - self._overloaded) / self.OVERLOADED_MEMORY
        if self._is_canary(sent_at):
            self._canary_sent = None
            self._canary_due = True
            if retry_after:
                self._wait(now, retry_after)
        elif sent_at <= self._reacted_at:
            self._extend_pause(now, retry_after)
        elif self._overloaded > self.OVERLOADED_SHARE:
            self._overloaded = 0.0
            self._lower(now, in_flight, retry_after)
        elif retry_after:
            self._wait(now, retry_after)

    def _extend_pause(self, now: float, retry_after: float | None) -> None:
        """For what was sent before the last reaction: the same episode, but perhaps a longer pause."""
        if retry_after is not None and now + retry_after > self.paused_until:
            self._paused += now + retry_after - max(now, self.paused_until)
            self.paused_until = now + retry_after

    def _lower(self, now: float, in_flight: int, retry_after: float | None) -> None:
        """Open fewer requests at the same time."""
        self._reacted_at = self._lowered_at = now
        self.max_in_flight = max(1, int(0.9 * min(self.max_in_flight, in_flight)))
        if retry_after is not None:
            self._wait(now, retry_after)

    def _is_cap(self, now: float, in_flight: int) -> bool:
        """Whether more were open than at any request that passed lately."""
        while self._passed and now - self._passed[0][0] > self.IN_FLIGHT_MEMORY_SECONDS:
            self._passed.popleft()
        return bool(self._passed) and in_flight > self._passed[0][1]

    def _react(self, now: float, sent_at: float, retry_after: float | None) -> None:
        """The allowance is used up: read the rate, slow down, pause."""
        self._estimate = max(min(self.MIN_RATE, self._ceiling), self._read(now, sent_at))
        self._rate = min(self._ceiling, self._estimate * self.CRUISE)
        self._reacted_at = now
        self._episode_pause = 0.0
        self._wait(now, retry_after)

    def _read(self, now: float, sent_at: float) -> float:
        """The new estimate.

        A reading goes from one refused request to the next, by the times they were sent. What was sent in
        between and not refused counts as accepted: its answer may come later than a refusal.
        """
        old = self._estimate
        if self._mark is None or old is None:
            self._open(sent_at)
            used = self._sending(now) or self._rate
            return 0.9 * min(self._rate, used)
        elapsed = sent_at - self._mark
        accepted = self._granted - self._refused - sum(1 for moment in self._grants if moment > sent_at)
        if accepted < self.READING_REQUESTS:
            # Too short to read well: step down and keep the window open.
            current = min(old, self._rate / self.CRUISE)
            rough = accepted / elapsed if accepted >= 4 else 0.0
            return max(0.8 * current, min(rough, 0.97 * current))
        active = max(elapsed - self._paused, 0.02 * elapsed)
        lower, upper = accepted / elapsed, accepted / active
        rate = self._rate
        self._open(sent_at)
        if rate > self.LEAP * old:
            # The ramp has left the old estimate far behind, and so has the server.
            self._trust = self.FIRST_TRUST
            return max(old, lower, 0.95 * min(rate, self._sending(now) or rate))
        if rate > 0.99 * old:
            self._trust = min(self._trust * 2, self.HOLD_PER_PAUSE)
            # Below the estimate the allowance may have been full for a while: the reading is a lower bound.
            return max(old, lower)
        step = 0.98 if active >= 5.0 else 0.9 if active >= 1.0 else 0.8
        return min(max(old * step, lower), upper)

    def _open(self, sent_at: float) -> None:
        """Begin a new reading with the refusal of a request sent at ``sent_at``."""
        self._mark = sent_at
        self._granted = sum(1 for moment in self._grants if moment > sent_at)
        self._refused = 0
        self._paused = 0.0

    def _wait(self, now: float, retry_after: float | None) -> None:
        """Pause everybody, then send one canary."""
        slot = 1.0 / self._rate
        if retry_after:
            pause = max(retry_after, slot)
        else:
            pause = (
                slot if self._pause == 0.0 else min(2 * self._pause, max(self.LONGEST_PAUSE_SECONDS, slot))
            )
        self._pause = pause
        self._episode_pause += pause
        if retry_after:
            self._paused += pause
        self.paused_until = now + pause
        self._reacted_at = now
        self._canary_due = True
        self._hold_until = float("inf")

    _episode_pause = 0.0

    def _hold(self, now: float) -> None:
        """Cruise for a while after an episode, longer the more it cost."""
        hold = max(
            self.HOLD_SECONDS,
            self.HOLD_SLOW / self._rate**2,
            self._trust * (self._episode_pause - 2.0 / self._rate),
        )
        self._hold_until = now + min(hold, self.LONGEST_HOLD_SECONDS)
        self._step = self.FIRST_STEP
        self._step_at = now
