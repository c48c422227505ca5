"""Agreement across seeds: a permuted copy agrees in everything, unrelated dictionaries no more than random pairs."""

import numpy as np
import pytest
from scipy.stats import pearsonr

from lens.measure.matching import Matching, agreement, match, matched_ari, over_pairs, seed_values
from lens.measure.stats import interval, seed_component

K, D, T = 60, 24, 127


def dictionary(seed):
    """W_dec [K, D] with unit rows, W_enc [D, K] near its transpose."""
    rng = np.random.default_rng(seed)
    W_dec = rng.normal(size=(K, D))
    W_dec /= np.linalg.norm(W_dec, axis=1, keepdims=True)
    return W_dec, W_dec.T + 0.02 * rng.normal(size=(D, K))


def curves(seed):
    """Smooth positive curves [T, K]."""
    steps = np.random.default_rng(seed).normal(size=(T + 10, K)).cumsum(0)
    return np.exp((steps[10:] - steps[10:].mean(0)) / 10)


def identity(k=K, cos=1.0):
    return Matching(np.arange(k), np.full(k, cos), np.full(k, cos), np.nan)


ALL = (np.ones(K, bool), np.ones(K, bool))


def test_the_encoder_decides_where_decoders_tie():
    W_dec = np.array([[1.0, 0.0], [1.0, 0.0]])
    found = match(W_dec, np.eye(2), W_dec, np.eye(2)[:, ::-1])
    assert found.permutation.tolist() == [1, 0]


def test_both_cosines_must_reach_the_threshold():
    found = Matching(np.arange(4), np.array([0.7, 0.7, 0.69, 0.9]), np.array([0.7, 0.69, 0.7, 0.0]), 0)
    assert found.shared.tolist() == [True, False, False, False]


def test_a_zero_encoder_column_has_cosine_zero():
    W_dec, W_enc = dictionary(0)
    W_enc[:, 0] = 0
    found = match(W_dec, W_enc, W_dec, W_enc)
    assert found.cos_enc[0] == 0
    assert not found.shared[0] and found.shared[1:].all()


def test_mmcs_of_random_directions_is_what_extremes_of_normals_give():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 640, 640))
    found = match(a, a.T, b, b.T)
    assert found.mmcs == pytest.approx(np.sqrt(2 * np.log(640) / 640), rel=0.15)
    assert not found.shared.any()


def test_mmcs_by_hand():
    a, b = np.eye(2), np.array([[1.0, 0.0], [0.6, 0.8]])
    found = match(a, a.T, b, b.T)
    assert found.mmcs == pytest.approx((1 + 0.8 + 1 + 0.8) / 4)


def test_shapes_that_do_not_fit_are_named():
    W_dec, W_enc = dictionary(0)
    with pytest.raises(ValueError, match="W_enc_a has shape"):
        match(W_dec, W_dec, W_dec, W_enc)
    with pytest.raises(ValueError, match="W_dec_b has shape"):
        match(W_dec, W_enc, W_dec[1:], W_enc)


def test_a_permuted_copy_agrees_in_everything():
    W_dec, W_enc = dictionary(0)
    order = np.random.default_rng(1).permutation(K)
    matching = match(W_dec, W_enc, W_dec[order], 3 * W_enc[:, order])  # an encoder's length does not count
    assert (order[matching.permutation] == np.arange(K)).all() and matching.shared.all()
    assert matching.mmcs == pytest.approx(1) and matching.cos_enc == pytest.approx(np.ones(K))
    found = agreement(
        matching,
        (curves(0), 5 * curves(0)[:, order]),
        ALL,
        (curves(1), 0.1 * curves(1)[:, order]),  # another gauge
    )
    assert found.n_pairs == K
    assert (found.mask_r.mean, found.profile_r.mean, found.support_iou.mean) == pytest.approx((1, 1, 1))
    assert found.centre_distance.mean == pytest.approx(0, abs=1e-9)
    assert abs(found.mask_r.null) < 0.3 and abs(found.profile_r.null) < 0.3
    assert found.support_iou.null < 0.7 and found.centre_distance.null > 5


def test_unmatched_order_is_a_mutant():
    """Comparing feature j with feature j, without the matching, loses the agreement of a permuted copy."""
    order = np.random.default_rng(1).permutation(K)
    found = agreement(identity(), (curves(0), curves(0)[:, order]), ALL, None)
    assert abs(found.profile_r.mean - found.profile_r.null) < 0.2


@pytest.mark.parametrize(("trend", "noise", "r"), [(0, 1, 0), (2, 0.5, 0.8)])
def test_masks_without_a_feature_of_their_own_agree_as_random_pairs_do(trend, noise, r):
    """What all masks have in common, a trend over positions, is in the null."""
    draws = noise * np.random.default_rng(0).normal(size=(2, T, K))
    masks = 1 / (1 + np.exp(-(np.linspace(-trend, trend, T)[:, None] + draws)))
    masks[:, :, 0] = 0.1  # a constant mask is left out
    found = agreement(identity(), (curves(0), curves(1)), ALL, tuple(masks.astype(np.float32)))
    assert found.mask_r.mean == pytest.approx(r, abs=0.1)
    assert found.mask_r.mean == pytest.approx(found.mask_r.null, abs=0.04)
    assert found.support_iou.mean == pytest.approx(found.support_iou.null, abs=0.03)


