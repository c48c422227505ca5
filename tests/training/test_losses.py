"""The loss of each architecture against values by hand and against its plain definition."""

import pytest
import torch

from lens.dictionaries.architectures import batch_topk, jumprelu, matryoshka, topk
from lens.dictionaries.codes import Codes
from lens.dictionaries.dictionary import Dictionary, Info
from lens.dictionaries.parts import Forward
from lens.errors import ConfigError, DictionaryError
from lens.training.objective import gradients, losses
from lens.training.recipe import build

B, P, D, K = 3, 4, 6, 10
NO_AUTOCAST = torch.autocast("cpu", enabled=False)


def made(architecture: str, d_sae: int = K, position: str = "none", **settings) -> Dictionary:
    """In training, with weights for which every term of every loss has a gradient."""
    generator = torch.Generator().manual_seed(0)
    info = Info(D, d_sae, P, architecture=architecture, position=position, settings=settings)
    weights = {n: p.detach().double() for n, p in Dictionary.initialise(info, torch.zeros(D), 1).weights().items()}
    for name, value in weights.items():
        if name not in ("W_enc", "W_dec"):
            value += 0.2 * torch.rand(value.shape, generator=generator)
    return Dictionary(info, weights).train()


def inputs() -> torch.Tensor:
    return torch.randn(B, P, D, generator=torch.Generator().manual_seed(3)).double()


def check(dictionary: Dictionary, coefficient: float, definition) -> None:
    """`definition(x, weights)`, mean over windows and sum over positions, has the loss and gradients of training."""
    x, weights = inputs(), {n: p.detach().clone().requires_grad_() for n, p in dictionary.weights().items()}
    loss = definition(x, weights)
    expected = torch.autograd.grad(loss, list(weights.values()))
    w = torch.ones(P, dtype=torch.float64)
    found, grads, auxiliary, _ = gradients(
        dictionary, x, torch.arange(P), w, coefficient, weight_penalty=True, autocast=NO_AUTOCAST
    )
    torch.testing.assert_close(found.total(w, coefficient) + auxiliary, loss.detach(), rtol=1e-6, atol=1e-6)
    for name, wanted in zip(weights, expected, strict=True):
        torch.testing.assert_close(grads[name], wanted, rtol=1e-5, atol=1e-6, msg=name)


def per_window(error: torch.Tensor) -> torch.Tensor:
    return error.square().sum(-1).mean(0).sum()


def revival(f_all, dead, residual, w, k_aux: int) -> torch.Tensor:
    """AuxK with a coefficient of 0.5: the k_aux largest of the dead features, through their rows of the decoder."""
    f = f_all[..., dead]
    f = f * (f >= f.sort(-1, descending=True).values[..., k_aux - 1 : k_aux])
    return 0.5 * per_window(residual.detach() - f @ w["W_dec"][dead])


WIDE = 32 * 3  # wide enough for codes of few features
AUX = {"k_aux": 4, "aux_coef": 0.5, "dead_after": 0}


@pytest.mark.parametrize("d_sae", [K, WIDE])
def test_topk_is_the_error_of_its_largest_features_and_what_dead_ones_add(d_sae):
    dead = torch.arange(d_sae) % 2 == 0

    def definition(x, w):
        u = x @ w["W_enc"] + w["b_enc"]
        f = u.relu() * (u >= u.sort(-1, descending=True).values[..., 2:3])
        residual = x - f @ w["W_dec"] - w["b_dec"]
        return per_window(residual) + revival(u.relu(), dead, residual, w, 4)

    dictionary = made("topk", d_sae, k=3, **AUX)
    dictionary.architecture.silent[dead] = 1
    check(dictionary, 0.0, definition)


def test_gated_adds_the_error_of_its_gate_through_a_frozen_decoder():
    def definition(x, w):
        u = x @ w["W_enc"]
        gate = (u + w["b_gate"]).relu()
        f = (u * w["r_mag"].exp() + w["b_mag"]).relu() * (gate > 0)
        main = per_window(x - f @ w["W_dec"] - w["b_dec"])
        frozen = per_window(x - gate @ w["W_dec"].detach() - w["b_dec"].detach())
        return main + 0.3 * gate.sum(-1).mean(0).sum() + frozen

    check(made("gated", l1_coef=0.3), 0.3, definition)


