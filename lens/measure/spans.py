"""How wide, in positions, is a feature's place in the window, and how long does a firing feature stay on?

Profiles are [P, K] over text positions: row 0 is position 1. "Temporal span" is not one quantity, so several are
measured, each beside what the same estimator gives without any effect of position: permuted profiles (null), features
of equal frequency that fire at random (frequency), or firings permuted within windows (persistence).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array
from scipy.special import entr

from lens.measure.position_information import MIN_FIRINGS

if TYPE_CHECKING:  # it imports torch, which takes seconds, and claims are judged without
    from lens.measure.profiles import Profile

BANDWIDTH = 3.0
WIDTHS = (16, 40, 64)  # positions; the paper's spans of a shallow, a middle (32 to 48) and a deep layer
WIDTH_FIRINGS = 300  # with 100 to 300 firings a true width of 64 comes out 12 to 32 positions too small
MILLER_MADOW_FIRINGS = 300  # with fewer the correction overshoots
FREQUENCY_DRAWS = 50
DENSE = 256  # positions, up to which smoothing is one product of matrices
DENSITY_EDGES = 10.0 ** np.arange(-3, 0.5, 0.5)
MIN_BIN_FEATURES = 5


@dataclass(frozen=True)
class Spans:
    """Estimators of one dictionary, one value per feature [d_sae]; nan below `MIN_FIRINGS` firings, masks excepted."""

    density_K: np.ndarray
    """share of text tokens on which the feature fires; never nan"""
    fwhm_K: np.ndarray
    """width of the smoothed profile of firing, positions; nan without a significant effect of position, or below
    `WIDTH_FIRINGS` firings"""
    null_fwhm_K: np.ndarray
    """the same of permuted profiles, median over them and not gated: compare on the features that have a `fwhm_K`"""
    frequency_fwhm_K: np.ndarray
    """the same of features of equal frequency, median over draws and not gated"""
    centre_K: np.ndarray
    """centre of mass of the firings over positions"""
    effective_positions_K: np.ndarray
    """exp of the entropy of the firings over positions"""
    effective_positions_ratio_K: np.ndarray
    """effective positions over the mean of features of equal frequency: 1 without an effect of position"""
    participation_ratio_K: np.ndarray
    """participation ratio of the firings over positions, over the mean of features of equal frequency"""
    mask_run_K: np.ndarray
    """longest run of positions with a mask above half of its maximum; nan for a dictionary without masks"""
    dwell_K: np.ndarray
    """mean length of a run of firings, tokens"""
    dwell_ratio_K: np.ndarray
    """dwell over its expectation when firings are permuted within windows"""
    autocorrelation_time_K: np.ndarray
    """integrated autocorrelation time of the amplitude, tokens"""
    autocorrelation_ratio_K: np.ndarray
    """the same over its value when amplitudes are permuted within windows"""
    firing_autocorrelation_K: np.ndarray
    """correlation of firing at neighbouring positions, its mean at each position removed"""
    permuted_firing_autocorrelation_K: np.ndarray
    """its expectation when firings are permuted within windows: what windows that differ in their rate give"""


def smooth(profile_PK: np.ndarray, bandwidth: float = BANDWIDTH) -> np.ndarray:
    """Gaussian kernel average over positions; near the edges the weights inside the window are renormalised."""
    weights = _weights(profile_PK.shape[0], bandwidth)
    if isinstance(weights, csr_array):
        return (weights @ profile_PK.reshape(len(profile_PK), -1)).reshape(profile_PK.shape)
    return np.tensordot(weights, profile_PK, axes=1)


@lru_cache(maxsize=4)
def _weights(n: int, bandwidth: float) -> np.ndarray | csr_array:
    """[n, n] rows of sum 1; of long windows without those below the precision of the largest, which are most."""
    t = np.arange(n)
    kernel = np.exp(-0.5 * np.square((t[:, None] - t) / bandwidth))
    weights = kernel / kernel.sum(1, keepdims=True)
    return weights if n <= DENSE else csr_array(np.where(kernel > np.finfo(float).eps ** 2, weights, 0))


def fwhm(profile_PK: np.ndarray, bandwidth: float = BANDWIDTH) -> np.ndarray:
    """Full width at half maximum [K]: positions around the peak of the smoothed profile at or above half height.

    Half height is midway between the peak and the baseline, the minimum of the smoothed profile. The positions are
    the unbroken stretch that holds the peak. nan for a constant profile. It says how wide, not whether: a flat
    feature's noise has a width too.
    """
    a = smooth(profile_PK, bandwidth)
    peak, top, base = a.argmax(0), a.max(0), a.min(0)
    below = a < (top + base) / 2
    t = np.arange(len(a))[:, None]
    left = np.where(below & (t < peak), t, -1).max(0)
    right = np.where(below & (t > peak), t, len(a)).min(0)
    return np.where(top - base > 1e-9 * np.abs(top), right - left - 1.0, np.nan)


def centre_of_mass(profile_PK: np.ndarray) -> np.ndarray:
    """Mean position [K] weighted by the profile; nan for a silent feature."""
    positions = np.arange(1, len(profile_PK) + 1)
    return _ratio(positions @ profile_PK, profile_PK.sum(0))


def longest_run(on_PK: np.ndarray) -> np.ndarray:
    """Length [K] of the longest stretch of consecutive positions that are on."""
    length, longest = np.zeros(on_PK.shape[1], int), np.zeros(on_PK.shape[1], int)
    for row in on_PK:
        length = np.where(row, length + 1, 0)
        longest = np.maximum(longest, length)
    return longest


def above_half(mask_PK: np.ndarray) -> np.ndarray:
    """Where each feature's mask exceeds half of its own maximum.

    A mask times c, with the encoder divided by c, is the same feature: only relative to its maximum has it a width.
    """
    return mask_PK > mask_PK.max(0) / 2


def effective_positions(firings_PK: np.ndarray, miller_madow: bool = False) -> np.ndarray:
    """exp(H) [..., K] of the shares p_t of the firings [..., P, K] at each position; nan for a silent feature.

    Few firings look concentrated: compare with features of equal frequency. `miller_madow` adds (P - 1) / (2 n) to H
    and gives nan below `MILLER_MADOW_FIRINGS` firings (Miller 1955).
    """
    total = firings_PK.sum(-2)
    entropy = entr(_ratio(firings_PK, total[..., None, :])).sum(-2)
    if miller_madow:
        enough = total >= MILLER_MADOW_FIRINGS
        entropy = np.where(enough, entropy + (firings_PK.shape[-2] - 1) / (2 * np.maximum(total, 1)), np.nan)
    return np.exp(entropy)


def participation_ratio(firings_PK: np.ndarray) -> np.ndarray:
    """1 / sum_t p_t^2 [..., K] of the shares of the firings [..., P, K]; nan for a silent feature."""
    return 1 / np.square(_ratio(firings_PK, firings_PK.sum(-2, keepdims=True))).sum(-2)


def frequency_matched(firings_K: np.ndarray, windows: int, n_positions: int, seed: int = 0) -> np.ndarray:
    """Firings of features that fire as often and ignore position, [`FREQUENCY_DRAWS`, P, K]: Binomial(windows, p_j)."""
    return np.stack(list(_frequency_draws(firings_K, windows, n_positions, seed)))


def _frequency_draws(firings_K: np.ndarray, windows: int, n_positions: int, seed: int) -> Iterator[np.ndarray]:
    """`frequency_matched`, one draw [P, K] at a time: all of them do not fit into memory where windows are long."""
    p_K, rng = firings_K / (windows * n_positions), np.random.default_rng(seed)
    for _ in range(FREQUENCY_DRAWS):
        yield rng.binomial(windows, p_K, size=(n_positions, len(p_K)))


def autocovariance(profile: Profile) -> np.ndarray:
    """[lags + 1, K] autocovariance of the amplitude along the window, its mean at each position removed."""
    mean = profile.amplitude_TK
    P, n = len(mean), profile.windows
    lags = range(len(profile.lag_products_LK))
    products = np.stack([(mean[: P - l] * mean[l:]).sum(0) for l in lags])
    return (profile.lag_products_LK - n * products) / (n * (P - np.array(lags))[:, None])


def permuted_autocovariance(profile: Profile) -> np.ndarray:
    """[lags + 1, K] expectation of `autocovariance` when each window's amplitudes are permuted over its positions.

    Not 0: windows differ in their mean, which no permutation within windows removes.
    """
    P, n = len(profile.amplitude_TK), profile.windows
    energy = profile.lag_products_LK[0]
    squared_sums = np.square(P * profile.window_means_NK, dtype=np.float64).sum(0)
    total = n * profile.amplitude_TK.sum(0)
    product = np.stack([energy / P] + [(squared_sums - energy) / (P * (P - 1))] * (len(profile.lag_products_LK) - 1))
    return ((1 - 1 / n) * product - (np.square(total) - squared_sums) / (n * P**2)) / n


def autocorrelation_time(autocovariance_LK: np.ndarray) -> np.ndarray:
    """1 + 2 sum of the autocorrelations [K], up to the first pair of lags (2i, 2i + 1) with a sum that is not positive.

    The initial positive sequence of Geyer (1992). At most 1 + 2 lags, so it is bounded by the longest lag measured.
    nan for a feature without variance.
    """
    rho = _ratio(autocovariance_LK, autocovariance_LK[0])
    pairs = rho[: len(rho) // 2 * 2].reshape(-1, 2, rho.shape[1]).sum(1)
    kept = np.logical_and.accumulate(pairs > 0, axis=0)
    return np.where(np.isnan(rho[0]), np.nan, 2 * (pairs * kept).sum(0) - 1)


def firing_autocorrelation(profile: Profile) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of firing at neighbouring positions [K], the mean at each position removed, and its expectation when
    each window's firings are permuted over its positions; nan for a feature that never or always fires.

    All firings but the first of each run follow one, so the runs say how many neighbours fire together.
    """
    rate_PK = profile.firings_TK / profile.windows
    P, total = len(rate_PK), profile.firings_TK.sum(0)
    pairs = profile.windows * (P - 1)
    mean = total / (profile.windows * P)
    own = _ratio(
        (total - profile.runs_K) / pairs - (rate_PK[:-1] * rate_PK[1:]).mean(0), (rate_PK * (1 - rate_PK)).mean(0)
    )
    return own, _ratio((total - profile.expected_runs_K) / pairs - mean**2, mean * (1 - mean))


