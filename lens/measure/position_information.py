"""Does a feature fire more at some positions than at others, and how much of its firing does position explain?

From the counts of `lens.measure.profiles`: firings per bin, observed and with the labels permuted within windows.
Counts of rare features are far from normal and windows differ in their rate, so both the test and the bias of the
information come from the permutations, never from a chi-square table (Cochran's Q rests on the same permutations).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import false_discovery_control, gamma

MIN_FIRINGS = 100
ALPHA = 0.05
NULL_DRAWS = 20  # permuted data sets that are put in the place of the observed one


@dataclass(frozen=True)
class PositionInformation:
    """Position information of each feature of one dictionary, on the tokens of one labelling."""

    u_K: np.ndarray
    """mutual information of firing and bin over the entropy of firing; nan if silent or always on"""
    u_corrected_K: np.ndarray
    """the same minus its mean over the permutations, 0 on average for a feature without position"""
    p_K: np.ndarray
    """permutation p; nan where not eligible"""
    significant_K: np.ndarray
    """whether the false discovery rate of 5 % finds it"""
    eligible_K: np.ndarray
    """at least `MIN_FIRINGS` firings in the set, and not on at all of its tokens"""
    always_on: int
    """features that fire on every token of the set"""
    share_significant: float
    """of the eligible features; nan without one"""
    null_share: float
    """mean of the same share over permuted data sets"""


def mutual_information(counts: np.ndarray, bin_sizes: np.ndarray) -> np.ndarray:
    """Mutual information of firing (yes, no) and bin, nats: [..., bins, K] firings -> [..., K] (Voita et al. 2023).

    sum over bins b of N_b / N times KL(r_b || r), r_b the rate of firing in the bin of N_b tokens, r the overall one.
    """
    weights = bin_sizes / bin_sizes.sum()
    per_bin = firing_entropy(counts / np.maximum(bin_sizes, 1)[:, None])  # an empty bin has no weight
    information = firing_entropy(counts.sum(-2) / bin_sizes.sum()) - np.einsum("b,...bk->...k", weights, per_bin)
    return np.maximum(information, 0)  # it is never negative but for rounding


def firing_entropy(rate: np.ndarray) -> np.ndarray:
    """Entropy of firing with probability `rate`, nats; 0 at 0 and 1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -rate * np.log(rate) - (1 - rate) * np.log1p(-rate)
    return np.where((rate > 0) & (rate < 1), entropy, 0.0)


def chi_square(counts_RbK: np.ndarray) -> np.ndarray:
    """Q of each of R exchangeable tables of counts: [R, bins, K] -> [R, K].

    The sum over bins of (c - mean)^2 / variance, both over the R tables. All tables take part in the mean and the
    variance alike, so their ranks are exchangeable under the null and a p value from them is exact. A bin whose count
    never varies adds nothing.
    """
    deviation = counts_RbK - counts_RbK.mean(0)
    variance = np.square(deviation).mean(0)
    return np.divide(np.square(deviation), variance, out=np.zeros_like(deviation), where=variance > 0).sum(1)


def permutation_p(q_K: np.ndarray, null_RK: np.ndarray) -> np.ndarray:
    """(1 + permutations at least as extreme) / (R + 1); beyond all R permutations, the tail of a gamma distribution
    with the permutations' mean and variance, if it is smaller (Winkler et al. 2016).

    Without the tail a false discovery rate of 5 % could find nothing unless a share of 20 / (R + 1) of the features
    were positional.
    """
    slack = 1e-9 * np.abs(q_K)  # tables that tie in exact arithmetic count as ties
    p = (1 + (null_RK >= q_K - slack).sum(0)) / (len(null_RK) + 1)
    mean, variance = null_RK.mean(0), null_RK.var(0)
    beyond = (p <= 1 / (len(null_RK) + 1)) & (variance > 0)
    tail = gamma.sf(q_K[beyond], mean[beyond] ** 2 / variance[beyond], scale=variance[beyond] / mean[beyond])
    p[beyond] = np.minimum(p[beyond], tail)
    return p


def benjamini_hochberg(p_K: np.ndarray, eligible_K: np.ndarray) -> np.ndarray:
    """Which features a false discovery rate of 5 % finds among the eligible; the others never are (Benjamini 1995)."""
    significant = np.zeros(len(p_K), bool)
    if eligible_K.any():
        significant[eligible_K] = false_discovery_control(p_K[eligible_K]) <= ALPHA
    return significant


def positional(observed: np.ndarray, null: np.ndarray, bin_sizes: np.ndarray) -> PositionInformation:
    """Position information and its test for every feature, from counts [bins, K] and permuted counts [R, bins, K].

    Raises:
        ValueError: too few permutations to hold `NULL_DRAWS` of them aside and test at 5 %.
    """
    if len(null) < 2 * NULL_DRAWS:
        raise ValueError(f"{len(null)} permutations, at least {2 * NULL_DRAWS} are needed: raise `permutations`")
    total, n = observed.sum(0), int(bin_sizes.sum())
    eligible = (total >= MIN_FIRINGS) & (total < n)
    q = chi_square(np.concatenate([observed[None], null]))
    p = np.where(eligible, permutation_p(q[0], q[1:]), np.nan)
    significant = benjamini_hochberg(p, eligible)

    information = mutual_information(observed, bin_sizes)
    chance = sum(mutual_information(table, bin_sizes) for table in null) / len(null)
    entropy = np.where((total > 0) & (total < n), firing_entropy(total / n), np.nan)

    share = float(significant[eligible].mean()) if eligible.any() else np.nan
    return PositionInformation(
        u_K=information / entropy,
        u_corrected_K=(information - chance) / entropy,
        p_K=p,
        significant_K=significant,
        eligible_K=eligible,
        always_on=int((total == n).sum()),
        share_significant=share,
        null_share=_null_share(null, eligible),
    )


def _null_share(null: np.ndarray, eligible: np.ndarray) -> float:
    """Mean share of significant features when permuted data sets stand in for the observed one."""
    if not eligible.any():
        return np.nan
    q = chi_square(null)
    draws, rest = q[:NULL_DRAWS], q[NULL_DRAWS:]
    return float(np.mean([benjamini_hochberg(permutation_p(d, rest), eligible)[eligible].mean() for d in draws]))
