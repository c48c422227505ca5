from dataclasses import replace

import numpy as np
import pytest
import torch

from lens.dictionaries.positions.mask import init_pos_logits, position_mask
from lens.measure.profiles import position_labelling, profile
from lens.measure.spans import (
    above_half,
    autocorrelation_time,
    autocovariance,
    centre_of_mass,
    effective_positions,
    firing_autocorrelation,
    frequency_matched,
    fwhm,
    longest_run,
    medians_by_density,
    participation_ratio,
    permuted_autocovariance,
    smooth,
    spans,
)
from lens.measure.synthetic import levels
from tests.making import Code

P = 127


def rectangle(width, start=30):
    t = np.arange(P)
    return ((t >= start) & (t < start + width)).astype(float)[:, None]


def measured(f, lags=32):
    f = torch.as_tensor(f, dtype=torch.float32)
    n, T, k = f.shape
    options = {"permutations": 1, "profile_permutations": 5, "lags": lags}
    return profile({"": Code(k)}, f, torch.zeros(n), 1, {"position": position_labelling(n, T)}, **options)[""]


def test_smoothing_keeps_constants_and_renormalises_at_the_edges():
    np.testing.assert_allclose(smooth(np.full((9, 2), 3.0)), 3)
    spike = np.eye(9)[:, :1]
    weights = np.exp(-0.5 * (np.arange(9) / 3.0) ** 2)
    assert smooth(spike)[0, 0] == pytest.approx(1 / weights.sum())


@pytest.mark.parametrize("width", [16, 40, 64])
@pytest.mark.parametrize("bandwidth", [2.0, 3.0, 4.0])
def test_width_of_a_rectangle(width, bandwidth):
    for start in (0, 30, P - width):
        assert abs(fwhm(rectangle(width, start), bandwidth)[0] - width) <= 1
    assert fwhm(5 + 0.1 * rectangle(width), bandwidth)[0] == fwhm(rectangle(width), bandwidth)[0]


def test_width_is_of_the_stretch_that_holds_the_peak_and_undefined_without_one():
    two = rectangle(40, 10) + 1.2 * rectangle(16, 90)
    assert abs(fwhm(two)[0] - 16) <= 1
    assert np.isnan(fwhm(np.full((P, 1), 2.0))).all() and np.isnan(fwhm(np.zeros((P, 1)))).all()


def test_centre_of_mass_counts_text_positions_from_one():
    assert centre_of_mass(np.array([[1.0, 0, 0], [0, 1, 0], [3, 1, 0]])).tolist()[:2] == [2.5, 2.5]
    assert np.isnan(centre_of_mass(np.zeros((3, 1)))[0])


def test_longest_run_by_hand():
    on = np.array([[1, 0, 1, 0], [1, 0, 0, 1], [0, 0, 1, 1], [1, 0, 1, 1]], bool)
    assert longest_run(on).tolist() == [2, 0, 2, 3]


def initial_mask(tau):
    return position_mask(init_pos_logits(128, 4000, torch.Generator().manual_seed(0)), tau).double().numpy()


def test_widths_of_masks_at_initialisation():
    cold, warm = initial_mask(0.1), initial_mask(5.0)
    assert longest_run(above_half(cold)).mean() == pytest.approx(8.1, abs=0.15)
    assert above_half(cold).sum(0).mean() == pytest.approx(75, abs=1)
    assert longest_run(above_half(warm)).min() == above_half(warm).sum(0).min() == 128
    assert longest_run(warm > 0.5).mean() == pytest.approx(6.3, abs=0.15)
    assert (warm > 0.5).sum(0).mean() == pytest.approx(64, abs=0.5)
    assert effective_positions(cold).mean() == pytest.approx(118.6, abs=0.3)
    assert participation_ratio(cold).mean() == pytest.approx(111.9, abs=0.5)


def test_mask_width_is_invariant_under_the_gauge():
    mask = initial_mask(0.1)
    scaled = mask * np.random.default_rng(0).uniform(0.1, 10, mask.shape[1])
    np.testing.assert_array_equal(above_half(mask), above_half(scaled))
    assert (longest_run(mask > 0.5) != longest_run(scaled > 0.5)).any()  # what a fixed threshold would give


