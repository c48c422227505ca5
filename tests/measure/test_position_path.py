"""The mean path along the window: by hand, without the length that noise adds, and turned."""

import numpy as np
import pytest
import torch

from lens.measure.position_path import path_of, path_size, path_sums, plus, turned

T, D = 6, 5


def same(x):
    return x


def test_a_path_by_hand():
    x = torch.zeros(4, T, D)
    x[:, 1:, 0] = torch.tensor([1.0, 2, 3, 4, 5])  # variance 2 about its mean
    x[:, 0] = 1e6  # BOS is none of it
    x[:2] += 10
    whole, left_out = path_size(path_sums(same, x, torch.tensor([0, 0, 1, 1]), 2))
    assert whole == pytest.approx(2) and left_out == pytest.approx([2, 2])
    assert path_size(path_sums(same, x, torch.tensor([0, 0, 1, 1]), 2), first=3)[0] == pytest.approx(2 / 3)
    torch.testing.assert_close(
        path_of(path_sums(same, x, torch.zeros(4), 1))[:, 0], torch.tensor([0.0, -2, -1, 0, 1, 2])
    )


def test_the_size_without_a_document_is_that_of_the_others():
    x = torch.randn(12, T, D, generator=torch.Generator().manual_seed(0))
    block = torch.arange(12) // 4
    whole, left_out = path_size(path_sums(same, x, block, 3))
    for b in range(3):
        assert left_out[b] == pytest.approx(path_size(path_sums(same, x[block != b], block[block != b], 3))[0])
    assert whole == pytest.approx(path_size(path_sums(same, x, torch.zeros(12), 1))[0])


def test_noise_alone_makes_no_path():
    """The squared length of a mean of 20 windows is D / 20 by noise alone."""
    draws = torch.randn(300, 20, T, D, generator=torch.Generator().manual_seed(1))
    sizes = [path_size(path_sums(same, x, torch.zeros(20), 1))[0] for x in draws]
    assert abs(np.mean(sizes)) < 4 * np.std(sizes) / 300**0.5 < 0.2 * D / 20


def test_what_is_not_ordinary_does_not_count():
    x = torch.zeros(4, T, D)
    x[:, 1:, 0] = torch.tensor([1.0, 2, 3, 4, 5])
    x[3, 2] = 1e5
    ordinary = torch.ones(4, T, dtype=torch.bool)
    ordinary[3, 2] = False
    assert path_size(path_sums(same, x, torch.zeros(4), 1, ordinary))[0] == pytest.approx(2)
    with pytest.raises(ValueError, match="half of the windows have no token"):
        path_size(path_sums(same, x, torch.zeros(4), 1, torch.zeros(4, T, dtype=torch.bool)))


def test_a_turned_path_is_as_long_everywhere_and_elsewhere():
    path = path_of(
        path_sums(same, torch.randn(9, T, 64, generator=torch.Generator().manual_seed(2)), torch.zeros(9), 1)
    )
    other = turned(path, 0)
    torch.testing.assert_close(other.norm(dim=-1), path.norm(dim=-1))
    torch.testing.assert_close(other @ other.T, path @ path.T, atol=1e-4, rtol=1e-4)
    assert abs(torch.cosine_similarity(other[1:], path[1:]).mean()) < 0.3
    assert torch.equal(turned(path, 0), other) and not torch.equal(turned(path, 1), other)
    assert not other[0].any()


def test_turns_have_no_direction_of_their_own():
    path = torch.zeros(1, 8)
    path[0, 0] = 1
    mean = np.mean([turned(path, seed)[0].numpy() for seed in range(400)], axis=0)
    assert np.abs(mean).max() < 4 / (8 * 400) ** 0.5


def test_a_path_on_top_of_what_is_rebuilt():
    x, path = torch.ones(2, T, D, dtype=torch.bfloat16), torch.arange(T)[:, None].expand(T, D).float()
    got = plus(lambda x: 0 * x, path)(x)
    assert got.dtype == x.dtype and torch.equal(got.float(), path.expand(2, T, D))
