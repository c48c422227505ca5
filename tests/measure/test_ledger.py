import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import tensor

from lens.measure.ledger import PARTS, ledger

ZERO = torch.zeros(2)


def test_shares_by_hand():
    # w_0 = (1, .5), w_1 = (0, 1), decoder the axes; both sets of windows alike, so crossing changes nothing
    W_enc, W_dec = tensor([[1.0, 0], [0.5, 1]]), torch.eye(2)
    code = tensor([[[0.0, 0], [1, 4]]] * 2)  # profiles 0, 1 and 0, 4
    x = code + tensor([[[0.0, 0], [1, 0]]] * 2)  # an error of (0, 1) along the first axis
    found = ledger(code, x, W_enc, W_dec, ZERO)
    # feature 0: own 1, others .5 * 4 = 2, error 1, whole 4; feature 1: its own profile alone
    assert [found.score[part][0] for part in PARTS] == pytest.approx([0.25, 0.5, 0.25, 0])
    assert [found.score[part][1] for part in PARTS] == pytest.approx([1, 0, 0, 0])
    assert found.variance_K == pytest.approx([4, 4])  # of 0, 4 over two positions
    assert np.isnan(found.low["own"]).all()  # two sets have no interval


def test_a_flat_profile_has_no_shares():
    code = torch.ones(3, 5, 2)
    found = ledger(code, code, torch.eye(2), torch.eye(2), ZERO)
    assert np.isnan(found.score["own"]).all()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(2, 5), st.booleans())
def test_shares_sum_to_one_for_score_and_code(seed, sets, gated):
    g = torch.Generator().manual_seed(seed)
    code, x = torch.rand(sets, 6, 9, generator=g), torch.randn(sets, 6, 4, generator=g)
    W, D = torch.randn(4, 9, generator=g), torch.randn(9, 4, generator=g)
    found = ledger(
        code, x, W, D, torch.randn(4, generator=g),
        windows_R=torch.randint(1, 9, (sets,), generator=g),
        term_score_RTK=torch.randn(code.shape, generator=g),
        ungated_RTK=torch.rand(code.shape, generator=g) if gated else None,
        chunk=4,
    )  # fmt: skip
    for shares in (found.score, found.code):
        total = sum(shares[part] for part in PARTS)
        assert total[~np.isnan(total)] == pytest.approx(1, abs=1e-3)


def test_a_mask_on_the_code_of_a_flat_score_is_all_there_is():
    rng = torch.Generator().manual_seed(0)
    mask = torch.tensor([0.2, 1, 1, 0.2])[:, None]
    ungated = 1 + 0.001 * torch.randn(4, 4, 1, generator=rng)
    code = mask * ungated
    found = ledger(code, ungated, torch.ones(1, 1), torch.ones(1, 1), torch.zeros(1), ungated_RTK=ungated)
    assert found.code["term"] == pytest.approx(1, abs=0.01)


def test_an_additive_term_on_the_score_is_its_own_share():
    term = torch.tensor([0.0, 1, 2])[:, None].expand(4, 3, 1)
    code = torch.tensor([0.0, 1, 2])[:, None].expand(4, 3, 1)
    found = ledger(code, code, torch.ones(1, 1), torch.ones(1, 1), torch.zeros(1), term_score_RTK=term)
    assert [found.score[part][0] for part in PARTS] == pytest.approx([0.5, 0, 0, 0.5])


def test_cross_talk_and_tuning_are_told_apart_and_intervals_cover():
    """Feature 0 is tuned; 1 ignores position, but its encoder reads feature 0; noise by document."""
    rng, covered, shares = np.random.default_rng(0), [], []
    profile = np.array([0.0, 0.5, 1, 0.5, 0])
    W_enc = tensor([[1.0, 0.6], [0, 1]])
    for _ in range(100):
        noise = rng.normal(0, 0.05, (20, 5, 2))
        code = torch.from_numpy(np.stack([profile, np.ones(5)], -1) + noise).float()
        found = ledger(code, code, W_enc, torch.eye(2), ZERO)
        shares.append([found.score["own"], found.score["others"]])
        covered.append((found.low["others"][1] <= 1) & (found.high["others"][1] >= 1))
    own, others = np.mean(shares, 0)
    assert own[0] == pytest.approx(1, abs=0.01) and others[1] == pytest.approx(1, abs=0.02)
    assert np.mean(covered) > 0.88  # 95 %, and three standard errors of 100 draws


def test_shapes_that_do_not_fit_are_refused():
    code, x = torch.zeros(2, 3, 4), torch.zeros(2, 3, 5)
    with pytest.raises(ValueError, match="two or more"):
        ledger(code[:1], x[:1], torch.zeros(5, 4), torch.zeros(4, 5), torch.zeros(5))
    with pytest.raises(ValueError, match="don't fit"):
        ledger(code, x, torch.zeros(4, 5), torch.zeros(4, 5), torch.zeros(5))
