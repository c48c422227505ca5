"""How well a dictionary reconstructs activations, and how sparsely, per position, per text block and overall.

Everything is a sum over tokens that can be added over shards; ratios are taken once, at the end. All squared norms are
in the units of inputs multiplied by `scale`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lens.dictionaries.dictionary import Dictionary
from lens.measure.at_once import at_once

CHUNK = 32  # windows held in fp32 at a time, fewer of long ones
OUTLIER = 10  # norm of a token, over the median norm of text tokens, above which its activation counts as massive


@dataclass(frozen=True)
class InputMoments:
    """Second moments of the activations themselves; sums over the windows of each block."""

    count: np.ndarray
    """[n_blocks, T] tokens"""
    sq_norm: np.ndarray
    """[n_blocks, T] sum of ||x||^2"""
    sq_deviation: np.ndarray
    """[n_blocks, T] sum of ||x - mu||^2, mu the mean over all text positions"""
    sq_deviation_position: np.ndarray
    """[n_blocks, T] sum of ||x - mu_t||^2, mu_t the mean at that position"""
    sq_mean_shift: float
    """||mu_all - mu||^2, mu_all the mean over all positions, BOS included"""
    ordinary: Tensor
    """[n, T] bool: false for text tokens with a norm above `OUTLIER` times the median norm of text tokens (massive
    activations, Sun et al. 2024)"""
    count_ordinary: np.ndarray
    """[n_blocks, T] ordinary tokens"""
    sq_deviation_ordinary: np.ndarray
    """[n_blocks, T] `sq_deviation` of ordinary tokens"""


@dataclass(frozen=True)
class Reconstruction:
    """Sums of one dictionary over held-out windows."""

    count: np.ndarray
    """[n_blocks, T] tokens"""
    sq_error: np.ndarray
    """[n_blocks, T] sum of ||x - x_hat||^2"""
    sq_error_ordinary: np.ndarray
    """[n_blocks, T] the same over ordinary tokens (see `InputMoments`)"""
    active: np.ndarray
    """[T] sum of ||f||_0"""
    l1: np.ndarray
    """[T] sum of ||f||_1"""
    firings: np.ndarray
    """[d_sae] tokens at text positions on which the feature is active"""
    per_token: dict[str, float]
    """sums over text tokens of each of `token_measures`"""
    by_window: np.ndarray
    """[n, 2] mean of ||x - x_hat||^2 over each window's early (1..T/4) and over its late text positions"""


def _chunks(activations: Tensor, scale: float) -> Iterator[tuple[slice, Tensor]]:
    chunk = at_once(CHUNK, activations.shape[1])
    for start in range(0, len(activations), chunk):
        rows = slice(start, min(start + chunk, len(activations)))
        yield rows, activations[rows].float() * scale


def by_block(values: Tensor, block: Tensor, n_blocks: int) -> np.ndarray:
    """Sum [m, T] values over the windows of each block: [n_blocks, T], in float64."""
    out = torch.zeros(n_blocks, values.shape[1], dtype=torch.float64)
    return out.index_add_(0, block.long(), values.double()).numpy()


