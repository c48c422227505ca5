"""Dictionaries that read sequences: their losses and gradients against plain definitions and values by hand."""

import math

import pytest
import torch

from lens.dictionaries.architectures import t_sae
from lens.dictionaries.codes import Codes
from lens.dictionaries.dictionary import Dictionary, Info, PositionError
from lens.dictionaries.parts import Forward
from lens.errors import ConfigError, DictionaryError
from lens.training.objective import gradients
from lens.training.recipe import build
from tests.training.test_losses import AUX, NO_AUTOCAST, WIDE, B, D, K, P, check, made, per_window, revival


def largest(f, n):
    return f * (f >= f.sort(-1, descending=True).values[..., n - 1 : n])


# T-SAE


def tsae(**settings) -> t_sae.TSAE:
    return t_sae.TSAE(2, 5, t_sae.Settings(k=1, high=0.4, input_norm=1.0, **settings)).train()


def test_the_contrast_by_hand():
    """Two windows of two vectors: pairs ((2, 0), (1, 1)) and ((1, 2), (3, 0)) of high features."""
    high = torch.tensor([[[1.0, 1.0], [2.0, 0.0]], [[3.0, 0.0], [1.0, 2.0]]])  # [earlier, later] of each window
    codes = Codes(torch.cat([high, torch.full((2, 2, 3), 9.0)], dim=-1), None, 5)
    # rows: later vectors; columns: earlier ones
    logits = [[2.0, 6.0], [3.0, 3.0]]
    by_row = [math.log(math.exp(2) + math.exp(6)) - 2, math.log(2)]
    by_column = [math.log(math.exp(2) + math.exp(3)) - 2, math.log(math.exp(6) + math.exp(3)) - 3]
    assert logits[0] == (high[0, 1] @ high[:, 0].T).tolist()
    expected = (sum(by_row) / 2 + sum(by_column) / 2) / 2
    assert tsae().contrast(codes).item() == pytest.approx(expected, rel=1e-6)
    sparse = Codes(codes.values, torch.arange(5).expand(2, 2, 5), 5)
    assert tsae().contrast(sparse).item() == pytest.approx(expected, rel=1e-6)


def test_the_errors_are_weighted_as_published():
    """.2 of the error of the high features alone and .8 of that of all, with the 1 that every loss has."""
    net, x = tsae(alpha=0.0), torch.tensor([[[3.0, 1.0], [0.0, 0.0]]])
    W_dec = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    codes = Codes(torch.tensor([[[2.0, 0.0, 0.0, 0.5, 0.0], [0.0] * 5]]), None, 5)
    residual = x - codes.values @ W_dec
    u = torch.zeros(1, 2, 5)
    extra = net.auxiliary(Forward(u, lambda index: u.gather(-1, index), codes, residual, W_dec))
    alone, all_ = 1.0 + 1.0, 1.0 + 0.25
    assert (all_ + extra).item() == pytest.approx(0.2 * alone + 0.8 * all_)


@pytest.mark.parametrize("partner", ["adjacent", "random"])
@pytest.mark.parametrize("d_sae", [K, WIDE])
def test_t_sae_is_two_errors_a_contrast_and_what_dead_ones_add(d_sae, partner):
    dead, high, scale = torch.arange(d_sae) % 2 == 0, round(0.5 * d_sae), 3.0
    settings = {"k": 3, "high": 0.5, "alpha": 0.7, "partner": partner, "input_norm": scale}
    dictionary = made("t_sae", d_sae, **AUX, **settings)
    dictionary.architecture.silent[dead] = 1
    dictionary.architecture.b_enc.data[: high + 2] += 1
    _, earlier = dictionary.architecture._partners(P)

    def definition(x, w):
        all_f = (x @ w["W_enc"] + w["b_enc"]).relu()
        f = all_f * (all_f >= all_f.flatten().sort(descending=True).values[3 * B * P - 1])
        alone, all_ = (x - f[..., :m] @ w["W_dec"][:m] - w["b_dec"] for m in (high, d_sae))
        pairs = [(f[b, t, :high], f[b, s, :high]) for b in range(B) for t, s in enumerate(earlier, 1)]
        logits = torch.stack([torch.stack([scale**2 * (a @ b) for _, b in pairs]) for a, _ in pairs])
        loss = sum(-m.log_softmax(1).diagonal().mean() for m in (logits, logits.T)) / 2 / scale**2
        return 0.2 * per_window(alone) + 0.8 * per_window(all_) + 0.7 * P * loss + revival(all_f, dead, all_, w, 4)

    check(dictionary, 0.0, definition)


