"""Learning-rate schedules."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class LearningRateSchedule:
    """The learning rate over the epochs of a phase.

    Attributes:
        peak: the highest.
        epochs: of the phase.
        kind: ``constant``, or ``cosine``: from the peak down to 0 (Loshchilov & Hutter 2017).
        warmup: epochs in which it first rises to the peak, step by step (Goyal et al. 2017).
    """

    peak: float
    epochs: int
    kind: str = "constant"
    warmup: int = 0

    def rate_at(self, step: int, steps_per_epoch: int) -> float:
        """Return the learning rate of ``step``, counted from 0 through the whole phase."""
        warmup, total = self.warmup * steps_per_epoch, self.epochs * steps_per_epoch
        if step < warmup:
            return self.peak * (step + 1) / warmup
        if self.kind == "constant":
            return self.peak
        return self.peak * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2
