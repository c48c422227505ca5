"""What the masks of a trained dictionary do: reconstruction with other masks in their place, and their shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lens.dictionaries.model import SAE, position_mask
from lens.measure.reconstruction import CHUNK

LEARNED = "learned"
KINDS = ("mean", "shuffled", "hard", "gauge_hard")
TEXT = slice(1, None)  # BOS is not trained on: its masks are left as they are and counted nowhere


@dataclass(frozen=True)
class MaskEffects:
    """Reconstruction of held-out windows with the learned masks and with others in their place."""

    sq_error: dict[str, np.ndarray]
    """[T] sum over windows of ||x - x_hat||^2 of scaled inputs, for `learned` and each kind of intervention"""
    rise: dict[str, float]
    """relative rise of FVU on text positions, FVU_kind / FVU_learned - 1, by kind (the variance cancels)"""


@dataclass(frozen=True)
class ProfileCorrelation:
    """Agreement of masks with the positions at which features fire."""

    median: float
    """median over features of Pearson r, nan without features"""
    n: int
    """features counted: eligible, and neither mask nor firing rate the same at all text positions"""


def intervention(mask: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """Masks [T, d_sae] in place of the learned `mask` [T, d_sae]; the row of BOS is left as it is.

    - `mean`: each feature's mean over text positions. What is lost is what the masks are needed for.
    - `shuffled`: text positions permuted, by one permutation for all features.
    - `hard`: open where m > 1/2 (alpha > 0), the gate that the soft mask is read as. An open gate has the mean of the
      feature's m over its open positions, so that the loss is that of the shape and not of the scale; a closed one has
      0. A feature that is open nowhere is lost.
    - `gauge_hard`: the same with open where m > max_t m / 2. The level of m is free, since the encoder can undo any
      factor; this threshold does not depend on it, and every feature is open somewhere.

    Args:
        generator: draws the permutation of `shuffled`.

    Raises:
        ValueError: an unknown kind.
    """
    text = mask[TEXT]
    if kind == "mean":
        new = text.mean(0).expand_as(text)
    elif kind == "shuffled":
        new = text[torch.randperm(len(text), generator=generator).to(text.device)]
    elif kind == "hard":
        new = _gate(text, text > 0.5)
    elif kind == "gauge_hard":
        new = _gate(text, text > text.amax(0) / 2)
    else:
        raise ValueError(f"no intervention {kind!r} on masks: expected {', '.join(KINDS)}")
    return torch.cat([mask[:1], new])


def _gate(text: Tensor, opened: Tensor) -> Tensor:
    level = (text * opened).sum(0) / opened.sum(0).clamp_min(1)
    return level * opened


@torch.no_grad()
def fvu_rise(sae: SAE, activations: Tensor, kinds: Sequence[str], generator: torch.Generator) -> MaskEffects:
    """How much worse held-out activations [n, T, d_in] are reconstructed when the masks are replaced.

    Encodes once and decodes once per kind, in fp32, a few windows at a time.

    Args:
        kinds: of `KINDS`; see `intervention`.
        generator: draws the permutation of `shuffled`.

    Raises:
        ValueError: an unknown kind, or a dictionary without masks.
    """
    learned, scale = _learned(sae), sae.config.input_scale
    masks = {LEARNED: learned} | {kind: intervention(learned, kind, generator) for kind in kinds}
    T = activations.shape[1]
    ungated = _ungated(sae)
    sq_error = {name: torch.zeros(T, dtype=torch.float64) for name in masks}
    for start in range(0, len(activations), CHUNK):
        x = activations[start : start + CHUNK].float()
        amplitude = ungated.encode(x)
        for name, mask in masks.items():
            error = (ungated.decode(amplitude * mask[:T]) - x) * scale
            sq_error[name] += error.square().sum(-1).sum(0, dtype=torch.float64)
    total = {name: float(values[TEXT].sum()) for name, values in sq_error.items()}
    rise = {kind: total[kind] / total[LEARNED] - 1 for kind in kinds}
    return MaskEffects({name: values.numpy() for name, values in sq_error.items()}, rise)


def _learned(sae: SAE) -> Tensor:
    """The masks [T, d_sae] of a dictionary in fp32 on the CPU."""
    if not sae.config.masked:
        raise ValueError(f"dictionary {sae.config.variant!r} has no masks to replace; pass one with cfg.masked true")
    return position_mask(sae.pos_logits.detach().float().cpu(), sae.config.tau)


def _ungated(sae: SAE) -> SAE:
    """The same dictionary in fp32 on the CPU with all masks 1, whose code is the amplitude before gating."""
    weights = {k: v.detach().float().cpu() for k, v in sae.state_dict().items() if k != "pos_logits"}
    return SAE(replace(sae.config, masked=False), weights)


def mask_profile_correlation(mask_TK: np.ndarray, rate_TK: np.ndarray, eligible_K: np.ndarray) -> ProfileCorrelation:
    """Median over features of Pearson r between mask and firing rate over text positions.

    A feature can prefer positions through its encoder alone; r says whether its mask shares that preference. It does
    not depend on the level of the mask.

    Args:
        mask_TK: m [T, d_sae], BOS included.
        rate_TK: share of windows in which the feature fires at the position [T, d_sae].
        eligible_K: which features fire often enough to have a profile, bool [d_sae].

    Raises:
        ValueError: shapes that do not fit.
    """
    if mask_TK.shape != rate_TK.shape or eligible_K.shape != mask_TK.shape[1:]:
        raise ValueError(f"masks {mask_TK.shape}, rates {rate_TK.shape} and features {eligible_K.shape} do not fit")
    m, r = mask_TK[TEXT].astype(np.float64), rate_TK[TEXT].astype(np.float64)
    counted = eligible_K & (np.ptp(m, axis=0) > 0) & (np.ptp(r, axis=0) > 0)
    if not counted.any():
        return ProfileCorrelation(np.nan, 0)
    m, r = (values[:, counted] - values[:, counted].mean(0) for values in (m, r))
    correlation = (m * r).sum(0) / np.sqrt((m**2).sum(0) * (r**2).sum(0))
    return ProfileCorrelation(float(np.median(correlation)), int(counted.sum()))
