"""Groups of features by where in the window they work: how many, how distinct, how stable over documents.

Two features are close when their position profiles correlate. The question is not which groups a clustering finds (it
finds K of them in anything) but whether K > 1 beats one continuum, so K = 1 is an allowed answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform
from sklearn.metrics import adjusted_rand_score, silhouette_score

from lens.measure.stats import block_weights

MIN_FEATURES = 10
STABLE = 0.75  # mean Jaccard similarity from which a cluster counts as stable (Hennig 2007)
PAPER_CLUSTERS = 5


@dataclass(frozen=True)
class Gap:
    """Gap statistic of K = 1..k_max clusters (Tibshirani, Walther & Hastie 2001)."""

    gap: np.ndarray
    """[k_max] mean over references of log W_K, minus log W_K of the data; entry 0 is K = 1"""
    se: np.ndarray
    """[k_max] sd over the R references times sqrt(1 + 1/R)"""
    choice: int
    """smallest K with gap(K) >= gap(K + 1) - se(K + 1); k_max, read as "at least", if there is none"""


@dataclass(frozen=True)
class Stability:
    """How far clusters survive when documents are resampled and the features clustered again with the same K."""

    jaccard: np.ndarray
    """[n_clusters] mean over bootstraps of the largest Jaccard similarity with a new cluster; nan for one cluster"""
    n_stable: int
    """clusters of at least two features with jaccard >= .75; 0 for one cluster, which cannot change"""
    ari: float
    """mean adjusted Rand index between the clusterings of two bootstraps; nan for one cluster"""


@dataclass(frozen=True)
class Clustering:
    """Average-linkage clustering of position profiles, with the evidence for its number of clusters."""

    labels_K: np.ndarray
    """[k] cluster of each feature, 0..K-1 in order of centre"""
    linkage: np.ndarray
    """[k-1, 4] dendrogram in scipy's form, heights in units of 1 - r"""
    K: int
    """number of clusters: the gap statistic's choice, whatever the silhouette says"""
    silhouette_K: np.ndarray
    """[k_max] mean silhouette at K = 1..k_max; nan at 1, where it does not exist"""
    cophenetic: float
    """correlation of the dendrogram's heights with the distances; nan if all distances are equal"""
    stability: Stability
    """survival of the clusters when documents are resampled"""
    centre: np.ndarray
    """[K] centre of mass, as a position of the window, of each cluster's mean standardised profile above its minimum"""

    @property
    def silhouette(self) -> float:
        """Mean silhouette of the clustering chosen; nan for one cluster."""
        return float(self.silhouette_K[self.K - 1])


def cluster(
    sums_BTK: np.ndarray,
    references_RTK: Sequence[np.ndarray],
    rng: np.random.Generator,
    k_max: int = 10,
    bootstraps: int = 20,
) -> Clustering:
    """Cluster features by their position profiles and ask whether there is more than one group.

    Rule: K is the gap statistic's choice, 1 included; silhouette and stability are reported and choose nothing. K > 1
    is not yet "distinct groups". In simulations of noise, and of a continuum around the circle of positions, the 1-SE
    rule answered K > 1 in about 15 % of cases. And a window has two ends: a continuum of centres from one to the
    other is not the circle that shifting assumes, and was nearly always cut, into 2 to 10 clusters, most of them
    stable. Its silhouette was .4 to .6 for bumps of sd 10 positions, .7 to .76 for sd 25; that of three groups well
    apart .85 and more. So no part of this alone tells groups from such a continuum; a silhouette below .7 ("strong
    structure" of Kaufman & Rousseeuw 1990) speaks against groups, one above it does not prove them. Slopes up and
    down are two groups here, however small the slopes: standardising takes their size away.

    Args:
        sums_BTK: per document (text block), position and feature, the sum over windows of amplitude or firing, for the
            text positions 1..T (BOS left out) of features that are neither silent nor flat. Smooth it over positions
            first: smoothing is linear, so it commutes with adding documents. Counts of windows are not needed:
            correlation does not change with scale, and a window has a token at every position.
        references_RTK: R >= 2 sets of null profiles [T, k]. Either each feature's profile circularly shifted on its own
            (N4: keeps smoothness, so K > 1 means common positions): shift first, then smooth like the data. Smoothing
            leaves more noise at the ends, shifting afterwards moves it inside, and noise then got K > 1 in about 28 %
            of cases. Or frequency-matched noise, smoothed alike (N2: any smooth structure beats it, a continuum too).
        k_max: largest number of clusters tried; at most k - 1.
        bootstraps: resamplings of documents.

    Raises:
        ValueError: fewer than 10 features, fewer than 2 references, or constant profiles; the message says how many.
    """
    profiles_TK = sums_BTK.sum(0)
    _check(profiles_TK)
    distance_KK = correlation_distance(profiles_TK)
    condensed = squareform(distance_KK, checks=False)
    tree = hierarchy.linkage(condensed, "average")
    gap = gap_statistic(profiles_TK, references_RTK, k_max)
    silhouette = [_silhouette(distance_KK, cut(tree, n)) for n in range(1, len(gap.gap) + 1)]
    labels_K = cut(tree, gap.choice)
    centre = _centres(profiles_TK, labels_K)
    order = np.argsort(centre, kind="stable")
    labels_K = np.argsort(order)[labels_K]
    return Clustering(
        labels_K=labels_K,
        linkage=tree,
        K=len(centre),
        silhouette_K=np.array(silhouette),
        cophenetic=float(hierarchy.cophenet(tree, condensed)[0]) if np.ptp(condensed) else np.nan,
        stability=stability(sums_BTK, labels_K, bootstraps, rng),
        centre=centre[order],
    )


