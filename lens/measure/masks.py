"""What the masks of a trained dictionary do: reconstruction with other masks in their place, and their shape."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from lens.dictionaries.codes import Codes
from lens.dictionaries.dictionary import Dictionary
from lens.measure.reconstruction import CHUNK

LEARNED = "learned"
TEXT = slice(1, None)  # BOS is not trained on: it is counted nowhere


def mask_of(sae: Dictionary) -> np.ndarray | None:
    """[T, d_sae] by which the position term multiplies features; None if it does something else."""
    factors = sae.position_term.factors()
    return None if factors is None else factors.detach().float().cpu().numpy()


@torch.no_grad()
def fvu_rise(sae: Dictionary, activations: Tensor, generator: torch.Generator) -> dict[str, float]:
    """How much worse held-out activations [n, T, d_in] are reconstructed after each intervention on the position term:
    relative rise of FVU on text positions, FVU_kind / FVU_learned - 1 (the variance cancels).

    Encodes once and decodes once per kind, in fp32, a few windows at a time.

    Args:
        generator: draws what an intervention leaves to chance.

    Raises:
        ValueError: a dictionary without a position term.
    """
    sae = copy.deepcopy(sae).float().cpu()
    learned, scale = sae.position_term.values(), sae.info.input_scale
    if learned is None:
        raise ValueError(f"dictionary {sae.info.name!r} has no position term to replace; pass one that has")
    kinds = sae.position_term.interventions()
    masks = {LEARNED: learned} | {kind: sae.position_term.intervention(kind, generator) for kind in kinds}
    T = activations.shape[1]
    sq_error = {name: torch.zeros(T, dtype=torch.float64) for name in masks}
    for start in range(0, len(activations), CHUNK):
        x = activations[start : start + CHUNK].float()
        for name, codes in _codes(sae, x, masks).items():
            error = (sae.decode_with(codes, masks[name][:T]) - x) * scale
            sq_error[name] += error.square().sum(-1).sum(0, dtype=torch.float64)
    total = {name: float(values[TEXT].sum()) for name, values in sq_error.items()}
    return {kind: total[kind] / total[LEARNED] - 1 for kind in kinds}


def _codes(sae: Dictionary, x: Tensor, values: Mapping[str, Tensor]) -> dict[str, Codes]:
    """Codes of windows [n, T, d_in] with each of these values [T, d_sae] in the place of the learned ones."""
    T = x.shape[1]
    if sae.position_term.acts_on == "code" and not sae.position_term.on_input:  # what comes before it is done once
        selected = sae.architecture.select(sae.scores(sae.scaled(x), None))
        return {name: sae.gate(selected, m[:T]) for name, m in values.items()}
    return {name: sae.encode_with(x, m[:T]) for name, m in values.items()}


def drift(start_TK: np.ndarray, end_TK: np.ndarray) -> tuple[float, float]:
    """How far mask logits moved in training over text positions, relative to the norm of their start: the part that is
    common to all features (the mean of their changes at each position), and the part of their own.

    The squares of both add up to that of the whole drift. What is common opens or closes a position for all features
    alike, as a weight of that position would; only the rest tells features apart.
    """
    start, change = start_TK[TEXT].astype(np.float64), (end_TK - start_TK)[TEXT].astype(np.float64)
    common = np.broadcast_to(change.mean(1, keepdims=True), change.shape)
    size = np.linalg.norm(start)
    return float(np.linalg.norm(common) / size), float(np.linalg.norm(change - common) / size)


def mask_profile_correlation(mask_TK: np.ndarray, rate_TK: np.ndarray, eligible_K: np.ndarray) -> float:
    """Median over features of Pearson r between mask and firing rate over text positions; nan without features.

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
        return np.nan
    m, r = (values[:, counted] - values[:, counted].mean(0) for values in (m, r))
    correlation = (m * r).sum(0) / np.sqrt((m**2).sum(0) * (r**2).sum(0))
    return float(np.median(correlation))
