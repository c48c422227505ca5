"""The training objective (eq. 8) for any architecture and position term: the definition, differentiated by autograd.

`lens.training.gradients` has the same written out for ReLU, which trains faster; tests hold values and gradients equal.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from lens.dictionaries import blocks, sparse
from lens.dictionaries.codes import Codes
from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.parts import Forward

Gradients = dict[str, Tensor]
"""by the name of the weight"""


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
    architecture, values = dictionary.architecture, dictionary.position_term.values(positions)
    span, length, first = architecture.span, len(positions), int(positions[0]) if architecture.of_windows else 1
    x = dictionary.folded(dictionary.scaled(x), first)
    x_in = dictionary.encoder_input(x, values, first)
    u = dictionary.scores_of(x_in, values)
    u_at, few = partial(u.gather, -1), None
    if values is None or dictionary.position_term.keeps_scores:  # u is x W_enc where it counts, and stays as selected
        u_at = partial(sparse.scores_at, u=u.detach(), x=x_in, W_enc=dictionary.W_enc)
        opened = None if values is None else dictionary.position_term.opened(values)
        few = architecture.select_few(u.detach(), u_at, opened)
    selected = few or architecture.select(u)
    codes = dictionary.gate(selected, values)
    if few is not None and few.index is not None:
        decoded = sparse.product(few.values, few.index, dictionary.W_dec)
    else:
        decoded = codes.dense() @ dictionary.W_dec
    residual = x - dictionary.reconstruct(architecture.shards.sum_over_features(decoded), values)
    wide = torch.promote_types(residual.dtype, torch.float32)  # sums are never taken in bf16
    at_positions = residual
    if span > 1:
        at_positions = blocks.unfold(residual, span, first, length)
        residual = blocks.fold(at_positions, span, first)  # nothing where there is no vector
    forward = Forward(u, u_at, codes, residual, dictionary.W_dec)
    of_code = architecture.penalty(forward), architecture.shards.sum_over_features(selected.l0())
    if span > 1:
        of_code = (blocks.repeat(v, span, first, length) for v in of_code)
    found = Losses(at_positions.to(wide).square().sum(-1).mean(0), *(v.to(wide).mean(0) for v in of_code))
    return found, architecture.auxiliary(forward), selected


def gradients(
    dictionary: Dictionary,
    x: Tensor,
    positions: Tensor,
    position_weights: Tensor,
    coefficient: float,
    *,
    weight_penalty: bool,
    autocast: torch.autocast,
) -> tuple[Losses, Gradients, Tensor | float, Codes]:
    """Losses, the gradient of eq. 8 by weight (0 for those that are frozen), the auxiliary loss, and the codes.

    Args:
        coefficient: lambda of eq. 8.
    """
    with autocast:
        found, auxiliary, codes = losses(dictionary, x, positions)
    total = found.total(position_weights, coefficient, weight_penalty)
    weights = dictionary.weights()
    learned = [p for p in weights.values() if p.requires_grad]
    loss = total if auxiliary is None else total + auxiliary
    grads = iter(torch.autograd.grad(loss, learned, allow_unused=True))
    by_name = {n: next(grads) if p.requires_grad else None for n, p in weights.items()}
    return (
        Losses(*(v.detach() for v in found)),
        {n: torch.zeros_like(weights[n]) if g is None else g for n, g in by_name.items()},
        0.0 if auxiliary is None else auxiliary.detach(),
        Codes(codes.values.detach(), codes.index, codes.d_sae),
    )
