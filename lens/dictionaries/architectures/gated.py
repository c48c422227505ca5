"""Gated: one half decides whether a feature is on, the other how much (Rajamanoharan et al. 2024, arXiv 2404.16014).

The L1 penalty is on the gate, and so does not shrink the features. The step function of the gate has no gradient: it
learns from reconstructing the input itself, with a decoder that does not learn from that (eq. 8 there).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lens.dictionaries.codes import Codes
from lens.dictionaries.parts import Architecture, Forward, check_settings


@dataclass(frozen=True)
class Settings:
    """Fields of a recipe."""

    l1_coef: float = 0.04
    """what the L1 norm of the gate's ReLU is multiplied by in the loss"""

    def __post_init__(self):
        check_settings(self, not_negative=("l1_coef",))


class Gated(Architecture):
    """f = ReLU(u exp(r_mag) + b_mag) where u + b_gate > 0, else 0."""

    Settings = Settings
    l0_setting, l0_slope = "l1_coef", -1
    shared_by = ("batch",)
    in_units_of_u = ("b_gate", "b_mag")
    penalty_name = "gate_l1"

    def __init__(self, d_in: int, d_sae: int, settings: Settings):
        super().__init__(d_in, d_sae, settings)
        self.b_gate, self.r_mag, self.b_mag = (nn.Parameter(torch.zeros(d_sae)) for _ in range(3))

    @property
    def coefficient(self) -> float:
        return self.settings.l1_coef

    def select(self, u: Tensor) -> Codes:
        on = u + self.b_gate > 0
        return Codes(torch.relu(u * self.r_mag.exp() + self.b_mag) * on, None, self.d_sae)

    def shifted(self, shift: Tensor) -> dict[str, Tensor]:
        return {"b_gate": self.b_gate + shift, "b_mag": self.b_mag + shift * self.r_mag.exp()}

    def penalty(self, forward: Forward) -> Tensor:
        return torch.relu(forward.u + self.b_gate).sum(-1)

    def auxiliary(self, forward: Forward) -> Tensor:
        """Squared error of the input as the gate's ReLU reconstructs it through the frozen decoder."""
        gate = torch.relu(forward.u + self.b_gate)
        error = forward.residual.detach() + (forward.codes.dense().detach() - gate) @ forward.W_dec.detach()
        return error.float().square().sum(-1).mean(0).sum()