def medians_by_density(values_K: np.ndarray, density_K: np.ndarray) -> dict[int, float]:
    """Median of the values that have one in each half-decade of density from .001 to 1, by the number of the bin (1, 2,
    ...); bins with fewer than `MIN_BIN_FEATURES` of them are left out.

    Dictionaries that differ in how often their features fire are compared on the bins that all of them have.
    """
    finite = np.isfinite(values_K)
    bins = np.digitize(density_K[finite], DENSITY_EDGES, right=True)
    groups = {b: values_K[finite][bins == b] for b in range(1, len(DENSITY_EDGES))}
    return {b: float(np.median(group)) for b, group in groups.items() if len(group) >= MIN_BIN_FEATURES}


def spans(
    profile: Profile,
    mask_TK: np.ndarray | None,
    significant_K: np.ndarray,
    *,
    bandwidth: float = BANDWIDTH,
    seed: int = 0,
) -> Spans:
    """All span estimators of one dictionary.

    Args:
        mask_TK: [T, d_sae] mask values with BOS in row 0, which is left out; None for a dictionary without masks.
        significant_K: features with a significant effect of position; only they have a width.
        bandwidth: of the smoothing, in positions; one value for all layers that are compared.
        seed: of the features of equal frequency.
    """
    # Firing, not amplitude: a soft mask multiplies amplitudes and never stops a firing, so widths of amplitude profiles
    # of a masked dictionary are mostly those of the ripples that its mask was initialised with.
    firings = profile.firings_TK
    P, K = firings.shape
    total = firings.sum(0)
    enough = total >= MIN_FIRINGS
    widths, matched = [], {effective_positions: [], participation_ratio: []}
    for draw in _frequency_draws(total, profile.windows, P, seed):
        widths.append(fwhm(draw, bandwidth))
        for estimator, values in matched.items():
            values.append(estimator(draw))
    above = None if mask_TK is None else above_half(mask_TK[1:])
    time = autocorrelation_time(autocovariance(profile))
    dwell = _ratio(total, profile.runs_K)
    together, permuted_together = firing_autocorrelation(profile)

    def gated(values_K: np.ndarray, gate_K: np.ndarray = enough) -> np.ndarray:
        return np.where(gate_K, values_K, np.nan)

    def relative(estimator) -> np.ndarray:
        return gated(_ratio(estimator(firings), np.where(enough, np.mean(matched[estimator], axis=0), np.nan)))

    def median_width(widths_RK: Sequence[np.ndarray]) -> np.ndarray:
        return gated(np.median(widths_RK, axis=0))

    return Spans(
        density_K=total / (P * profile.windows),
        fwhm_K=gated(fwhm(firings, bandwidth), (total >= WIDTH_FIRINGS) & significant_K),
        null_fwhm_K=median_width([fwhm(one, bandwidth) for one in profile.permuted_firings_RTK]),
        frequency_fwhm_K=median_width(widths),
        centre_K=gated(centre_of_mass(firings)),
        effective_positions_K=gated(effective_positions(firings)),
        effective_positions_ratio_K=relative(effective_positions),
        participation_ratio_K=relative(participation_ratio),
        mask_run_K=np.full(K, np.nan) if above is None else longest_run(above).astype(float),
        dwell_K=gated(dwell),
        dwell_ratio_K=gated(_ratio(profile.expected_runs_K, profile.runs_K)),
        autocorrelation_time_K=gated(time),
        autocorrelation_ratio_K=gated(time / autocorrelation_time(permuted_autocovariance(profile))),
        firing_autocorrelation_K=gated(together),
        permuted_firing_autocorrelation_K=gated(permuted_together),
    )


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b, nan where b is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(b != 0, a / b, np.nan)
