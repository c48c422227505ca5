import numpy as np
import pytest
import torch
from scipy.sparse import csc_array

from lens.measure.conditional import conditional_gain, natural_spline
from lens.measure.position_information import benjamini_hochberg, positional
from lens.measure.profiles import position_labelling

T, WINDOWS, DOCUMENTS, K = 32, 600, 24, 12
TUNED, MIXED, FLAT = slice(0, 4), slice(4, 8), slice(8, 12)


def planted(persistence=0.0, seed=0):
    """Codes of tuned features, of features that read those through their encoder, and of flat ones; with weights."""
    rng = np.random.default_rng(seed)
    t = np.arange(1, T)[:, None]
    rate = np.full((T - 1, K), 0.15)
    rate[:, TUNED] = 0.05 + 0.3 * (np.abs(np.log2(1 + t) - np.array([1.5, 2.5, 3.5, 4.5])) < 0.8)
    state = rng.random((WINDOWS, K))
    fires = np.zeros((WINDOWS, T - 1, K), bool)
    for s in range(T - 1):
        anew = rng.random((WINDOWS, K)) >= persistence
        state = np.where(anew, rng.random((WINDOWS, K)), state)
        fires[:, s] = state < rate[s]
    drive = np.where(fires, 1 + np.abs(rng.normal(size=fires.shape)), rng.normal(0, 0.3, fires.shape))
    leak = np.eye(K)
    leak[TUNED, MIXED] = 0.5 * np.eye(4)  # encoder of a mixed feature reads one tuned feature
    code = np.maximum(drive @ leak - 0.8, 0)
    W_enc, W_dec = torch.from_numpy(leak).float(), torch.eye(K)
    flat = code.reshape(-1, K)
    position = torch.from_numpy(np.tile(np.arange(1, T), WINDOWS))
    document = torch.from_numpy(np.repeat(np.arange(WINDOWS) % DOCUMENTS, T - 1))
    return csc_array(flat), torch.from_numpy(flat).float(), W_enc, W_dec, position, document


def test_inherited_profiles_gain_nothing_and_tuned_ones_do():
    codes, *rest = planted()
    found = conditional_gain(codes, *rest)
    significant = benjamini_hochberg(found.p_K, np.ones(K, bool))
    assert significant[TUNED].all() and not significant[MIXED].any() and not significant[FLAT].any()
    assert (found.gain_K[TUNED] > 0.2).all() and (np.abs(found.gain_K[MIXED]) < 0.01).all()
    assert (found.position_gain_K[MIXED] > 0.01).all()  # which position alone would tell
    kept = found.gain_K / found.position_gain_K
    assert (np.abs(kept[MIXED]) < 0.2).all() and (kept[TUNED] > 0.8).all()
    assert (found.se_K[TUNED] < 0.1 * found.gain_K[TUNED]).all() and (np.abs(found.gain_K) < 3 * found.se_K)[4:].all()
    # the usual test, which asks whether firing depends on position at all, passes the inherited ones
    labels = position_labelling(WINDOWS, T)
    bins, rng = labels.bins[:, 1:].flatten().numpy(), np.random.default_rng(0)
    on = (codes.toarray() > 0).reshape(WINDOWS, T - 1, K)
    table = lambda x: np.stack([x.reshape(-1, K)[bins == b].sum(0) for b in range(len(labels.names))])  # noqa: E731
    places = lambda: (np.arange(T - 1) + rng.integers(T - 1, size=(WINDOWS, 1))) % (T - 1)  # noqa: E731
    null = np.stack([table(np.take_along_axis(on, places()[..., None], 1)) for _ in range(60)])
    assert positional(table(on), null, np.bincount(bins)).significant_K[MIXED].mean() >= 0.5


