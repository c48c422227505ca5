import numpy as np
import pytest

from lens.measure import synthetic
from lens.measure.late_spans import FIRST, late_spans, quantiles, with_nulls
from lens.measure.spans import fwhm

SETS, P = 16, 127
WINDOWS = 64 + 4 * np.arange(SETS)  # of each set


def exact(*shapes):
    """Firings that are exactly what rates of these shapes [P] give, in sets of different size: [sets, T, K]."""
    counts = WINDOWS[:, None, None] * np.stack(shapes, axis=1)
    return np.concatenate([np.zeros((SETS, 1, len(shapes))), counts], axis=1)


def drawn(shapes, depths, firings, n, persistence=0.0):
    """Firings of n features of each shape [P] and depth, drawn window by window: [sets, T, n] of each."""
    rng, windows, K = np.random.default_rng(0), 128, n * len(shapes)
    density = np.full(K, firings / (SETS * windows * P))
    rate = synthetic.rates(np.repeat(np.stack(shapes, axis=1), n, axis=1), np.repeat(depths, n), density)
    counts = np.zeros((SETS, P + 1, K))
    for b in range(SETS):
        level = synthetic.levels(windows, P, np.full(K, persistence), rng)
        counts[b, 1:] = synthetic.fires(level, rate, np.arange(1, P + 1)).sum(0)
    return np.split(counts, len(shapes), axis=2)


def test_widths_by_hand():
    half = 0.5 + 0.5 * synthetic.bump(P, 40, 64)
    two = synthetic.bump(P, 30, 25) + 0.8 * synthetic.bump(P, 90, 15)
    edge = synthetic.bump(P, 103, 25)
    found = late_spans(exact(synthetic.bump(P, 60, 25), half, two, edge, synthetic.ramp(P)))
    assert found["material"].all() and found["feature"].tolist() == [0, 1, 2, 3, 4]
    assert found["first"][:4].tolist() == [60, 40, 30, 103] and found["last"][:4].tolist() == [84, 103, 54, 127]
    assert found["width"].tolist() == [25, 64, 25, 25, 56]  # of a ramp half of the positions from 16 on
    assert found["censored"].tolist() == [False, False, False, True, True]
    assert found["stretches"].tolist() == [1, 1, 2, 1, 1]
    np.testing.assert_allclose(found["share_inside"][:3], [1, 64 / (64 + 0.5 * 48), 25 / (25 + 0.8 * 15)], atol=1e-12)
    np.testing.assert_allclose(found["depth"][:4], [1, 0.5, 1, 1], atol=1e-9)
    np.testing.assert_allclose(found["depth_low"][:4], found["depth"][:4], atol=1e-9)  # nothing varies but the size
    assert found["firings"][0] == 25 * WINDOWS.sum()


def test_what_happens_before_the_first_position_changes_nothing():
    (counts,) = drawn([synthetic.bump(P, 50, 30)], [0.8], 1000, 10)
    other = counts.copy()
    other[:, 1:FIRST] = np.random.default_rng(0).poisson(50, other[:, 1:FIRST].shape)
    assert late_spans(counts).equals(late_spans(other))


def test_a_start_of_the_window_has_no_span_however_persistent_the_firing():
    falling = synthetic.transient(P)
    old = []
    for counts in drawn([np.ones(P), falling, 1 - falling], [0, 0.9, 0.9], 4000, 30, persistence=0.9):
        found = late_spans(counts)
        assert not found["material"].any() and found["width"].isna().all() and not found["censored"].any()
        assert abs(found["depth"].mean()) < 0.1  # read in the sets in which it was looked for it would be .3
        old.append(np.median(fwhm(counts[:, 1:].sum(0))))
    assert old[1] < 10 and old[2] > 40  # of the whole window


def test_a_quarter_is_not_material_and_a_half_is():
    shape = synthetic.bump(P, 60, 25)
    quarter, half = map(late_spans, drawn([shape, shape], [0.25, 0.5], 4000, 60))
    assert (quarter["p"] <= 0.05).mean() <= 0.06
    assert half["material"].mean() >= 0.9
    assert abs(half["depth"].mean() - 0.5) < 0.02 and abs(half["width"].mean() - 25) < 1
    assert ((half["depth_low"] <= 0.5) & (half["depth_high"] >= 0.5)).mean() >= 0.9


def test_documents_that_each_have_a_place_of_their_own_are_no_span_of_the_feature():
    """Their mean is flat; the spread between documents is far above that of counts."""
    rng, t = np.random.default_rng(0), np.arange(P + 1)[:, None]
    place = rng.integers(0, P + 1 - FIRST, size=(SETS, 1, 200))
    rate = np.where(t < FIRST, 0, 1 + 4 * ((t - FIRST - place) % (P + 1 - FIRST) < 25))
    found = late_spans(rng.poisson(5 * rate))
    assert not found["material"].any() and (found["p"] <= 0.05).mean() <= 0.05


def test_rare_features_and_silent_ones_are_not_tested():
    (counts,) = drawn([synthetic.bump(P, 60, 25)], [1.0], 5000, 3)
    counts[..., 1] = np.where(counts[..., 1].cumsum(0) > 2, 0, counts[..., 1])
    counts[..., 2] = 0
    found = late_spans(counts)
    assert found["material"].tolist() == [True, False, False]
    assert found.loc[1:, ["depth", "depth_low", "depth_high", "p", "width", "peak"]].isna().all(axis=None)


def test_nulls_fire_as_often_and_have_no_span_or_half_of_the_positions():
    spans, flat = drawn([synthetic.bump(P, 60, 10), np.ones(P)], [0.9, 0], 3000, 15)
    counts = np.concatenate([spans, flat], axis=2)
    found = late_spans(counts)
    assert found["material"].tolist() == [True] * 15 + [False] * 15
    null = with_nulls(counts)
    assert null[found.columns].equals(found) and not null["flat_material"].any()
    assert abs(null["ramp_width"].mean() - 56) < 4 and null.loc[15:, "ramp_width"].isna().all()
    silent = with_nulls(np.zeros((SETS, 128, 2)))
    assert not silent["material"].any() and silent[["width", "ramp_width"]].isna().all(axis=None)


def test_too_few_sets_or_positions_are_refused_with_the_number_needed():
    with pytest.raises(ValueError, match="7 sets of windows, at least 8"):
        late_spans(np.ones((7, 128, 2)))
    with pytest.raises(ValueError, match="windows of 47 tokens.*need 48"):
        late_spans(np.ones((8, 47, 2)))


def test_many_documents_are_put_together_with_their_neighbours():
    (counts,) = drawn([synthetic.bump(P, 60, 25)], [0.5], 4000, 5)
    split = np.stack([counts // 2, counts - counts // 2], axis=1).reshape(2 * SETS, 128, -1)
    assert late_spans(split).equals(late_spans(counts))


def test_quantiles_are_of_the_widths_that_there_are():
    found = quantiles(np.array([np.nan, 10, 20, 30, np.nan]))
    assert found[0.5] == 20 and found[0.05] == 11 and found[0.95] == 29
    assert quantiles(np.array([np.nan])) == {}
