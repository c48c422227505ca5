import numpy as np
import pytest
import torch
from scipy.special import rel_entr
from scipy.stats import chi2, chi2_contingency
from sklearn.metrics import mutual_info_score

from lens.measure.position_information import (
    benjamini_hochberg,
    chi_square,
    mutual_information,
    permutation_p,
    positional,
)
from lens.measure.profiles import position_labelling, profile
from tests.making import Code

SIZES = np.array([10, 20, 40])


def test_mutual_information_against_scikit_learn():
    counts = np.array([[3, 0, 10], [10, 0, 20], [2, 7, 40]])
    labels = np.repeat([0, 1, 2], SIZES)
    for j in range(3):
        fires = np.concatenate([np.arange(size) < c for size, c in zip(SIZES, counts[:, j], strict=True)])
        assert mutual_information(counts, SIZES)[j] == pytest.approx(mutual_info_score(labels, fires), abs=1e-12)


def test_mutual_information_is_the_mean_divergence_of_voita():
    counts, r = np.array([[3.0], [10], [2]]), 15 / 70
    by_bin = [rel_entr(c / n, r) + rel_entr(1 - c / n, 1 - r) for c, n in zip(counts[:, 0], SIZES, strict=True)]
    assert mutual_information(counts, SIZES)[0] == pytest.approx(SIZES @ by_bin / 70)


def test_chi_square_by_hand():
    q = chi_square(np.array([[[1], [4]], [[3], [4]]]))  # mean 2, variance 1; the second bin never varies
    assert q.tolist() == [[1], [1]]


def test_chi_square_ranks_tables_as_pearson_does():
    rng = np.random.default_rng(0)
    tables = rng.multivariate_hypergeometric(SIZES, 20, size=4000)
    q = chi_square(tables[..., None])[:, 0]
    pearson = [chi2_contingency(np.stack([t, SIZES - t]), correction=False).statistic for t in tables[:200]]
    assert np.corrcoef(q[:200], pearson)[0, 1] > 0.98


def test_permutation_p_counts_ties_and_is_never_zero():
    null = np.array([[1.0, 1], [2, 1], [3, 1]])
    assert permutation_p(np.array([3.0, 2.0]), null).tolist() == [0.5, 0.25]


def test_beyond_all_permutations_p_is_the_gamma_tail():
    rng = np.random.default_rng(0)
    null = rng.chisquare(6, size=(299, 1))
    q = chi2.isf(1e-5, 6)
    assert permutation_p(np.array([q]), null)[0] == pytest.approx(1e-5, rel=0.9)
    inside = np.sort(null[:, 0])[-3]
    assert permutation_p(np.array([inside]), null)[0] == pytest.approx(4 / 300)


def test_benjamini_hochberg_looks_at_the_eligible_only():
    p = np.array([0.01, 0.02, 0.9, np.nan])
    assert benjamini_hochberg(p, np.array([True, True, True, False])).tolist() == [True, True, False, False]
    assert not benjamini_hochberg(p, np.zeros(4, bool)).any()


def simulated(rate_nTK: np.ndarray, circular: bool = False):
    """Position information of features that fire independently with the given rates."""
    f = torch.from_numpy((np.random.default_rng(0).random(rate_nTK.shape) < rate_nTK).astype(np.float32))
    n, T, k = f.shape
    labellings = {"position": position_labelling(n, T, circular=circular)}
    p = profile({"": Code(k)}, f, torch.zeros(n), 1, labellings, permutations=199, profile_permutations=1, lags=1)[""]
    return positional(p.observed["position"], p.null["position"], p.bin_sizes["position"])


def flat_rates(k, n=160, T=64):
    """Rates that differ between features and, fourfold, between windows, but not between positions."""
    rng = np.random.default_rng(1)
    return np.broadcast_to(
        rng.uniform(0.02, 0.2, k) * rng.uniform(0.5, 2, (n, 1, 1)) * rng.choice([0.25, 1], (n, 1, k)), (n, T, k)
    )


@pytest.mark.parametrize("circular", [False, True])
def test_flat_features_are_not_called_positional(circular):
    result = simulated(flat_rates(400), circular)
    assert result.eligible_K.mean() > 0.95
    assert 0.02 < np.nanmean(result.p_K < 0.05) < 0.08
    assert result.share_significant <= 0.05 and result.null_share <= 0.05
    assert abs(np.mean(result.u_corrected_K)) < 0.1 * np.mean(result.u_K)


def test_persistent_features_pass_for_positional_unless_neighbours_stay_together():
    # on for about ten tokens at a time, anywhere in the window
    wave = np.sin(np.arange(64)[:, None] / 4 + np.random.default_rng(2).uniform(0, 2 * np.pi, (160, 1, 300)))
    rates = np.where(wave > 0.8, 0.8, 0.01)
    by_shift, one_by_one = simulated(rates, circular=True), simulated(rates)
    assert 0.02 < np.nanmean(by_shift.p_K < 0.05) < 0.08 and by_shift.share_significant <= 0.05
    assert np.nanmean(one_by_one.p_K < 0.05) > 0.2
    assert one_by_one.null_share <= 0.05  # which its own null cannot reveal


@pytest.mark.parametrize("circular", [False, True])
def test_planted_features_are_found(circular):
    rates = flat_rates(120).copy()
    rates[:, 16:32, :30] *= 3
    result = simulated(rates, circular)
    assert result.significant_K[:30].mean() > 0.9
    assert result.significant_K[30:].mean() <= 0.05
    assert result.u_corrected_K[:30].mean() > 10 * abs(result.u_corrected_K[30:].mean())


def test_silent_rare_and_always_on_features_are_counted_and_not_tested():
    rates = flat_rates(4).copy()
    rates[..., 0], rates[..., 1], rates[..., 2] = 0, 1, 0.002
    result = simulated(rates)
    assert result.always_on == 1
    assert result.eligible_K.tolist() == [False, False, False, True]
    assert np.isnan(result.p_K[:3]).all() and not result.significant_K[:3].any()
    assert np.isnan(result.u_K[:2]).all() and np.isfinite(result.u_K[2:]).all()


def test_no_eligible_feature_has_no_share():
    result = positional(np.zeros((3, 2)), np.zeros((50, 3, 2)), SIZES)
    assert np.isnan(result.share_significant) and np.isnan(result.null_share)


def test_too_few_permutations_are_refused():
    with pytest.raises(ValueError, match="raise `permutations`"):
        positional(np.zeros((3, 2)), np.zeros((39, 3, 2)), SIZES)
