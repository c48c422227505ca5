"""Moments of stored activations, by which the inputs of dictionaries are scaled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

ROUNDING = 1e-9  # of a sum of squares: a variance below this share of it is none


@dataclass(frozen=True)
class InputStatistics:
    """First and second moment of the raw activations over the text positions."""

    mean: Tensor
    """[d_in]"""
    mean_square_norm: float


def input_statistics(activations: Tensor, chunk: int = 4) -> InputStatistics:
    """Moments of activations [n, T, d_in] over the text positions 1..T-1, summed in chunks of windows.

    BOS is left out even where it is trained on: its norm is tens of times that of the others, so that one position
    would set the scale of all inputs.
    """
    n, T, d_in = activations.shape
    total, square = torch.zeros(2, d_in, dtype=torch.float64)
    buffer = torch.empty(chunk, T - 1, d_in)  # kept: fresh memory for every chunk would take most of the time
    for rows in activations.split(chunk):
        x = buffer[: len(rows)].copy_(rows[:, 1:])
        total += x.sum((0, 1))
        square += x.square_().sum((0, 1))
    count = n * (T - 1)
    return InputStatistics((total / count).float(), square.sum().item() / count)


@dataclass(frozen=True)
class PositionMoments:
    """First and second moment of activations at each position, over windows."""

    mean: Tensor
    """[T, d_in]"""
    deviation: Tensor
    """root mean squared distance from the mean [T]; exactly 0 where it is rounding alone, as at BOS"""

    def scaled(self, factor: float) -> PositionMoments:
        """Those of activations that are multiplied by a positive factor."""
        return PositionMoments(self.mean * factor, self.deviation * factor)


def position_moments(chunks: Iterable[Tensor]) -> PositionMoments:
    """Moments at each position of windows, given a few at a time, [n, T, d_in]; at least one window."""
    n, total, square = 0, torch.zeros(()), torch.zeros(())
    for chunk in chunks:
        x = chunk.double()
        n, total, square = n + len(x), total + x.sum(0), square + x.square().sum((0, 2))
    mean = total / n
    norm = mean.square().sum(1)
    variance = square / n - norm
    variance = torch.where(variance > ROUNDING * norm, variance, 0)
    return PositionMoments(mean.float(), variance.sqrt().float())
