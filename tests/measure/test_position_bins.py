import pytest
import torch

from lens.measure.position_bins import edges, hats, position_bins


def test_bins_double_to_sixteen_and_are_even_later():
    bins = position_bins(128, 1)
    assert bins[0] == -1 and bins[1:].tolist() == sorted(bins[1:].tolist())
    assert torch.bincount(bins[1:]).tolist() == [1, 2, 4, 8, *[16] * 7]
    assert edges(6) == [1, 2, 4] and edges(40, 8) == [8, 16, 32]
    assert position_bins(4, 0).tolist() == [0, 1, 2, 2]


def test_hats_interpolate():
    found = hats(torch.tensor([0.0, 1, 2, 4, 5]), torch.tensor([1.0, 3, 4]))
    assert found.tolist() == [[1, 0, 0], [1, 0, 0], [0.5, 0.5, 0], [0, 0, 1], [0, 0, 1]]
    assert hats(torch.linspace(0, 9, 50), torch.tensor([1.0, 2, 7])).sum(1).numpy() == pytest.approx(1)
