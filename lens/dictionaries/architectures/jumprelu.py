"""JumpReLU: a threshold for each feature (Rajamanoharan et al. 2024, arXiv 2407.14435). For inference."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lens.dictionaries.codes import Codes
from lens.dictionaries.parts import Architecture, NoSettings


class JumpReLU(Architecture):
    """f = ReLU(u + b_enc) where u + b_enc > threshold, else 0."""

    in_units_of_u = ("b_enc", "threshold")

    def __init__(self, d_in: int, d_sae: int, settings: NoSettings):
        super().__init__(d_in, d_sae, settings)
        self.b_enc = nn.Parameter(torch.zeros(d_sae))
        self.threshold = nn.Parameter(torch.zeros(d_sae))

    def select(self, u: Tensor) -> Codes:
        u = u + self.b_enc
        return Codes(torch.relu(u) * (u > self.threshold), None, self.d_sae)
