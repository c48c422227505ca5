import numpy as np
import pytest
import torch

from lens.dictionaries.dictionary import Dictionary
from lens.measure.buckets import buckets
from lens.measure.reconstruction import (
    fvu,
    input_moments,
    position_share,
    reconstruct,
    squared_errors,
    token_measures,
)
from tests.making import info


def identity_sae(d: int, T: int, gain: float = 1.0, bias: float = 0.0) -> Dictionary:
    """x_hat = gain * max(x, 0) + bias: what it gets wrong can be counted by hand."""
    config = info(d, d, T, False, 1.0, 1.0)
    return Dictionary(
        config,
        {"W_enc": gain * torch.eye(d), "b_enc": torch.zeros(d), "W_dec": torch.eye(d), "b_dec": torch.full((d,), bias)},
    )


def test_errors_and_sparsity_by_hand():
    # 2 windows (blocks 0 and 1), 2 positions, 2 dimensions
    x = torch.tensor([[[9.0, 9], [1, -2]], [[9, 9], [3, 4]]])
    r = reconstruct(identity_sae(2, 2), x, torch.tensor([0, 1]), 2, scale=1.0)
    assert r.sq_error.tolist() == [[0, 4], [0, 0]]
    assert r.count.tolist() == [[1, 1], [1, 1]]
    assert r.active.tolist() == [4, 3]
    assert r.l1.tolist() == [36, 8]
    assert r.firings.tolist() == [2, 1]  # text positions only
    assert r.per_token["cosine"] == pytest.approx(1 / 5**0.5 + 1)
    assert r.per_token["l2_ratio"] == pytest.approx(1 / 5**0.5 + 1)


def test_errors_of_any_reconstruction_by_hand():
    x = torch.tensor([[[9.0, 9], [1, -2]], [[9, 9], [3, 4]]])
    found = squared_errors(lambda x: x + 2, x, torch.tensor([0, 1]), 2, scale=0.5)
    assert found.tolist() == [[2, 2], [2, 2]]  # (2 * .5)^2 in each of two dimensions


def test_sums_add_over_shards():
    x = torch.randn(70, 4, 5, generator=torch.Generator().manual_seed(0))
    block = torch.arange(70) % 3
    whole = reconstruct(identity_sae(5, 4, 0.5), x, block, 3, 1.0)
    parts = [reconstruct(identity_sae(5, 4, 0.5), x[i], block[i], 3, 1.0) for i in (slice(0, 33), slice(33, 70))]
    np.testing.assert_allclose(whole.sq_error, parts[0].sq_error + parts[1].sq_error, rtol=1e-6)
    np.testing.assert_allclose(whole.firings, parts[0].firings + parts[1].firings)
    half = reconstruct(identity_sae(5, 4, 0.5), x, block, 3, 0.5)  # scale multiplies squared errors by its square
    np.testing.assert_allclose(half.sq_error, whole.sq_error / 4, rtol=1e-5)
    assert whole.per_token["gini"] == pytest.approx(parts[0].per_token["gini"] + parts[1].per_token["gini"], rel=1e-5)


def test_moments_by_hand():
    x = torch.tensor([[[100.0], [1], [5]], [[100.0], [3], [7]]])  # mu over text positions = 4, mu_1 = 2, mu_2 = 6
    m = input_moments(x, torch.tensor([0, 0]), 1, scale=1.0)
    assert m.sq_norm.tolist() == [[20000, 10, 74]]
    assert m.sq_deviation[0, 1:].tolist() == [9 + 1, 1 + 9]
    assert m.sq_deviation_position.tolist() == [[0, 2, 2]]
    assert m.sq_mean_shift == pytest.approx((200 / 6 + 16 / 6 - 4) ** 2)


def test_bos_does_not_move_the_mean_of_text_positions():
    x = torch.randn(8, 5, 3)
    other = x.clone()
    other[:, 0] = 1e4
    a, b = (input_moments(v, torch.zeros(8), 1, 1.0) for v in (x, other))
    np.testing.assert_allclose(a.sq_deviation[:, 1:], b.sq_deviation[:, 1:])
    assert position_share(a) == pytest.approx(position_share(b))


