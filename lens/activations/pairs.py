"""Pairs of vectors of one window: each vector with an earlier one, for what is trained to agree along a text.

Windows are whole on disk and in training ([B, T, d], `lens.activations.store`), so that pairs are a choice of rows.
"""

from __future__ import annotations

import torch
from torch import Tensor


def lagged(length: int, lag: int = 1) -> tuple[Tensor, Tensor]:
    """Positions lag..length-1, and those that lie `lag` before them: two tensors [length - lag].

    Raises:
        ValueError: no vector has one so far before it.
    """
    if not 1 <= lag < length:
        raise ValueError(f"lag {lag} in {length} positions: choose 1..{length - 1}")
    return torch.arange(lag, length), torch.arange(length - lag)


def random_earlier(length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Positions 1..length-1, and for each an earlier one drawn with equal chances: two tensors [length - 1].

    Raises:
        ValueError: there is one position only.
    """
    if length < 2:
        raise ValueError(f"{length} position: no vector has an earlier one")
    later = torch.arange(1, length)
    return later, (torch.rand(length - 1, generator=generator) * later).long().minimum(later - 1)


def pairs(windows: Tensor, lag: int = 1, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Vectors of windows [B, T, d] and their partners, [B, P, d] each; position 0 (BOS) is in no pair.

    Args:
        lag: how far before a vector its partner lies.
        generator: draws partners anywhere before, in the place of `lag`; at the same positions of all windows.

    Raises:
        ValueError: the windows are too short for it.
    """
    text = windows[:, 1:]
    n = text.shape[1]
    later, earlier = lagged(n, lag) if generator is None else random_earlier(n, generator)
    return text[:, later], text[:, earlier]
