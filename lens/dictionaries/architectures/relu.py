"""ReLU with an L1 penalty: the standard sparse autoencoder (Bricken et al. 2023), and eq. 3 without its mask."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lens.dictionaries.codes import Codes
from lens.dictionaries.parts import Architecture, check_settings


@dataclass(frozen=True)
class Settings:
    """Fields of a recipe."""

    l1_coef: float = 0.04
    """the lambda of eq. 8"""

    def __post_init__(self):
        check_settings(self, not_negative=("l1_coef",))


class ReLU(Architecture):
    """f = ReLU(u + b_enc)."""

    Settings = Settings
    l0_setting, l0_slope = "l1_coef", -1
    shared_by = ("batch", "features")

    def __init__(self, d_in: int, d_sae: int, settings: Settings):
        super().__init__(d_in, d_sae, settings)
        self.b_enc = nn.Parameter(torch.zeros(d_sae))

    @property
    def coefficient(self) -> float:
        return self.settings.l1_coef

    def select(self, u: Tensor) -> Codes:
        return Codes(torch.relu(u + self.b_enc), None, self.d_sae)
