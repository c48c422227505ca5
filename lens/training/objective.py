"""The training objective (eq. 8) for any architecture and position term: the definition, differentiated by autograd.

`lens.training.gradients` has the same written out for ReLU, which trains faster; tests hold values and gradients equal.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lens.dictionaries.codes import Codes
from lens.dictionaries.dictionary import Dictionary


class Losses(NamedTuple):
    """Sums that one optimiser step leaves behind; all fp32, means over the windows of the batch."""

    error: Tensor
    """squared error ||h_t - h_hat_t||^2 per position [P]"""
    penalty: Tensor
    """penalty of the code per position [P]: ||f_t||_1 unless the architecture has another"""
    active: Tensor
    """number of active features per position, ||f_t||_0 [P]"""

    def total(self, position_weights: Tensor, coefficient: float, weight_penalty: bool = True) -> Tensor:
        """Eq. 8, per window: sum over t of w_t (error_t + lambda penalty_t)."""
        penalty_weights = position_weights if weight_penalty else torch.ones_like(position_weights)
        return (position_weights * self.error + coefficient * penalty_weights * self.penalty).sum()


def losses(dictionary: Dictionary, x: Tensor, positions: Tensor) -> tuple[Losses, Tensor | None, Codes]:
    """Losses of raw inputs x [B, P, d_in] at `positions` [P], an auxiliary loss if there is one, and the codes.

    Differentiable. Features are counted before a position term acts on the code: a mask never quite reaches 0.
    """
    architecture = dictionary.architecture
    values = dictionary.position_term.values(positions)
    x = dictionary.scaled(x)
    u = dictionary.scores(x, values)
    selected = architecture.select(u)
    codes = dictionary.gate(selected, values)
    residual = codes.dense() @ dictionary.W_dec + dictionary.b_dec - x
    wide = torch.promote_types(residual.dtype, torch.float32)  # sums are never taken in bf16
    found = Losses(
        residual.to(wide).square().sum(-1).mean(0),
        architecture.penalty(codes).to(wide).mean(0),
        selected.fired().sum(-1).to(wide).mean(0),
    )
    return found, architecture.auxiliary(u, -residual.detach(), dictionary.W_dec), selected
