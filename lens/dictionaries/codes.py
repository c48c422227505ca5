"""What a dictionary says of a batch of activations; all that measures read of it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Codes(NamedTuple):
    """Features of vectors [...]: all d_sae of each vector, or only those that were kept."""

    values: Tensor
    """[..., d_sae], or [..., k] where `index` says which features these are"""
    index: Tensor | None
    """[..., k] feature of each value, any for a value of 0; None: `values` has all of them"""
    d_sae: int
    """number of features"""

    def __repr__(self) -> str:
        vectors = list(self.values.shape[:-1])
        return f"Codes of vectors {vectors}, {self.d_sae} features, L0 {self.l0().float().mean():.3g}"

    def dense(self) -> Tensor:
        """[..., d_sae], 0 where a feature is off."""
        if self.index is None:
            return self.values
        empty = torch.zeros(*self.values.shape[:-1], self.d_sae, dtype=self.values.dtype, device=self.values.device)
        return empty.scatter_add(-1, self.index, self.values)

    def first(self, n: int) -> Tensor:
        """The first n features [..., n], 0 where one is off."""
        if self.index is None:
            return self.values[..., :n]
        low = self.index < n
        empty = torch.zeros(*self.values.shape[:-1], n, dtype=self.values.dtype, device=self.values.device)
        return empty.scatter_add(-1, self.index * low, self.values * low)

    def fired(self) -> Tensor:
        """Which features fire, bool [..., d_sae]: the non-zero ones, whatever their sign."""
        return self.dense() != 0

    def l0(self) -> Tensor:
        """Number of features that fire [...]."""
        return (self.values != 0).sum(-1)

    def alive(self) -> Tensor:
        """Which features fire on some vector, bool [d_sae]."""
        if self.index is None:
            return (self.values != 0).flatten(0, -2).any(0)
        found = torch.zeros(self.d_sae, dtype=torch.bool, device=self.values.device)
        found[self.index[self.values != 0]] = True
        return found
