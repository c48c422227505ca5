"""What changes over training by rule: factors of step sizes and penalties, and position weights (eq. 6)."""

from __future__ import annotations

import torch
from torch import Tensor


def warmup(step: int, steps: int, share: float) -> float:
    """Factor of `step` (from 0) that rises evenly over the first n, a `share` of all: 1/n, 2/n, ..., 1, 1, ..."""
    n = round(share * steps)
    return min(1.0, (step + 1) / n) if n else 1.0


def decay(step: int, steps: int, share: float) -> float:
    """Factor of `step` that falls evenly over the last n, a `share` of all: ..., 1, 1, (n-1)/n, ..., 1/n."""
    return warmup(steps - 1 - step, steps, share)


class PositionWeights:
    """Adaptive loss weights w_t (eq. 6), one per trained position, that sum to the number of positions.

    The moving average v follows the batch-mean error at each position; it starts at the first batch's error, so that
    the scale of the inputs does not decide how fast the start is forgotten. The weights in use are P v / sum(v), all 1
    before the first update. `in_place` stores the normalised weights instead, the reading of the paper's public code.
    """

    def __init__(self, n_positions: int, beta: float = 0.99, *, in_place: bool = False, device=None):
        self.beta, self.in_place = beta, in_place
        self.average = torch.ones(n_positions, device=device)
        self.updates = 0

    @property
    def value(self) -> Tensor:
        """w [P], fp32, sum P."""
        return self.average * (self.average.numel() / self.average.sum())

    def update(self, error: Tensor) -> None:
        """Take in one optimiser step's mean error per position [P]; no gradient flows through it.

        Call once per optimiser step, not once per micro-batch: the momentum is per step.
        """
        error = error.detach().to(self.average)
        if self.updates == 0 and not self.in_place:
            self.average = error.clone()
        else:
            self.average = self.beta * self.average + (1 - self.beta) * error
        if self.in_place:
            self.average = self.value
        self.updates += 1
