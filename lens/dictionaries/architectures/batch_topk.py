"""BatchTopK: the k largest pre-activations per vector on average over a batch (Bussmann et al. 2024, arXiv 2412.06410).

Which features a vector keeps depends on the others of its batch, in training alone: a threshold is learned on the way,
and the trained dictionary is a JumpReLU with it, as in SAELens. Dead features are revived as those of TopK.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lens.dictionaries.architectures import topk
from lens.dictionaries.architectures.jumprelu import JumpReLU
from lens.dictionaries.codes import Codes
from lens.dictionaries.parts import check_settings, name_of


@dataclass(frozen=True)
class Settings(topk.Settings):
    """Fields of a recipe; k is that of a vector on average over a batch."""

    threshold_rate: float = 0.01
    """weight of a batch in the moving average of the smallest kept value"""

    def __post_init__(self):
        super().__post_init__()
        check_settings(self, share=("threshold_rate",))


class BatchTopK(topk.TopK):
    """f = ReLU(u + b_enc) for the k B largest values of a batch of B vectors, 0 for all others."""

    Settings = Settings
    version = 1
    threshold: Tensor

    def __init__(self, d_in: int, d_sae: int, settings: Settings):
        super().__init__(d_in, d_sae, settings)
        self.register_buffer("threshold", torch.tensor(-1.0, dtype=torch.float64))  # below 0: no batch was seen

    def select(self, u: Tensor) -> Codes:
        u = u + self.b_enc
        f = torch.relu(u)
        if not self.training:
            return Codes(f * (u > self.threshold.to(u.dtype)), None, self.d_sae)
        flat = f.flatten()
        values, index = flat.topk(self.settings.k * (len(flat) // self.d_sae), sorted=False)
        return Codes(torch.zeros_like(flat).scatter(0, index, values).view_as(f), None, self.d_sae)

    def after_step(self, codes: Codes) -> None:
        super().after_step(codes)
        if (fired := codes.fired()).any():
            smallest = codes.values[fired].min().double()
            rate = self.settings.threshold_rate if self.threshold >= 0 else 1.0
            self.threshold.lerp_(smallest, rate)

    def on_disk(self) -> tuple[str, dict, dict[str, Tensor]]:
        threshold = self.threshold.clamp_min(0).to(self.b_enc.dtype).expand(self.d_sae)
        return name_of(JumpReLU), {}, {"b_enc": self.b_enc.detach(), "threshold": threshold.clone()}
