"""The rate at each step: warm-up and cosine, or warm-up, stable, decay."""

from dataclasses import dataclass

import previous_chapters as pc


@dataclass
class ShapedSchedule(pc.Schedule):
    """The chapter's cosine, or wsd: the rate stays at its peak, then falls
    in a straight line during the last `cooldown` share of the steps.

    Source of wsd: Hu et al. 2024 (MiniCPM), section 4.
    """

    shape: str = "cosine"
    cooldown: float = 0.2

    @property
    def stable_end(self) -> int:
        """The first step whose rate depends on the number of steps."""
        rising = min(self.warmup, self.steps)
        if self.shape == "cosine":
            return rising
        return max(rising, self.steps - round(self.cooldown * self.steps))

    def __call__(self, step: int) -> float:
        if step < self.warmup or self.shape == "cosine":
            return super().__call__(step)
        if step < self.stable_end:
            return self.peak_lr
        return (
            self.peak_lr * (self.steps - step) / (self.steps - self.stable_end)
        )
