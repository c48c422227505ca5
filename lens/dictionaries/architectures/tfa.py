"""Temporal feature analysis: attention over earlier codes predicts a part of a vector, and the rest has a sparse code
(Lubana et al. 2025, arXiv 2511.01836; public code eslubana/TemporalFeatureAnalysis).

With D = W_dec, E = D transposed and x less b_dec: z = ReLU(x E / 4 d_in); p = ReLU(attention(z of earlier vectors,
asked by z)); u = p D is scaled by c = <u, x> / <u, u>; the code is the k largest of ReLU((x - c u) E / 4 d_in). The
predicted codes c p are dense, and no part of the code. Asking and scaling read x itself, so that c u is no forecast:
`strict` asks with the code of the vector before and scales as fitted there, a control that the paper has not.

Rows of D have any norm. The published recipe is AdamW with `lr: 1e-3, betas: [0.9, 0.95], weight_decay: 1e-4,
gradient_clip: 1`, 200 steps of warm-up and a learning rate that ends at 9e-4, here kept; inputs of unit norm; windows
of 500 positions. Position 0 (BOS) is coded alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lens.dictionaries.attention import Attention, along, direction, shifted
from lens.dictionaries.codes import Codes
from lens.dictionaries.parts import Architecture, check_settings
from lens.errors import DictionaryError


@dataclass(frozen=True)
class Settings:
    """Fields of a recipe."""

    k: int = 32
    """features kept of the rest of each vector"""
    heads: int = 4
    """of the attention"""
    bottleneck: int = 1
    """width of the codes over that of queries and keys"""
    strict: bool = False
    """whether the prediction reads earlier vectors alone"""

    def __post_init__(self):
        check_settings(self, positive=("k", "heads", "bottleneck"))


class TFA(Architecture):
    """f = the k largest of ReLU(u / 4 d_in), of what is left of x after the prediction; 0 for all others."""

    Settings = Settings
    separable = False
    of_windows = True
    free_decoder = True
    in_units_of_u = ()

    def __init__(self, d_in: int, d_sae: int, settings: Settings):
        super().__init__(d_in, d_sae, settings)
        if settings.k > d_sae:
            raise DictionaryError(f"k = {settings.k} of {d_sae} features: choose 1..{d_sae}")
        if d_sae % (settings.heads * settings.bottleneck):
            raise DictionaryError(
                f"heads = {settings.heads}, bottleneck = {settings.bottleneck}: their product has to divide the "
                f"{d_sae} features"
            )
        self.attention = Attention(d_sae, settings.heads, settings.bottleneck)

    def initialise(self, generator: torch.Generator) -> None:
        """Rows of norm 1 / sqrt(width of a head), of the projection out 1 / sqrt(width); biases as in `nn.Linear`."""
        a, heads = self.attention, self.settings.heads
        for linear, width in (
            (a.k_ctx, a.k_ctx.out_features // heads),
            (a.q_target, a.q_target.out_features // heads),
            (a.v_ctx, self.d_sae // heads),
            (a.c_proj, self.d_sae),
        ):
            rows = torch.rand(linear.weight.shape, generator=generator) * 2 - 1
            linear.weight.data.copy_(nn.functional.normalize(rows, dim=1) / width**0.5)
            drawn = torch.rand(linear.bias.shape, generator=generator) * 2 - 1
            linear.bias.data.copy_(drawn / linear.in_features**0.5)

    def _code(self, u: Tensor) -> Tensor:
        return torch.relu(u / (4 * self.d_in))

    def select(self, u: Tensor) -> Codes:
        kept = self._code(u).topk(self.settings.k, dim=-1, sorted=False)
        return Codes(kept.values, kept.indices, self.d_sae)

    def predict(self, x: Tensor, W_enc: Tensor, W_dec: Tensor) -> Tensor:
        z = self._code(x @ W_enc)
        u = direction(self.attention, z, W_dec, query=shifted(z) if self.settings.strict else None).to(x.dtype)
        size = along(u, x)
        return (shifted(size) if self.settings.strict else size) * u