def standardise(profiles_TK: np.ndarray) -> np.ndarray:
    """z-scores over positions of each feature's profile, [T, k]; 0 where a profile is constant."""
    profiles_TK = np.asarray(profiles_TK, np.float64)
    centred = profiles_TK - profiles_TK.mean(0)
    sd = profiles_TK.std(0)
    flat = sd <= 1e-12 * np.abs(profiles_TK).max(0)
    return np.where(flat, 0.0, centred / np.where(flat, 1.0, sd))


def correlation_distance(profiles_TK: np.ndarray) -> np.ndarray:
    """1 - Pearson correlation over positions of each pair of features, [k, k]; 1 to and from a constant profile."""
    z = standardise(profiles_TK)
    distance = np.clip(1 - z.T @ z / len(z), 0, 2)
    np.fill_diagonal(distance, 0)
    return distance


def cut(tree: np.ndarray, n_clusters: int) -> np.ndarray:
    """Labels 0..n-1 [k] of the dendrogram cut into `n_clusters`; fewer where equal heights do not allow it."""
    return hierarchy.fcluster(tree, n_clusters, "maxclust") - 1


def gap_statistic(profiles_TK: np.ndarray, references_RTK: Sequence[np.ndarray], k_max: int = 10) -> Gap:
    """Gap statistic and its 1-SE choice of K for average linkage on 1 - r (Tibshirani, Walther & Hastie 2001).

    W_K sums over clusters the mean distance 1 - r to the members, which is proportional to the squared Euclidean
    distance of standardised profiles that the statistic is defined on.

    Args:
        profiles_TK: [T, k].
        references_RTK: R sets of null profiles [T, k], see `cluster`.

    Raises:
        ValueError: fewer than two references, from which no standard error follows.
    """
    if len(references_RTK) < 2:
        raise ValueError(f"the gap statistic needs at least 2 sets of null profiles, there are {len(references_RTK)}")
    k_max = min(k_max, profiles_TK.shape[1] - 1)
    data = _log_dispersions(profiles_TK, k_max)
    nulls = np.stack([_log_dispersions(reference, k_max) for reference in references_RTK])
    gap = nulls.mean(0) - data
    se = nulls.std(0) * np.sqrt(1 + 1 / len(nulls))
    enough = np.flatnonzero(gap[:-1] >= gap[1:] - se[1:])
    return Gap(gap, se, int(enough[0]) + 1 if len(enough) else k_max)


def stability(sums_BTK: np.ndarray, labels_K: np.ndarray, bootstraps: int, rng: np.random.Generator) -> Stability:
    """Recluster under resampled documents and compare with `labels_K` (0..n-1) cluster by cluster (Hennig 2007).

    Documents are drawn, not features: the features are all there are, their profiles are what is estimated. So this
    says whether the text suffices to tell the groups apart, not whether they are distinct; a continuum whose profiles
    are known precisely is cut at the same place every time.
    """
    n = labels_K.max() + 1
    if n == 1:
        return Stability(np.full(1, np.nan), 0, np.nan)
    weights_RB = block_weights(len(sums_BTK), bootstraps, rng)
    drawn = [_average_labels(np.tensordot(w, sums_BTK, 1), n) for w in weights_RB]
    jaccard = np.mean([best_jaccard(labels_K, other) for other in drawn], axis=0)
    ari = np.mean([adjusted_rand_score(a, b) for a, b in combinations(drawn, 2)])
    return Stability(jaccard, int(((jaccard >= STABLE) & (np.bincount(labels_K) > 1)).sum()), float(ari))


