"""bf16 products on processors without instructions for them. Every test takes this one to be of that kind."""

import pytest
import torch
from torch.nn import functional

from lens import bf16
from lens.activations import models
from lens.training.recipe import build
from lens.training.train import train_layer

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def not_native(monkeypatch):
    monkeypatch.setattr(bf16, "native", lambda device: False)


@pytest.fixture
def widened(monkeypatch) -> list:
    """The operators that were done in float32."""
    seen, inner = [], bf16._in_float32
    monkeypatch.setattr(bf16, "_in_float32", lambda func, *rest: (seen.append(func), inner(func, *rest))[1])
    return seen


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).bfloat16()


CASES = {
    "mm": (lambda a, b: a @ b, draw(6, 5), draw(5, 4)),
    "mv": (lambda a, b: a @ b, draw(6, 5), draw(5)),
    "bmm": (lambda a, b: a @ b, draw(3, 6, 5), draw(3, 5, 4)),
    "broadcast": (lambda a, b: a @ b, draw(3, 6, 5), draw(5, 4)),
    "addmm": (torch.addmm, draw(4), draw(6, 5), draw(5, 4)),
    "baddbmm": (torch.baddbmm, draw(3, 6, 4), draw(3, 6, 5), draw(3, 5, 4)),
    "linear": (functional.linear, draw(2, 6, 5), draw(4, 5), draw(4)),
    "einsum": (lambda a, b: torch.einsum("tik,kj->tij", a, b), draw(3, 6, 5), draw(5, 4)),
    "conv1d": (functional.conv1d, draw(2, 5, 9), draw(4, 5, 3), draw(4)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_float32_rounded_once(name, widened):
    function, *inputs = CASES[name]
    low = [x.clone().requires_grad_() for x in inputs]
    high = [x.float().requires_grad_() for x in inputs]
    expected = function(*high)
    with bf16.products(CPU):
        found = function(*low)
        upstream = torch.ones_like(found)
        grads = torch.autograd.grad(found, low, upstream)
    assert widened and found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected.bfloat16(), rtol=0, atol=0)
    for g, e in zip(grads, torch.autograd.grad(expected, high, upstream.float()), strict=True):
        assert g.dtype == torch.bfloat16
        torch.testing.assert_close(g.float(), e, rtol=2**-7, atol=1e-2)


def test_a_wide_matrix_is_multiplied_in_parts_of_its_columns(widened, monkeypatch):
    monkeypatch.setattr(bf16, "AT_ONCE", 20)
    a, b = draw(6, 5).requires_grad_(), draw(11, 5).requires_grad_()
    with bf16.products(CPU):
        found = functional.linear(a, b)
        found.sum().backward()
    assert found.equal((a.float() @ b.float().T).bfloat16()) and a.grad.dtype == b.grad.dtype == torch.bfloat16
    assert len(widened) > 4  # 4 columns at a time, and what autograd does


def test_what_is_written_into_a_buffer_is_there(widened):
    a, b = draw(6, 5), draw(5, 4)
    out, total, batch = torch.empty(6, 4).bfloat16(), draw(6, 4), torch.empty(1, 6, 4).bfloat16()
    with bf16.products(CPU):
        assert torch.mm(a, b, out=out) is out
        assert torch.addmm(draw(4), a, b, out=batch[0]).data_ptr() == batch.data_ptr()
        assert total.addmm_(a, b, beta=-1) is total
    exact = a.float() @ b.float()
    assert out.equal(exact.bfloat16())
    assert batch[0].equal((draw(4).float() + exact).bfloat16())
    assert total.equal((exact - draw(6, 4).float()).bfloat16())
    assert len(widened) == 3


def test_other_numbers_are_left_as_they_are(widened):
    a, b = torch.randn(6, 5), torch.randn(5, 4)
    with bf16.products(CPU):
        assert (a @ b).equal(torch.mm(a, b)) and (a.double() @ b.double()).dtype == torch.float64
        q = draw(2, 3, 7, 8)  # attention rounds between its products, as it does on every processor
        attended = functional.scaled_dot_product_attention(q, q, q, is_causal=True)
    assert not widened
    assert attended.equal(functional.scaled_dot_product_attention(q, q, q, is_causal=True))


def test_a_language_model_answers_so(widened):
    model = models.load("random:gemma-3-tiny")
    tokens = torch.arange(32).view(2, 16)
    hidden = model.spliced(tokens, 1, None)
    passes = len(widened)
    assert passes >= 7 * model.n_layers  # four products around attention, three of the layer behind it
    assert model.logits(hidden).isfinite().all() and len(widened) > passes
    with pytest.MonkeyPatch.context() as native:
        native.setattr(bf16, "native", lambda device: True)
        before = model.spliced(tokens, 1, None)
    assert (hidden - before).float().norm() < 0.002 * before.float().norm()


@pytest.mark.parametrize("fields", [{}, {"architecture": "batch_topk", "k": 3, "position": "none"}])
def test_a_dictionary_trains_so(fields, widened, tmp_path):
    x = draw(16, 9, 12)
    recipe = build({"steps": 20, "batch_windows": 8, "lr": 1e-2, **fields})

    def loss(folder) -> torch.Tensor:
        trained = train_layer(x, {"a": recipe}, [0], folder / "d", folder, data_digest="x", device="cpu", log_every=1)
        return torch.tensor(trained.history.query("metric == 'loss'")["value"].to_numpy())

    found = loss(tmp_path / "widened")
    assert len(widened) >= 20 * 5
    with pytest.MonkeyPatch.context() as native:
        native.setattr(bf16, "native", lambda device: True)
        torch.testing.assert_close(found, loss(tmp_path / "native"), rtol=0.05, atol=0.01)
