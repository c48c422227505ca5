"""BatchTopK: the k largest pre-activations per vector on average over a batch (Bussmann et al. 2024, arXiv 2412.06410).

Which features a vector keeps depends on the others of its batch, in training alone: a threshold is learned on the way,
and the trained dictionary is a JumpReLU with it, as in SAELens. Dead features are revived by reconstructing what is
left of the input (AuxK, Gao et al. 2024, arXiv 2406.04093, appendix A.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lens.dictionaries.architectures.jumprelu import JumpReLU
from lens.dictionaries.architectures.topk import check_k
from lens.dictionaries.codes import Codes
from lens.dictionaries.parts import Architecture, name_of


@dataclass(frozen=True)
class Settings:
    """Fields of a recipe."""

    k: int = 32
    """features kept per vector, on average over a batch"""
    k_aux: int = 0
    """dead features that reconstruct what is left; 0: half the width of the input"""
    aux_coef: float = 1 / 32
    """what their squared error is multiplied by in the loss"""
    dead_after: int = 1_000_000
    """vectors after which a feature that did not fire is dead"""
    threshold_rate: float = 0.01
    """weight of a batch in the moving average of the smallest kept value"""


class BatchTopK(Architecture):
    """f = ReLU(u + b_enc) for the k B largest values of a batch of B vectors, 0 for all others."""

    Settings = Settings
    separable = False
    threshold: Tensor
    silent: Tensor

    def __init__(self, d_in: int, d_sae: int, settings: Settings):
        super().__init__(d_in, d_sae, settings)
        check_k(settings.k, d_sae)
        self.b_enc = nn.Parameter(torch.zeros(d_sae))
        self.register_buffer("threshold", torch.tensor(-1.0, dtype=torch.float64))  # below 0: no batch was seen
        self.register_buffer("silent", torch.zeros(d_sae, dtype=torch.long))  # vectors since a feature fired

    def select(self, u: Tensor) -> Codes:
        u = u + self.b_enc
        f = torch.relu(u)
        if not self.training:
            return Codes(f * (u > self.threshold.to(u.dtype)), None, self.d_sae)
        flat = f.flatten()
        values, index = flat.topk(self.settings.k * (len(flat) // self.d_sae), sorted=False)
        return Codes(torch.zeros_like(flat).scatter(0, index, values).view_as(f), None, self.d_sae)

    def auxiliary(self, u: Tensor, residual: Tensor, W_dec: Tensor) -> Tensor | None:
        dead = self.silent > self.settings.dead_after
        if not dead.any():
            return None
        k = min(self.settings.k_aux or self.d_in // 2, int(dead.sum()))
        f = torch.relu(u + self.b_enc)[..., dead]
        values, index = f.topk(k, dim=-1, sorted=False)
        e_hat = torch.zeros_like(f).scatter(-1, index, values) @ W_dec[dead]  # without b_dec: x_hat has it
        return self.settings.aux_coef * (e_hat - residual).float().square().sum(-1).mean(0).sum()

    def after_step(self, codes: Codes) -> None:
        fired = codes.fired()
        self.silent += fired[..., 0].numel()
        self.silent[fired.flatten(0, -2).any(0)] = 0
        if fired.any():
            smallest = codes.values[fired].min().double()
            rate = self.settings.threshold_rate if self.threshold >= 0 else 1.0
            self.threshold.lerp_(smallest, rate)

    def on_disk(self) -> tuple[str, dict, dict[str, Tensor]]:
        threshold = self.threshold.clamp_min(0).to(self.b_enc.dtype).expand(self.d_sae)
        return name_of(JumpReLU), {}, {"b_enc": self.b_enc.detach(), "threshold": threshold.clone()}
