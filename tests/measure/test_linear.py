import pytest
import torch

from lens.measure.linear import Linear, position_mean, principal_components


def test_components_by_hand():
    """Text vectors (1 + 3 s, 2 + a, 5) with signs s and a: the first direction is e1, then e2; BOS is left out."""
    text = torch.tensor([[4.0, 3, 5], [-2, 3, 5], [4, 1, 5], [-2, 1, 5]])
    x = torch.cat([torch.full((2, 1, 3), 1e3), text.view(2, 2, 3)], dim=1)
    mean = torch.tensor([1.0, 2, 5])
    one, two = principal_components(x, mean, [1, 2])
    rebuilt = one(x)[:, 1:].reshape(4, 3)
    assert rebuilt.flatten().tolist() == pytest.approx(
        torch.stack([text[:, 0], mean[1:2].expand(4), text[:, 2]], 1).flatten().tolist()
    )
    assert torch.allclose(two(x)[:, 1:].reshape(4, 3), text, atol=1e-5)
    with pytest.raises(ValueError, match="rank 4 of activations of 3 dimensions"):
        principal_components(x, mean, [4])


def test_means_by_hand():
    x = torch.tensor([[[1.0, 0], [2, 2]], [[3, 0], [4, 0]]])
    assert position_mean(x)(x + 7).tolist() == [[[2, 0], [3, 1]]] * 2
    assert Linear.constant(torch.tensor([5.0, 6]))(x).tolist() == [[[5, 6]] * 2] * 2


def test_no_reconstruction_of_its_rank_is_better():
    x = torch.randn(40, 5, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 2, 1, 1, 0.5, 0.2])
    mean = x[:, 1:].mean((0, 1))
    (best,) = principal_components(x, mean, [2])
    error = lambda linear: (linear(x) - x)[:, 1:].square().sum().item()  # noqa: E731
    values = torch.linalg.svdvals((x[:, 1:] - mean).flatten(0, 1))
    assert error(best) == pytest.approx(values[2:].square().sum().item(), rel=1e-4)  # Eckart and Young 1936
