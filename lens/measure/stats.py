"""Intervals, tests and power for quantities that vary over training seeds, over text and over positions.

Two things are sampled in every comparison: training seeds and documents of held-out text. The documents are
the same for every seed, so the design is crossed, not nested, and a quantity's variance is

    Var = seed / S + document / B + interaction / (S B).

The rule for errors (`interval`) adds a seed component (the t variance over seeds) and a document
component (a bootstrap over documents with the seeds held fixed) and takes a t interval with the
Welch-Satterthwaite degrees of freedom. The interaction enters both components, so the rule errs on the wide
side. A percentile bootstrap of both levels (`crossed_bootstrap`) is reported beside it and never judged by:
with 3 to 5 seeds that differ it covers far less than 95 % (`tests/measure/test_stats.py` measures both).
Claims about features, shares and accuracies vary over seeds alone, on fixed text, and say so.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

LEVEL = 0.95


class Component(NamedTuple):
    """One source of variance of an estimate: its variance and the degrees of freedom of that variance."""

    variance: float
    df: float


class Interval(NamedTuple):
    """An estimate with its t interval at `LEVEL`, standard error and degrees of freedom (nan: unknown)."""

    estimate: float
    low: float
    high: float
    se: float
    df: float

    def p_value(self, null: float = 0.0) -> float:
        """Two-sided p of the t test that the quantity equals `null`."""
        if self.se == 0:
            return float(self.estimate == null)
        return float(2 * stats.t.sf(abs(self.estimate - null) / self.se, self.df))

    def equivalence_p(self, low: float, high: float) -> float:
        """p of the two one-sided tests (TOST) that the quantity lies inside (low, high)."""
        if self.se == 0:
            return float(not low < self.estimate < high)
        below = stats.t.sf((self.estimate - low) / self.se, self.df)
        above = stats.t.sf((high - self.estimate) / self.se, self.df)
        return float(max(below, above))

    def minimum_detectable_effect(self, alpha: float = 0.05, power: float = 0.8) -> float:
        """Smallest distance from the null that the two-sided t test finds with probability `power`.

        For n paired differences of sd s this is the paired t test's: 1.68 s at n = 5, 1.0 s at n = 10.
        """
        if not self.se > 0:
            return 0.0 if self.se == 0 else np.nan
        cut = stats.t.ppf(1 - alpha / 2, self.df)

        def shortfall(shift: float) -> float:  # rejections on the other side are negligible at this power
            return stats.nct.sf(cut, self.df, shift) - power

        high = cut
        while shortfall(high) < 0:
            high *= 1.5
        return float(self.se * optimize.brentq(shortfall, 0, high))


def interval(estimate: float, *components: Component) -> Interval:
    """t interval of `estimate` from variance components, degrees of freedom by Welch-Satterthwaite.

    With one component of S seeds this is the ordinary t interval of a mean. A component without degrees of
    freedom (one seed, one document) makes the interval unknown: nan, never zero width.
    """
    if not components or any(not c.df > 0 for c in components):
        return Interval(float(estimate), np.nan, np.nan, np.nan, np.nan)
    variance = sum(c.variance for c in components)
    if variance == 0:
        return Interval(float(estimate), float(estimate), float(estimate), 0.0, min(c.df for c in components))
    df = variance**2 / sum(c.variance**2 / c.df for c in components)
    se = np.sqrt(variance)
    half = stats.t.ppf(0.5 + LEVEL / 2, df) * se
    return Interval(float(estimate), float(estimate - half), float(estimate + half), float(se), float(df))


def seed_component(values_S: np.ndarray) -> Component:
    """Variance of the mean of one value per seed. Paired differences are one value per seed too."""
    n = len(values_S)
    return Component(float(np.var(values_S, ddof=1) / n) if n > 1 else np.nan, n - 1)


def draws_component(draws_R: np.ndarray, n_units: int) -> Component:
    """Variance of an estimate from its bootstrap draws over `n_units` units, corrected by n / (n - 1)."""
    if n_units < 2:
        return Component(np.nan, 0)
    return Component(float(np.var(draws_R) * n_units / (n_units - 1)), n_units - 1)


def pseudovalues(estimate: float, leave_one_out_S: np.ndarray) -> np.ndarray:
    """Jackknife pseudo-values S theta - (S - 1) theta_(s): one per seed, for statistics over pairs of seeds.

    Pairs that share a seed are not independent; the pseudo-values of the seeds are, to first order.
    """
    n = len(leave_one_out_S)
    return n * estimate - (n - 1) * np.asarray(leave_one_out_S, float)


# Ratios of sums over documents


def block_weights(n_blocks: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """How often each document is drawn in each bootstrap sample, `[draws, n_blocks]`."""
    return rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=draws)


def log_ratio(
    early: tuple[np.ndarray, np.ndarray],
    late: tuple[np.ndarray, np.ndarray],
    weights_RB: np.ndarray | None = None,
) -> np.ndarray:
    """log of (sum e / sum n over early) / (the same over late); documents on the last axis.

    Each pair is (numerator, denominator), sums per document that broadcast to `[..., B]`. Sums are taken over
    documents before dividing, never means of ratios. Returns `[...]`, or `[R, ...]` with the weights of R
    bootstrap samples.
    """

    sums = np.stack(np.broadcast_arrays(*early, *late)).astype(float)  # [4, ..., B]
    totals = sums.sum(axis=-1) if weights_RB is None else np.moveaxis(sums @ weights_RB.T, -1, 1)
    a, b, c, d = np.log(totals)
    return a - b - c + d


def crossed_bootstrap(draws_RS: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Percentile interval over seeds and documents together.

    `draws_RS` holds each seed's value in R bootstrap samples of the documents (the same samples for every
    seed); the seeds are resampled here, independently in each.
    """
    n_seeds = draws_RS.shape[1]
    weights = block_weights(n_seeds, len(draws_RS), rng) / n_seeds
    tail = (1 - LEVEL) / 2
    low, high = np.quantile((draws_RS * weights).sum(axis=1), [tail, 1 - tail])
    return float(low), float(high)