def input_moments(activations: Tensor, block: Tensor, n_blocks: int, scale: float) -> InputMoments:
    """Moments of activations [n, T, d]; `block` [n] is the text block of each window.

    The overall mean is taken over text positions (1..T-1): one BOS vector is up to 10^5 times a text vector and would
    be the mean. Two passes, so that deviations are not a difference of large numbers.
    """
    n, T, d = activations.shape
    total = torch.zeros(T, d, dtype=torch.float64)
    squared = torch.empty(n, T)
    for rows, x in _chunks(activations, scale):
        total += x.sum(0, dtype=torch.float64)
        squared[rows] = x.square().sum(-1)
    mu_t = (total / n).float()
    mu = (total[1:].sum(0) / (n * (T - 1))).float()
    shift = float((total.sum(0) / (n * T) - mu).square().sum())
    ordinary = squared <= OUTLIER**2 * squared[:, 1:].median()
    ordinary[:, 0] = True  # BOS, which is counted by itself
    shape = (n_blocks, T)
    sq_norm, sq_dev, sq_dev_pos, sq_dev_ordinary = (np.zeros(shape) for _ in range(4))
    for rows, x in _chunks(activations, scale):
        deviation = (x - mu).square().sum(-1)
        sq_norm += by_block(squared[rows], block[rows], n_blocks)
        sq_dev += by_block(deviation, block[rows], n_blocks)
        sq_dev_ordinary += by_block(deviation * ordinary[rows], block[rows], n_blocks)
        sq_dev_pos += by_block((x - mu_t).square().sum(-1), block[rows], n_blocks)
    count, count_ordinary = (by_block(what, block, n_blocks) for what in (torch.ones(n, T), ordinary))
    return InputMoments(count, sq_norm, sq_dev, sq_dev_pos, shift, ordinary, count_ordinary, sq_dev_ordinary)


