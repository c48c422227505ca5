"""Agreement between dictionaries of two seeds: which features they share, and whether masks and profiles recur.

If the masks of one feature differ from seed to seed as much as those of two features, masks are noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score

from lens.measure.clusters import standardise
from lens.measure.stats import pseudovalues

SHARED = 0.7  # both cosines at least this: the same feature (Paulo & Belrose 2025)


@dataclass(frozen=True)
class Matching:
    """One-to-one matching of the features of dictionary a with those of dictionary b."""

    permutation: np.ndarray
    """[k] feature of b that is matched with each feature of a"""
    cos_dec: np.ndarray
    """[k] cosine of the matched decoder rows"""
    cos_enc: np.ndarray
    """[k] cosine of the matched encoder columns; 0 where one is zero"""
    mmcs: float
    """mean over features of the largest decoder cosine with any feature of the other dictionary, both directions"""

    @property
    def shared(self) -> np.ndarray:
        """[k] whether both cosines are at least .7 (Paulo & Belrose 2025)."""
        return (self.cos_dec >= SHARED) & (self.cos_enc >= SHARED)


class Compared(NamedTuple):
    """Mean of a quantity over matched pairs, and over all other pairings of the same features."""

    mean: float
    null: float


UNKNOWN = Compared(np.nan, np.nan)


@dataclass(frozen=True)
class Agreement:
    """What matched features have in common besides their directions; nan where nothing can be compared."""

    n_pairs: int
    """matched pairs that are shared, and eligible in both dictionaries"""
    mask_r: Compared
    """Pearson correlation over positions of the two masks; nan for dictionaries without masks"""
    support_iou: Compared
    """overlap of the positions where a mask is above half its maximum: intersection / union; nan without masks"""
    profile_r: Compared
    """Pearson correlation over positions of the two profiles"""
    centre_distance: Compared
    """|difference| of the centres of mass of the two profiles above their minima, in positions"""


def match(W_dec_a: np.ndarray, W_enc_a: np.ndarray, W_dec_b: np.ndarray, W_enc_b: np.ndarray) -> Matching:
    """Hungarian matching on the mean of decoder and encoder cosine similarity (Paulo & Belrose 2025).

    Time grows with k^3 and memory with k^2.

    Args:
        W_dec_a, W_dec_b: decoders [k, d].
        W_enc_a, W_enc_b: encoders [d, k].

    Raises:
        ValueError: the dictionaries differ in shape, or an encoder is not the decoder's transpose in shape.
    """
    k, d = W_dec_a.shape
    for name, weights, shape in (
        ("W_enc_a", W_enc_a, (d, k)),
        ("W_dec_b", W_dec_b, (k, d)),
        ("W_enc_b", W_enc_b, (d, k)),
    ):
        if weights.shape != shape:
            raise ValueError(f"{name} has shape {weights.shape}, W_dec_a {(k, d)} asks for {shape}")
    dec = _unit(W_dec_a) @ _unit(W_dec_b).T
    enc = _unit(W_enc_a.T) @ _unit(W_enc_b.T).T
    rows, permutation = linear_sum_assignment(dec + enc, maximize=True)
    mmcs = (dec.max(0).mean() + dec.max(1).mean()) / 2
    return Matching(permutation, dec[rows, permutation], enc[rows, permutation], float(mmcs))


def agreement(
    matching: Matching,
    profiles: tuple[np.ndarray, np.ndarray],
    eligible: tuple[np.ndarray, np.ndarray],
    masks: tuple[np.ndarray, np.ndarray] | None,
) -> Agreement:
    """Compare profiles and masks of the matched pairs that are shared, and eligible in both dictionaries.

    The null is the exact mean over every pairing of these features except the matched ones, the expectation of a
    random matching. It is not 0: features have trends over positions in common.

    Args:
        profiles: of a and of b, [T, k], smoothed amplitude or firing rate at text positions (BOS left out).
        eligible: of a and of b, [k] bool, features that fire often enough for their profile to mean something.
        masks: of a and of b, [T, k] at the same positions; the gauge (a factor per feature) is immaterial here. None
            for the standard autoencoder.
    """
    a = np.flatnonzero(matching.shared & eligible[0] & eligible[1][matching.permutation])
    b = matching.permutation[a]
    profile_a, profile_b = profiles[0][:, a], profiles[1][:, b]
    mask_r, support_iou = UNKNOWN, UNKNOWN
    if masks is not None:
        mask_a, mask_b = masks[0][:, a], masks[1][:, b]
        mask_r = _compare(_correlations(mask_a, mask_b))
        support_iou = _compare(_overlaps(_support(mask_a), _support(mask_b)))
    return Agreement(
        n_pairs=len(a),
        mask_r=mask_r,
        support_iou=support_iou,
        profile_r=_compare(_correlations(profile_a, profile_b)),
        centre_distance=_compare(np.abs(_centre(profile_a)[:, None] - _centre(profile_b))),
    )


def matched_ari(labels_a_K: np.ndarray, labels_b_K: np.ndarray, matching: Matching) -> float:
    """Adjusted Rand index of two seeds' clusterings on their shared features.

    Args:
        labels_a_K, labels_b_K: [k] cluster of every feature, -1 for a feature that was not clustered.

    Returns:
        nan with fewer than two features to compare, or if both seeds put them into one cluster, which is agreement
        about nothing.
    """
    b = labels_b_K[matching.permutation]
    both = matching.shared & (labels_a_K >= 0) & (b >= 0)
    a, b = labels_a_K[both], b[both]
    if len(a) < 2 or (np.ptp(a) == 0 and np.ptp(b) == 0):
        return np.nan
    return float(adjusted_rand_score(a, b))


def over_pairs(values_SS: np.ndarray) -> np.ndarray:
    """Each seed's mean over its pairs with the other seeds, [S], of a symmetric [S, S]; the diagonal is not read.

    Their mean is the mean over pairs. Their spread is about half that of a quantity with one value per seed, as each
    pair is in two of them: take intervals from `seed_values`.
    """
    n = len(values_SS)
    if n < 2:
        return np.full(n, np.nan)
    return np.where(np.eye(n, dtype=bool), 0.0, values_SS).sum(1) / (n - 1)


def seed_values(values_SS: np.ndarray) -> np.ndarray:
    """Jackknife pseudo-values [S] of the mean over pairs of seeds, for `lens.measure.stats.seed_component`.

    Without seed s the mean over pairs is (S mean - 2 mean_s) / (S - 2), mean_s being the seed's own mean over its
    pairs. nan with fewer than three seeds: one pair has no spread.
    """
    n = len(values_SS)
    if n < 3:
        return np.full(n, np.nan)
    mean_S = over_pairs(values_SS)
    return pseudovalues(mean_S.mean(), (n * mean_S.mean() - 2 * mean_S) / (n - 2))


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows scaled to norm 1 in float64; zero rows stay zero."""
    rows = np.asarray(rows, np.float64)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norm > 0, norm, 1)


