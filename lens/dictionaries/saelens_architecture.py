"""The architecture `temporallens` of SAELens: a dictionary that keeps its positions.

Importing this module registers it; `sae_lens.SAE.load_from_disk` then opens what `lens.dictionaries.export` wrote with
`position=None`:

    import lens.dictionaries.saelens_architecture
    from sae_lens import SAE

    sae = SAE.load_from_disk(folder)
    features = sae.encode(activations)  # [B, T, d_in], position 0 first
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lens.dictionaries.dictionary import PositionError
from lens.dictionaries.formats.files import TEMPORALLENS
from lens.dictionaries.positions.mask import position_mask

try:
    from sae_lens import SAE, SAEConfig, register_sae_class  # pyright: ignore[reportMissingImports]
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{error}: this module extends SAELens; pip install 'sae-lens>=6'") from None


@dataclass
class TemporalLensConfig(SAEConfig):
    """Settings beside those of SAELens; as in `lens.dictionaries.dictionary.Info`."""

    n_positions: int = 128
    tau: float = 1.0
    input_scale: float = 1.0

    @classmethod
    def architecture(cls) -> str:
        return TEMPORALLENS


class TemporalLens(SAE[TemporalLensConfig]):
    """f = ReLU(s x W_enc + b_enc) sigmoid(pos_logits / tau), x_hat = (f W_dec + b_dec) / s, with s = `input_scale`."""

    b_enc: nn.Parameter
    pos_logits: nn.Parameter

    def initialize_weights(self) -> None:
        super().initialize_weights()
        options = {"dtype": self.dtype, "device": self.device}
        self.b_enc = nn.Parameter(torch.zeros(self.cfg.d_sae, **options))
        self.pos_logits = nn.Parameter(torch.zeros(self.cfg.n_positions, self.cfg.d_sae, **options))

    def encode(self, x: Tensor) -> Tensor:
        """Features of whole windows, [B, T, d_in] -> [B, T, d_sae].

        Raises:
            PositionError: x is not a batch of windows, or they are longer than those the masks were trained on.
        """
        if x.ndim != 3:
            raise PositionError(
                f"input of shape {tuple(x.shape)} has no positions: pass windows [B, T, {self.cfg.d_in}], or export "
                "the dictionary at one position"
            )
        T = x.shape[1]
        if T > self.cfg.n_positions:
            raise PositionError(f"windows of {T} positions, the masks have {self.cfg.n_positions}: shorten the context")
        sae_in = self.process_sae_in(x) * self.cfg.input_scale
        hidden_pre = self.hook_sae_acts_pre(sae_in @ self.W_enc + self.b_enc)
        mask = position_mask(self.pos_logits[:T], self.cfg.tau)
        return self.hook_sae_acts_post(self.activation_fn(hidden_pre) * mask)

    def decode(self, feature_acts: Tensor) -> Tensor:
        """Raw activations, [..., d_sae] -> [..., d_in]."""
        sae_out = (feature_acts @ self.W_dec + self.b_dec) / self.cfg.input_scale
        return self.run_time_activation_norm_fn_out(self.hook_sae_recons(sae_out))


register_sae_class(TEMPORALLENS, TemporalLens, TemporalLensConfig)
