"""Intervals, tests and power: hand-computed values, properties, and coverage measured by simulation."""

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from lens.measure.stats import (
    Component,
    Interval,
    autocorrelation_length,
    block_weights,
    circular_shifts,
    correlation,
    crossed_bootstrap,
    draws_component,
    fisher_z,
    holm,
    interval,
    log_ratio,
    moving_blocks,
    pseudovalues,
    seed_component,
    shift_p_value,
)


def test_interval_over_seeds_is_the_t_interval_of_a_mean():
    found = interval(2.0, seed_component(np.array([1.0, 2.0, 3.0])))
    half = 4.302653 / np.sqrt(3)  # t(.975, 2) times sd 1 over root 3
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half), rel=1e-6)
    assert (found.se, found.df) == pytest.approx((1 / np.sqrt(3), 2))


def test_paired_differences_are_seen_where_the_arms_overlap():
    a, b = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.1, 2.1, 3.1, 4.2])
    d = b - a
    found = interval(d.mean(), seed_component(d))
    assert found.low > 0
    assert found.p_value() == pytest.approx(scipy_stats.ttest_rel(b, a).pvalue)


def test_components_add_with_welch_satterthwaite_degrees_of_freedom():
    found = interval(0.0, Component(1.0, 2), Component(3.0, 6))
    assert found.se == 2.0
    assert found.df == pytest.approx(16 / (1 / 2 + 9 / 6))  # (1 + 3)^2 / (1^2 / 2 + 3^2 / 6) = 8


@pytest.mark.parametrize(
    "components", [(), (seed_component(np.array([1.0])),), (Component(1.0, 3), Component(np.nan, 0))]
)
def test_without_replication_the_interval_is_unknown_and_never_zero_width(components):
    found = interval(1.5, *components)
    assert found.estimate == 1.5
    assert np.isnan([found.low, found.high, found.se, found.p_value(), found.minimum_detectable_effect()]).all()


def test_equal_replicates_give_a_point():
    found = interval(1.5, seed_component(np.array([1.5, 1.5, 1.5])))
    assert (found.low, found.high, found.p_value(), found.p_value(1.5)) == (1.5, 1.5, 0.0, 1.0)
    assert (found.equivalence_p(1, 2), found.equivalence_p(2, 3)) == (0.0, 1.0)


def test_equivalence_by_hand():
    found = Interval(0.15, np.nan, np.nan, se=0.02, df=4)
    assert found.equivalence_p(0.11, 0.19) == pytest.approx(scipy_stats.t.sf(2, 4))  # both sides 2 se away
    assert found.equivalence_p(0.14, 0.99) == pytest.approx(scipy_stats.t.sf(0.5, 4))  # the nearer side decides
    assert found.equivalence_p(0.20, 0.30) > 0.5  # outside: never equivalent


@pytest.mark.parametrize("n", [3, 5, 10, 30])
def test_minimum_detectable_effect_is_that_of_a_paired_t_test(n):
    expected = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8)  # about 1.68 sd at n = 5, 1.0 sd at n = 10
    assert Interval(0, 0, 0, 1 / np.sqrt(n), n - 1).minimum_detectable_effect() == pytest.approx(expected, rel=1e-4)


def test_pseudovalues_of_a_mean_are_the_values_and_of_pairs_average_to_the_estimate():
    values = np.array([1.0, 4.0, 7.0, 2.0])
    left_out = [np.delete(values, s).mean() for s in range(4)]
    assert pseudovalues(values.mean(), left_out) == pytest.approx(values)

    table = np.random.default_rng(0).standard_normal((5, 5))
    keep = np.arange(5)

    def off_diagonal(k):
        part = table[np.ix_(k, k)]
        return (part.sum() - np.trace(part)) / (len(k) * (len(k) - 1))

    estimate = off_diagonal(keep)
    assert pseudovalues(estimate, [off_diagonal(np.delete(keep, s)) for s in keep]).mean() == pytest.approx(estimate)


# Ratios of sums over documents


def test_log_ratio_divides_sums_and_never_averages_ratios():
    early = np.array([10.0, 2.0]), np.array([10.0, 1.0])  # (10 + 2) / 11, not the mean of 1 and 2
    late = np.array([30.0, 3.0]), np.array([10.0, 1.0])  # 33 / 11
    assert log_ratio(early, late) == pytest.approx(np.log(12 / 33))
    swapped = log_ratio(late, early)
    assert swapped == pytest.approx(-log_ratio(early, late))


def test_weighted_log_ratio_repeats_whole_documents():
    early = np.array([[10.0, 2.0], [1.0, 5.0]]), np.array([10.0, 1.0])  # [S, B] over [B]
    late = np.array([[30.0, 3.0], [2.0, 2.0]]), np.array([10.0, 1.0])
    drawn = log_ratio(early, late, np.array([[1, 1], [2, 0], [0, 2]]))
    assert drawn.shape == (3, 2)
    assert drawn[0] == pytest.approx(log_ratio(early, late))
    assert drawn[1] == pytest.approx(np.log([10 / 30, 1 / 2]))
    assert drawn[2] == pytest.approx(np.log([2 / 3, 5 / 2]))


