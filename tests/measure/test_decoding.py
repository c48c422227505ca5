"""Decoding of planted positions, and none where there is none to find on documents that were held out."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from lens.measure.decoding import RIDGE, decode_position

N, T, D, BLOCKS = 60, 16, 6, 10
BLOCK = torch.arange(N) % BLOCKS
Y = torch.arange(T).add(1).log2()


def noise(n=N, d=D, seed=0):
    return torch.randn(n, T, d, generator=torch.Generator().manual_seed(seed))


def same(x):
    return x


def planted(size=1.0):
    return noise() + size * Y[:, None] * torch.tensor([1.0, -1, 0, 0, 2, 0])


def test_a_planted_position_is_read():
    assert decode_position(same, 1e-2 * noise() + planted() - noise(), BLOCK, BLOCKS).r2 > 0.99
    assert 0.7 < decode_position(same, planted(), BLOCK, BLOCKS).r2 < 0.95


def test_without_a_position_nothing_is_read():
    found = decode_position(same, noise(), BLOCK, BLOCKS)
    assert -0.1 < found.r2 < 0.01


@pytest.mark.parametrize("constant", [0.0, 3.7, -1e6])
def test_a_constant_representation_scores_exactly_zero(constant):
    found = decode_position(lambda x: torch.full((*x.shape[:2], 3), constant), noise(), BLOCK, BLOCKS)
    np.testing.assert_array_equal(found.sse_B, found.sst_B)
    assert found.r2 == 0


def test_scores_are_those_of_documents_that_were_held_out():
    # Each document writes position in a direction of its own: known documents give it away, new ones do not.
    d = 2 * BLOCKS
    x = 0.01 * noise(d=d)
    x[torch.arange(N), :, 2 * BLOCK] += Y - Y[1:].mean()
    assert decode_position(same, x, BLOCK, BLOCKS).r2 < 0.05
    mutant_folds = torch.arange(N) // BLOCKS  # windows of every document in every fold
    assert decode_position(same, x, mutant_folds, 6, folds=6).r2 > 0.9


def test_ridge_is_scikit_learns_on_the_same_folds():
    x = planted(0.3) + 1e4 * torch.tensor([1.0, 0, -3, 0, 0, 0.5])  # huge means, as in a residual stream
    found = decode_position(same, x, BLOCK, BLOCKS, first=2, folds=5)
    sse = np.zeros(BLOCKS)
    for fold in range(5):
        held_out = BLOCK % 5 == fold
        X, y = x[~held_out, 2:].double().reshape(-1, D).numpy(), Y[2:].double().repeat(int((~held_out).sum())).numpy()
        ridge = Ridge(alpha=RIDGE * X.var(0).mean() * len(X)).fit(X, y)
        for b in np.unique(BLOCK[held_out]):
            error = ridge.predict(x[BLOCK == b, 2:].double().reshape(-1, D).numpy()) - Y[2:].double().repeat(6).numpy()
            sse[b] = (error**2).sum()
    np.testing.assert_allclose(found.sse_B, sse, rtol=1e-4)
    assert found.r2 == pytest.approx(1 - sse.sum() / found.sst_B.sum(), rel=1e-4)
    assert found.count_B.tolist() == [6 * (T - 2)] * BLOCKS
    np.testing.assert_allclose(found.sst_B, 6 * ((Y[2:] - Y[2:].mean()) ** 2).sum().item(), rtol=1e-6)


def test_units_do_not_matter():
    found, small = (decode_position(same, scale * planted(), BLOCK, BLOCKS).r2 for scale in (1, 1e-4))
    assert small == pytest.approx(found, rel=1e-5)


def test_bos_is_never_seen():
    x = planted()
    other = x.clone()
    other[:, 0] = 1e6
    assert decode_position(same, x, BLOCK, BLOCKS).r2 == decode_position(same, other, BLOCK, BLOCKS).r2
    for first in (0, -1, T - 1, T):
        with pytest.raises(ValueError, match=f"first = {first}: expected 1 .position 0 is BOS. to 14"):
            decode_position(same, x, BLOCK, BLOCKS, first=first)


def test_later_positions_alone():
    # The position shows at t = 1 only: it helps over all text positions, and not from 8 on.
    x = noise()
    x[:, 1] += 20
    assert decode_position(same, x, BLOCK, BLOCKS).r2 > 0.2
    assert decode_position(same, x, BLOCK, BLOCKS, first=8).r2 < 0.02


def test_a_fold_without_windows_is_refused():
    with pytest.raises(ValueError, match=r"folds \[3, 4\] of 5 hold no windows: ask for fewer folds"):
        decode_position(same, noise(), BLOCK % 3, BLOCKS // 2)
    with pytest.raises(ValueError, match="folds must be a whole number of at least 2, found 1"):
        decode_position(same, noise(), BLOCK, BLOCKS, folds=1)
