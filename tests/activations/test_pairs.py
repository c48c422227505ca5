"""Pairs of vectors of one window."""

import pytest
import torch

from lens.activations.pairs import lagged, pairs, random_earlier

WINDOWS = torch.arange(2 * 5 * 3.0).view(2, 5, 3)


def test_partners_at_a_lag():
    later, earlier = lagged(5, 2)
    assert (later.tolist(), earlier.tolist()) == ([2, 3, 4], [0, 1, 2])
    x, before = pairs(WINDOWS, lag=3)  # text positions 1..4: one pair
    assert torch.equal(x, WINDOWS[:, 4:]) and torch.equal(before, WINDOWS[:, 1:2])


def test_partners_drawn_before_each_vector_are_spread_evenly():
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([random_earlier(6, generator)[1] for _ in range(4000)])
    assert (drawn < torch.arange(1, 6)).all() and (drawn >= 0).all()
    share = (drawn[:, 4:] == torch.arange(5)).float().mean(0)
    torch.testing.assert_close(share, torch.full((5,), 0.2), atol=0.03, rtol=0)


def test_drawn_partners_are_of_the_same_window_and_depend_on_the_generator_alone():
    x, before = pairs(WINDOWS, generator=torch.Generator().manual_seed(3))
    again = pairs(WINDOWS, generator=torch.Generator().manual_seed(3))[1]
    assert torch.equal(x, WINDOWS[:, 2:]) and torch.equal(before, again)
    assert (before[1] - before[0] == 15).all()  # the same places of both windows
    assert (before[0, :, 0] < x[0, :, 0]).all() and (before[0, :, 0] >= 3).all()  # none is BOS


@pytest.mark.parametrize("lag", [0, -1, 4])
def test_a_lag_that_no_vector_has_is_refused(lag):
    with pytest.raises(ValueError, match=rf"lag {lag} in 4 positions: choose 1..3"):
        pairs(WINDOWS, lag=lag)
    with pytest.raises(ValueError, match="no vector has an earlier one"):
        pairs(WINDOWS[:, :2], generator=torch.Generator())
