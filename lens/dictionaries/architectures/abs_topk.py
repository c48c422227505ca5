"""AbsTopK: the k pre-activations of each vector that are farthest from 0, with their signs (arXiv 2510.00404).

A feature may fire in either direction, and does so wherever it is not 0.
"""

from __future__ import annotations

from torch import Tensor

from lens.dictionaries.architectures import topk


class AbsTopK(topk.TopK):
    """f = u + b_enc for the k largest of |u + b_enc|, 0 for all others."""

    shared_by = ("batch", "features")

    def rank(self, z: Tensor) -> Tensor:
        return z.abs()

    def feature(self, z: Tensor) -> Tensor:
        return z
