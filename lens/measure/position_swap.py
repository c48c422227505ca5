"""Does a feature's firing go where the mean of another position goes? The activation's position is swapped for another.

An input x at position t becomes x - mu_t + mu_t', with mu the mean over text at each position. A feature that reads the
position off that mean then fires as it does at t'; one that follows the text, or reads position elsewhere, does not. It
describes, and decides nothing: what the model writes about position need not be additive. Beside it belong two nulls:
means of the wrong positions, and random directions as long as the change.
"""

from __future__ import annotations

import torch
from torch import Tensor


def swapped(x_NPd: Tensor, mean_Pd: Tensor, target_P: Tensor) -> Tensor:
    """x - mu_t + mu_t' [N, P, d], with t' the target of each position.

    Null: give `mean_Pd` with its rows in a random order.
    """
    return x_NPd - mean_Pd + mean_Pd[target_P]


def pushed(x_NPd: Tensor, mean_Pd: Tensor, target_P: Tensor, generator: torch.Generator) -> Tensor:
    """Null: x moved at each position as far as `swapped` moves it, in a direction drawn for that position."""
    size = (mean_Pd[target_P] - mean_Pd).norm(dim=-1, keepdim=True)
    direction = torch.nn.functional.normalize(torch.randn(mean_Pd.shape, generator=generator), dim=-1)
    return x_NPd + size * direction


def follows(before_RPK: Tensor, after_RPK: Tensor, target_P: Tensor) -> Tensor:
    """How much of the way to its profile at the target each feature goes [K]: 1 all of it, 0 none; nan if it is flat.

    The slope, over positions, of what the swap changes on r(t') - r(t). Products are of two different sets of windows,
    so that the sampling errors of the profile r don't bend it.

    Args:
        before_RPK: mean code, or rate of firing, of R disjoint sets of windows at each position.
        after_RPK: the same after the swap.

    Raises:
        ValueError: fewer than two sets.
    """
    if len(before_RPK) < 2:
        raise ValueError(f"{len(before_RPK)} sets of windows: a slope that no noise bends needs two or more")
    wanted, got = before_RPK[:, target_P] - before_RPK, after_RPK - before_RPK
    crossed = lambda a, b: (a.sum(0) * b.sum(0) - (a * b).sum(0)).sum(0)  # noqa: E731
    size = crossed(wanted, wanted)
    return torch.where(size > 0, crossed(wanted, got) / size, torch.nan)
