"""Planted features have the widths, densities, persistence and directions that they say."""

import numpy as np
import pytest
import torch

from lens.measure.profiles import position_labelling, profile
from lens.measure.spans import autocorrelation_time, autocovariance
from lens.measure.synthetic import (
    BOS_NORM,
    OFFSET,
    WIDTHS,
    bump,
    embed,
    fires,
    levels,
    plant,
    ramp,
    rates,
    recover,
    transient,
    true_autocorrelation_time,
    true_dwell,
)
from lens.profiling.controls import identity_dictionary

N, T, K = 300, 129, 32  # 128 text positions


@pytest.fixture(scope="module", params=[0.0, 0.6])
def planted(request):
    return plant(N, T, K, densities=(0.02, 0.1), persistence=request.param)


def test_features_fire_in_their_windows_alone_and_as_often_as_planned(planted):
    on = planted.features.numpy() > 0
    window = planted.window_TK
    assert not on[:, 0].any() and not on[:, ~window].any()
    assert window.sum(0).tolist() == planted.length_K.tolist()
    assert [np.isnan(planted.width_K).sum(), *((planted.width_K == w).sum() for w in WIDTHS)] == [K // 4] * 4
    density = on[:, 1:].mean((0, 1))
    assert density == pytest.approx(planted.density_K, rel=0.25)
    by_kind = planted.density_K.reshape(-1, 4)
    assert (by_kind == by_kind[:, :1]).all()  # no width fires more often than another
    rate = on.sum(0)[window.argmax(0), np.arange(K)] / N  # first position of each window
    assert rate == pytest.approx(planted.rate_K, abs=0.12)


def test_neighbouring_firings_correlate_by_the_persistence(planted):
    on = planted.features.numpy()[:, 1:, 3::4] > 0  # features without a width
    here, after = on[:, :-1].reshape(-1, K // 4).T, on[:, 1:].reshape(-1, K // 4).T
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(here, after, strict=True)]
    assert np.mean(r) == pytest.approx(planted.persistence, abs=0.02)


def test_amplitudes_are_offset_half_normal(planted):
    a = planted.features[planted.features > 0] - OFFSET
    assert a.min() >= 0 and a.mean().item() == pytest.approx((2 / np.pi) ** 0.5, rel=0.02)


def test_dwell_and_autocorrelation_time_are_those_of_the_chain(planted):
    x = planted.features
    labelling = {"position": position_labelling(N, T)}
    found = profile({"": identity_dictionary(K)}, x, torch.zeros(N), 1, labelling, permutations=1)[""]
    assert found.firings_TK.sum(0) / found.runs_K == pytest.approx(true_dwell(planted), rel=0.15)
    flat = np.isnan(planted.width_K)
    time, truth = autocorrelation_time(autocovariance(found))[flat], true_autocorrelation_time(planted)[flat]
    assert np.mean(time - truth) == pytest.approx(0, abs=0.15)


def test_dwell_by_hand():
    planted = plant(2, 5, 1, widths=(2.0,), densities=(0.25, 0.25))  # fires half the time in a window of 2
    assert planted.rate_K == pytest.approx([0.5])
    assert true_dwell(planted) == pytest.approx([2 * 0.5 / (0.5 + 0.5 * 0.5)])  # 1 firing in .75 runs


def test_activations_are_sums_of_directions_with_the_share_of_position_asked_for(planted):
    plain, bent = embed(planted, 24), embed(planted, 24, position_share=0.3)
    assert plain.activations.dtype == torch.bfloat16
    torch.testing.assert_close(plain.directions.norm(dim=1), torch.ones(K))
    expected = planted.features[5, 1:] @ plain.directions
    torch.testing.assert_close(plain.activations[5, 1:].float(), expected, rtol=0.01, atol=0.02)
    bos = plain.activations[:, 0].float()
    assert (bos == bos[0]).all() and bos[0].norm().item() == pytest.approx(BOS_NORM, rel=0.01)
    mean = (bent.activations.float() - plain.activations.float())[:, 1:].mean(0)
    within = plain.activations[:, 1:].float().flatten(0, 1).var(0).sum()
    share = mean.square().sum(1).mean() / (mean.square().sum(1).mean() + within)
    assert share.item() == pytest.approx(0.3, abs=0.01)
    assert mean.mean(0).norm() < 0.02 * mean.norm(dim=1).max()
    assert torch.linalg.matrix_rank(mean, rtol=0.05).item() == 3


def test_seeds_decide_everything():
    a, b, c = (plant(4, T, 8, seed=s) for s in (1, 1, 2))
    assert torch.equal(a.features, b.features) and not torch.equal(a.features, c.features)


def test_rates_have_the_depth_and_density_asked_for():
    P = 8
    shape = np.stack([bump(P, 3, 2), ramp(P), 1 - transient(P), np.ones(P), bump(P, 1, 1) + bump(P, 8, 1)], axis=1)
    depth, density = np.array([0.5, 1.0, 0.25, 0.9, 1.0]), np.full(5, 0.1)
    found = rates(shape, depth, density)
    assert found.mean(0) == pytest.approx(density)
    assert 1 - found.min(0) / found.max(0) == pytest.approx([0.5, 1, 0.25, 0, 1])
    assert found[:, 0] == pytest.approx(np.where(bump(P, 3, 2) > 0, 2, 1) * 0.08)  # 6 x 1 + 2 x 2 = 10 parts of .8
    assert found[:, 3] == pytest.approx(0.1) and found[1:7, 4] == pytest.approx(0)
    with pytest.raises(ValueError, match="probability 1.6"):
        rates(shape, depth, np.full(5, 0.4))
    with pytest.raises(ValueError, match="depths"):
        rates(shape, 2 * depth, density)
    with pytest.raises(ValueError, match="bump of 3 positions from 7"):
        bump(P, 7, 3)


def test_one_text_read_at_other_positions_fires_by_its_levels_and_their_rates():
    P, persistence = 20, np.array([0.0, 0.5, 0.9])
    rate = rates(np.stack([ramp(P), np.ones(P), np.ones(P)], 1), np.ones(3), np.array([0.3, 0.2, 0.2]))
    level = levels(400, 2 * P, persistence, np.random.default_rng(0))
    position = 1 + np.arange(2 * P) % P
    on = fires(level, rate, position)
    assert on.mean(0)[:P] == pytest.approx(rate, abs=0.1) and on[..., 0].mean() == pytest.approx(0.3, abs=0.01)
    lagged = [np.corrcoef(on[:, :-2, k].ravel(), on[:, 2:, k].ravel())[0, 1] for k in (1, 2)]
    assert lagged == pytest.approx(persistence[1:] ** 2, abs=0.03)
    shifted = fires(level, rate, 1 + (position + 6) % P)  # flat features don't care where the text is read
    assert (shifted == on)[..., 1:].all() and not (shifted == on)[..., 0].all()


def test_recovery_undoes_a_permutation():
    order = np.array([3, 1, 0, 2, 7, 6, 5, 4])
    found = recover(np.eye(8)[order], np.eye(8))
    assert order[found.learned].tolist() == list(range(8)) and found.cosine == pytest.approx(1)
    with pytest.raises(ValueError, match="8 features cannot be matched with 9 directions"):
        recover(np.eye(8), np.ones((9, 8)))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"length": 60}, "64 do not fit 59 text positions"), ({"densities": (0.01, 0.2)}, "0.01 to 0.2 .* 0 and 0.125"),
     ({"densities": (0.1, 0.01)}, "in order"), ({"persistence": 1.0}, "persistence 1.0")],
)  # fmt: skip
def test_impossible_plants_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        plant(**({"windows": 2, "length": T, "n_features": 4} | change))


def test_impossible_embeddings_are_refused():
    planted = plant(2, T, 4)
    with pytest.raises(ValueError, match="position_share = 1"):
        embed(planted, 8, position_share=1.0)
    with pytest.raises(ValueError, match="d_in = 3"):
        embed(planted, 3)
