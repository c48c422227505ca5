"""Decoding with equally many degrees of freedom: against scikit-learn's ridge, and on spectra of several kinds."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from lens.measure.matched_decoding import matched_decoding

N, T, D, BLOCKS = 60, 16, 8, 10
BLOCK = torch.arange(N) % BLOCKS
Y = torch.arange(T).add(1).log2()


def noise(n=N, d=D, seed=0):
    return torch.randn(n, T, d, generator=torch.Generator().manual_seed(seed))


def same(x):
    return x


def planted(size=0.5):
    return noise() + size * Y[:, None] * torch.tensor([1.0, -1, 0, 0, 2, 0, 0, 0])


def freedom_of(X, penalty):
    s = np.linalg.eigvalsh(np.cov(X.T, bias=True))
    return (s / (s + penalty)).sum()


def test_each_document_is_predicted_by_scikit_learns_ridge_of_the_others():
    x = planted() * torch.logspace(-1, 1, D) + 100
    [found] = matched_decoding(same, x, BLOCK, BLOCKS, [3.0], D, first=2)
    assert found.freedom == pytest.approx(3)
    for b in range(BLOCKS):
        other = BLOCK != b
        X, y = x[other, 2:].double().flatten(0, 1).numpy(), Y[2:].double().repeat(int(other.sum())).numpy()
        low, high = 1e-9, 1e9
        for _ in range(200):  # bisection on a logarithmic scale
            penalty = (low * high) ** 0.5
            low, high = (penalty, high) if freedom_of(X, penalty) > 3 else (low, penalty)
        fitted = Ridge(alpha=penalty * len(X)).fit(X, y)
        own, truth = x[~other, 2:].double().flatten(0, 1).numpy(), Y[2:].double().repeat(N // BLOCKS).numpy()
        assert found.decoded.sse_B[b] == pytest.approx(((fitted.predict(own) - truth) ** 2).sum(), rel=1e-4)
        assert found.decoded.sst_B[b] == pytest.approx(((y.mean() - truth) ** 2).sum(), rel=1e-6)
        assert found.decoded.count_B[b] == len(truth)


def test_scale_and_turn_of_a_representation_change_nothing():
    turn = torch.linalg.qr(noise(1, D)[0, :D]).Q
    plain = matched_decoding(same, planted(), BLOCK, BLOCKS, [1.0, 4.0], D)
    other = matched_decoding(lambda x: 1e-3 * x @ turn, planted(), BLOCK, BLOCKS, [1.0, 4.0], D)
    for a, b in zip(plain, other, strict=True):
        assert a.decoded.r2 == pytest.approx(b.decoded.r2, abs=1e-4)


def test_more_freedom_reads_more_and_none_is_read_where_there_is_none():
    x = planted() * torch.tensor([1, 1, 9.0, 9, 1, 9, 9, 9])  # position is in directions of small variance
    little, much = (found.decoded.r2 for found in matched_decoding(same, x, BLOCK, BLOCKS, [2.0, 7.9], D))
    assert little < 0.2 < 0.5 < much
    assert all(abs(found.decoded.r2) < 0.03 for found in matched_decoding(same, noise(), BLOCK, BLOCKS, [2.0, 7.9], D))


def test_a_representation_of_fewer_directions_gives_what_it_has():
    [found] = matched_decoding(lambda x: x[..., :1] * torch.tensor([1.0, 2.0, 0.0]), planted(), BLOCK, BLOCKS, [2.0], 3)
    assert found.freedom == pytest.approx(1)
    [constant] = matched_decoding(torch.ones_like, planted(), BLOCK, BLOCKS, [2.0], D)
    assert constant.freedom == 0 and constant.decoded.r2 == 0


def test_of_a_wide_representation_the_first_principal_components_are_read():
    small = 1e-3 * planted()  # holds the position, and is not among the largest
    wide = matched_decoding(lambda x: torch.cat([noise(len(x)), x], -1), small, BLOCK, BLOCKS, [7.0], D)
    assert abs(wide[0].decoded.r2) < 0.03
    large = matched_decoding(lambda x: torch.cat([1e-3 * noise(len(x)), x], -1), planted(), BLOCK, BLOCKS, [7.0], D)
    alone = matched_decoding(same, planted(), BLOCK, BLOCKS, [7.0], D)
    assert large[0].decoded.r2 == pytest.approx(alone[0].decoded.r2, abs=0.01)


def test_documents_without_windows_are_left_out():
    with_gap = BLOCK + (BLOCK >= 4).long()
    [gap], [plain] = (matched_decoding(same, planted(), b, n, [3.0], D) for b, n in ((with_gap, 11), (BLOCK, 10)))
    assert gap.decoded.count_B[4] == 0 and gap.decoded.r2 == pytest.approx(plain.decoded.r2)


@pytest.mark.parametrize(
    ("freedoms", "block", "message"),
    [
        ([8.0], BLOCK, "8 degrees of freedom of 8 dimensions"),
        ([0.0], BLOCK, "0 degrees of freedom of 8 dimensions"),
        ([2.0], torch.zeros(N, dtype=torch.long), "windows of 1 document"),
    ],
)
def test_what_cannot_be_told_is_refused(freedoms, block, message):
    with pytest.raises(ValueError, match=message):
        matched_decoding(same, planted(), block, BLOCKS, freedoms, D)
