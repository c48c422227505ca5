import numpy as np
import pytest
import torch

from lens.measure.offsets import exchange_null, offset_effect
from lens.measure.position_information import benjamini_hochberg

T, M = 64, 4
EDGES = torch.tensor([1, 2, 4, 8, 16, 32, 64])
BINS = torch.bucketize(torch.arange(T), EDGES, right=True) - 1


def readings(tuning, *, n=24, persistence=0.0, noise=0.5, K=60, seed=0):
    """Features ReLU(text + noise of the reading + tuning(position) - 1) of n segments, and their positions."""
    rng, P = np.random.default_rng(seed), T - 1
    S = 3 * P

    def chain(*shape):
        x = rng.normal(size=(*shape, K))
        for s in range(1, S):
            x[..., s, :] = persistence * x[..., s - 1, :] + np.sqrt(1 - persistence**2) * x[..., s, :]
        return x

    for _ in range(n):
        phase = rng.permutation((rng.integers(P) + np.arange(M) * P // M) % P)
        position = 1 + (np.arange(S) - phase[:, None]) % P
        f = np.maximum(chain(S) + noise * chain(M, S) + tuning(position)[..., None] - 1, 0)
        yield torch.from_numpy(f).float(), torch.from_numpy(position)


def test_an_exact_effect_by_hand():
    # eight segments of one place read at positions 1 and 2 (bins 0 and 1): f = text + (0, 2)
    text = torch.arange(8.0) ** 2
    positions = torch.tensor([[[1], [2]], [[2], [1]]] * 4)
    bins = torch.tensor([-1, 0, 1])
    values = [(a + 2.0 * (p - 1))[..., None] for a, p in zip(text, positions, strict=True)]
    found = offset_effect(zip(values, positions, strict=True), bins, n_segments=8, permutations=999)
    # all exchanges of 8 segments: 2^8 patterns of sign, whose squared sum is 64 at two of them and 8 on average
    assert found.share_K[0] == pytest.approx(1 - 1 / 8, abs=0.03)
    assert found.curve_BK[:, 0].tolist() == pytest.approx([-1, 1])
    assert found.level_K[0] == pytest.approx(float(text.mean()) + 1)
    assert found.bin_sizes_B.tolist() == [8, 8]
    assert found.depth_K[0] == pytest.approx(2 / (float(text.mean()) + 2))
    variance = torch.cat([v.flatten() for v in values]).var(correction=0)
    assert found.moved_share_K[0] == pytest.approx(1 / float(variance))  # readings are 1 from their mean


def test_the_share_that_a_profile_would_make_by_hand():
    # the case above, and a feature that is on and never moves, and one that is never on
    positions = torch.tensor([[[1], [2]], [[2], [1]]] * 4)
    values = [torch.stack([10 + 2.0 * (p - 1), 3 + 0.0 * p, 0.0 * p], -1) for p in positions]
    found = offset_effect(zip(values, positions, strict=True), torch.tensor([-1, 0, 1]), n_segments=8)
    assert found.design_BB.tolist() == [[4, -4], [-4, 4]] and found.within_K.tolist() == [16, 0, 0]
    curve = np.array([[0.0, 0, 0], [2, 1, 1]])
    weights = np.array([1.0, 3])
    assert found.share_if(np.stack([curve, curve]), weights) == pytest.approx([1, np.inf, np.nan], nan_ok=True)
    # half of the profile makes a quarter; of two sets only their product counts: 4 (2 a)(2 b) / 16 with a = 0
    assert found.share_if(np.stack([curve, curve]) / 2, weights)[0] == pytest.approx(0.25)
    assert found.share_if(np.stack([0 * curve, curve]), weights)[0] == pytest.approx(0)


def test_what_position_does_is_not_excluded_and_what_it_does_not_is():
    ramp = np.maximum(np.linspace(-1, 0, len(BINS[1:])) + 1, 0)
    curve = np.stack([ramp[BINS[1:] == b].mean() for b in range(int(BINS.max()) + 1)])[None, :, None] * np.ones(
        (2, 1, 60)
    )
    for size in (0.03, 0.3):
        found = offset_effect(readings(lambda t, size=size: size * t / T, n=8), BINS, n_segments=8)
        seen = size * found.level_K.mean() * curve  # of a rectified score, about this much arrives
        assert (found.high_K < found.share_if(seen, np.ones(2)) / 2).mean() < 0.05
    still = offset_effect(readings(lambda t: 0 * t, n=8), BINS, n_segments=8)
    assert (still.high_K < still.share_if(0.3 * curve, np.ones(2)) / 2).mean() > 0.95


@pytest.mark.parametrize("persistence", [0.0, 0.9])
def test_text_alone_is_no_effect_however_long_it_persists(persistence):
    found = offset_effect(readings(lambda t: 0 * t, persistence=persistence, K=300), BINS, n_segments=24)
    assert np.mean(found.p_K <= 0.05) < 0.09  # 5 % and three standard errors
    assert abs(np.mean(found.share_K)) < 0.002
    assert np.mean((found.low_K <= 0) & (found.high_K >= 0)) > 0.9


@pytest.mark.parametrize("persistence", [0.0, 0.9])
@pytest.mark.parametrize(
    "tuning",
    [lambda t: 1.0 * (t < 6), lambda t: 0.5 * ((t > 20) & (t < 40)), lambda t: t / T],
    ids=["start", "bump", "ramp"],
)
def test_tuning_is_found_under_persistence(tuning, persistence):
    found = offset_effect(readings(tuning, persistence=persistence), BINS, n_segments=24)
    assert benjamini_hochberg(found.p_K, np.ones(60, bool)).mean() > 0.9
    assert found.low_K.mean() > 0


def test_features_that_follow_the_text_exactly_cannot_be_positional():
    found = offset_effect(readings(lambda t: 0 * t, noise=0), BINS, n_segments=24)
    assert np.isnan(found.share_K).all() and (found.p_K == 1).all() and (found.moved_share_K == 0).all()


def test_places_that_a_reading_misses_are_left_out():
    short = lambda f, t: (f[:, :-9], t[:, :-9])  # noqa: E731
    full = [short(f, t) for f, t in readings(lambda t: t / T)]
    holes = [(f.clone(), t.clone()) for f, t in readings(lambda t: t / T)]
    for f, t in holes:
        t[0, -9:], f[0, -9:] = -1, torch.nan
    a, b = (offset_effect(x, BINS, n_segments=24) for x in (full, holes))
    assert np.array_equal(a.share_K, b.share_K) and np.array_equal(a.p_K, b.p_K)


def test_exchanges_are_permutations_and_the_first_changes_nothing():
    orders = exchange_null(5, M, 40, seed=0)
    assert orders.shape == (41, 5, M) and (np.sort(orders, -1) == np.arange(M)).all()
    assert (orders[0] == np.arange(M)).all()
    assert len(np.unique(orders[1:], axis=0)) == 40


def test_too_little_to_exchange_is_refused_with_the_number_needed():
    with pytest.raises(ValueError, match="7 segments.*8"):
        offset_effect(readings(lambda t: 0 * t), BINS, n_segments=7)
    with pytest.raises(ValueError, match="39 permutations.*40"):
        offset_effect(readings(lambda t: 0 * t), BINS, n_segments=24, permutations=39)
    with pytest.raises(ValueError, match="groups"):
        offset_effect(readings(lambda t: 0 * t), BINS, n_segments=24, groups=[0] * 24)
    with pytest.raises(ValueError, match="two readings"):
        offset_effect(((f[:1], t[:1]) for f, t in readings(lambda t: 0 * t)), BINS, n_segments=24)
    with pytest.raises(ValueError, match="no bin"):
        offset_effect(readings(lambda t: 0 * t), BINS[:40], n_segments=24)
    with pytest.raises(ValueError, match="no place"):
        offset_effect(((f, t * 0 - 1) for f, t in readings(lambda t: 0 * t)), BINS, n_segments=24)