def best_jaccard(labels_K: np.ndarray, other_K: np.ndarray) -> np.ndarray:
    """For each cluster of `labels_K` the largest Jaccard similarity with a cluster of `other_K`; labels 0..n-1."""
    a, b = _members(labels_K), _members(other_K)
    common = a.T @ b
    return (common / (a.sum(0)[:, None] + b.sum(0) - common)).max(1)


def paper_consistency(profiles_TK: np.ndarray) -> float:
    """The paper's "feature clustering consistency" as its companion code reads it: mean r within clusters.

    Ward linkage on correlation distances, cut into 5 clusters; the mean is over pairs of different features. The code
    draws the correlations and states no number, so the mean is ours.

    Two warnings. Ward's update presumes Euclidean distances, which 1 - r is not (sqrt(1 - r) is). And the number is
    inflated by construction, since clusters are chosen to make it large: compare it with `paper_consistency_null` only.

    Raises:
        ValueError: fewer than 10 features, or constant profiles.
    """
    _check(profiles_TK)
    distance_KK = correlation_distance(profiles_TK)
    tree = hierarchy.linkage(squareform(distance_KK, checks=False), "ward")
    members = _members(cut(tree, PAPER_CLUSTERS))
    same = members @ members.T - np.eye(len(members))
    return float((same * (1 - distance_KK)).sum() / same.sum())


def paper_consistency_null(null_profiles_RTK: Sequence[np.ndarray]) -> np.ndarray:
    """`paper_consistency` of each of R sets of frequency-matched null profiles (N2) [T, k], smoothed like the data."""
    return np.array([paper_consistency(profiles) for profiles in null_profiles_RTK])


def _check(profiles_TK: np.ndarray) -> None:
    k = profiles_TK.shape[1]
    if k < MIN_FEATURES:
        raise ValueError(
            f"clustering needs at least {MIN_FEATURES} features that are neither silent nor flat, there are {k}; "
            "measure on more text, or train longer"
        )
    if flat := int((standardise(profiles_TK) == 0).all(0).sum()):
        raise ValueError(f"{flat} of {k} profiles are constant and correlate with nothing: leave these features out")


def _members(labels_K: np.ndarray) -> np.ndarray:
    """Indicator [k, n_clusters] of labels 0..n-1."""
    return np.eye(labels_K.max() + 1)[labels_K]


def _average_labels(profiles_TK: np.ndarray, n_clusters: int) -> np.ndarray:
    condensed = squareform(correlation_distance(profiles_TK), checks=False)
    return cut(hierarchy.linkage(condensed, "average"), n_clusters)


def _log_dispersions(profiles_TK: np.ndarray, k_max: int) -> np.ndarray:
    """log W_K of average linkage for K = 1..k_max: W_K = sum over clusters c of sum_ij (1 - r_ij) / (2 n_c).

    With standardised profiles z_j / sqrt(T) as unit vectors, sum_ij r_ij is the squared norm of their sum.
    """
    unit = standardise(profiles_TK) / np.sqrt(len(profiles_TK))
    condensed = squareform(correlation_distance(profiles_TK), checks=False)
    tree = hierarchy.linkage(condensed, "average")
    out = np.empty(k_max)
    for n in range(1, k_max + 1):
        members = _members(cut(tree, n))
        size = members.sum(0)
        out[n - 1] = ((size - np.square(unit @ members).sum(0) / size) / 2).sum()
    return np.log(np.maximum(out, 1e-12))  # identical profiles leave no dispersion


def _silhouette(distance_KK: np.ndarray, labels_K: np.ndarray) -> float:
    if labels_K.max() == 0:
        return np.nan
    return float(silhouette_score(distance_KK, labels_K, metric="precomputed"))


def _centres(profiles_TK: np.ndarray, labels_K: np.ndarray) -> np.ndarray:
    """Centre of mass of each cluster; the first profile entry is position 1 of the window."""
    members = _members(labels_K)
    mean = standardise(profiles_TK) @ members / members.sum(0)
    above = mean - mean.min(0)
    return np.arange(1, len(mean) + 1) @ above / above.sum(0)
