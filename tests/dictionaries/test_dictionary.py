from dataclasses import replace

import pytest
import torch

from lens.dictionaries.dictionary import Dictionary, Info
from lens.errors import DictionaryError
from lens.measure.profiles import position_labelling, profile
from lens.measure.reconstruction import reconstruct

W_ENC = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
W_DEC = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
X = torch.tensor([[2.0, -3.0], [0.5, 1.0]])  # u = [2, -3, -1], [0.5, 1, 1.5]
B_ENC = torch.tensor([0.0, 0.0, -1.0])  # u + b_enc = [2, -3, -2], [0.5, 1, 0.5]


def dictionary(rule: str = "relu", b_dec=(0.0, 0.0), **options) -> Dictionary:
    vectors = {
        "jumprelu": {"b_enc": B_ENC, "threshold": torch.tensor([0.5, 0.4, 0.4])},
        "gated": {
            "b_gate": torch.tensor([0.0, -1.0, 0.0]),
            "r_mag": torch.tensor([2.0, 1.0, 4.0]).log(),
            "b_mag": torch.tensor([0.0, 0.0, -7.0]),
        },
    }.get(rule, {"b_enc": B_ENC})
    weights = {"W_enc": W_ENC, "W_dec": W_DEC, "b_dec": torch.tensor(b_dec), **vectors}
    weights = {name: value.clone() for name, value in weights.items()}
    return Dictionary(Info(2, 3, architecture=rule, **options), weights)


def test_dictionaries_and_codes_say_what_they_are():
    sae = dictionary(name="mine", model="m", layer="8", seed=3)
    assert repr(sae) == "Dictionary mine: 3 features of 2 dimensions, relu; layer 8 of m, seed 3"
    assert repr(dictionary().encode(X)) == "Codes of vectors [2], 3 features, L0 2"  # 1 and 3 features


