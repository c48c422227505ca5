"""A path along the window, written into one direction, and a dictionary that keeps that direction or loses it."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from lens.measure.matched_decoding import matched_decoding
from lens.measure.position_path import path_size, path_sums

N, T, D, DOCUMENTS = 400, 33, 16, 20
KEPT = 8  # first directions, those of the largest variances, which the dictionary rebuilds exactly


def toy(direction: int) -> dict[str, float]:
    """`path left` in the error, and R2 of position read off activations and error, four degrees of freedom each."""
    x = torch.randn(N, T, D, generator=torch.Generator().manual_seed(0)) * torch.logspace(0, -1, D)
    x[:, :, direction] += 0.1 * torch.arange(T).add(1).log2()
    block = torch.arange(N) % DOCUMENTS
    left, own = (path_size(path_sums(of, x, block, DOCUMENTS))[0] for of in (_error, torch.clone))
    read = {
        f"R2 of the {name}": matched_decoding(of, x, block, DOCUMENTS, [4.0], D)[0].decoded.r2
        for name, of in (("activations", torch.clone), ("error", _error))
    }
    return {"path left": left / own} | read


def toys(directions: tuple[int, ...]) -> pd.DataFrame:
    """`toy` of each direction as a row."""
    return pd.DataFrame({f"in direction {i}": toy(i) for i in directions}).T


def _error(x: Tensor) -> Tensor:
    return x * (torch.arange(D) >= KEPT)
