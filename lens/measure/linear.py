"""What reconstructions without features explain: a mean, a mean per position, and principal components.

A dictionary whose error is above that of as many principal components as it has active features has learned nothing
that a rotation does not have. Fitted on training windows, read on held-out ones, by the text positions alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lens.activations.statistics import position_moments

CHUNK = 16  # windows in fp32 at a time


@dataclass(frozen=True)
class Linear:
    """x_hat = c + (x - c) V V^T."""

    centre: Tensor
    """c, [d] or one for each position [T, d]"""
    directions: Tensor
    """V, orthonormal columns [d, r]; r = 0: x_hat is the centre"""

    @classmethod
    def constant(cls, centre: Tensor) -> Linear:
        """The centre in the place of every vector."""
        return cls(centre, centre.new_empty(centre.shape[-1], 0))

    def __call__(self, x: Tensor) -> Tensor:
        """Reconstruction of windows [n, T, d]."""
        return self.centre + (x - self.centre) @ self.directions @ self.directions.T


def position_mean(activations: Tensor) -> Linear:
    """The mean at its position in the place of each vector: all that position alone can tell."""
    return Linear.constant(position_moments(activations.split(CHUNK)).mean)


def principal_components(activations: Tensor, mean: Tensor, ranks: Sequence[int]) -> list[Linear]:
    """The best reconstruction of each rank r of the text positions of windows [n, T, d] (Pearson 1901): their mean [d],
    and the r directions of the largest variance about it.

    Raises:
        ValueError: a rank that is not between 1 and d.
    """
    d = activations.shape[-1]
    if wrong := [r for r in ranks if not 1 <= r <= d]:
        raise ValueError(f"rank {wrong[0]} of activations of {d} dimensions: choose 1 to {d}")
    squares = torch.zeros(d, d, dtype=torch.float64)
    for rows in activations.split(CHUNK):
        x = (rows[:, 1:].float() - mean).flatten(0, 1)
        squares += x.T @ x
    directions = torch.linalg.eigh(squares).eigenvectors.flip(1).float()
    return [Linear(mean, directions[:, :r]) for r in ranks]
