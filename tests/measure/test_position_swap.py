import pytest
import torch

from lens.measure.position_swap import follows, pushed, swapped

MEAN = torch.tensor([[0.0, 0], [3, 4], [0, 1]])
TARGET = torch.tensor([1, 2, 0])


def test_inputs_by_hand():
    x = torch.tensor([[[1.0, 1], [5, 5], [0, 0]]])
    assert swapped(x, MEAN, TARGET).tolist() == [[[4, 5], [2, 2], [0, -1]]]
    moved = pushed(x, MEAN, TARGET, torch.Generator().manual_seed(0)) - x
    assert moved.norm(dim=-1)[0].tolist() == pytest.approx([5, 18**0.5, 1])


def test_slope_by_hand():
    # profile 0, 2, 4; targets 2, 4, 0: wanted 2, 2, -4. Feature 0 goes half of the way, 1 stays, 2 is flat
    r = torch.tensor([[0.0, 0, 1], [2, 2, 1], [4, 4, 1]])
    after = r.clone()
    after[:, 0] += torch.tensor([1.0, 1, -2])
    found = follows(torch.stack([r, r]), torch.stack([after, after]), TARGET)
    assert found.tolist() == pytest.approx([0.5, 0, float("nan")], nan_ok=True)
    with pytest.raises(ValueError, match="two or more"):
        follows(r[None], after[None], TARGET)


def test_noise_of_the_profile_does_not_bend_the_slope():
    g = torch.Generator().manual_seed(0)
    P, target = 32, torch.randperm(32, generator=torch.Generator().manual_seed(1))
    r = torch.linspace(0, 1, P)[:, None].expand(P, 200)
    before = r + 0.2 * torch.randn(8, P, 200, generator=g)
    after = before + r[target] - r  # whatever the noise, firing goes all the way
    assert follows(before, after, target).mean() == pytest.approx(1, abs=0.03)
    still = follows(before, before + 0.2 * torch.randn(before.shape, generator=g), target)
    assert still.mean() == pytest.approx(0, abs=0.03)
