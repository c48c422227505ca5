import numpy as np
import pytest

from lens.measure.reliability import reliability


def test_two_halves_by_hand_and_by_spearman_and_brown():
    a, b = np.array([1.0, -1, 0, 0]), np.array([1.0, 0, -1, 0])  # of one norm, correlation 1/2
    found = reliability(np.stack([a, b])[..., None], np.ones(2))
    assert found == pytest.approx([2 * 0.5 / 1.5])
    assert np.isnan(reliability(np.ones((2, 4, 1)), np.ones(2)))
    with pytest.raises(ValueError, match="two or more"):
        reliability(np.ones((1, 4, 1)), np.ones(1))


def test_it_is_the_true_share_of_the_variance():
    rng, windows = np.random.default_rng(0), np.array([1, 2, 3, 4, 6])
    true = rng.normal(size=(64, 200))
    noise = rng.normal(size=(5, 64, 200)) * 2 / np.sqrt(windows)[:, None, None]  # variance 4 / 16 of the mean of all
    assert reliability(true + noise, windows).mean() == pytest.approx(1 / 1.25, abs=0.02)
    assert reliability(noise, windows).mean() == pytest.approx(0, abs=0.05)
