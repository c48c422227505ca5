"""T-SAE: a Matryoshka whose first features agree along the text (Bhalla, Oesterling et al. 2025, arXiv 2511.05541).

The first features reconstruct alone as well as with the others, and those of a vector and of an earlier one of its text
are held together by a contrastive loss. Where the paper and its public code (AI4LIFE-GROUP/temporal-saes) differ or
leave a choice, this is read:

- `alpha`: 0.1 in the code, 1 in the paper; a setting. The partner: adjacent in the paper, by default a random earlier
  one in the code, drawn for each position and shared by the batch; a setting.
- Contrast: the symmetric cross-entropy of the raw dot products, as the code has it with `--contrastive`, without which
  it uses another penalty. Nothing normalises them, so its strength depends on the units of the inputs: `input_norm` is
  what their root mean square norm would be in the paper's (Gemma-2-2B, layer 12, not scaled), with ours at 1.
- Batches are whole windows, so that every vector is reconstructed and, but for the first of a window, has a partner
  before it; other pairs of the same window are among the negatives. Partners are selected in the same BatchTopK.
- Dead features are revived as in TopK, by an error that the variance of the residual does not divide; b_enc takes the
  place of subtracting b_dec from the input. The paper clips gradients: `gradient_clip: 1` of the recipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lens.activations.pairs import lagged, random_earlier
from lens.dictionaries.architectures import batch_topk
from lens.dictionaries.architectures.matryoshka import decoded
from lens.dictionaries.codes import Codes
from lens.dictionaries.parts import Forward, check_settings
from lens.errors import DictionaryError

ALONE = 0.2  # weight of the error of the first features alone; that of all has the rest


@dataclass(frozen=True)
class Settings(batch_topk.Settings):
    """Fields of a recipe."""

    high: float = 0.2
    """share of the features, the first ones, that the contrast is of"""
    alpha: float = 0.1
    """what the contrast is multiplied by in the loss"""
    partner: Literal["adjacent", "random"] = "adjacent"
    """which earlier vector of the window"""
    input_norm: float = 149.0
    """root mean square norm of the paper's inputs, in units of that of the inputs here; 1: dot products as they are"""

    def __post_init__(self):
        super().__post_init__()
        check_settings(self, positive=("input_norm",), not_negative=("alpha",), share=("high",))


class TSAE(batch_topk.BatchTopK):
    """Codes of BatchTopK; the first d_high = `high` d_sae features alone reconstruct x too, and are contrasted."""

    Settings = Settings
    steps: Tensor

    def __init__(self, d_in: int, d_sae: int, settings: Settings):
        super().__init__(d_in, d_sae, settings)
        self.d_high = round(settings.high * d_sae)
        if not 1 <= self.d_high < d_sae:
            raise DictionaryError(f"high = {settings.high} of {d_sae} features is {self.d_high}: choose 1..{d_sae - 1}")
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def auxiliary(self, forward: Forward) -> Tensor:
        """What brings the error of all features to a weight of 1 - ALONE and adds that of the first ones, the contrast,
        and AuxK."""
        revival, left = super().auxiliary(forward), forward.residual
        without = left + decoded(forward.codes, self.d_high, self.d_sae, forward.W_dec)
        error = ALONE * (without.float().square() - left.float().square()).sum(-1).mean(0).sum()
        length = left.shape[1]  # the loss is a sum over positions, the contrast a mean
        loss = error + self.settings.alpha * length * self.contrast(forward.codes)
        return loss if revival is None else loss + revival

    def contrast(self, codes: Codes) -> Tensor:
        """Mean over pairs (x, x') of windows [B, P] of the cross-entropy by which f_high(x) tells its partner from
        those of other pairs, and f_high(x') its own, in the paper's units."""
        f = codes.first(self.d_high).float() * self.settings.input_norm
        later, earlier = self._partners(f.shape[1])
        logits = f[:, later].flatten(0, 1) @ f[:, earlier].flatten(0, 1).T
        own = torch.arange(len(logits), device=logits.device)
        return (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2 / self.settings.input_norm**2

    def _partners(self, length: int) -> tuple[Tensor, Tensor]:
        if self.settings.partner == "adjacent":
            return lagged(length)
        return random_earlier(length, torch.Generator().manual_seed(int(self.steps)))

    def after_step(self, codes: Codes) -> None:
        super().after_step(codes)
        self.steps += 1
