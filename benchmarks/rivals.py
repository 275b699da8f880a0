"""What other tools do about a throttling server, as pacers for the simulation."""

from random import Random


class Backoff:
    """No pacing: each worker backs off by itself, exponentially with full jitter. What most tools do."""

    max_in_flight = 10**9

    def __init__(self) -> None:
        self._dice = Random(1)

    def reserve(self, now):
        return 0.0

    def on_accepted(self, now, sent_at, in_flight=0):
        pass

    def on_refused(self, now, sent_at, retry_after, in_flight=0):
        pass

    def worker_delay(self, refusals, retry_after):
        """How long a worker waits after so many refusals in a row."""
        return max(retry_after or 0.0, self._dice.random() * min(30.0, 0.5 * 2 ** (refusals - 1)))


class Fixed:
    """A fixed rate, evenly spaced, whatever the server says."""

    max_in_flight = 10**9

    def __init__(self, rate):
        self.rate = rate
        self._next = 0.0

    def reserve(self, now):
        if now < self._next:
            return self._next - now
        self._next = max(self._next, now - 0.005) + 1.0 / self.rate
        return 0.0

    def on_accepted(self, now, sent_at, in_flight=0):
        pass

    def on_refused(self, now, sent_at, retry_after, in_flight=0):
        pass


class Aimd(Fixed):
    """Additive increase (10/s every second), multiplicative decrease (half, once per episode)."""

    def __init__(self):
        super().__init__(20.0)
        self._reacted = -1.0
        self._raised = 0.0
        self._until = 0.0

    def reserve(self, now):
        if now < self._until:
            return self._until - now
        if now - self._raised >= 1.0:
            self._raised = now
            self.rate += 10.0
        return super().reserve(now)

    def on_refused(self, now, sent_at, retry_after, in_flight=0):
        if sent_at > self._reacted:
            self._reacted = now
            self.rate = max(0.5, self.rate / 2)
        if retry_after:
            self._until = max(self._until, now + retry_after)


class Cubic(Fixed):
    """CUBIC rate control in the manner of botocore's adaptive retry mode: beta 0.7, scale 0.4."""

    def __init__(self):
        super().__init__(20.0)
        self._most = 20.0
        self._throttled_at = 0.0
        self._limited = False
        self._measured = 0.0
        self._count, self._since = 0, 0.0

    def _measure(self, now):
        self._count += 1
        if now - self._since >= 0.5:
            current = self._count / (now - self._since)
            self._measured = 0.8 * current + 0.2 * self._measured
            self._count, self._since = 0, now

    def reserve(self, now):
        return super().reserve(now) if self._limited else 0.0

    def on_accepted(self, now, sent_at, in_flight=0):
        self._measure(now)
        if self._limited:
            window = (self._most * 0.3 / 0.4) ** (1 / 3)
            wanted = 0.4 * (now - self._throttled_at - window) ** 3 + self._most
            self.rate = max(0.5, min(wanted, 2.0 * self._measured))

    def on_refused(self, now, sent_at, retry_after, in_flight=0):
        self._measure(now)
        self._most = min(self.rate, self._measured) if self._limited else self._measured
        self._throttled_at = now
        self._limited = True
        self.rate = max(0.5, 0.7 * self._most)
