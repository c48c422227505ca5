"""How well position is read off several representations of a token, with equally many degrees of freedom of each.

With one and the same penalty a ridge regression takes more degrees of freedom of a representation whose variance is
spread evenly, as a dictionary's error is, than of one with a few large directions, as activations are. Here the penalty
is chosen for each, so that the effective degrees of freedom, the sum of s / (s + penalty) over the variances s of its
principal components (Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, eq. 3.50), are those asked
for; and of a representation that is wider than the others, as many principal components are read as they are wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from torch import Tensor

from lens.measure.decoding import CONSTANT, Decoded, Moments, Represent, position_moments


class Matched(NamedTuple):
    """Held-out errors with one number of degrees of freedom."""

    freedom: float
    """the mean over documents of the effective degrees of freedom: fewer than asked for where the representation has
    fewer directions"""
    decoded: Decoded


def matched_decoding(
    represent: Represent, activations: Tensor, block: Tensor, n_blocks: int, freedoms: Sequence[float], width: int,
    first: int = 1,
) -> list[Matched]:  # fmt: skip
    """Held-out decoding of log2(1 + t) from `represent(x)`, by a ridge regression for each of the degrees of freedom.

    Each document is predicted by regressions that were fitted on all others; all is computed from moments, in one pass
    over the windows. Which principal components are read of a wide representation is told from all documents, without
    their positions.

    Args:
        activations: raw [n, T, d]; position 0 is BOS.
        block: [n] document of each window.
        freedoms: degrees of freedom, beside the intercept.
        width: principal components that are read at most.
        first: first position used.

    Raises:
        ValueError: fewer than two documents have windows, a number of degrees of freedom that is not above 0 and below
            `width`, or positions that are not there.
    """
    if wrong := [f for f in freedoms if not 0 < f < width]:
        raise ValueError(
            f"{wrong[0]:g} degrees of freedom of {width} dimensions: choose more than 0 and fewer than those"
        )
    moments = position_moments(represent, activations, block, np.arange(n_blocks), first)
    there = np.flatnonzero(moments.count_F).tolist()
    if len(there) < 2:
        raise ValueError(f"windows of {len(there)} document: to leave one out takes two or more")
    moments = _narrowed(moments, width)
    y = np.log2(np.arange(first, activations.shape[1]) + 1.0)
    square_F = moments.count_F / len(y) * (y**2).sum()
    found = [(np.zeros((3, n_blocks)), []) for _ in freedoms]
    for fold in there:
        mean, target, spectrum, along, basis = _without(moments, fold)
        for (sums, taken), freedom in zip(found, freedoms, strict=True):
            penalty = _penalty(spectrum, freedom)
            taken.append((spectrum / (spectrum + penalty)).sum())
            coefficients = basis @ (along / (spectrum + penalty))
            sums[:, fold] = _errors(moments, fold, square_F[fold], mean, target, coefficients)
    return [Matched(float(np.mean(taken)), Decoded(*sums)) for sums, taken in found]


def _narrowed(moments: Moments, width: int) -> Moments:
    """Those of the first `width` principal components, if there are more."""
    n, total = moments.count_F.sum(), moments.sum_FW.sum(0)
    if len(total) <= width:
        return moments
    covariance = moments.gram_FWW.sum(0) / n - np.outer(total, total) / n**2
    to = np.linalg.eigh(covariance).eigenvectors[:, -width:]
    gram = np.stack([to.T @ gram @ to for gram in moments.gram_FWW])
    return Moments(moments.count_F, moments.sum_FW @ to, gram, moments.cross_FW @ to, moments.target_F)


def _without(moments: Moments, fold: int) -> tuple[np.ndarray, float, np.ndarray, np.ndarray, np.ndarray]:
    """Of all other documents: means of representation and target, variances of principal components that vary, their
    covariances with the target, and their directions."""
    count, total, gram, cross, target = (part.sum(0) - part[fold] for part in (
        moments.count_F, moments.sum_FW, moments.gram_FWW, moments.cross_FW, moments.target_F,
    ))  # fmt: skip
    mean, target = total / count, float(target / count)
    spectrum, basis = np.linalg.eigh(gram / count - np.outer(mean, mean))
    varies = spectrum > CONSTANT * max(mean @ mean, spectrum[-1])
    spectrum, basis = spectrum[varies], basis[:, varies]
    return mean, target, spectrum, basis.T @ (cross / count - mean * target), basis


def _penalty(spectrum: np.ndarray, freedom: float) -> float:
    """The penalty with which as many degrees of freedom are taken; 0 if there are no more than these."""
    if len(spectrum) <= freedom:
        return 0.0
    most = spectrum.sum() / freedom  # where s / (s + penalty) < s / penalty sum up to less
    return brentq(lambda penalty: (spectrum / (spectrum + penalty)).sum() - freedom, 0.0, most, xtol=1e-12 * most)


def _errors(
    moments: Moments, fold: int, square: float, mean: np.ndarray, target: float, coefficients: np.ndarray
) -> tuple[float, float, float]:
    """Tokens of a document, and squared errors of the regression and of the mean target."""
    n, total, gram = moments.count_F[fold], moments.sum_FW[fold], moments.gram_FWW[fold]
    deviation = square - 2 * target * moments.target_F[fold] + n * target**2
    cross = moments.cross_FW[fold] - mean * moments.target_F[fold] - target * (total - n * mean)
    shift = (total - n * mean) @ coefficients
    size = coefficients @ gram @ coefficients - 2 * (mean @ coefficients) * shift - n * (mean @ coefficients) ** 2
    return n, deviation - 2 * coefficients @ cross + size, deviation