# Correlations over positions


def correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson correlation along the last axis; nan where either side is constant."""
    x = x - x.mean(axis=-1, keepdims=True)
    y = y - y.mean(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1))


def fisher_z(r: np.ndarray) -> np.ndarray:
    """arctanh of a correlation, kept finite at |r| = 1."""
    return np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12))


def holm(p: np.ndarray) -> np.ndarray:
    """p values `[m]` of a family of tests, adjusted so that any false one among them has probability `alpha` at most
    (Holm 1979)."""
    order = np.argsort(p)
    steps = np.maximum.accumulate(np.asarray(p)[order] * np.arange(len(p), 0, -1))
    return np.minimum(steps, 1)[np.argsort(order)]


def circular_shifts(y: np.ndarray) -> np.ndarray:
    """The n circular shifts of `y` along its last axis, `[n, ..., n]`; row 0 is `y` itself."""
    return np.stack([np.roll(y, k, axis=-1) for k in range(y.shape[-1])])


def shift_p_value(statistics_n: np.ndarray) -> float:
    """One-sided p of statistics_n[0] (unshifted) among all n circular shifts; never below 1 / n.

    Shifting keeps each curve's own autocorrelation, which a t test of a correlation over positions ignores.
    """
    slack = 1e-12 * np.abs(statistics_n).max()  # a shift that ties in exact arithmetic counts as a tie
    return float(np.mean(statistics_n >= statistics_n[0] - slack))


def autocorrelation_length(x: np.ndarray) -> int:
    """First lag at which the sample autocorrelation of a curve `[n]` is at most 1/e; between 1 and n // 4."""
    x = x - x.mean()
    energy = float(x @ x)
    longest = max(1, len(x) // 4)
    for lag in range(1, longest):
        if x[:-lag] @ x[lag:] <= energy / np.e:
            return lag
    return longest


def moving_blocks(n: int, block: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Positions of R circular-block bootstrap samples, `[R, n]`: runs of `block` neighbours, the last one followed by
    the first, so that the ends are drawn as often as the middle (Politis and Romano 1992)."""
    starts = rng.integers(0, n, size=(draws, -(-n // block)))
    return ((starts[:, :, None] + np.arange(block)) % n).reshape(draws, -1)[:, :n]
