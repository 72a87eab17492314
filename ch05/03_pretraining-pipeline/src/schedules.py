"""The rate at each step: warm-up and cosine, or warm-up, stable, decay."""

from dataclasses import dataclass

import pretraining as pt


@dataclass(frozen=True)
class Plan:
    """How many steps, and the learning rate at each (counted from 0).

    cosine: pt.learning_rate. wsd: the rate stays at its peak, then falls
    in a straight line during the last `cooldown` share of the steps.
    Source of wsd: Hu et al. 2024 (MiniCPM), section 4.
    """

    steps: int
    peak: float
    warmup: int
    shape: str = "cosine"
    cooldown: float = 0.2

    @property
    def stable_end(self) -> int:
        """The first step whose rate depends on the number of steps."""
        if self.shape == "cosine":
            return min(self.warmup, self.steps)
        return max(min(self.warmup, self.steps),
                   self.steps - round(self.cooldown * self.steps))

    def __call__(self, step: int) -> float:
        if step < self.warmup or self.shape == "cosine":
            return pt.learning_rate(step, self.steps, self.peak, self.warmup)
        left = self.steps - step
        falling = self.steps - self.stable_end
        return self.peak * (min(1.0, left / falling) if falling else 1.0)
