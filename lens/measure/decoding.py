"""How well a token's position in its window can be read, linearly, off a representation of the token.

Ridge regression of log2(1 + t) on x, f, x_hat or x - x_hat, fitted on some documents and scored on others. A masked
dictionary's f holds its own mask's position by construction: read it against a control whose masks learned nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lens.errors import whole

CHUNK = 32  # windows held in fp32 at a time
RIDGE = 1e-3  # of the mean variance of a coordinate
CONSTANT = 1e-12  # variance over squared mean, up to which a representation is constant but for rounding

Represent = Callable[[Tensor], Tensor]  # raw activations [b, T, d] -> representation [b, T, width]


@dataclass(frozen=True)
class Moments:
    """Sums over the tokens of each fold's documents."""

    count_F: np.ndarray
    sum_FW: np.ndarray
    gram_FWW: np.ndarray
    """sum of r r^T for representations r"""
    cross_FW: np.ndarray
    """sum of r y for targets y"""
    target_F: np.ndarray
    """sum of y"""


@dataclass(frozen=True)
class Regressions:
    """For each fold, the regression fitted on all other folds."""

    coefficients_FW: np.ndarray
    mean_FW: np.ndarray
    """mean of the representation over the other folds"""
    target_F: np.ndarray
    """mean of the target over the other folds"""


@dataclass(frozen=True)
class Decoded:
    """Held-out errors per document, in log2 positions."""

    count_B: np.ndarray
    """[n_blocks] tokens"""
    sse_B: np.ndarray
    """[n_blocks] sum of (y - y_hat)^2"""
    sst_B: np.ndarray
    """[n_blocks] sum of (y - y_bar)^2, y_bar the mean over the documents that the regression was fitted on"""

    @property
    def r2(self) -> float:
        """1 - sum SSE / sum SST: 0 for a representation that says nothing, below 0 for one that misleads."""
        return float(1 - self.sse_B.sum() / self.sst_B.sum())


def decode_position(
    represent: Represent, activations: Tensor, block: Tensor, n_blocks: int, first: int = 1, folds: int = 5
) -> Decoded:
    """Held-out decoding of log2(1 + t) from `represent(x)`, by ridge regression with an intercept.

    Two passes over the windows: one for the moments of each fold, one to score each fold with the regression fitted on
    the others. Documents are dealt to the folds in turn.

    Args:
        activations: raw [n, T, d]; position 0 is BOS.
        block: [n] document of each window.
        first: first position used: 1 for all text positions, 8 to leave out those where BOS and the first token show.

    Raises:
        ValueError: `first` would include BOS or leave fewer than two positions, or a fold has no windows; or there are
            fewer than two folds.
    """
    fold_B = np.arange(n_blocks) % whole("folds", folds, 2)
    moments = position_moments(represent, activations, block, fold_B, first)
    return score(fit(moments), represent, activations, block, fold_B, first)


def position_moments(
    represent: Represent, activations: Tensor, block: Tensor, fold_B: np.ndarray, first: int = 1
) -> Moments:
    """Moments of each fold; `fold_B` [n_blocks] is the fold of each document."""
    F = int(fold_B.max()) + 1
    moments: Moments | None = None
    for r, y, blocks in _chunks(represent, activations, block, first):
        if moments is None:
            W = r.shape[-1]
            moments = Moments(*(np.zeros(shape) for shape in (F, (F, W), (F, W, W), (F, W), F)))
        for fold in np.unique(fold_B[blocks]):
            rows = r[torch.from_numpy(fold_B[blocks] == fold)]
            targets, rows = y.repeat(len(rows)), rows.flatten(0, 1)
            # Products of deviations in fp32, large means in fp64: nothing is lost to a few huge coordinates.
            n, centre = len(rows), rows.mean(0)
            deviation = rows - centre
            mean = (centre.double() + deviation.mean(0, dtype=torch.float64)).numpy()
            y_mean = targets.mean().item()
            moments.count_F[fold] += n
            moments.sum_FW[fold] += n * mean
            moments.gram_FWW[fold] += (deviation.T @ deviation).double().numpy() + n * np.outer(mean, mean)
            moments.cross_FW[fold] += (deviation.T @ (targets - y_mean).float()).double().numpy() + n * mean * y_mean
            moments.target_F[fold] += n * y_mean
    assert moments is not None  # there are windows
    return moments


def fit(moments: Moments, ridge: float = RIDGE) -> Regressions:
    """Ridge regressions; the penalty is `ridge` times the mean variance of a coordinate, none on the intercept.

    Raises:
        ValueError: a fold holds no tokens.
    """
    if (moments.count_F == 0).any():
        raise ValueError(
            f"folds {np.flatnonzero(moments.count_F == 0).tolist()} of {len(moments.count_F)} hold no windows: "
            "ask for fewer folds, or give windows of more documents"
        )
    n_F = moments.count_F.sum() - moments.count_F
    mean_FW = (moments.sum_FW.sum(0) - moments.sum_FW) / n_F[:, None]
    target_F = (moments.target_F.sum() - moments.target_F) / n_F
    coefficients = np.zeros_like(mean_FW)
    gram, cross = moments.gram_FWW.sum(0), moments.cross_FW.sum(0)
    for fold, (n, mean, target) in enumerate(zip(n_F, mean_FW, target_F, strict=True)):
        covariance = (gram - moments.gram_FWW[fold]) / n - np.outer(mean, mean)
        variance = np.trace(covariance)
        if variance > CONSTANT * (mean @ mean):  # else its coefficients stay 0
            covariance[np.diag_indices_from(covariance)] += ridge * variance / len(covariance)
            coefficients[fold] = np.linalg.solve(covariance, (cross - moments.cross_FW[fold]) / n - mean * target)
    return Regressions(coefficients, mean_FW, target_F)


def score(
    fitted: Regressions, represent: Represent, activations: Tensor, block: Tensor, fold_B: np.ndarray, first: int = 1
) -> Decoded:
    """Errors of windows, each predicted without its document's fold."""
    sums = Decoded(*np.zeros((3, len(fold_B))))
    coefficients, mean = (torch.from_numpy(a) for a in (fitted.coefficients_FW, fitted.mean_FW))
    for r, y, blocks in _chunks(represent, activations, block, first):
        for window, b in zip(r, blocks, strict=True):
            fold, target = fold_B[b], float(fitted.target_F[fold_B[b]])
            prediction = (window.double() - mean[fold]) @ coefficients[fold] + target
            sums.count_B[b] += len(y)
            sums.sse_B[b] += (y - prediction).square().sum().item()
            sums.sst_B[b] += (y - target).square().sum().item()
    return sums


@torch.no_grad()
def _chunks(
    represent: Represent, activations: Tensor, block: Tensor, first: int
) -> Iterator[tuple[Tensor, Tensor, np.ndarray]]:
    """Representations [b, T - first, width] in fp32, targets [T - first] and documents [b], a few windows at a time."""
    T = activations.shape[1]
    if not 1 <= first < T - 1:
        raise ValueError(f"first = {first}: expected 1 (position 0 is BOS) to {T - 2}, for windows of {T} positions")
    y = torch.arange(first, T, dtype=torch.float64).add(1).log2()
    for start in range(0, len(activations), CHUNK):
        rows = slice(start, start + CHUNK)
        yield represent(activations[rows].float())[:, first:].float(), y, block[rows].long().numpy()