def test_gain_by_hand():
    """Rates of .1 and .3 at two positions: r = .5 and 1.5 of the mean, so half the variance of r is .125."""
    documents, n = 10, 4000
    place = torch.arange(n) % 2
    y = torch.zeros(n)
    for t, rate in enumerate((0.1, 0.3)):
        here = (place == t).nonzero()[:, 0]
        for d in range(documents):
            inside = here[here % 40 // 4 == d]  # every document has as many firings as any other
            y[inside[: round(rate * len(inside))]] = 1
    codes = csc_array(np.stack([y.numpy(), np.zeros(n)], 1))
    document = torch.arange(n) % 40 // 4
    found = conditional_gain(codes, torch.from_numpy(codes.toarray()), torch.eye(2), torch.eye(2), 1 + place, document)
    # score of one document: sum over its 200 tokens at 2 of y - .2 = 20, and as much the other way at 1; information
    # of the centred indicator 400 x .16 / 4 = 16 a document: 90 pairs of 20 x 20 / 160, for what 100 would give,
    # halved, and 800 firings of 800 x 3200 / 4000 that all silent tokens would inform of
    expected = 100 * 20 * 20 / 160 / 2 / (800 * 3200 / 4000)
    assert found.gain_K[0] == pytest.approx(expected, rel=0.01) == pytest.approx(found.position_gain_K[0], rel=0.01)
    assert found.se_K[0] < 0.001  # documents are all alike
    assert found.p_K[0] < 0.02  # 1 in 512: all ten signs alike
    assert np.isnan(found.gain_K[1])


def test_under_persistence_flat_features_pass_at_the_level_of_the_test():
    p = np.concatenate([conditional_gain(planted_codes[0], *planted_codes[1:]).p_K[4:] for planted_codes in _draws(6)])
    assert np.mean(p <= 0.05) < 0.14  # 5 %, and three standard errors of 48


def _draws(n):
    return [planted(persistence=0.8, seed=seed) for seed in range(n)]


def test_close_features_are_no_drive():
    """A copy of a feature would explain it entirely; it is left out, so that the tuning shows."""
    codes, _, W_enc, W_dec, position, document = planted()
    twice = csc_array(np.concatenate([codes.toarray(), codes.toarray()[:, :1]], 1))
    W_enc, W_dec = torch.cat([W_enc, W_enc[:, :1]], 1), torch.cat([W_dec, W_dec[:1]])
    rebuilt = torch.from_numpy(twice.toarray()).float() @ W_dec
    found = conditional_gain(twice, rebuilt, W_enc, W_dec, position, document, features=np.array([0]))
    assert found.p_K[0] < 0.01 and np.isnan(found.p_K[1:]).all()


def test_a_class_of_tokens_that_explains_the_profile_takes_the_gain():
    codes, *rest = planted()
    position = rest[3]
    classes = position  # as many classes as positions: nothing is left to the spline
    found = conditional_gain(codes, *rest, classes_N=classes)
    assert (found.gain_K < 0.01).all()


def test_natural_spline_is_linear_beyond_its_knots_and_smooth_between():
    knots = torch.linspace(0, 1, 5)
    x = torch.tensor([-2.0, -1, 0, 1, 2, 3])
    basis = natural_spline(x, knots)
    assert basis.shape == (6, 4)
    slopes = basis[1:] - basis[:-1]
    assert torch.allclose(slopes[0], slopes[1], atol=1e-4) and torch.allclose(slopes[3], slopes[4], atol=1e-3)
    # by hand, second column at .5: d_1 - d_4 with knots 0, .25, .5, .75, 1 -> .125 - 0
    assert natural_spline(torch.tensor([0.5]), knots)[0, 1] == pytest.approx(0.125)


def test_rare_features_are_not_tested_and_few_documents_refused():
    codes, *rest = planted()
    dense = codes.toarray()
    dense[np.flatnonzero(dense[:, 3])[99:], 3] = 0
    found = conditional_gain(csc_array(dense), *rest)
    assert np.isnan(found.p_K[3]) and not np.isnan(found.p_K[0])
    few = rest[4] % 7
    with pytest.raises(ValueError, match="7 documents, at least 8"):
        conditional_gain(codes, *rest[:4], few)
    with pytest.raises(ValueError, match="don't fit"):
        conditional_gain(codes, *rest[:3], rest[3][:-1], rest[4])
    with pytest.raises(ValueError, match="all tokens are at position 3"):
        conditional_gain(codes, *rest[:3], 0 * rest[3] + 3, rest[4])
