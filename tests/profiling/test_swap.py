"""Features that read the position off the mean of the activations follow a swapped mean, and no wrong one."""

import pytest
import torch

from lens.dictionaries.dictionary import Dictionary, Info
from lens.profiling.swap import swap_columns

N, T, D = 96, 17, 24


def test_who_reads_the_mean_follows_it_and_who_reads_something_else_of_position_does_not():
    """Feature 0 reads a ramp of the mean, 1 a variance that grows with the position, which the mean says nothing of."""
    g = torch.Generator().manual_seed(0)
    x = 0.1 * torch.randn(N, T, D, generator=g)
    x[..., 0] += torch.linspace(-1, 1, T)
    x[..., 1] = torch.randn(N, T, generator=g) * torch.linspace(0.1, 3, T)
    x[:, 0] = 100
    axes = torch.eye(D)[:2]
    weights = {"W_enc": axes.T.contiguous(), "W_dec": axes, "b_dec": torch.zeros(D), "b_enc": torch.tensor([5.0, 0])}
    sae = Dictionary(Info(D, 2), weights)
    sets = torch.arange(N) % 4
    code = sae.encode(x).dense()[:, 1:]
    before = torch.stack([code[sets == r].mean(0) for r in range(4)])
    found = swap_columns(sae, x, sets, before, seed=0)
    assert found["swap"][0] == pytest.approx(1, abs=0.02)
    assert abs(found["swap"][1]) < 0.1
    assert abs(found["swap_wrong_means"][0]) < 0.7 and abs(found["swap_random"][0]) < 0.2
