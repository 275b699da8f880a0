"""Finding a server's rate and staying just under it: pure, the clock (monotonic seconds) is passed in."""

from pruner.engine.pacing.adaptive import AdaptivePacer

__all__ = ["AdaptivePacer"]