def test_fvu_is_zero_for_a_perfect_code_and_one_for_the_mean():
    x = torch.rand(20, 5, 3) + 0.1
    m = input_moments(x, torch.zeros(20), 1, 1.0)
    perfect = reconstruct(identity_sae(3, 5), x, torch.zeros(20), 1, 1.0)
    assert fvu(perfect.sq_error[:, 1:], m.sq_deviation[:, 1:]) == pytest.approx(0, abs=1e-10)
    mean = x[:, 1:].mean((0, 1))
    constant = Dictionary(
        info(3, 3, 5, False, 1.0, 1.0),
        {"W_enc": torch.zeros(3, 3), "b_enc": torch.zeros(3), "W_dec": torch.eye(3), "b_dec": mean},
    )
    r = reconstruct(constant, x, torch.zeros(20), 1, 1.0)
    assert fvu(r.sq_error[:, 1:], m.sq_deviation[:, 1:]) == pytest.approx(1, rel=1e-5)


def test_position_share_is_zero_without_a_position_effect_and_one_with_nothing_else():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(200, 9, 4, generator=generator)
    shares = [
        position_share(input_moments(noise + a * torch.arange(9)[:, None], torch.zeros(200), 1, 1.0))
        for a in (0, 0.1, 1e4)
    ]
    assert abs(shares[0]) < 0.003  # uncorrected it would be 8/1600 = .005 on average
    assert 0.01 < shares[1] < 0.2
    assert shares[2] == pytest.approx(1, abs=1e-6)


def test_readings_of_sparsity_by_hand():
    f = torch.tensor([[0.0, 0, 0, 2], [1, 1, 1, 1], [0, 0, 3, 1], [0, 0, 0, 0]])
    x = torch.ones(4, 4)
    m = token_measures(x, x, f)
    assert m["hoyer"].tolist() == pytest.approx([1, 0, (2 - 4 / 10**0.5) / 1, 1])
    assert m["gini"].tolist() == pytest.approx([0.75, 0, 2 * (3 * 1 + 4 * 3) / (4 * 4) - 5 / 4, 1])
    assert m["treves_rolls"].tolist() == pytest.approx([0.75, 0, 1 - 16 / 10 / 4, 1])
    assert m["effective_l0"].tolist() == pytest.approx([1, 4, 1.6, 0])


def test_buckets_cover_every_position_once():
    assert list(buckets(128)) == ["0", "1-3", "4-7", "8-32", "33-127"]
    assert list(buckets(32)) == ["0", "1-3", "4-7", "8", "9-31"]
    for T in (2, 5, 9, 32, 128, 1000):
        covered = [t for where in buckets(T).values() for t in range(T)[where]]
        assert covered == list(range(T))


def test_tokens_of_massive_activation_are_left_out_by_hand():
    x = torch.ones(4, 6, 1)
    x[:, 0] = 1e4  # BOS is never one of them
    x[2, 5] = 50.0
    x[3, 4] = 9.0  # below 10 times the median norm
    m = input_moments(x, torch.tensor([0, 0, 1, 1]), 2, 1.0)
    assert (~m.ordinary).nonzero().tolist() == [[2, 5]]
    assert m.count_ordinary.tolist() == [[2] * 6, [2] * 5 + [1]]
    mu = (18 + 50 + 9) / 20
    assert m.sq_deviation_ordinary[1, 4:] == pytest.approx([(1 - mu) ** 2 + (9 - mu) ** 2, (1 - mu) ** 2])
    r = reconstruct(identity_sae(1, 6, 0.5), x, torch.tensor([0, 0, 1, 1]), 2, 1.0, m.ordinary)
    assert r.sq_error_ordinary[0].tolist() == r.sq_error[0].tolist()
    assert r.sq_error_ordinary[1, 5] == pytest.approx(r.sq_error[1, 5] - (50 * 0.5) ** 2)
