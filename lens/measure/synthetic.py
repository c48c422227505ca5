"""Planted features: activations whose features have known widths, densities and directions, to try estimators on.

`plant` draws features with windows of positions. `rates`, `levels` and `fires` are for any other profile, at any depth,
and for a text that is read again at other positions: a feature fires where its level, which belongs to the text, is
below its rate, which belongs to the position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lens.measure.spans import WIDTHS

DENSITIES = (0.005, 0.1)
OFFSET = 0.5  # added to |N(0, 1)|: a feature that is on is on by more than the noise of an encoder
BOS_NORM = 1000.0  # position 0 of language models is this far off


@dataclass(frozen=True)
class Planted:
    """True features of n windows; position 0 is BOS, where all are silent."""

    features: Tensor
    """[n, T, k] fp32: |N(0, 1)| + `OFFSET` where the feature fires, else 0"""
    width_K: np.ndarray
    """[k] positions of the feature's window; nan: it ignores position"""
    first_K: np.ndarray
    """[k] first position of the window, 1 for a feature that ignores position"""
    density_K: np.ndarray
    """[k] expected share of text tokens on which it fires"""
    persistence: float
    """correlation of firing at neighbouring positions, given the window"""

    @property
    def window_TK(self) -> np.ndarray:
        """[T, k] positions at which the feature can fire."""
        return _windows(self.features.shape[1], self.width_K, self.first_K)

    @property
    def rate_K(self) -> np.ndarray:
        """[k] probability of firing inside the window."""
        return self.density_K * (self.features.shape[1] - 1) / self.length_K

    @property
    def length_K(self) -> np.ndarray:
        """[k] `width_K`, and all text positions where that is nan."""
        return np.where(np.isnan(self.width_K), self.features.shape[1] - 1, self.width_K)


@dataclass(frozen=True)
class Embedded:
    """Planted features as a residual stream."""

    activations: Tensor
    """[n, T, d] bf16"""
    directions: Tensor
    """[k, d] unit rows: the true decoder"""


@dataclass(frozen=True)
class Recovered:
    """One-to-one matching of true directions with decoder rows."""

    learned: np.ndarray
    """[k] feature of the dictionary that is matched with each true one"""
    cosine: np.ndarray
    """[k] of the two directions"""


