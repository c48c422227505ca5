"""Where the tuning of a feature's score comes from: itself, the other features, the error, or the position term.

With x = sum_k f_k d_k + b_dec + e the score w_j x of feature j is a sum: f_j (w_j d_j) from itself, sum over k != j of
f_k (w_j d_k) from the others, w_j e from what no feature holds, and a constant. Averages over windows at each position
are linear in it, so the profile of the score over positions is exactly the sum of four profiles: the feature's own, the
cross-talk of the others, the error's, and what the position term adds to the score. The share of a part is its
covariance with the whole over positions; shares sum to 1. They are products of two profiles, and taken from different
sets of windows their sampling errors don't multiply with themselves.

The own part is a fixed point of the encoder: a feature that fires because of others' drive has an own part too. Read
shares together with a test that holds the others' drive fixed (`lens.measure.conditional`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor

from lens.measure.stats import LEVEL

PARTS = ("own", "others", "error", "term")


@dataclass(frozen=True)
class Ledger:
    """Shares of each feature's tuning; nan where its profile is flat within sampling error."""

    score: dict[str, np.ndarray]
    """part -> [K] share of the tuning of the score"""
    low: dict[str, np.ndarray]
    """part -> [K] lower end of the 95 % t interval of that share, by a jackknife over sets of windows"""
    high: dict[str, np.ndarray]
    """upper end"""
    code: dict[str, np.ndarray]
    """part -> [K] share of the tuning of the code: the term's is what changes in the profile of the code when the term
    is applied, at equal mean; the rest is divided as the score is"""
    variance_K: np.ndarray
    """variance of the score's profile over positions, sampling error taken off, in squared units of the score"""


def ledger(
    code_RTK: Tensor,
    input_RTd: Tensor,
    W_enc: Tensor,
    W_dec: Tensor,
    b_dec: Tensor,
    *,
    windows_R: Tensor | None = None,
    term_score_RTK: Tensor | None = None,
    ungated_RTK: Tensor | None = None,
    chunk: int = 1024,
) -> Ledger:
    """Shares of tuning from means over R disjoint sets of windows (documents, say) at each of T positions.

    Costs a few products [R T, K] x [K, d]; nothing of size K x K is made.

    Args:
        code_RTK: mean code, as it is decoded.
        input_RTd: mean of what features and b_dec rebuild: inputs, scaled, as a term on the input leaves them.
        W_enc, W_dec, b_dec: [d, K], [K, d], [d].
        windows_R: windows of each set, if they differ.
        term_score_RTK: mean of (score with the position term - score without), where a term acts on the score.
        ungated_RTK: mean code before a term acted on it, where one acts on the code.
        chunk: features at a time.

    Raises:
        ValueError: fewer than two sets or two positions, or shapes that don't fit.
    """
    R, T, K = code_RTK.shape
    if R < 2 or T < 2:
        raise ValueError(f"{R} sets of windows and {T} positions: shares need two or more of both")
    if input_RTd.shape[:2] != (R, T) or W_enc.shape != (input_RTd.shape[2], K) or W_dec.shape != W_enc.shape[::-1]:
        raise ValueError(
            f"means {tuple(code_RTK.shape)} and {tuple(input_RTd.shape)} don't fit W_enc {tuple(W_enc.shape)} and "
            f"W_dec {tuple(W_dec.shape)}"
        )
    weights = torch.ones(R, dtype=torch.double) if windows_R is None else windows_R.double()
    rebuilt = code_RTK.float() @ W_dec.float()
    error = input_RTd.float() - rebuilt - b_dec.float()
    columns = []
    for first in range(0, K, chunk):
        j = slice(first, min(first + chunk, K))
        w, d = W_enc[:, j].float(), W_dec[j].float()
        own = code_RTK[..., j].float() * (w * d.T).sum(0)
        parts = [own, rebuilt @ w - own, error @ w]
        parts.append(torch.zeros_like(own) if term_score_RTK is None else term_score_RTK[..., j].float())
        gated = None if ungated_RTK is None else (code_RTK[..., j].double(), ungated_RTK[..., j].double())
        columns.append(_columns(torch.stack(parts).double(), weights, gated))
    score, se, code, variance = (np.concatenate(found, axis=-1) for found in zip(*columns, strict=True))
    half = student.ppf((1 + LEVEL) / 2, R - 1) * se
    return Ledger(_named(score), _named(score - half), _named(score + half), _named(code), variance)


def _named(values: np.ndarray) -> dict[str, np.ndarray]:
    return {part: values[i] for i, part in enumerate(PARTS)}


def _columns(parts_PRTK: Tensor, weights_R: Tensor, gated: tuple[Tensor, Tensor] | None) -> tuple[np.ndarray, ...]:
    parts = parts_PRTK - parts_PRTK.mean(2, keepdim=True)
    score, variance = _shares(parts, parts.sum(0), weights_R)
    n, code = len(weights_R), score
    if n < 3:  # without one of two sets no pair is left
        se = torch.full_like(score, torch.nan)
    else:
        kept = [torch.arange(n) != r for r in range(n)]
        left_out = torch.stack([_shares(parts[:, k], parts[:, k].sum(0), weights_R[k])[0] for k in kept])
        se = ((n - 1) / n * (left_out - left_out.mean(0)).square().sum(0)).sqrt()
    if gated is not None:
        gate = _gate_share(*gated, weights_R)
        code = torch.cat([score[:3] * (1 - gate) / (1 - score[3]), gate[None]])
    return score.numpy(), se.numpy(), code.numpy(), variance.numpy()


def _crossed(a_RTK: Tensor, b_RTK: Tensor, weights_R: Tensor) -> Tensor:
    """Covariance over positions [K] of centred profiles a and b, every product from two different sets of windows."""
    weights = weights_R / weights_R.sum()
    a, b = weights[:, None, None] * a_RTK, weights[:, None, None] * b_RTK
    return (a.sum(0) * b.sum(0) - (a * b).sum(0)).mean(0) / (1 - weights.square().sum())


def _shares(parts_PRTK: Tensor, whole_RTK: Tensor, weights_R: Tensor) -> tuple[Tensor, Tensor]:
    """Share of each part [P, K], and the variance of the whole [K]."""
    variance = _crossed(whole_RTK, whole_RTK, weights_R)
    covariance = torch.stack([_crossed(part, whole_RTK, weights_R) for part in parts_PRTK])
    return torch.where(variance > 0, covariance / variance, torch.nan), variance


def _gate_share(code_RTK: Tensor, ungated_RTK: Tensor, weights_R: Tensor) -> Tensor:
    """Share of the code's tuning that its gate makes [K]: of code - c ungated, with c the ratio of their means."""
    mean = lambda v: weights_R @ v.mean(1)  # noqa: E731
    ratio = torch.nan_to_num(mean(code_RTK) / mean(ungated_RTK))
    centred = code_RTK - code_RTK.mean(1, keepdim=True)
    gate = code_RTK - ratio * ungated_RTK
    gate -= gate.mean(1, keepdim=True)
    return _shares(gate[None], centred, weights_R)[0][0]
