import numpy as np
import pytest

from lens.training.stability import local_variation, spike_rate


def test_a_spike_is_counted_and_noise_and_trend_are_not():
    rng = np.random.default_rng(0)
    loss = 2 - np.linspace(0, 1, 300) + 0.01 * rng.uniform(-1, 1, 300)
    assert spike_rate(loss) == 0
    loss[[120, 200]] += 0.5
    assert spike_rate(loss) == pytest.approx(2 / 250)


def test_local_variation_ignores_a_slow_fall_and_sees_jitter():
    slow = np.linspace(2, 1, 400)
    jitter = np.where(np.arange(400) % 2, 1.2, 0.8)
    assert local_variation(slow) < 0.05
    assert local_variation(jitter) == pytest.approx(0.2)


def test_short_runs_give_no_number():
    assert np.isnan(spike_rate(np.ones(50))) and np.isnan(local_variation(np.ones(80)))
