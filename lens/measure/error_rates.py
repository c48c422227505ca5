"""How often the tests of this package reject where there is nothing to find, by simulation under the null."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter
from scipy.stats import hypergeom, page_trend_test, pearsonr, rankdata, ttest_1samp

from lens.measure.stats import (
    block_weights,
    circular_shifts,
    correlation,
    crossed_bootstrap,
    draws_component,
    interval,
    seed_component,
    shift_p_value,
)

ALPHA = 0.05
SEEDS_ALONE = "t interval over seeds"
INTERACTION = 0.5  # standard deviation of what seed and document add together; each alone adds 1
WINDOWS = 34  # of a document: about 1,000 windows of 29 plays
BOOTSTRAP = 200
SMOOTHNESS = 0.9  # correlation of a curve at neighbouring positions
BURN_IN = 100
POSITIONS, TOP = 127, 16  # length of a curve, and size of its top set


def replicate_errors(n_seeds: int, n_documents: int, draws: int, rng: np.random.Generator) -> dict[str, float]:
    """Rates of rejection over seeds and documents, by test.

    Effects of seeds and of documents have standard deviation 1 and mean 0, their pairs `INTERACTION`. The interval over
    seeds alone sees data without documents.
    """
    seed_RS = rng.normal(size=(draws, n_seeds))
    document_RB = rng.normal(size=(draws, n_documents))
    pair_RSB = rng.normal(0, INTERACTION, (draws, n_seeds, n_documents))
    data_RSB = seed_RS[:, :, None] + document_RB[:, None] + pair_RSB
    weights = block_weights(n_documents, BOOTSTRAP, rng) / n_documents
    rejected: dict[str, list[bool]] = {}
    for seed_S, data_SB in zip(seed_RS, data_RSB, strict=True):
        by_seed, sampled_SR = data_SB.mean(1), data_SB @ weights.T
        documents = draws_component(sampled_SR.mean(0), n_documents)
        for test, found in {
            SEEDS_ALONE: interval(seed_S.mean(), seed_component(seed_S)).p_value() <= ALPHA,
            "t interval over seeds and documents": (
                interval(by_seed.mean(), seed_component(by_seed), documents).p_value() <= ALPHA
            ),
            "percentile bootstrap of seeds and documents": _excludes_0(*crossed_bootstrap(sampled_SR.T, rng)),
        }.items():
            rejected.setdefault(test, []).append(found)
    return {test: float(np.mean(found)) for test, found in rejected.items()}


def window_error(n_documents: int, draws: int, rng: np.random.Generator) -> float:
    """Rate of rejection of a t test over the windows of one seed, which takes windows of one document as independent.

    Documents and windows have standard deviation 1; the seed's own effect, which no such test can see, is left out.
    """
    document_RB = rng.normal(size=(draws, n_documents))
    windows = document_RB[:, :, None] + rng.normal(size=(draws, n_documents, WINDOWS))
    return float(np.mean(ttest_1samp(windows.reshape(draws, -1), 0, axis=1).pvalue <= ALPHA))


def _excludes_0(low: float, high: float) -> bool:
    return low > 0 or high < 0


def curve_errors(draws: int, rng: np.random.Generator) -> dict[str, float]:
    """Rates of rejection, by test of agreement between two curves over positions that have nothing in common.

    Each curve is autocorrelated by `SMOOTHNESS` from one position to the next. Tests that take positions as independent
    (the t test of a correlation, the hypergeometric one of top sets) find agreement where there is none.
    """
    noise = rng.normal(size=(2, draws, BURN_IN + POSITIONS))
    x, y = lfilter([1], [1, -SMOOTHNESS], noise, axis=-1)[..., BURN_IN:]
    top_x, top_y = (rankdata(-curve, axis=-1) <= TOP for curve in (x, y))
    p = {
        "circular shifts of a correlation over positions": [
            shift_p_value(correlation(a, circular_shifts(b))) for a, b in zip(x, y, strict=True)
        ],
        "t test of a correlation over positions": pearsonr(x, y, axis=-1, alternative="greater").pvalue,
        f"circular shifts of an overlap of {TOP} positions": [
            shift_p_value((a & circular_shifts(b)).sum(-1)) for a, b in zip(top_x, top_y, strict=True)
        ],
        f"hypergeometric overlap of {TOP} positions": hypergeom.sf((top_x & top_y).sum(-1) - 1, POSITIONS, TOP, TOP),
    }
    return {test: float(np.mean(np.asarray(values) <= ALPHA)) for test, values in p.items()}


def page_p(values_RSL: np.ndarray) -> np.ndarray:
    """p [R] of Page's test (one-sided, seeds as blocks) of R tables [seeds, layers]; equal statistics share a p."""
    ranks = rankdata(values_RSL, axis=-1)
    statistic = ranks.sum(1) @ np.arange(1, ranks.shape[-1] + 1)
    _, first, which = np.unique(statistic, return_index=True, return_inverse=True)
    return np.array([page_trend_test(ranks[i], ranked=True).pvalue for i in first])[which]


def trend_rate(
    width_L: np.ndarray, sd_L: np.ndarray, features: int, n_seeds: int, draws: int, rng: np.random.Generator
) -> float:
    """How often Page's test finds widths that grow over layers, from the median of some features per layer and seed.

    Features are normal about the layer's width, rounded to whole positions and at least 1, as measured widths are.
    """
    widths = rng.normal(width_L, sd_L, (features, draws, n_seeds, len(width_L))).round().clip(1)
    return float(np.mean(page_p(np.median(widths, axis=0)) <= ALPHA))