@pytest.mark.parametrize("d_sae", [K, WIDE])
@pytest.mark.parametrize(("architecture", "prefixes"), [("batch_topk", (1.0,)), ("matryoshka", (0.2, 0.5, 1.0))])
def test_matryoshka_is_the_sum_of_the_errors_of_its_prefixes_and_batch_topk_has_one(architecture, prefixes, d_sae):
    dead = torch.arange(d_sae) % 2 == 0

    def definition(x, w):
        all_f = (x @ w["W_enc"] + w["b_enc"]).relu()
        f = all_f * (all_f >= all_f.flatten().sort(descending=True).values[3 * B * P - 1])
        widths = [round(share * d_sae) for share in prefixes]
        errors = [x - f[..., :m] @ w["W_dec"][:m] - w["b_dec"] for m in widths]
        return sum(per_window(error) for error in errors) + revival(all_f, dead, errors[-1], w, 4)

    nested = {"prefixes": prefixes} if architecture == "matryoshka" else {}
    dictionary = made(architecture, d_sae, k=3, **AUX, **nested)
    dictionary.architecture.silent[dead] = 1
    for edge in {round(share * d_sae) for share in prefixes} - {d_sae}:  # features on both sides of it are on
        dictionary.architecture.b_enc.data[edge - 1 : edge + 1] += 1
    check(dictionary, 0.0, definition)


@pytest.mark.parametrize("d_sae", [K, WIDE])
def test_copies_for_buckets_are_one_batch_topk_with_closed_scores(d_sae):
    dead = torch.arange(d_sae) % 4 < 2
    closed = (torch.arange(P)[:, None] >= 3) != (torch.arange(d_sae) % 2 == 1)

    def definition(x, w):
        all_f = (torch.where(closed, -1e12, x @ w["W_enc"]) + w["b_enc"]).relu()
        f = all_f * (all_f >= all_f.flatten().sort(descending=True).values[3 * B * P - 1])
        error = x - f @ w["W_dec"] - w["b_dec"]
        return per_window(error) + revival(all_f, dead, error, w, 4)

    dictionary = made("batch_topk", d_sae, "buckets", k=3, edges=[3], **AUX)
    dictionary.architecture.silent[dead] = 1
    check(dictionary, 0.0, definition)


@pytest.mark.parametrize("d_sae", [K, WIDE])
def test_gains_on_scores_have_gradients_where_few_features_are_kept_too(d_sae):
    dictionary = made("batch_topk", d_sae, "gain", k=3, splines=4, **AUX)
    basis = dictionary.position_term.basis.double()
    dictionary.position_term.basis = basis

    def definition(x, w):
        all_f = (x @ w["W_enc"] * (basis @ w["gain_splines"]).exp() + w["b_enc"]).relu()
        f = all_f * (all_f >= all_f.flatten().sort(descending=True).values[3 * B * P - 1])
        return per_window(x - f @ w["W_dec"] - w["b_dec"])

    check(dictionary, 0.0, definition)


@pytest.mark.parametrize("positive", [1.0, 0.01])  # most pre-activations, or fewer than could be kept
def test_the_largest_of_a_batch_are_those_of_sorting_them_all(positive):
    net = batch_topk.BatchTopK(4, 640, batch_topk.Settings(k=20)).train()
    u = torch.randn(30, 640, generator=torch.Generator().manual_seed(0)) - 3 * (1 - positive)
    u[3] += 2  # a vector that keeps far more than others
    codes = net.select_few(u, lambda feature, vector: u[vector, feature])
    assert codes.index is not None
    assert torch.equal(codes.dense(), net.select(u).dense())
    assert codes.l0().tolist() == codes.fired().sum(-1).tolist()
    assert torch.equal(codes.alive(), codes.fired().any(0))