def test_effective_positions_of_flat_and_concentrated_firing():
    counts = np.array([[400, 8, 0, 0], [400, 0, 0, 10], [400, 0, 0, 10], [400, 0, 0, 0]])
    np.testing.assert_allclose(effective_positions(counts), [4, 1, np.nan, 2])
    np.testing.assert_allclose(participation_ratio(counts), [4, 1, np.nan, 2])
    corrected = effective_positions(counts, miller_madow=True)  # by 3 / (2 * 1600) in the entropy, where it helps
    np.testing.assert_allclose(corrected, [4 * np.exp(3 / 3200), np.nan, np.nan, np.nan])


def test_equal_frequency_features_have_the_frequency():
    draws = frequency_matched(np.array([0, 100, 2000]), windows=40, n_positions=50)
    np.testing.assert_allclose(draws.sum(1).mean(0), [0, 100, 2000], rtol=0.05)
    np.testing.assert_array_equal(draws, frequency_matched(np.array([0, 100, 2000]), 40, 50))


def test_autocovariance_is_that_of_windows_without_their_position_means():
    f = np.random.default_rng(0).random((20, 41, 3)) * np.linspace(1, 3, 41)[:, None]
    p = measured(f, lags=5)
    centred = f[:, 1:] - f[:, 1:].mean(0)
    direct = [(centred[:, : 40 - l] * centred[:, l:]).sum((0, 1)) / (20 * (40 - l)) for l in range(6)]
    np.testing.assert_allclose(autocovariance(p), direct, atol=1e-5)


def test_permuted_autocovariance_is_the_mean_over_permutations():
    rng = np.random.default_rng(0)
    f = rng.random((6, 21, 3)) + rng.random((6, 1, 1))
    draws = []
    for _ in range(400):
        permuted = f.copy()
        permuted[:, 1:] = rng.permuted(f[:, 1:].reshape(6, 20, 3), axis=1)
        draws.append(autocovariance(measured(permuted, lags=2)))
    np.testing.assert_allclose(permuted_autocovariance(measured(f, lags=2)), np.mean(draws, 0), atol=2e-3)


def test_autocorrelation_time_by_hand_and_of_an_ar1_process():
    rho = np.array([[1, 1, 1, 0], [0.5, 0.5, -1, 0], [0.25, -0.3, 1, 0], [0.125, 0.2, 1, 0]])
    np.testing.assert_allclose(autocorrelation_time(rho), [1 + 2 * 0.875, 2, -1, np.nan])
    phi, x = 0.8, np.zeros((3000, 80, 1))
    noise = np.random.default_rng(0).normal(size=x.shape)
    x[:, 0] = noise[:, 0] / np.sqrt(1 - phi**2)
    for t in range(1, 80):
        x[:, t] = phi * x[:, t - 1] + noise[:, t]
    time = autocorrelation_time(autocovariance(measured(x)))
    assert time[0] == pytest.approx((1 + phi) / (1 - phi), rel=0.1)


def test_correlation_of_neighbouring_firings_is_that_of_the_chain_and_of_windows_that_differ():
    rng, rate = np.random.default_rng(0), np.linspace(0.1, 0.5, 41)[:, None] * np.ones(2)
    persistence = np.array([0.0, 0.6])
    windows = levels(4000, 41, persistence, rng) < rate
    own, permuted = firing_autocorrelation(measured(windows, lags=1))
    centred = windows[:, 1:] - windows[:, 1:].mean(0)
    direct = (centred[:, :-1] * centred[:, 1:]).mean((0, 1)) / np.square(centred).mean((0, 1))
    np.testing.assert_allclose(own, direct, atol=0.01)
    np.testing.assert_allclose(own, persistence, atol=0.03)
    assert abs(permuted[0]) < 0.01 and abs(permuted[1]) < 0.1
    differing = np.repeat(rng.random((4000, 1, 2)) < 0.5, 41, axis=1) & (rng.random((4000, 41, 2)) < 0.4)
    own, permuted = firing_autocorrelation(measured(differing, lags=1))
    np.testing.assert_allclose(own, permuted, atol=0.02)
    np.testing.assert_allclose(own, (0.5 * 0.16 - 0.04) / (0.2 * 0.8), atol=0.02)


