"""Do features go where the mean of another position goes? The position swap of a dictionary, with its two nulls."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lens.dictionaries.dictionary import Dictionary
from lens.measure.at_once import at_once
from lens.measure.position_swap import follows, pushed, swapped

CHUNK = 16  # windows in fp32 at a time, fewer of long ones


@torch.no_grad()
def swap_columns(
    sae: Dictionary, activations: Tensor, sets: Tensor, before_RPK: Tensor, seed: int
) -> dict[str, np.ndarray]:
    """How much of the way each feature goes [K] to its profile half a window further (`lens.measure.position_swap`).

    `swap` when the mean of that place replaces that of its own, `swap_wrong_means` with the means of positions in
    random order, `swap_random` when the input is moved as far in a random direction. Costs three encodings.

    Args:
        activations: held-out windows [n, T, d].
        sets: [n] the set of each window, one of R.
        before_RPK: mean code of each set at the T - 1 text positions.
    """
    generator = torch.Generator().manual_seed(seed)
    P = activations.shape[1] - 1
    mean = torch.stack([x[:, 1:].float().sum(0) for x in activations.split(CHUNK)]).sum(0) / len(activations)
    target, order = (torch.arange(P) + P // 2) % P, torch.randperm(P, generator=generator)
    push = pushed(torch.zeros(P, 1), mean, target, generator)
    changes: dict[str, Callable[[Tensor], Tensor]] = {
        "swap": lambda x: swapped(x, mean, target),
        "swap_wrong_means": lambda x: swapped(x, mean[order], target),
        "swap_random": lambda x: x + push,
    }
    return {
        name: follows(before_RPK, _means(sae, activations, sets, change, before_RPK), target).numpy()
        for name, change in changes.items()
    }


def _means(
    sae: Dictionary, activations: Tensor, sets: Tensor, change: Callable[[Tensor], Tensor], like_RPK: Tensor
) -> Tensor:
    """Mean code of each set of windows at text positions after a change of the inputs there [R, P, K]."""
    total = torch.zeros_like(like_RPK)
    chunk = at_once(CHUNK, activations.shape[1])
    for x, where in zip(activations.split(chunk), sets.split(chunk), strict=True):
        x = x.float()
        total.index_add_(0, where, sae.encode(torch.cat([x[:, :1], change(x[:, 1:])], dim=1)).dense()[:, 1:])
    return total / torch.bincount(sets, minlength=len(total))[:, None, None]
