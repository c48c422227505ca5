import numpy as np

from lens.measure.bands import REACH, edge_distance, null_band
from lens.measure.spans import smooth


def test_distance_to_the_nearer_end():
    assert edge_distance(5).tolist() == [0, 1, 2, 1, 0]
    assert edge_distance(40).max() == REACH and edge_distance(1).tolist() == [0]


def test_firing_that_never_varies_has_a_band_without_width():
    band = null_band(np.full((6, 30, 2), 7))
    assert band.shape == (2, REACH + 1, 2) and np.allclose(band, 7)


def test_band_holds_its_share_of_new_permutations():
    rng = np.random.default_rng(0)
    counts = rng.binomial(200, 0.1, size=(400, 40, 3))
    low, high = null_band(counts[:200])
    fresh = smooth(counts[200:].transpose(1, 0, 2).reshape(40, -1)).reshape(40, 200, 3)
    distance = edge_distance(40)
    inside = (fresh >= low[distance][:, None]) & (fresh <= high[distance][:, None])
    assert abs(inside.mean() - 0.95) < 0.02
    assert (high - low)[0].mean() > (high - low)[-1].mean()  # fewer neighbours at the ends
