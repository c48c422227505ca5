"""(x - mu_t) / sigma_t: inputs without the mean of their position, and of one size at every position."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lens.activations.statistics import PositionMoments
from lens.dictionaries.parts import PositionTerm
from lens.dictionaries.replace import KINDS, replaced


class Standardised(PositionTerm):
    """(x - mu_t) / sigma_t, and x_hat = (f W_dec + b_dec) sigma_t + mu_t.

    mu_t is the mean of the training windows at position t, sigma_t one number, the root mean squared distance from it:
    a factor of all coordinates, so that directions stay as they are. Where nothing varies (BOS) it is 1.
    """

    acts_on = "input"
    shared_by = ("batch", "features")
    prepared = ("position_mean", "position_deviation")

    def __init__(self, d_in: int, d_sae: int, n_positions: int | None, settings):
        super().__init__(d_in, d_sae, n_positions, settings)
        self.position_mean = nn.Parameter(torch.zeros(self.T, d_in), requires_grad=False)
        self.position_deviation = nn.Parameter(torch.ones(self.T), requires_grad=False)

    def prepare(self, moments: Callable[[], PositionMoments]) -> None:
        found = moments()
        self.position_mean.data.copy_(found.mean)
        self.position_deviation.data.copy_(torch.where(found.deviation > 0, found.deviation, 1.0))

    def values(self, positions: Tensor | None = None) -> Tensor:
        """mu_t and, last, sigma_t: [..., d_in + 1]."""
        both = torch.cat([self.position_mean, self.position_deviation[:, None]], dim=1)
        return both if positions is None else both[positions]

    def apply(self, target: Tensor, values: Tensor) -> Tensor:
        return (target - values[..., :-1]) / values[..., -1:]

    def undo(self, x_hat: Tensor, values: Tensor) -> Tensor:
        return x_hat * values[..., -1:] + values[..., :-1]

    def interventions(self) -> tuple[str, ...]:
        return KINDS

    def intervention(self, kind: str, generator: torch.Generator) -> Tensor:
        return replaced(self.values().detach(), kind, generator)