def test_bootstrap_variance_is_that_of_a_mean_over_documents():
    x = np.array([1.0, 2.0, 4.0, 9.0, 3.0])
    weights = block_weights(5, 40_000, np.random.default_rng(0))
    assert (weights.sum(axis=1) == 5).all()
    component = draws_component(weights @ x / 5, 5)
    assert component.variance == pytest.approx(x.var(ddof=1) / 5, rel=0.03)
    assert component.df == 4
    assert np.isnan(draws_component(weights @ x / 5, 1).variance)  # one document does not replicate text


def test_crossed_bootstrap_resamples_both_levels():
    rng = np.random.default_rng(0)
    documents_only = np.repeat(rng.standard_normal((4000, 1)), 3, axis=1)  # seeds agree in every sample
    assert crossed_bootstrap(documents_only, rng) == pytest.approx((-1.96, 1.96), abs=0.15)
    low, high = crossed_bootstrap(np.tile([0.0, 1.0, 2.0], (4000, 1)), rng)  # documents do not matter, seeds do
    assert (low, high) == pytest.approx((0.0, 2.0), abs=0.35)


@pytest.mark.parametrize("S", [3, 5])
@pytest.mark.parametrize(
    "sd", [(0.03, 0.02, 0.02), (0.001, 0.10, 0.02), (0.02, 0.10, 0.05)], ids=["seeds", "documents", "both"]
)
def test_the_interval_covers_whatever_varies_most(sd, S):
    sd_seed, sd_document, sd_both = sd
    rng, truth, B, runs, hits = np.random.default_rng(7), np.log(0.85), 29, 500, 0
    for _ in range(runs):
        tokens = rng.integers(500, 2000, B).astype(float)
        noise = sd_document * rng.standard_normal(B) + sd_both * rng.standard_normal((S, B))
        late = tokens * np.exp(0.2 * rng.standard_normal(B))
        early = late * 0.85 * np.exp(sd_seed * rng.standard_normal((S, 1))) * (1 + noise)
        values = log_ratio((early, tokens), (late, tokens))
        drawn = log_ratio((early, tokens), (late, tokens), block_weights(B, 300, rng))
        found = interval(values.mean(), seed_component(values), draws_component(drawn.mean(axis=1), B))
        hits += found.low <= truth <= found.high
    # Two standard errors of .95 are .02. Where three seeds decide alone, Welch and Satterthwaite promise too much:
    # .923 of 2,500 runs.
    assert hits / runs >= (0.91 if S == 3 else 0.93)


# Correlations over positions


def test_correlation_is_pearson_and_unknown_for_a_constant():
    x, y = np.random.default_rng(0).standard_normal((2, 4, 50))
    assert correlation(x, y) == pytest.approx([scipy_stats.pearsonr(a, b).statistic for a, b in zip(x, y, strict=True)])
    assert np.isnan(correlation(np.ones(5), np.arange(5.0)))
    assert np.isfinite(fisher_z(np.array([-1.0, 1.0]))).all()


def test_holm_by_hand_and_as_elsewhere():
    assert holm(np.array([0.04, 0.01, 0.03])) == pytest.approx([0.06, 0.03, 0.06])  # 3 x .01, 2 x .03, no less for .04
    p = np.random.default_rng(0).uniform(size=20) ** 4
    assert np.array_equal(holm(p), multipletests(p, method="holm")[1])


def test_circular_shift_by_hand():
    x = np.array([0.0, 0.0, 0.0, 1.0])
    shifts = circular_shifts(x)
    assert shifts.tolist() == [[0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    assert shift_p_value(shifts @ x) == 0.25  # only the unshifted peak matches: the floor 1 / n
    assert shift_p_value(shifts @ np.array([1.0, 0.0, 0.0, 0.0])) == 1.0  # every shift does as well


def test_autocorrelation_length_grows_with_smoothness():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(127)
    smooth = np.convolve(rng.standard_normal(146), np.ones(20), mode="valid")
    assert autocorrelation_length(noise) == 1
    assert 5 < autocorrelation_length(smooth) <= 31
    assert autocorrelation_length(np.arange(20.0)) == 5  # a trend: as long as allowed, n // 4


def test_moving_blocks_are_runs_of_neighbours():
    samples = moving_blocks(10, 4, 200, np.random.default_rng(0))
    assert samples.shape == (200, 10)
    assert samples.min() == 0 and samples.max() == 9
    steps = np.diff(samples, axis=1)
    inside = [i for i in range(9) if i % 4 != 3]
    assert (steps[:, inside] % 10 == 1).all()  # the last position is followed by the first
    ends = np.isin(samples, [0, 9]).mean()
    assert ends == pytest.approx(0.2, abs=0.03)  # as often as any other two