def test_means_and_nulls_by_a_loop():
    pairs = [(0, 2), (1, 0), (3, 1)]  # feature 2 of a is not eligible
    x, y = curves(0)[:, :4], curves(1)[:, :4]
    matching = Matching(np.array([2, 0, 3, 1]), np.ones(4), np.ones(4), 0)
    eligible = (np.array([True, True, False, True]), np.ones(4, bool))
    found = agreement(matching, (x, y), eligible, (x, y))
    t = np.arange(T)

    def centre(c):
        return (t * (c - c.min())).sum() / (c - c.min()).sum()

    def iou(c, e):
        c, e = c > c.max() / 2, e > e.max() / 2
        return (c & e).sum() / (c | e).sum()

    others = [(i, j) for i, own in pairs for _, j in pairs if j != own]
    for name, value in (
        ("profile_r", lambda c, e: pearsonr(c, e).statistic),
        ("mask_r", lambda c, e: pearsonr(c, e).statistic),
        ("centre_distance", lambda c, e: abs(centre(c) - centre(e))),
        ("support_iou", iou),
    ):
        compared = getattr(found, name)
        assert compared.mean == pytest.approx(np.mean([value(x[:, i], y[:, j]) for i, j in pairs])), name
        assert compared.null == pytest.approx(np.mean([value(x[:, i], y[:, j]) for i, j in others])), name


def test_eligibility_is_asked_of_both_sides_and_follows_the_matching():
    matching = Matching(np.array([1, 0]), np.ones(2), np.ones(2), 0)
    pair = (curves(0)[:, :2], curves(1)[:, :2])
    both, first, second = np.array([[True, True], [True, False], [False, True]])
    for eligible in ((first, both), (both, second)):
        found = agreement(matching, pair, eligible, None)
        assert found.n_pairs == 1
        assert found.profile_r.mean == pytest.approx(pearsonr(pair[0][:, 0], pair[1][:, 1]).statistic)
        assert np.isnan(found.profile_r.null)


def test_without_masks_or_pairs_the_answer_is_nan():
    found = agreement(identity(), (curves(0), curves(0)), ALL, None)
    assert np.isnan([*found.mask_r, *found.support_iou]).all()
    assert found.profile_r.mean == pytest.approx(1)
    none = agreement(identity(cos=0.1), (curves(0), curves(0)), ALL, (curves(0), curves(0)))
    assert none.n_pairs == 0
    assert np.isnan([*none.mask_r, *none.support_iou, *none.profile_r, *none.centre_distance]).all()


def test_ari_follows_the_matching_and_ignores_names():
    order = np.random.default_rng(0).permutation(K)
    labels = np.arange(K) % 3
    matching = Matching(np.argsort(order), np.ones(K), np.ones(K), 0)
    assert matched_ari(labels, (labels[order] + 1) % 3, matching) == 1
    assert matched_ari(labels, labels[order], identity()) < 0.3
    assert abs(matched_ari(labels, np.arange(K) // 20, identity())) < 0.1


def test_ari_counts_only_shared_features_that_both_clustered():
    matching = Matching(np.arange(6), np.array([1, 1, 1, 1, 0.1, 1.0]), np.ones(6), 0)
    assert matched_ari(np.array([0, 0, 1, 1, 0, 1]), np.array([1, 1, 0, 0, 0, -1]), matching) == 1
    assert np.isnan(matched_ari(np.full(6, -1), np.zeros(6, int), matching))
    assert np.isnan(matched_ari(np.zeros(6, int), np.zeros(6, int), matching))


def test_over_pairs_leaves_the_diagonal_out():
    values = np.array([[np.nan, 1.0, 2.0], [1.0, np.nan, 6.0], [2.0, 6.0, np.nan]])
    assert over_pairs(values).tolist() == [1.5, 3.5, 4]
    assert over_pairs(values).mean() == pytest.approx((1 + 2 + 6) / 3)
    assert np.isnan(over_pairs(np.ones((1, 1)))).all()


def test_seed_values_are_the_jackknife_of_the_mean_over_pairs():
    values = np.random.default_rng(0).normal(size=(5, 5))
    values += values.T
    off = ~np.eye(5, dtype=bool)
    whole = values[off].mean()
    left_out = [np.delete(np.delete(values, s, 0), s, 1)[~np.eye(4, dtype=bool)].mean() for s in range(5)]
    assert seed_values(values) == pytest.approx(5 * whole - 4 * np.array(left_out))
    assert seed_values(values).mean() == pytest.approx(whole)
    assert np.isnan(seed_values(values[:2, :2])).all()


def test_intervals_from_seed_values_cover_and_those_from_pair_means_do_not():
    rng = np.random.default_rng(0)
    covered = np.zeros(2)
    for _ in range(400):
        own = rng.normal(size=5)
        values = own[:, None] + own + 0.2 * np.triu(rng.normal(size=(5, 5)), 1)
        values = np.triu(values, 1) + np.triu(values, 1).T
        for i, per_seed in enumerate((seed_values(values), over_pairs(values))):
            found = interval(per_seed.mean(), seed_component(per_seed))
            covered[i] += found.low < 0 < found.high
    assert covered[0] / 400 > 0.92
    assert covered[1] / 400 < 0.8
