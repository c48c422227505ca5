import numpy as np
import pytest
import torch

from lens.dictionaries.dictionary import Dictionary
from lens.training.gradients import Workspace, loss_and_gradients
from lens.training.objective import losses
from tests.making import info

B, P, D, K = 3, 4, 5, 7


def definition(weights, x, tau):
    """Losses as autograd has them, and the weights whose gradients it gives."""
    dictionary = Dictionary(info(D, K, P, tau is not None, tau or 1.0), {n: v.clone() for n, v in weights.items()})
    return losses(dictionary, x, torch.arange(P))[0], dictionary.weights()


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(0)
    made = Dictionary.initialise(info(D, K, P), torch.randn(D, generator=generator), 1)
    weights = {n: p.data.double() for n, p in made.weights().items()}
    weights["pos_logits"] *= 5
    weights["b_enc"] += 0.1 * torch.randn(K, generator=generator).double()
    x = torch.randn(B, P, D, generator=generator).double()
    w = torch.rand(P, generator=generator).double()
    return weights, x, w


def test_losses_match_a_numpy_oracle(problem):
    weights, x, w = problem
    W = {n: v.numpy() for n, v in weights.items()}
    f = np.maximum(x.numpy() @ W["W_enc"] + W["b_enc"], 0) / (1 + np.exp(-W["pos_logits"] / 0.7))
    error = ((f @ W["W_dec"] + W["b_dec"] - x.numpy()) ** 2).sum(-1)
    total = (w.numpy() * (error + 0.04 * np.abs(f).sum(-1))).sum() / B
    found, _ = definition(weights, x, 0.7)
    assert found.total(w, 0.04).item() == pytest.approx(total, rel=1e-6)
    assert found.active.numpy() == pytest.approx((f > 0).sum(-1).mean(0))


@pytest.mark.parametrize("tau", [5.0, 0.1, None])
@pytest.mark.parametrize("weight_l1", [True, False])
def test_written_out_gradients_equal_autograd(problem, tau, weight_l1):
    weights, x, w = problem
    if tau is None:
        weights = {n: v for n, v in weights.items() if n != "pos_logits"}
    expected, leaves = definition(weights, x, tau)
    expected.total(w, 0.04, weight_l1).backward()
    losses, grads = loss_and_gradients(
        weights,
        x / 3,
        tau,
        w,
        0.04,
        Workspace(),
        input_scale=3.0,
        weight_l1=weight_l1,
        compute_dtype=torch.float64,
        count_active=True,
    )
    assert losses.total(w, 0.04, weight_l1).item() == pytest.approx(expected.total(w, 0.04, weight_l1).item(), rel=1e-5)
    assert set(grads) == set(weights)
    for name, grad in grads.items():
        torch.testing.assert_close(grad, leaves[name].grad, rtol=1e-6, atol=1e-9, msg=name)


def test_all_ones_masks_train_like_no_masks(problem):
    weights, x, w = problem
    plain = {n: v for n, v in weights.items() if n != "pos_logits"}
    ones = {**weights, "pos_logits": torch.full_like(weights["pos_logits"], 1e9)}
    losses, grads = loss_and_gradients(plain, x.float(), None, w.float(), 0.04, Workspace())
    masked_losses, masked = loss_and_gradients(ones, x.float(), 1.0, w.float(), 0.04, Workspace())
    assert torch.equal(losses.error, masked_losses.error)
    for name in plain:
        assert torch.equal(grads[name], masked[name]), name
    assert not masked["pos_logits"].any()  # saturated


def test_bf16_products_stay_close_to_fp32(problem):
    weights, x, w = problem
    weights = {n: v.float() for n, v in weights.items()}
    _, low = loss_and_gradients(weights, x.float(), 1.0, w.float(), 0.04, Workspace())
    _, high = loss_and_gradients(weights, x.float(), 1.0, w.float(), 0.04, Workspace(), compute_dtype=torch.float32)
    for name in weights:
        assert low[name].dtype == torch.float32
        assert (low[name] - high[name]).norm() < 0.03 * high[name].norm(), name


def test_weights_scale_each_position(problem):
    """Eq. 8: doubling w_t doubles what position t adds to the gradient."""
    weights, x, _ = problem

    def gradient(w):
        return loss_and_gradients(
            weights, x, 1.0, torch.tensor(w).double(), 0.04, Workspace(), compute_dtype=torch.float64
        )[1]["W_enc"]

    one = gradient([1.0, 0, 0, 0])
    torch.testing.assert_close(gradient([2.0, 0, 0, 3.0]), 2 * one + 3 * gradient([0, 0, 0, 1.0]))


def test_what_a_step_returns_outlives_the_next_one_in_the_same_workspace(problem):
    weights, x, w = problem
    workspace = Workspace()

    def step(x, tau):
        used = weights if tau else {n: v for n, v in weights.items() if n != "pos_logits"}
        return loss_and_gradients(used, x, tau, w, 0.04, workspace, compute_dtype=torch.float64)

    losses, grads = step(x, 0.7)
    kept = losses.error.clone(), {n: g.clone() for n, g in grads.items()}
    step(x + 1, None)  # same sizes
    step(x[:1] + 1, 0.7)  # fewer windows
    assert torch.equal(losses.error, kept[0])
    assert all(torch.equal(grads[n], kept[1][n]) for n in grads)
    again = step(x, 0.7)
    assert all(torch.equal(again[1][n], kept[1][n]) for n in grads)  # nothing left over decides the result
