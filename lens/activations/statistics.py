"""Moments of stored activations, by which the inputs of dictionaries are scaled."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


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