@torch.no_grad()
def reconstruct(
    sae: Dictionary, activations: Tensor, block: Tensor, n_blocks: int, scale: float,
    ordinary: Tensor | None = None,
) -> Reconstruction:  # fmt: skip
    """Reconstruct held-out activations [n, T, d] in fp32 and sum up errors and sparsity.

    Args:
        ordinary: as in `InputMoments`; without it, all tokens.
    """
    ordinary = torch.ones(activations.shape[:2], dtype=torch.bool) if ordinary is None else ordinary
    T, d_sae = activations.shape[1], sae.info.d_sae
    sae = sae.float().cpu()
    sq_error, sq_error_ordinary = np.zeros((n_blocks, T)), np.zeros((n_blocks, T))
    active, l1 = torch.zeros(T, dtype=torch.float64), torch.zeros(T, dtype=torch.float64)
    firings = torch.zeros(d_sae, dtype=torch.float64)
    per_token: dict[str, float] = {}
    by_window = []
    for rows, x in _chunks(activations, 1.0):
        codes = sae.encode(x)
        x_hat, on = sae.decode(codes).mul_(scale), codes.fired()
        size = codes.dense().abs_()  # in place: the codes themselves are not needed any more
        x = x.mul_(scale)
        error = (x - x_hat).square().sum(-1)
        sq_error += by_block(error, block[rows], n_blocks)
        sq_error_ordinary += by_block(error * ordinary[rows], block[rows], n_blocks)
        by_window.append(torch.stack([error[:, 1 : T // 4 + 1].mean(1), error[:, T // 4 + 1 :].mean(1)], dim=1))
        active += on.sum((0, 2))
        l1 += size.sum(2, dtype=torch.float64).sum(0)
        firings += on[:, 1:].sum((0, 1))
        for name, values in token_measures(x[:, 1:], x_hat[:, 1:], size[:, 1:]).items():
            per_token[name] = per_token.get(name, 0.0) + values.sum(dtype=torch.float64).item()
    count = by_block(torch.ones(activations.shape[:2]), block, n_blocks)
    return Reconstruction(
        count, sq_error, sq_error_ordinary, active.numpy(), l1.numpy(), firings.numpy(), per_token,
        torch.cat(by_window).numpy(),
    )  # fmt: skip


@torch.no_grad()
def sparsity(sae: Dictionary, activations: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`active`, `l1` and `firings` of `Reconstruction`, of an encoder that reconstructs nothing."""
    T, sae = activations.shape[1], sae.float().cpu()
    active, l1 = (torch.zeros(T, dtype=torch.float64) for _ in range(2))
    firings = torch.zeros(sae.info.d_sae, dtype=torch.float64)
    for _, x in _chunks(activations, 1.0):
        codes = sae.encode(x)
        on = codes.fired()
        active += on.sum((0, 2))
        l1 += codes.dense().abs().sum(2, dtype=torch.float64).sum(0)
        firings += on[:, 1:].sum((0, 1))
    return active.numpy(), l1.numpy(), firings.numpy()


@torch.no_grad()
def squared_errors(
    rebuild: Callable[[Tensor], Tensor], activations: Tensor, block: Tensor, n_blocks: int, scale: float
) -> np.ndarray:
    """[n_blocks, T] sum of ||x - rebuild(x)||^2 over the windows of each block of activations [n, T, d].

    Args:
        rebuild: windows [m, T, d] to as many of their size, in the units of the activations.
    """
    total = np.zeros((n_blocks, activations.shape[1]))
    for rows, x in _chunks(activations, 1.0):
        total += by_block((rebuild(x) - x).mul_(scale).square().sum(-1), block[rows], n_blocks)
    return total


def token_measures(x: Tensor, x_hat: Tensor, f: Tensor) -> dict[str, Tensor]:
    """Measures of single tokens [...]: agreement of x and x_hat, and readings of "sparsity" of a code's sizes f >= 0.

    hoyer = (sqrt(k) - ||f||_1/||f||_2) / (sqrt(k) - 1), 1 for one active feature, 0 for equal ones (Hoyer 2004);
    gini = Gini coefficient of the k values (Hurley & Rickard 2009); treves_rolls = 1 - (mean f)^2 / mean f^2;
    effective_l0 = ||f||_1^2 / ||f||_2^2, the number of features counted by amplitude. A silent token, f = 0, counts as
    perfectly sparse: 1, 1, 1 and 0.
    """
    k = f.shape[-1]
    l1, l2_squared = f.sum(-1), f.square().sum(-1)
    silent = l2_squared == 0
    safe_l1, safe_l2_squared = l1.masked_fill(silent, 1), l2_squared.masked_fill(silent, 1)
    rank = torch.arange(1, k + 1, dtype=f.dtype)
    weighted = (f.sort(-1).values * rank).sum(-1)
    hoyer = (k**0.5 - safe_l1 / safe_l2_squared.sqrt()) / (k**0.5 - 1)
    gini = 2 * weighted / (k * safe_l1) - (k + 1) / k
    effective = safe_l1.square() / safe_l2_squared
    norm, norm_hat, dot = x.norm(dim=-1), x_hat.norm(dim=-1), (x * x_hat).sum(-1)
    return {
        "cosine": dot / (norm * norm_hat).clamp_min(1e-12),
        "l2_ratio": norm_hat / norm.clamp_min(1e-12),
        "hoyer": hoyer.masked_fill(silent, 1),
        "gini": gini.masked_fill(silent, 1),
        "treves_rolls": (1 - effective / k).masked_fill(silent, 1),
        "effective_l0": effective.masked_fill(silent, 0),
        "sq_hat": norm_hat.square(),
        "dot": dot,
    }


def fvu(sq_error: np.ndarray, sq_deviation: np.ndarray) -> float:
    """Fraction of variance unexplained: sum of squared errors over sum of squared deviations (one minus it is EV)."""
    return float(np.sum(sq_error) / np.sum(sq_deviation))


def position_norms(activations: Tensor) -> np.ndarray:
    """||x|| of raw activations [n, T, d]: [n, T]."""
    return torch.cat([x.norm(dim=-1) for _, x in _chunks(activations, 1.0)]).numpy()


def position_share(moments: InputMoments) -> float:
    """omega: share of the variance of text positions that a per-position mean explains, corrected for finite windows.

    SST = SS_within + SS_between; the between part is inflated by the sampling error of each mu_t, SS_within_t/(n-1)
    per position, which is taken off. The most that any position-only term can explain.
    """
    text = slice(1, None)
    n = moments.count.sum(0)[text]
    total, within = moments.sq_deviation.sum(0)[text], moments.sq_deviation_position.sum(0)[text]
    between = (total - within).sum() - (within / np.maximum(n - 1, 1)).sum()
    return float(between / total.sum())
