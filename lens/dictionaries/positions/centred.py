"""x - mu_t: inputs without the mean of their position."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lens.activations.statistics import PositionMoments
from lens.dictionaries.parts import PositionTerm
from lens.dictionaries.replace import KINDS, replaced


class Centred(PositionTerm):
    """x - mu_t, and x_hat = f W_dec + b_dec + mu_t, with mu_t the mean of the training windows at position t."""

    acts_on = "input"
    shared_by = ("batch", "features")
    prepared = ("position_mean",)

    def __init__(self, d_in: int, d_sae: int, n_positions: int | None, settings):
        super().__init__(d_in, d_sae, n_positions, settings)
        self.position_mean = nn.Parameter(torch.zeros(self.T, d_in), requires_grad=False)

    def prepare(self, moments: Callable[[], PositionMoments]) -> None:
        self.position_mean.data.copy_(moments().mean)

    def values(self, positions: Tensor | None = None) -> Tensor:
        return self.position_mean if positions is None else self.position_mean[positions]

    def apply(self, target: Tensor, values: Tensor) -> Tensor:
        return target - values

    def undo(self, x_hat: Tensor, values: Tensor) -> Tensor:
        return x_hat + values

    def interventions(self) -> tuple[str, ...]:
        return KINDS

    def intervention(self, kind: str, generator: torch.Generator) -> Tensor:
        return replaced(self.values().detach(), kind, generator)
