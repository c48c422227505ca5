"""What the calibration plants into a language model's activations."""

import numpy as np
import pytest

from benchmarks import planted_real
from benchmarks.planted_case import NO_SOURCE


@pytest.mark.parametrize("seed", range(12))
def test_features_can_be_drawn_and_have_the_depth_that_they_are_said_to_have(seed):
    """Start transients of full depth would have fired with a probability above 1: no case could be made."""
    truth, rate = planted_real.features(np.random.default_rng(seed))
    assert 0 <= rate.min() and rate.max() <= planted_real.LARGEST + 1e-9
    np.testing.assert_allclose(1 - rate.min(0) / rate.max(0), truth["depth"], atol=1e-9)
    low, high = planted_real.DENSITIES
    assert (rate.mean(0) >= low - 1e-9).all() and (rate.mean(0) <= high + 1e-9).all()
    assert (truth.loc[truth["truth"] == planted_real.FLAT, "information"].abs() < 1e-9).all()


def test_the_source_that_is_named_is_the_one_whose_direction_is_shared():
    rng = np.random.default_rng(0)
    truth, _ = planted_real.features(rng)
    rows, source = planted_real.directions(truth, 640, rng)
    taking = truth["kind"].str.contains("cross-talk").to_numpy()
    assert taking.any() and ((source != NO_SOURCE) == taking).all()
    np.testing.assert_allclose((rows[taking] * rows[source[taking]]).sum(1), planted_real.CROSS_TALK)
    assert truth["truth"].iloc[source[taking]].eq(planted_real.TUNED).all()