def _compare(values_PP: np.ndarray) -> Compared:
    """Mean of the diagonal (matched pairs) and of the rest (all other pairings), undefined entries left out."""
    matched = np.eye(len(values_PP), dtype=bool)
    return Compared(_mean(values_PP[matched]), _mean(values_PP[~matched]))


def _mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else np.nan


def _correlations(x_TP: np.ndarray, y_TP: np.ndarray) -> np.ndarray:
    """Pearson correlation of each column of x with each of y, [P, P]; nan where one is constant."""
    x, y = standardise(x_TP), standardise(y_TP)
    r = x.T @ y / len(x)
    r[(x == 0).all(0)] = np.nan
    r[:, (y == 0).all(0)] = np.nan
    return r


def _support(mask_TP: np.ndarray) -> np.ndarray:
    return (mask_TP > mask_TP.max(0) / 2).astype(float)


def _overlaps(x_TP: np.ndarray, y_TP: np.ndarray) -> np.ndarray:
    """Intersection over union of each column of x with each of y, [P, P]; supports are never empty."""
    common = x_TP.T @ y_TP
    return common / (x_TP.sum(0)[:, None] + y_TP.sum(0) - common)


def _centre(profile_TP: np.ndarray) -> np.ndarray:
    """Centre of mass [P] of each profile above its minimum; nan where it is constant."""
    above = profile_TP - profile_TP.min(0)
    total = above.sum(0)
    return np.arange(len(above)) @ above / np.where(total > 0, total, np.nan)
