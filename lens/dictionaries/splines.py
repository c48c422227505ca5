"""Smooth functions of position: cubic B-splines of log2(1 + t), which is how fast representations change with t."""

from __future__ import annotations

import numpy as np
import torch
from scipy.interpolate import BSpline
from torch import Tensor

from lens.errors import DictionaryError

DEGREE = 3


def basis(n_positions: int, splines: int) -> Tensor:
    """[T, splines], for positions 0..T-1, with mean 0 over the text positions 1..T-1; the row of BOS is that of t = 1.

    Centred, so that a function of position has no level of its own: that is the encoder's.

    Raises:
        DictionaryError: fewer than 4 splines, or fewer than 2 text positions.
    """
    if splines <= DEGREE:
        raise DictionaryError(f"splines must be at least {DEGREE + 1}, found {splines}")
    if n_positions < 3:
        raise DictionaryError(f"splines over {n_positions} positions: windows of at least 3 are needed")
    u = np.log2(1.0 + np.arange(1, n_positions))
    inner = np.linspace(u[0], u[-1], splines - DEGREE + 1)
    knots = np.concatenate([[u[0]] * DEGREE, inner, [u[-1]] * DEGREE])
    text = BSpline.design_matrix(u, knots, DEGREE).toarray()
    text -= text.mean(0)
    return torch.from_numpy(np.concatenate([text[:1], text])).float()