def test_random_partners_are_others_at_each_step_and_the_same_again_after_a_restart():
    net, codes = tsae(partner="random"), Codes(torch.ones(1, 60, 5), None, 5)
    first = net._partners(60)[1]
    net.after_step(codes)
    second = net._partners(60)[1]
    resumed = tsae(partner="random")
    resumed.load_state_dict(net.state_dict())
    assert not torch.equal(first, second) and torch.equal(resumed._partners(60)[1], second)


# Temporal crosscoder


def crosscoder(span: int, d_sae: int = 20, **settings) -> Dictionary:
    generator = torch.Generator().manual_seed(0)
    info = Info(D, d_sae, 8, architecture="temporal_crosscoder", settings={"span": span, **settings})
    weights = {n: p.detach().double() for n, p in Dictionary.initialise(info, torch.zeros(D), 1).weights().items()}
    weights["b_enc"] += 0.2 * torch.rand(d_sae, generator=generator)
    weights["b_dec"] += 0.2 * torch.rand(span * D, generator=generator)
    return Dictionary(info, weights)


def text(length: int) -> torch.Tensor:
    return torch.randn(B, length, D, generator=torch.Generator().manual_seed(3)).double()


def blockwise(x, w, span: int, k: int):
    """Reconstruction of text positions, one vector after the other; the last block may be short."""
    W_enc, W_dec, b_dec = (
        w["W_enc"].unflatten(0, (span, D)),
        w["W_dec"].unflatten(1, (span, D)),
        w["b_dec"].view(span, D),
    )
    x_hat = torch.zeros_like(x)
    for start in range(0, x.shape[1], span):
        places = range(min(span, x.shape[1] - start))
        u = sum(x[:, start + o] @ W_enc[o] for o in places) + w["b_enc"]
        z = largest(u.relu(), k)
        for o in places:
            x_hat = x_hat.index_add(1, torch.tensor([start + o]), (z @ W_dec[:, o] + b_dec[o])[:, None])
    return x_hat


@pytest.mark.parametrize(("span", "length", "d_sae"), [(1, 6, 20), (2, 6, 20), (3, 7, 20), (3, 7, 32 * 6)])
def test_a_crosscoder_is_the_error_of_blocks_that_share_a_code(span, length, d_sae):
    dictionary, x = crosscoder(span, d_sae, k=2).train(), text(length)
    w = {n: p.detach().clone().requires_grad_() for n, p in dictionary.weights().items()}
    loss = per_window(x - blockwise(x, w, span, 2 * span))
    expected = torch.autograd.grad(loss, list(w.values()))
    ones = torch.ones(length, dtype=torch.float64)
    found, grads, _, _ = gradients(
        dictionary, x, torch.arange(1, length + 1), ones, 0.0, weight_penalty=True, autocast=NO_AUTOCAST
    )
    torch.testing.assert_close(found.error.sum(), loss.detach())
    for name, wanted in zip(w, expected, strict=True):
        torch.testing.assert_close(grads[name], wanted, msg=name)