def test_medians_by_density_leave_out_thin_bins():
    density = np.array([0.002] * 5 + [0.02] * 50 + [0.2] * 4 + [1e-4] * 9)
    values = np.array([10.0] * 5 + [20.0] * 50 + [1000.0] * 4 + [1000.0] * 9)
    assert medians_by_density(values, density) == {1: 10, 3: 20}
    values[0] = np.nan  # the first bin is left with four
    assert medians_by_density(values, density) == {3: 20}
    assert medians_by_density(values[:4], density[:4]) == {}
    assert medians_by_density(np.ones(5), np.ones(5)) == {6: 1}


@pytest.fixture(scope="module")
def planted():
    """Features: a window of 40 positions, flat, persistent, rare, silent; [600, 128, 5]."""
    rng = np.random.default_rng(0)
    rate = np.zeros((128, 5))
    rate[31:71, 0], rate[:, 1], rate[:, 3] = 0.2, 0.06, 0.0005
    on = rng.random((600, 128, 5)) < rate
    on[:, :, 2] = np.repeat(rng.random((600, 16)) < 0.06, 8, axis=1)  # runs of eight
    return measured(on * rng.uniform(0.5, 1.5, on.shape))


def test_spans_of_planted_features(planted):
    mask = np.ones((128, 5))
    mask[50:, 0] = 0.1
    s = spans(planted, mask, np.array([True, False, False, False, False]))
    np.testing.assert_allclose(s.density_K[:2], [0.2 * 40 / 127, 0.06], rtol=0.05)
    assert abs(s.fwhm_K[0] - 40) <= 2 and np.isnan(s.fwhm_K[1:]).all()
    assert (s.null_fwhm_K[:2] < 30).all() and (s.frequency_fwhm_K[:2] < 30).all()  # what noise alone gives
    assert s.centre_K[0] == pytest.approx(50.5, abs=1)
    assert s.effective_positions_K[0] == pytest.approx(40, abs=1)
    assert s.effective_positions_ratio_K[0] < 0.35 and s.participation_ratio_K[0] < 0.35
    assert s.effective_positions_ratio_K[1] == pytest.approx(1, abs=0.02)
    assert effective_positions(planted.firings_TK, miller_madow=True)[1] == pytest.approx(P, abs=1)
    assert s.mask_run_K.tolist() == [49, 127, 127, 127, 127]
    assert s.dwell_ratio_K[1] == pytest.approx(1, abs=0.05) and s.dwell_ratio_K[2] > 4
    assert s.dwell_K[2] == pytest.approx(8 / (1 - 0.06), rel=0.1)
    assert s.autocorrelation_ratio_K[1] == pytest.approx(1, abs=0.3)
    # rho(l) = 1 - l / 8 sums up to 1 + 2 x 3.5; permuting leaves what windows differ in, so the null is above 1
    assert s.autocorrelation_time_K[2] == pytest.approx(8, abs=1) and 1.5 < s.autocorrelation_ratio_K[2] < 3
    for name, values in vars(s).items():
        if not name.startswith(("density", "mask")):
            assert np.isnan(values[3:]).all(), name  # fewer than 100 firings


def test_neither_masks_nor_blocks_matter_to_the_widths_of_firing(planted):
    """A soft mask multiplies amplitudes and stops no firing: the width is the feature's, not the mask's."""
    half = planted.firings_BTK[0] // 2
    halves = np.stack([half, planted.firings_BTK[0] - half])
    ripple = planted.amplitude_BTK * (1 + 0.9 * np.sin(np.arange(128) / 3)[None, :, None])
    plain, *others = (
        spans(p, None, np.ones(5, bool))
        for p in (planted, replace(planted, firings_BTK=halves), replace(planted, amplitude_BTK=ripple))
    )
    assert np.isfinite(plain.fwhm_K[:3]).all() and np.isnan(plain.fwhm_K[3:]).all()  # rare features have no width
    assert np.isnan(plain.mask_run_K).all()
    for other in others:
        np.testing.assert_allclose(other.fwhm_K, plain.fwhm_K)


def test_long_windows_are_smoothed_with_the_weights_of_short_ones():
    profile = np.random.default_rng(0).random((300, 4))
    t = np.arange(300)
    kernel = np.exp(-0.5 * ((t[:, None] - t) / 3) ** 2)
    np.testing.assert_allclose(smooth(profile), kernel / kernel.sum(1, keepdims=True) @ profile, rtol=1e-13)
