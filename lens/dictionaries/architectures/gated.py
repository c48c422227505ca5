"""Gated: one half decides whether a feature is on, the other how much (Rajamanoharan et al. 2024, arXiv 2404.16014).

For dictionaries that others trained.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lens.dictionaries.codes import Codes
from lens.dictionaries.parts import Architecture, NoSettings


class Gated(Architecture):
    """f = ReLU(u exp(r_mag) + b_mag) where u + b_gate > 0, else 0."""

    in_units_of_u = ("b_gate", "b_mag")

    def __init__(self, d_in: int, d_sae: int, settings: NoSettings):
        super().__init__(d_in, d_sae, settings)
        self.b_gate, self.r_mag, self.b_mag = (nn.Parameter(torch.zeros(d_sae)) for _ in range(3))

    def select(self, u: Tensor) -> Codes:
        on = u + self.b_gate > 0
        return Codes(torch.relu(u * self.r_mag.exp() + self.b_mag) * on, None, self.d_sae)