@pytest.mark.parametrize("span", [2, 3])
def test_a_crosscoder_answers_in_use_what_it_was_trained_for(span):
    """Whole windows with BOS: text as above, BOS by itself; a feature is on at all positions of its block."""
    sae, x = crosscoder(span, k=2), text(8)
    w = {n: p.detach() for n, p in sae.weights().items()}
    codes = sae.encode(x)
    torch.testing.assert_close(sae.decode(codes)[:, 1:], blockwise(x[:, 1:], w, span, 2 * span))
    on = codes.fired()
    assert all(torch.equal(on[:, 1], on[:, t]) for t in range(1, span + 1))
    assert (codes.l0()[:, 1:] <= 2 * span).all() and (codes.l0() == 2 * span).any()
    other = x.clone()
    other[:, 0] += 1
    assert torch.equal(sae(other)[:, 1:], sae(x)[:, 1:])


def test_a_crosscoder_of_one_vector_is_topk():
    sae, x = crosscoder(1, k=3), text(8)
    plain = Dictionary(Info(D, 20, 8, architecture="topk", settings={"k": 3}), sae.weights())
    assert torch.equal(sae.encode(x).dense(), plain.encode(x).dense()) and torch.equal(sae(x), plain(x))


def test_stacked_dictionaries_are_one_for_each_place():
    """Of 12 features the even ones are of the first place of a block, the odd ones of the second."""
    info = Info(D, 12, 8, architecture="topk", position="stacked", settings={"span": 2, "k": 3})
    sae, x = Dictionary.initialise(info, torch.zeros(D), 0), text(8).float()
    f = sae.encode(x).dense()
    for first, place in ((1, 0), (2, 1)):
        own = x[:, first::2] @ sae.W_enc[:, place::2]
        torch.testing.assert_close(f[:, first::2, place::2], largest(own.relu(), 3))
        assert not f[:, first::2, 1 - place :: 2].any()


# Temporal feature analysis