def plant(
    windows: int,
    length: int,
    n_features: int,
    *,
    widths: Sequence[float] = (*WIDTHS, np.nan),
    densities: tuple[float, float] = DENSITIES,
    persistence: float = 0.0,
    seed: int = 0,
) -> Planted:
    """Draw features that fire in a window of positions of their own, in equal numbers of each width.

    Feature j has width j mod len(widths), and one density, log-uniform, serves each such round: features of different
    widths fire equally often. Within its window firing is a stationary Markov chain along the positions, whose
    correlation at lag l is persistence^l; with 0 every token is drawn on its own. Widths are hard: the rate is
    constant inside the window and 0 outside.

    Args:
        windows, length: n and T.
        widths: positions of a feature's window; nan: all of the text.
        densities: lowest and highest.

    Raises:
        ValueError: a width, density or persistence that is not possible.
    """
    P, shortest = length - 1, np.nanmin([*widths, length - 1])
    if np.nanmax([*widths, 0]) > P:
        raise ValueError(f"widths up to {np.nanmax(widths):g} do not fit {P} text positions: plant longer windows")
    if not 0 < densities[0] <= densities[1] <= shortest / P:
        raise ValueError(
            f"densities {densities[0]:.3g} to {densities[1]:.3g} are not in order between 0 and {shortest / P:.3g}, "
            f"the density of a feature that always fires on {shortest:g} of {P} positions"
        )
    if not 0 <= persistence < 1:
        raise ValueError(f"persistence {persistence} is outside 0 <= persistence < 1")
    rng = np.random.default_rng(seed)
    rounds = -(-n_features // len(widths))
    density_K = np.exp(rng.uniform(np.log(densities[0]), np.log(densities[1]), rounds)).repeat(len(widths))[:n_features]
    width_K = np.tile(np.array(widths, float), rounds)[:n_features]
    length_K = np.where(np.isnan(width_K), P, width_K)
    first_K = 1 + (rng.random(n_features) * (P - length_K + 1)).astype(int)
    on = _fire(windows, density_K * P / length_K, _windows(length, width_K, first_K), persistence, rng)
    features = torch.from_numpy(np.abs(rng.standard_normal(on.shape, np.float32)) + np.float32(OFFSET))
    return Planted(features * torch.from_numpy(on), width_K, first_K, density_K, persistence)


def _windows(length: int, width_K: np.ndarray, first_K: np.ndarray) -> np.ndarray:
    last_K = first_K + np.where(np.isnan(width_K), length - 1, width_K)
    t = np.arange(length)[:, None]
    return (t >= first_K) & (t < last_K)


def _fire(n: int, rate_K: np.ndarray, window_TK: np.ndarray, persistence: float, rng) -> np.ndarray:
    """Firings [n, T, k]: at rate r, r + persistence (1 - r) after a firing and r (1 - persistence) after none."""
    on = np.zeros((n, *window_TK.shape), bool)
    for t in range(1, len(window_TK)):
        chain = window_TK[t - 1]  # features whose window began earlier; the others start at the rate itself
        p = rate_K + persistence * chain * (on[:, t - 1] - rate_K)
        on[:, t] = (rng.random(p.shape, np.float32) < p) & window_TK[t]
    return on


def bump(P: int, first: int, width: int) -> np.ndarray:
    """[P] 1 at positions first..first + width - 1 of 1..P, else 0. Two bumps are the sum of two that don't meet.

    Raises:
        ValueError: it does not fit into the window.
    """
    if first < 1 or width < 1 or first + width > P + 1:
        raise ValueError(f"a bump of {width} positions from {first} does not fit into positions 1..{P}")
    t = np.arange(1, P + 1)
    return ((t >= first) & (t < first + width)).astype(float)


def ramp(P: int) -> np.ndarray:
    """[P] rising evenly from 0 at position 1 to 1 at P; 1 - ramp falls."""
    return np.linspace(0, 1, P)


def transient(P: int, scale: float = 2.0) -> np.ndarray:
    """[P] exp(-(t - 1) / scale): 1 at position 1 and gone after a few; 1 - transient is a late start."""
    return np.exp(-np.arange(P) / scale)


def rates(shape_PK: np.ndarray, depth_K: np.ndarray, density_K: np.ndarray) -> np.ndarray:
    """Probability of firing [P, K] with the given mean over positions, whose smallest is 1 - depth of its largest.

    Args:
        shape_PK: profile of each feature; only its form counts. A constant one is flat at any depth.
        depth_K: (largest - smallest rate) / largest, 0 to 1.
        density_K: mean rate.

    Raises:
        ValueError: a depth outside 0..1, or a rate above 1.
    """
    low, high = shape_PK.min(0), shape_PK.max(0)
    form = np.where(high > low, (shape_PK - low) / np.where(high > low, high - low, 1), 1)
    if not ((depth_K >= 0) & (depth_K <= 1)).all():
        raise ValueError(
            f"depths {np.min(depth_K):g} to {np.max(depth_K):g} are not shares of the largest rate, 0 to 1"
        )
    profile = 1 - depth_K * (1 - form)
    found = density_K * profile / profile.mean(0)
    if (found > 1).any():
        raise ValueError(f"a feature would fire with probability {found.max():.3g}: lower its density or its depth")
    return found


def levels(texts: int, places: int, persistence_K: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uniform levels [texts, places, K] fp32 of a text's places: each is kept from the place before with probability
    `persistence`, else drawn anew. Firings at a constant rate correlate by persistence^l at lag l, exactly."""
    level = rng.random((texts, places, len(persistence_K)), np.float32)
    kept = rng.random(level.shape, np.float32) < persistence_K
    for s in range(1, places):
        level[:, s] = np.where(kept[:, s], level[:, s - 1], level[:, s])
    return level


def fires(level: np.ndarray, rate_PK: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Whether features fire [..., S, K] at places of these levels [..., S, K], read at positions 1..P [..., S]."""
    return level < rate_PK[position - 1]


def embed(planted: Planted, d_in: int, *, position_share: float = 0.0, seed: int = 0) -> Embedded:
    """Activations x_t = sum_j f_tj d_j + mean_t with random unit directions d_j; BOS is one vector of norm `BOS_NORM`.

    Args:
        position_share: share of the variance over text positions that is due to mean_t, a helix in three dimensions
            (two turns over the window), as in language models.

    Raises:
        ValueError: the share is not below 1, or a helix does not fit into d_in dimensions.
    """
    if not 0 <= position_share < 1 or d_in < 4:
        raise ValueError(f"position_share = {position_share} must lie in [0, 1) and d_in = {d_in} be at least 4")
    k, T = planted.features.shape[2], planted.features.shape[1]
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(k, d_in, generator=generator), dim=1)
    axes = torch.linalg.qr(torch.randn(d_in, 4, generator=generator)).Q.T
    x = planted.features @ directions
    turn = torch.linspace(0, 4 * torch.pi, T - 1)
    helix = torch.stack([turn.cos(), turn.sin(), torch.linspace(-1, 1, T - 1)], dim=1) @ axes[:3]
    helix -= helix.mean(0)
    variance = x[:, 1:].flatten(0, 1).var(0, correction=0).sum()
    target = variance * position_share / (1 - position_share)
    x[:, 1:] += helix * (target / helix.square().sum(1).mean()).sqrt()
    x[:, 0] = BOS_NORM * axes[3]
    return Embedded(x.bfloat16(), directions)


def true_dwell(planted: Planted) -> np.ndarray:
    """Expected firings over expected runs of firings [k]: w / (1 + (w - 1) (1 - s)) for a window of w positions, s the
    probability that a firing is followed by another."""
    stay_K = planted.rate_K + planted.persistence * (1 - planted.rate_K)
    return planted.length_K / (1 + (planted.length_K - 1) * (1 - stay_K))


def true_autocorrelation_time(planted: Planted) -> np.ndarray:
    """1 + 2 sum_l rho_l of the amplitude inside the window [k]; amplitudes of two firings are independent.

    rho_l = c persistence^l with c = m^2 (1 - r) / (E[a^2] - m^2 r), for rate r and amplitudes a of mean m.
    """
    mean, r_K, phi = np.sqrt(2 / np.pi) + OFFSET, planted.rate_K, planted.persistence
    square = 1 + 2 * OFFSET * np.sqrt(2 / np.pi) + OFFSET**2
    c_K = mean**2 * (1 - r_K) / (square - mean**2 * r_K)
    return 1 + 2 * c_K * phi / (1 - phi)


def recover(decoder_KD: np.ndarray, directions_KD: np.ndarray) -> Recovered:
    """Match true unit directions [k, d] with the unit decoder rows of a dictionary, by the largest sum of cosines.

    Raises:
        ValueError: the dictionary has fewer features than there are directions.
    """
    cosines = directions_KD @ decoder_KD.T
    if cosines.shape[0] > cosines.shape[1]:
        raise ValueError(f"{cosines.shape[1]} features cannot be matched with {cosines.shape[0]} directions; widen it")
    true, learned = linear_sum_assignment(cosines, maximize=True)
    return Recovered(learned, cosines[true, learned])