@pytest.mark.parametrize(
    ("rule", "settings", "expected"),
    [
        ("relu", {}, [[2.0, 0.0, 0.0], [0.5, 1.0, 0.5]]),
        ("topk", {"k": 1}, [[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        ("topk", {"k": 2}, [[2.0, 0.0, 0.0], None]),  # the second largest of the first is negative; a tie in the second
        ("jumprelu", {}, [[2.0, 0.0, 0.0], [0.0, 1.0, 0.5]]),  # 0.5 is not above its threshold of 0.5
        ("gated", {}, [[4.0, 0.0, 0.0], [1.0, 0.0, 0.0]]),  # gates u + b_gate: [2, -4, -1], [0.5, 0, 1.5]
    ],
)
def test_selection_rules_by_hand(rule, settings, expected):
    codes = dictionary(rule, settings=settings).encode(X)
    f = codes.dense()
    assert torch.equal(codes.fired(), f > 0)
    for row, values in zip(f, expected, strict=True):
        if values is not None:
            torch.testing.assert_close(row, torch.tensor(values))


def test_decoding_and_the_bias_of_the_decoder_by_hand():
    f = torch.tensor([1.0, 0.0, 2.0])
    assert dictionary(b_dec=(10.0, 20.0)).decode(f).tolist() == [13.0, 22.0]
    shifted = dictionary(b_dec=(1.0, -4.0), apply_b_dec_to_input=True)
    assert shifted.encode(X[:1]).dense().tolist() == [[1.0, 1.0, 1.0]]  # x - b_dec = [1, 1], u = [1, 1, 2]


def test_constant_norm_by_hand():
    model = dictionary(normalisation="constant_norm_rescale")
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    unit = 2**0.5 / 5
    torch.testing.assert_close(model.encode(x).dense()[0], torch.tensor([3 * unit, 4 * unit, 7 * unit - 1]))
    x_hat = model.decode(torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
    torch.testing.assert_close(x_hat, torch.tensor([[1 / unit, 0.0], [0.0, 0.0]]))  # a zero vector stays finite


def test_layer_norm_by_hand():
    model = dictionary(normalisation="layer_norm")
    x = torch.tensor([[1.0, 5.0]])  # mean 3, deviation 2.828 (n - 1)
    z = 2 / (8**0.5 + 1e-5)
    torch.testing.assert_close(model.encode(x).dense(), torch.tensor([[0.0, z, 0.0]]))
    torch.testing.assert_close(model.decode(torch.tensor([[0.0, 1.0, 0.0]])), torch.tensor([[3.0, 8**0.5 + 3]]))


def test_decoding_other_vectors_than_were_encoded_is_refused():
    model = dictionary(normalisation="layer_norm")
    with pytest.raises(DictionaryError, match=r"\(2,\) vectors to decode, none encoded last.*encode the same batch"):
        model.decode(torch.zeros(2, 3))
    f = model.encode(X).dense()
    torch.testing.assert_close(model.decode(f), model.decode(f))  # as often as one likes
    with pytest.raises(DictionaryError, match=r"\(1,\) vectors to decode, \(2,\) encoded last"):
        model.decode(f[:1])


def test_positions_make_no_difference():
    model = dictionary()
    assert (model.info.n_positions, model.position_term.values()) == (None, None)
    windows = X.expand(4, 2, 2)
    torch.testing.assert_close(
        model.encode(windows).dense()[3], model.encode(X, positions=torch.tensor([7, 900])).dense()
    )
    torch.testing.assert_close(model(windows)[0], model.decode(model.encode(X).dense()))


@pytest.mark.parametrize("normalisation", ["none", "layer_norm", "constant_norm_rescale"])
def test_measures_take_it_as_they_take_an_sae(normalisation):
    model = dictionary("jumprelu", normalisation=normalisation)
    x = torch.randn(40, 6, 2, generator=torch.Generator().manual_seed(0))
    block = torch.arange(40) // 20
    sums = reconstruct(model, x, block, 2, 1.0)
    assert sums.sq_error.sum() == pytest.approx((x - model(x)).square().sum().item(), rel=1e-5)
    found = profile({"a": model}, x, block, 2, {"p": position_labelling(40, 6)}, permutations=3, lags=2)["a"]
    assert (found.firings_BTK.sum((0, 1)) == model.encode(x).fired().sum((0, 1)).numpy()).all()


def test_other_widths_and_broken_weights_are_refused():
    with pytest.raises(DictionaryError, match="activations of width 3, this dictionary reads 2"):
        dictionary().encode(torch.zeros(1, 3))
    good = dictionary()
    weights = {name: value.detach() for name, value in good.weights().items()}
    for config, change, message in (
        ({"d_in": 5}, {}, r"W_enc has shape \(2, 3\), its configuration \(d_in 5, d_sae 3\) says \(5, 3\)"),
        ({"architecture": "gated"}, {}, r"weights are \['W_dec'.*a gated dictionary needs .*r_mag"),
        ({"architecture": "jumprelo"}, {}, "unknown architecture 'jumprelo' .did you mean 'jumprelu'.*file.py:Class"),
        ({"architecture": "nowhere:Net"}, {}, "'nowhere:Net' cannot be imported: No module named"),
        ({"architecture": "lens.errors:suggest"}, {}, "no subclass of lens.dictionaries.parts.Architecture"),
        ({"position": "maks"}, {}, "unknown position term 'maks' .did you mean 'mask'"),
        ({"position": "mask"}, {}, "position term mask needs a number of positions"),
        ({"position": "mask", "n_positions": 2, "settings": {"tau_end": 0.0}}, {}, "temperatures must be positive"),
        ({"normalisation": "whitened"}, {}, "normalisation: 'whitened' is not one of 'none'"),
        ({"settings": {"k": 3}}, {}, "unknown setting 'k'; known: l1_coef"),
        ({"architecture": "topk", "position": "mask", "n_positions": 2}, {}, "mask on architecture topk: a mask gates"),
        ({"architecture": "topk", "settings": {"k": 4}}, {}, r"k = 4 of 3 features: choose 1\.\.3"),
        ({}, {"b_enc": torch.zeros(2)}, r"b_enc has shape \(2,\)"),
    ):
        with pytest.raises(DictionaryError, match=message):
            Dictionary(replace(good.info, **{"settings": {}, **config}), {**weights, **change})
