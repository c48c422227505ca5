"""Where positions are told apart when a feature's tuning is looked for: finer at the start of the window, then evenly.

Bins that double all the way would hold half of the window in the last one, and a feature tuned to 16 positions there
would look flat.
"""

from __future__ import annotations

import torch
from torch import Tensor


def edges(T: int, first: int = 1) -> list[int]:
    """Positions first..T - 1 at which a bin begins: doubling up to 16, then every 16."""
    return [first, *(e for e in (1, 2, 4, 8) if first < e < T), *range(16, T, 16)]


def position_bins(T: int, first: int) -> Tensor:
    """[T] bin of each position from `first`; -1 before."""
    return torch.bucketize(torch.arange(T), torch.tensor(edges(T, first)), right=True) - 1


def hats(x: Tensor, knots: Tensor) -> Tensor:
    """Weights [n, m] of linear interpolation at x [n] between ascending knots [m]; constant beyond the outer ones."""
    x = x.clamp(knots[0], knots[-1])
    left = (torch.bucketize(x, knots, right=True) - 1).clamp(max=len(knots) - 2)[:, None]
    share = (x[:, None] - knots[left]) / (knots[left + 1] - knots[left])
    return torch.zeros(len(x), len(knots)).scatter(1, left, 1 - share).scatter(1, left + 1, share)
