"""What can be put in the place of learned masks."""

import pytest
import torch

from lens.dictionaries.positions.mask import intervention

T, K = 9, 12
MASK = torch.tensor([[0.9, 0.9, 0.9], [0.2, 0.1, 0.6], [0.6, 0.3, 0.9], [0.8, 0.4, 0.3]])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("mean", [[1.6 / 3, 0.8 / 3, 0.6], [1.6 / 3, 0.8 / 3, 0.6], [1.6 / 3, 0.8 / 3, 0.6]]),
        ("hard", [[0, 0, 0.75], [0.7, 0, 0.75], [0.7, 0, 0]]),
        ("gauge_hard", [[0, 0, 0.75], [0.7, 0.35, 0.75], [0.7, 0.35, 0]]),
    ],
)
def test_interventions_by_hand(kind, expected):
    new = intervention(MASK, kind, generator())
    torch.testing.assert_close(new[1:], torch.tensor(expected))
    assert torch.equal(new[0], MASK[0])  # BOS is no part of any of them


def test_shuffling_moves_whole_rows_of_text():
    mask = torch.rand(T, K, generator=generator())
    new = intervention(mask, "shuffled", generator(4))
    assert torch.equal(new[0], mask[0])
    assert not torch.equal(new, mask)
    origin = [int((mask == row).all(1).nonzero()) for row in new]  # one permutation for all features
    assert sorted(origin[1:]) == list(range(1, T))
    assert torch.equal(new, intervention(mask, "shuffled", generator(4)))
    assert not torch.equal(new, intervention(mask, "shuffled", generator(5)))


def test_the_gauge_free_gate_does_not_see_the_level_of_a_mask():
    mask = torch.rand(T, K, generator=generator())
    level = torch.linspace(0.2, 1, K)
    scaled = torch.cat([mask[:1], mask[1:] * level])
    gate = intervention(mask, "gauge_hard", generator())[1:]
    torch.testing.assert_close(intervention(scaled, "gauge_hard", generator())[1:], gate * level)
    of_mask, of_scaled = (intervention(m, "hard", generator())[1:] > 0 for m in (mask, scaled))
    assert not torch.equal(of_mask, of_scaled)


def test_masks_that_are_windows_are_gates_already():
    mask = (torch.rand(T, K, generator=generator()) > 0.5).float()
    for kind in ("hard", "gauge_hard"):
        assert torch.equal(intervention(mask, kind, generator()), mask)
