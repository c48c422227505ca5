"""Moments of stored activations, by which the inputs of dictionaries are centred and scaled."""

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
    variance: float
    """mean squared norm of what is left when the mean is taken off"""

    def scale(self, *, centred: bool) -> float:
        """Brings inputs, centred or not, to unit mean squared norm."""
        return (self.variance if centred else self.mean_square_norm) ** -0.5


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
    mean, mean_square_norm = total / count, square.sum().item() / count
    return InputStatistics(mean.float(), mean_square_norm, mean_square_norm - mean.square().sum().item())


@dataclass(frozen=True)
class PositionMoments:
    """First and second moment of activations at each position, over windows."""

    mean: Tensor
    """[T, d_in]"""
    deviation: Tensor
    """root mean squared distance from the mean [T]; exactly 0 where it is rounding alone, as at BOS"""

    def scaled(self, factor: float, centre: Tensor | None = None) -> PositionMoments:
        """Those of activations from which `centre` [d_in] is taken, multiplied by a positive factor."""
        mean = self.mean if centre is None else self.mean - centre
        return PositionMoments(mean * factor, self.deviation * factor)


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
