"""Telling refusals that have nothing to do with the rate from those of a limit. Pure; no clock.

A limit refuses more the faster one goes; noise does not. So the pacer reacts to the first lone refusals like
to any other, and where they go on all the same it makes a trial: half as fast until, if it was noise, some
refusals must have come. If they have, refusals are overlooked from then on as far as a credit reaches that
accepted requests build up: noise of a few percent never uses it up, a limit that is passed does within a
moment (a CUSUM test: E. S. Page, "Continuous Inspection Schemes", 1954). The trial is repeated from time to
time: other clients on the same account look like noise, but not for long.
"""

from enum import Enum, auto
from typing import Final


class Verdict(Enum):
    """What a trial showed."""

    NOISE = auto()
    LIMIT = auto()


class Noise:
    """Counts answers and says which refusals to overlook."""

    LONE: Final = 3
    """So many lone refusals, though each lowered the rate, ask for a trial."""
    APART: Final = 8
    """A refusal is lone with so many accepted since the one before: above a limit they come in clusters."""
    RARE: Final = 100
    RARE_SECONDS: Final = 0.25
    """A refusal with so many accepted since the one before, and so much time, is overlooked once."""
    RARE_AT_START: Final = 20
    WATCHED: Final = 50
    """Accepted requests after an overlooked refusal before going faster: if a limit, the next comes soon."""
    USUAL_GAP: Final = 50.0
    """Accepted requests between two refusals of noise, before it is known better."""
    GAP_MEMORY: Final = 16
    SHORTEST_GAP: Final = 20.0
    """Refusals that come closer together are no noise,"""
    SHORTEST_NOISY_GAP: Final = 12.0
    """and where they were taken for it they are so no longer."""
    PROOF: Final = 3.0
    """Refusals in a trial that prove noise,"""
    TRIAL_GAPS: Final = 7.0
    """where noise would bring so many;"""
    REPEATED_TRIAL_GAPS: Final = 10.0
    TRIAL_SECONDS: Final = 4.0
    TRIAL_REQUESTS: Final = 200.0
    """a trial takes no longer than both of these, and then fewer refusals are a proof."""
    PROOF_SHARE: Final = 0.35
    MOST_CLUSTERED: Final = 10
    """Refusals in a trial that are not lone, until it is given up."""
    TRIALS_APART: Final = 60.0
    TRIALS_APART_SECONDS: Final = 20.0
    """Where there is noise, the next trial comes after so many gaps, and so much time."""
    MOST_CREDIT: Final = 8.0
    """The most refusals in a row that are overlooked."""
    GAIN: Final = 2.0
    """The credit grows so many times as fast as the noise uses it up,"""
    LEAST_GAIN: Final = 0.003
    MOST_GAIN: Final = 0.045
    """within these bounds per accepted request."""

    def __init__(self) -> None:
        self.is_noisy = False
        self._since = self.RARE
        self._watch = 0
        self._lone = 0.0
        self._gap = 0.0
        self._gaps = 0
        self._credit = 0.0
        self._trial: _Trial | None = None
        self._next_trial = 0.0
        self._rest = 0.0
        self._spacing = 1

    @property
    def on_trial(self) -> bool:
        """Whether the pacer is to go at half its rate."""
        return self._trial is not None

    @property
    def is_calm(self) -> bool:
        """Whether what was refused lately is no reason against going faster."""
        if self.is_noisy:
            return self._trial is None and self._credit >= self.MOST_CREDIT / 2
        return self._trial is None and self._since >= self._watch

    @property
    def trial_due(self) -> bool:
        """Whether what was taken for noise is to be looked at again."""
        return self.is_noisy and self._trial is None and self._next_trial <= 0

    def begin_trial(self, rate: float) -> None:
        """The pacer goes at ``rate``, half its own, until ``accepted`` gives the verdict."""
        gap = max(self._gap, self.USUAL_GAP)
        wanted = gap * (self.REPEATED_TRIAL_GAPS if self.is_noisy else self.TRIAL_GAPS)
        length = int(min(wanted, max(self.TRIAL_REQUESTS, self.TRIAL_SECONDS * rate)))
        proof = max(1.0, min(self.PROOF, self.PROOF_SHARE * length / gap))
        self._trial = _Trial(length, proof, rate)

    def abandon_trial(self) -> None:
        """A refusal came that cannot be overlooked."""
        self._trial = None

    def accepted(self) -> Verdict | None:
        """A request was let through; the verdict if a trial ends with it."""
        self._since += 1
        self._rest -= 1
        if self.is_noisy:
            gain = min(self.MOST_GAIN, max(self.LEAST_GAIN, self.GAIN / self._gap))
            self._credit = min(self.MOST_CREDIT, self._credit + gain)
            self._next_trial -= 1
        if self._trial is None:
            return None
        self._trial.left -= 1
        if self._trial.left > 0 and not self._trial.is_proved:
            return None
        return self._end(self._trial)

    def _end(self, trial: "_Trial") -> Verdict:
        """Noise has gone on at half the rate; a limit has not."""
        self._trial = None
        self._lone = 0.0
        self.is_noisy = trial.is_proved
        if not trial.is_proved:
            self._spacing = min(4, 2 * self._spacing)
            self._rest = self._spacing * trial.length
            return Verdict.LIMIT
        self._spacing = 1
        self._rest = 0.0
        self._credit = self.MOST_CREDIT
        self._next_trial = max(self.TRIALS_APART * self._gap, self.TRIALS_APART_SECONDS * trial.rate)
        return Verdict.NOISE

    def overlooks(self, rate: float, *, cruising: bool, starting: bool) -> bool:
        """Whether to overlook one more refusal at ``rate``."""
        if cruising:
            self._gaps = min(self.GAP_MEMORY, self._gaps + 1)
            self._gap += (self._since - self._gap) / self._gaps
        if not (self._is_tried() or self._is_rare(rate, starting=starting) or self._is_paid()):
            return False
        self._since = 0
        return True

    def _is_tried(self) -> bool:
        if self._trial is None:
            return False
        if self._since >= self.APART:
            self._trial.refused += 1
        else:
            self._trial.clustered += 1
        return self._trial.clustered <= self.MOST_CLUSTERED

    def _is_rare(self, rate: float, *, starting: bool) -> bool:
        rare = self.RARE_AT_START if starting else max(self.RARE, self.RARE_SECONDS * rate)
        if self.is_noisy or self._since < rare:
            return False
        self._lone = max(0.0, self._lone - 0.25)
        self._watch = self.RARE_AT_START if starting else self.WATCHED
        return True

    def _is_paid(self) -> bool:
        if self._gap < self.SHORTEST_NOISY_GAP:
            self.is_noisy = False
        if not self.is_noisy or self._credit < 1.0:
            return False
        self._credit -= 1.0
        return True

    def suspects(self, *, cruising: bool) -> bool:
        """A refusal that was not overlooked; True if it is time for a trial."""
        apart, self._since = self._since, 0
        self._watch = 0
        if self.is_noisy or not cruising:
            return False
        self._lone = max(0.0, self._lone + (1.0 if apart >= self.APART else -1.0))
        return self._lone >= self.LONE and self._rest <= 0 and self._gap >= self.SHORTEST_GAP

    @property
    def has_lone(self) -> bool:
        """Whether the estimate was lowered by refusals that may yet prove to be noise."""
        return self._lone > 1

    def denied(self) -> None:
        """A request that went ahead alone was refused: that is a limit."""
        self._lone = 0.0


class _Trial:
    """One run at half the rate."""

    def __init__(self, length: int, proof: float, rate: float) -> None:
        self.length = self.left = length
        self.rate = rate
        self.refused = self.clustered = 0
        self._proof = proof

    @property
    def is_proved(self) -> bool:
        """Whether refusals went on."""
        return self.refused >= self._proof
