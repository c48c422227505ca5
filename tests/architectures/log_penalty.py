"""An architecture of somebody's own, outside the library: ReLU with a penalty log(1 + s f), the scale s learned.

A recipe names it `tests.architectures.log_penalty:LogPenalty`, or by the path of this file.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lens.dictionaries.codes import Codes
from lens.dictionaries.parts import Architecture, Forward


@dataclass(frozen=True)
class Settings:
    """Fields of a recipe."""

    log_coef: float = 0.02
    """what the penalty is multiplied by"""
    prior: float = 0.1
    """pull of the log scales towards 0"""


class LogPenalty(Architecture):
    """f = ReLU(u + b_enc), penalty sum_j log(1 + exp(log_scale_j) f_j)."""

    Settings = Settings
    penalty_name = "log_penalty"

    def __init__(self, d_in: int, d_sae: int, settings: Settings):
        super().__init__(d_in, d_sae, settings)
        self.b_enc = nn.Parameter(torch.zeros(d_sae))
        self.log_scale = nn.Parameter(torch.zeros(d_sae))

    @property
    def coefficient(self) -> float:
        return self.settings.log_coef

    def select(self, u: Tensor) -> Codes:
        return Codes(torch.relu(u + self.b_enc), None, self.d_sae)

    def penalty(self, forward: Forward) -> Tensor:
        return torch.log1p(forward.codes.values * self.log_scale.exp()).sum(-1)

    def auxiliary(self, forward: Forward) -> Tensor:
        return self.settings.prior * self.log_scale.square().sum()

    def on_disk(self) -> tuple[str, dict, dict[str, Tensor]]:
        """The scale is of the penalty alone: what was trained is a ReLU dictionary."""
        return "relu", {}, {"b_enc": self.b_enc.detach()}
