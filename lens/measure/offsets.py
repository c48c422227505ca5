"""Does a feature follow the position, or the text? The same text read in windows that start at different places.

We choose where windows start. A place s in the text is read M times, at positions t_m(s) that we draw; what the text
says there is the same each time. With a_s for the text and g for the position, f_m(s) = a_s + g(t_m(s)) + noise, and
a_s drops out of differences between the M readings, whatever it is: topic, token, line, persistence.

The null exchanges the M readings of a whole segment of text. If a feature ignores where its window began, all
exchanges are equally likely, because the phases of the readings were drawn in random order: the test is exact for any
content and any persistence of firing. It cannot tell position from the amount of visible text: at t, t - 1 tokens can
be seen, and a feature that needs context is found too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor

from lens.measure.position_information import permutation_p
from lens.measure.stats import LEVEL

MIN_SEGMENTS = 8
MIN_EXCHANGES = 40


@dataclass(frozen=True)
class OffsetEffect:
    """What position does to each feature when the text is held fixed; nan where nothing varies between readings."""

    share_K: np.ndarray
    """var(g) / var(f - a_s): of the variance between readings of one place, the part that the bin of the position
    explains, chance taken off"""
    low_K: np.ndarray
    """lower end of its 95 % t interval, by a jackknife over groups of segments"""
    high_K: np.ndarray
    """upper end"""
    p_K: np.ndarray
    """one-sided p of the exchange test"""
    curve_BK: np.ndarray
    """g in each bin, in units of the feature; its mean over tokens is 0"""
    level_K: np.ndarray
    """mean of the feature over all readings"""
    bin_sizes_B: np.ndarray
    """readings in each bin"""
    moved_share_K: np.ndarray
    """var(f - a_s) / var(f): how much of the feature's variance changes with the window's start at all"""
    design_BB: np.ndarray
    """sum over places and readings of the products of bin indicators, their mean over the readings taken off"""
    within_K: np.ndarray
    """sum over places and readings of (f - a_s)^2"""

    @property
    def depth_K(self) -> np.ndarray:
        """(highest - lowest expected value over bins) / highest; 1 for a feature that is off in some bin.

        A range of noisy means: of a feature that ignores position it is above 0, the more so the fewer its firings."""
        values = self.level_K + self.curve_BK
        top = values.max(0)
        return np.divide(top - values.min(0).clip(0), top, out=np.full_like(top, np.nan), where=top > 0).clip(0, 1)

    def share_if(self, curves_RBK: np.ndarray, weights_R: np.ndarray) -> np.ndarray:
        """What `share_K` [K] would be if position made all of a profile that was seen in other windows.

        Args:
            curves_RBK: its mean in each bin, of R disjoint sets of windows. Products are taken of two different sets,
                so that their sampling errors don't add up.
            weights_R: windows of each set.

        Returns:
            inf where nothing varies between readings, though the feature is on in some: position makes nothing of it;
            nan where it is on in none.
        """
        w = weights_R / weights_R.sum()
        mean = np.tensordot(w, curves_RBK, 1)
        products = np.einsum("bk,bc,ck->k", mean, self.design_BB, mean, optimize=True)
        own = sum(
            v**2 * np.einsum("bk,bc,ck->k", c, self.design_BB, c, optimize=True)
            for v, c in zip(w, curves_RBK, strict=True)
        )
        explained = (products - own) / (1 - np.square(w).sum())
        still = np.where(self.level_K != 0, np.inf, np.nan)
        return np.divide(explained, self.within_K, out=still, where=~np.isnan(self.share_K))


def exchange_null(n_segments: int, readings: int, permutations: int, seed: int) -> np.ndarray:
    """Orders of the readings of each segment, `[permutations + 1, n_segments, readings]`; the first changes nothing."""
    rng = np.random.default_rng(seed)
    orders = rng.permuted(np.tile(np.arange(readings), (permutations, n_segments, 1)), axis=-1)
    return np.concatenate([np.tile(np.arange(readings), (1, n_segments, 1)), orders])


def offset_effect(
    segments: Iterable[tuple[Tensor, Tensor]],
    bins_T: Tensor,
    *,
    n_segments: int,
    groups: Sequence[int] | None = None,
    permutations: int = 299,
    seed: int = 0,
) -> OffsetEffect:
    """Effect of position on each feature with the text held fixed.

    Costs about M^2 products [bins, S] x [S, K] a segment, and keeps bins x K sums for each permutation.

    Args:
        segments: for each stretch of text, features [M, S, K] of its S places in M readings, and the position of each
            [M, S]. Phases must have been drawn in random order over the readings, anew for each segment.
        bins_T: [T] bin of each position; -1: the position is left out, and with it all readings of that place.
        n_segments: how many there are.
        groups: document of each segment, if documents hold several; the jackknife leaves out one at a time.
        permutations: exchanges that are drawn; the smallest p before the tail is fitted is 1 / (permutations + 1).

    Raises:
        ValueError: fewer than 8 segments, 2 groups, 2 readings or 40 permutations, shapes that don't fit, or no place
            that all readings cover.
    """
    if n_segments < MIN_SEGMENTS:
        raise ValueError(f"{n_segments} segments of text, at least {MIN_SEGMENTS} are needed to exchange readings")
    if permutations < MIN_EXCHANGES:
        raise ValueError(f"{permutations} permutations, at least {MIN_EXCHANGES} are needed: raise `permutations`")
    groups = range(n_segments) if groups is None else groups
    members = sorted(set(groups))
    if len(groups) != n_segments or len(members) < 2:
        raise ValueError(f"{len(groups)} groups of {len(members)} kinds for {n_segments} segments: need 2 documents")
    sums, orders = None, None
    for g, (values, positions) in enumerate(segments):
        bins = _bins(values, positions, bins_T)
        if sums is None:
            orders = exchange_null(n_segments, len(values), permutations, seed)
            sums = _Sums(len(members), len(orders), int(bins_T.max()) + 1, values.shape[-1])
        assert orders is not None
        covered = (bins >= 0).all(0)
        sums.add(members.index(groups[g]), values[:, covered], bins[:, covered], orders[:, g])
    if sums is None or not sums.readings:
        raise ValueError("no place of the text is covered by all of its readings: use longer segments")
    return sums.effect()


def _bins(values: Tensor, positions: Tensor, bins_T: Tensor) -> Tensor:
    if values.ndim != 3 or positions.shape != values.shape[:2] or len(values) < 2:
        raise ValueError(
            f"features {tuple(values.shape)} and positions {tuple(positions.shape)}: expected [M, S, K] and [M, S] "
            "with at least two readings M"
        )
    if int(positions.max()) >= len(bins_T):
        raise ValueError(f"position {int(positions.max())} has no bin: {len(bins_T)} positions were given")
    return torch.where(positions >= 0, bins_T[positions.clamp_min(0)], -1)


class _Sums:
    """Normal equations of f_m(s) = a_s + g(bin) for each group of segments and each exchange."""

    def __init__(self, groups: int, exchanges: int, n_bins: int, K: int):
        double = torch.float64
        self.design = torch.zeros(groups, n_bins, n_bins, dtype=double)
        self.product = torch.zeros(groups, n_bins, K, dtype=double)
        self.exchanged = torch.zeros(exchanges, n_bins, K)
        self.within = torch.zeros(groups, K, dtype=double)
        self.total, self.square = torch.zeros(K, dtype=double), torch.zeros(K, dtype=double)
        self.sizes, self.readings = torch.zeros(n_bins, dtype=double), 0

    def add(self, group: int, values: Tensor, bins: Tensor, orders: np.ndarray) -> None:
        """Add one segment: features [M, S, K], their bins [M, S], and orders of its readings [R + 1, M]."""
        M, S, K = values.shape
        values = values.float()
        centred = values - values.mean(0)
        one_hot = torch.nn.functional.one_hot(bins, len(self.sizes)).float()  # [M, S, B]
        spread = (one_hot - one_hot.mean(0)).double().flatten(0, 1)
        self.design[group] += spread.T @ spread
        # features of reading m, had they been read at the positions of reading m': [m, m', B, K]
        crossed = torch.stack([(one_hot.mT.flatten(0, 1) @ x).view(M, -1, K) for x in centred])
        distinct, which = np.unique(orders, axis=0, return_inverse=True)
        answers = torch.stack([crossed[range(M), order].sum(0) for order in distinct])
        self.exchanged += answers[which]
        self.product[group] += answers[which[0]]
        self.within[group] += centred.square().sum((0, 1))
        self.total += values.sum((0, 1))
        self.square += values.square().sum((0, 1))
        self.sizes += one_hot.sum((0, 1))
        self.readings += M * S

    def effect(self) -> OffsetEffect:
        design, product, within = self.design.sum(0), self.product.sum(0), self.within.sum(0)
        null = torch.stack([_explained(design, product_BK.double()) for product_BK in self.exchanged])
        varies = within > 1e-9 * self.square.clamp_min(1e-300)
        share = lambda explained, of: (torch.where(of > 0, explained / of, torch.nan)).numpy()  # noqa: E731
        chance = null[1:].mean(0)
        found = share(null[0] - chance, within)
        n = len(self.within)
        left_out = np.stack(
            [
                share(_explained(design - self.design[g], product - self.product[g]), within - self.within[g])
                for g in range(n)
            ]
        )
        se = np.sqrt((n - 1) / n * np.square(left_out - left_out.mean(0)).sum(0))
        half = student.ppf((1 + LEVEL) / 2, n - 1) * se
        still = ~varies.numpy()
        p = permutation_p(null[0].numpy(), null[1:].numpy())
        curve = torch.linalg.pinv(design, hermitian=True) @ product
        curve -= (self.sizes[:, None] * curve).sum(0) / self.sizes.sum()
        level = self.total / self.readings
        variance = self.square / self.readings - level.square()
        hidden = lambda values: np.where(still, np.nan, values)  # noqa: E731
        return OffsetEffect(
            share_K=hidden(found),
            low_K=hidden(found - half),
            high_K=hidden(found + half),
            p_K=np.where(still, 1.0, p),  # nothing moves with the window's start, so position does nothing
            curve_BK=curve.numpy(),
            level_K=level.numpy(),
            bin_sizes_B=self.sizes.numpy(),
            moved_share_K=share(within / self.readings, variance),
            design_BB=design.numpy(),
            within_K=within.numpy(),
        )


def _explained(design_BB: Tensor, product_BK: Tensor) -> Tensor:
    """Sum of squares [K] that bins explain, from the normal equations [B, B] and right sides [B, K]."""
    inverse = torch.linalg.pinv(design_BB, hermitian=True)
    return (product_BK * (inverse @ product_BK)).sum(-2)
