"""TopK: the k largest pre-activations of each vector (Gao et al. 2024, arXiv 2406.04093)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lens.dictionaries.codes import Codes
from lens.dictionaries.parts import Architecture
from lens.errors import DictionaryError


@dataclass(frozen=True)
class Settings:
    """Fields of a recipe."""

    k: int = 32
    """features kept of each vector; fewer where fewer are positive"""


def check_k(k: int, d_sae: int) -> None:
    """Raise DictionaryError unless k of d_sae features can be kept."""
    if not 1 <= k <= d_sae:
        raise DictionaryError(f"k = {k} of {d_sae} features: choose 1..{d_sae}")


class TopK(Architecture):
    """f = ReLU(u + b_enc) for the k largest of u + b_enc, 0 for all others."""

    Settings = Settings
    separable = False

    def __init__(self, d_in: int, d_sae: int, settings: Settings):
        super().__init__(d_in, d_sae, settings)
        check_k(settings.k, d_sae)
        self.b_enc = nn.Parameter(torch.zeros(d_sae))

    def select(self, u: Tensor) -> Codes:
        values, index = (u + self.b_enc).topk(self.settings.k, dim=-1, sorted=False)
        return Codes(values.relu(), index, self.d_sae)
