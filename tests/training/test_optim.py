import pytest
import torch

from lens.training.optim import ConstrainedAdamW, remove_parallel_, unit_rows_


def problem(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    W_dec = torch.nn.Parameter(unit_rows_(torch.randn(8, 5, generator=generator)))
    W_enc = torch.nn.Parameter(torch.randn(5, 8, generator=generator))
    bias = torch.nn.Parameter(torch.ones(8))
    return generator, W_dec, W_enc, bias


def test_decoder_rows_have_unit_norm_after_every_step():
    generator, W_dec, W_enc, bias = problem()
    optimizer = ConstrainedAdamW([W_dec], [W_enc], [bias])
    for _ in range(20):
        for p in (W_dec, W_enc, bias):
            p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step(0.1)
        norms = W_dec.detach().norm(dim=1)
        assert (norms - 1).abs().max() < 1e-5
        assert (W_dec.detach().norm(dim=0) - 1).abs().max() > 0.05  # the other axis is not what is constrained


def test_wrong_axis_is_refused():
    """A decoder normalised along the wrong axis, the classic bug: columns of unit norm, rows of any."""
    _, W_dec, *_ = problem()
    wrong = torch.nn.Parameter(unit_rows_(torch.randn(5, 8)).T.contiguous())
    with pytest.raises(ValueError, match="rows must have unit norm"):
        ConstrainedAdamW([wrong], [], [])
    ConstrainedAdamW([W_dec], [], [])


def test_gradient_is_orthogonal_to_each_row():
    generator, W_dec, *_ = problem()
    grad = remove_parallel_(torch.randn(8, 5, generator=generator), W_dec.detach())
    assert (grad * W_dec.detach()).sum(1).abs().max() < 1e-6


def test_a_purely_radial_gradient_moves_nothing():
    _, W_dec, *_ = problem()
    before = W_dec.detach().clone()
    optimizer = ConstrainedAdamW([W_dec], [], [])
    W_dec.grad = 3 * before
    optimizer.step(0.1)
    # what rounding leaves of the removed gradient is tiny, but Adam divides it by its own size: at most one lr
    assert optimizer.state[W_dec]["exp_avg"].abs().max() < 1e-6


def test_decay_acts_on_the_encoder_only():
    _, W_dec, W_enc, bias = problem()
    before = [p.detach().clone() for p in (W_dec, W_enc, bias)]
    optimizer = ConstrainedAdamW([W_dec], [W_enc], [bias], weight_decay=0.5)
    for p in (W_dec, W_enc, bias):
        p.grad = torch.zeros_like(p)
    optimizer.step(0.1)
    torch.testing.assert_close(W_enc.detach(), before[1] * (1 - 0.1 * 0.5))
    torch.testing.assert_close(W_dec.detach(), before[0])
    assert torch.equal(bias.detach(), before[2])


def test_one_step_by_hand():
    """First AdamW step: every coordinate moves lr * g/(|g| + eps); then the row is scaled back to norm 1."""
    W = torch.nn.Parameter(torch.tensor([[0.6, 0.8]]))
    optimizer = ConstrainedAdamW([W], [], [])
    W.grad = torch.tensor([[1.0, 0.0]])  # minus 0.6 * row: (0.64, -0.48)
    optimizer.step(0.1)
    moved = torch.tensor([[0.6 - 0.1, 0.8 + 0.1]])
    torch.testing.assert_close(W.detach(), moved / moved.norm())