@pytest.mark.parametrize("positive", [1.0, 0.01])
def test_what_is_kept_of_open_features_is_what_is_kept_of_all(positive):
    net = batch_topk.BatchTopK(4, 640, batch_topk.Settings(k=20)).train()
    generator = torch.Generator().manual_seed(0)
    opened = torch.arange(6)[:, None] % 5 + 5 * torch.arange(128)  # of 6 positions, a fifth of the features each
    scores = torch.randn(5, 6, 128, generator=generator).bfloat16() - 3 * (1 - positive)
    u = torch.full((5, 6, 640), -1e12).scatter(-1, opened.expand(5, -1, -1), scores.float())
    found, wanted = (net.select_few(u, lambda f, v: u.flatten(0, 1)[v, f], o) for o in (opened, None))
    assert found is not None and wanted is not None and wanted.index is not None and found.index is not None
    assert torch.equal(found.values, wanted.values) and torch.equal(found.index, wanted.index)  # of equal ones too


@pytest.mark.parametrize("architecture", ["topk", "batch_topk", "matryoshka"])
def test_no_gradient_as_wide_as_the_dictionary_is_formed(architecture):
    """What autograd hands from one operation to the next, in a step with few features: nothing of [B, P, d_sae]."""
    dictionary = made(architecture, WIDE, k=3, **AUX)
    dictionary.architecture.silent[::2] = 1
    found, auxiliary, _ = losses(dictionary, inputs(), torch.arange(P))
    seen, todo = set(), [(found.error.sum() + auxiliary).grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        node.register_prehook(lambda grads: sizes.extend(g.shape for g in grads if g is not None))
        todo += [following for following, _ in node.next_functions]
    sizes: list[torch.Size] = []
    (found.error.sum() + auxiliary).backward()
    assert sizes and not [size for size in sizes if size[-1:] == (WIDE,) and len(size) > 1 and size != (D, WIDE)]


@pytest.mark.parametrize("kind", [topk, batch_topk, matryoshka])
def test_dead_features_reconstruct_what_is_left_by_hand(kind):
    settings = {"k": 1, "k_aux": 1, "dead_after": 3, "aux_coef": 0.5}
    cls = {topk: topk.TopK, batch_topk: batch_topk.BatchTopK, matryoshka: matryoshka.Matryoshka}[kind]
    net = cls(2, 3, kind.Settings(**settings, **({"prefixes": (1.0,)} if kind is matryoshka else {}))).train()
    u = torch.tensor([[[2.0, -3.0, -1.0], [0.5, 1.0, 1.5]]])  # one window of two vectors
    W_dec, residual = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    forward = Forward(u, lambda index: u.gather(-1, index), net.select(u), residual, W_dec)
    assert net.auxiliary(forward) is None
    for _ in range(2):
        net.after_step(net.select(u))
    assert net.silent.tolist() == [0, 4, 0]
    # feature 1, which never fired: ReLU(u) = 0 and 1, times its direction (0, 1)
    assert net.auxiliary(forward).item() == 0.5 * (1.0 + (2.0 - 1.0) ** 2)


def jump(**settings) -> jumprelu.JumpReLU:
    net = jumprelu.JumpReLU(2, 2, jumprelu.Settings(**settings))
    net.threshold.data = torch.tensor([0.5, 0.5])
    return net


def forward_of(net, u) -> Forward:
    return Forward(u, lambda index: u.gather(-1, index), Codes(u, None, 2), u, u)


def test_jumprelu_by_hand():
    """Kernel of width 0.2: within 0.1 of the threshold the code has slope -0.5 / 0.2 by it, the count -1 / 0.2."""
    net = jump(bandwidth=0.2, target_l0=0.0)
    u = torch.tensor([[0.55, 0.45], [0.7, -1.0]], requires_grad=True)
    f = net.select(u).dense()
    torch.testing.assert_close(f, torch.tensor([[0.55, 0.0], [0.7, 0.0]]))
    by_u, by_threshold = torch.autograd.grad(f.sum(), (u, net.threshold))
    assert by_u.tolist() == [[1.0, 0.0], [1.0, 0.0]]
    torch.testing.assert_close(by_threshold, torch.tensor([-2.5, -2.5]))  # 0.55, and 0.45, which is off
    l0 = net.penalty(forward_of(net, u))
    assert l0.tolist() == [1.0, 1.0]
    by_u, by_threshold = torch.autograd.grad(l0.sum(), (u, net.threshold), materialize_grads=True)
    assert not by_u.any()
    torch.testing.assert_close(by_threshold, torch.tensor([-5.0, -5.0]))


def test_jumprelu_with_a_target_by_hand():
    net = jump(bandwidth=0.2, target_l0=1.0)
    penalty = net.penalty(forward_of(net, torch.tensor([[0.55, 0.7], [0.7, 0.1]])))
    assert penalty.tolist() == [0.25, 0.25]  # (3 / 2 - 1)^2
    (by_threshold,) = torch.autograd.grad(penalty.mean(), net.threshold)
    torch.testing.assert_close(by_threshold, torch.tensor([2 * 0.5 * -5.0 / 2, 0.0]))


def test_the_slopes_of_jumprelu_are_those_of_the_expectations():
    """For u even on (0, 1): E count = 1 - t, E code = (1 - t^2) / 2."""
    net = jump(bandwidth=0.1, target_l0=0.0)
    net.threshold.data = torch.tensor([0.3, 0.6])
    u = ((torch.arange(200_000) + 0.5) / 200_000)[:, None].expand(-1, 2)
    (by_count,) = torch.autograd.grad(net.penalty(forward_of(net, u)).mean(), net.threshold)
    (by_code,) = torch.autograd.grad(net.select(u).dense().mean(0).sum(), net.threshold)
    torch.testing.assert_close(by_count, torch.tensor([-1.0, -1.0]), rtol=1e-3, atol=0)
    torch.testing.assert_close(by_code, torch.tensor([-0.3, -0.6]), rtol=1e-3, atol=0)


def test_a_threshold_does_not_go_below_0():
    net = jump()
    net.threshold.data = torch.tensor([-0.2, 0.3])
    net.after_step(Codes(torch.zeros(1, 2), None, 2))
    torch.testing.assert_close(net.threshold.detach(), torch.tensor([0.0, 0.3]))


@pytest.mark.parametrize(
    ("architecture", "settings", "message"),
    [
        ("topk", {"k": 0}, "k must be above 0, found 0"),
        ("batch_topk", {"dead_after": -1}, "dead_after must be at least 0, found -1"),
        ("batch_topk", {"threshold_rate": 1.5}, "threshold_rate must be above 0 and at most 1, found 1.5"),
        ("jumprelu", {"bandwidth": 0.0}, "bandwidth must be above 0, found 0"),
        ("jumprelu", {"target_l0": -1.0}, "target_l0 must be at least 0, found -1"),
        ("gated", {"l1_coef": -0.1}, "l1_coef must be at least 0, found -0.1"),
        ("relu", {"l1_coef": -0.1}, "l1_coef must be at least 0, found -0.1"),
        ("relu", {"lr": -1.0}, "lr must be at least 0, found -1"),
    ],
)
def test_settings_out_of_range_are_refused_as_a_recipe_is_read(architecture, settings, message):
    with pytest.raises(ConfigError, match=message):
        build({"architecture": architecture, "position": "none", **settings})


@pytest.mark.parametrize(
    ("architecture", "settings", "message"),
    [
        ("topk", {"k": 11}, "k = 11 of 10 features: choose 1..10"),
        ("matryoshka", {"k": 1, "prefixes": (0.5, 0.9)}, r"of 10 features are \[5, 9\]: shares have to increase to 1"),
        ("matryoshka", {"k": 1, "prefixes": (0.5, 0.4, 1.0)}, r"\[5, 4, 10\]"),
        ("matryoshka", {"k": 1, "prefixes": (0.01, 1.0)}, r"\[0, 10\].*each has to add a feature"),
        ("matryoshka", {"k": 1, "prefixes": ()}, "shares have to increase to 1"),
    ],
)
def test_settings_that_the_width_does_not_allow_are_refused(architecture, settings, message):
    with pytest.raises(DictionaryError, match=message):
        made(architecture, **settings)