def plain_tfa(x, w, k: int, strict: bool):
    """Of text [B, P, D]: reconstruction and code, one position after the other, with attention written out."""
    D_, heads = w["W_dec"], 2
    a = {name.removeprefix("attention."): value for name, value in w.items()}
    x = x - w["b_dec"]
    z = (x @ w["W_enc"] / (4 * D)).relu()
    zero, predicted, scale = torch.zeros_like(z[:, 0]), [], torch.zeros(B, 1, dtype=x.dtype)
    for t in range(x.shape[1]):
        earlier = torch.stack([zero, *z[:, :t].unbind(1)], dim=1)
        ask = earlier[:, -1] if strict else z[:, t]
        q, keys, values = (
            (v @ a[f"{n}.weight"].T + a[f"{n}.bias"]).unflatten(-1, (heads, -1)).transpose(1, 2)
            for n, v in (("q_target", ask[:, None]), ("k_ctx", earlier), ("v_ctx", earlier))
        )
        score = (q @ keys.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        p = ((score @ values).transpose(1, 2).flatten(2)[:, 0] @ a["c_proj.weight"].T + a["c_proj.bias"]).relu()
        u = p @ D_
        c = (u * x[:, t]).sum(-1, keepdim=True) / (u.norm(dim=-1, keepdim=True) + 1e-6) ** 2
        predicted.append((scale if strict else c) * u)
        scale = c
    predicted = torch.stack(predicted, dim=1)
    f = largest(((x - predicted) @ w["W_enc"] / (4 * D)).relu(), k)
    return predicted + f @ D_ + w["b_dec"], f


def tfa(strict: bool) -> Dictionary:
    settings = {"k": 3, "heads": 2, "bottleneck": 2, "strict": strict}
    info = Info(D, 12, 8, architecture="tfa", settings=settings, apply_b_dec_to_input=True)
    made_ = Dictionary.initialise(info, 0.2 * torch.arange(D), 1)
    return Dictionary(info, {n: p.detach().double() for n, p in made_.weights().items()})


@pytest.mark.parametrize("strict", [False, True])
def test_tfa_is_a_prediction_and_a_code_of_the_rest(strict):
    dictionary, x = tfa(strict).train(), text(7)
    w = {n: p.detach().clone().requires_grad_() for n, p in dictionary.weights().items()}
    loss = per_window(x - plain_tfa(x, w, 3, strict)[0])
    expected = torch.autograd.grad(loss, list(w.values()))
    found, grads, _, _ = gradients(
        dictionary, x, torch.arange(1, 8), torch.ones(7, dtype=torch.float64), 0.0,
        weight_penalty=True, autocast=NO_AUTOCAST,
    )  # fmt: skip
    torch.testing.assert_close(found.error.sum(), loss.detach())
    for name, wanted in zip(w, expected, strict=True):
        torch.testing.assert_close(grads[name], wanted, rtol=1e-6, atol=1e-9, msg=name)


@pytest.mark.parametrize("strict", [False, True])
def test_tfa_answers_in_use_what_it_was_trained_for(strict):
    """Whole windows, BOS coded alone; strictly causal: what is predicted of a vector does not depend on it."""
    sae, x = tfa(strict), text(8)
    w = {n: p.detach() for n, p in sae.weights().items()}
    x_hat, f = plain_tfa(x[:, 1:], w, 3, strict)
    codes = sae.encode(x)
    torch.testing.assert_close(codes.dense()[:, 1:], f)
    torch.testing.assert_close(sae.decode(codes)[:, 1:], x_hat)
    before = sae.predicted
    other = x.clone()
    other[:, [0, 5]] += 1  # BOS, which nobody sees, and a vector
    sae.encode(other)
    changed = (sae.predicted - before).abs().amax((0, 2)) > 1e-12
    assert changed.tolist() == [False] * (6 if strict else 5) + [True] * (2 if strict else 3)


def test_vectors_that_were_not_encoded_last_are_not_decoded():
    sae = tfa(False)
    codes = sae.encode(text(8))
    sae.encode(text(5))
    with pytest.raises(DictionaryError, match="encode the same batch first"):
        sae.decode(codes)


# What is not defined


@pytest.mark.parametrize("architecture", ["tfa", "temporal_crosscoder"])
@pytest.mark.parametrize("position", ["mask", "gain", "centred", "stacked", "centred+gain"])
def test_terms_of_position_on_codes_of_windows_are_refused_by_name(architecture, position):
    wanted = rf"position term {position}.* on architecture {architecture}: it codes windows".replace("+", r"\+")
    with pytest.raises(ConfigError, match=wanted):
        build({"architecture": architecture, "position": position})


@pytest.mark.parametrize("sae", [tfa(False), crosscoder(2, k=2)])
def test_vectors_without_their_windows_are_refused(sae):
    for x, positions in ((text(4)[0], None), (text(4), torch.arange(4))):
        with pytest.raises(PositionError, match="codes whole windows"):
            sae.encode(x, positions)
    assert not sae.linear


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"architecture": "temporal_crosscoder", "span": 0}, "span must be above 0"),
        ({"architecture": "t_sae", "high": 0.0}, "high must be above 0"),
        ({"architecture": "t_sae", "alpha": -1.0}, "alpha must be at least 0"),
        ({"architecture": "tfa", "heads": 0}, "heads must be above 0"),
        ({"architecture": "topk", "gradient_clip": -1.0}, "gradient_clip must be at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        build({"position": "none", **fields})


@pytest.mark.parametrize(
    ("architecture", "settings", "message"),
    [
        (
            "temporal_crosscoder",
            {"k": 6, "span": 2},
            r"k = 6 for each of span = 2 vectors of 10 features: choose k 1\.\.5",
        ),
        ("tfa", {"k": 11, "heads": 2}, r"k = 11 of 10 features: choose 1\.\.10"),
        ("tfa", {"k": 2, "heads": 4}, "heads = 4, bottleneck = 1: their product has to divide the 10 features"),
        ("t_sae", {"k": 2, "high": 1.0}, r"high = 1.0 of 10 features is 10: choose 1\.\.9"),
    ],
)
def test_settings_that_the_width_does_not_allow_are_refused(architecture, settings, message):
    with pytest.raises(DictionaryError, match=message):
        made(architecture, **settings)
