"""Folders of dictionary_learning, with the values they must give; and what broken ones get."""

import os

import pytest
import torch

from lens.dictionaries.load import load
from lens.errors import DictionaryError
from tests.dictionaries.folders import (
    JUMPED,
    LINEAR,
    RELU,
    SHIFTED,
    THRESHOLD,
    WEIGHTS,
    X,
    dictionary_learning,
    saelens,
)


def test_names_of_a_wrapped_module_are_those_of_the_module(tmp_path):
    """torch.compile and DataParallel put theirs before those of what they wrap, the whole or a part."""
    state = {**LINEAR, "b_dec": torch.zeros(2), "k": torch.tensor(1), "threshold": torch.tensor(0.5)}
    compiled = {f"_orig_mod.{name}": value for name, value in state.items()}
    parallel = {f"module._orig_mod.{name}": value for name, value in state.items()}
    parts = {name.replace("encoder.", "encoder._orig_mod."): value for name, value in state.items()}
    for wrapped in (compiled, parallel, parts):
        sae = load(dictionary_learning(tmp_path / "d", "BatchTopKSAE", wrapped, k=1))
        assert sae.encode(X).dense().tolist() == [[2, 0, 0], [0, 1, 0]]
    named = {f"module.{name}": value for name, value in WEIGHTS.items()}
    assert load(saelens(tmp_path / "s", named)).encode(X).dense().tolist() == RELU
    with pytest.raises(DictionaryError, match="holds .*'module.W_enc'"):
        load(saelens(tmp_path / "s", WEIGHTS | {"module.W_enc": torch.zeros(2, 3)}))


@pytest.mark.parametrize(
    ("name", "state", "expected"),
    [
        # The library's loader makes decoder rows unit vectors: norms 1, 2, sqrt 2 go to the features.
        ("AutoEncoder", {**LINEAR, "bias": torch.zeros(2)}, [[2.0, 0.0, 0.0], [0.5, 2.0, 0.5 * 2**0.5]]),
        ("AutoEncoderNew", {**LINEAR, "decoder.bias": WEIGHTS["b_dec"]}, RELU),
        ("AutoEncoderTopK", {**LINEAR, "b_dec": WEIGHTS["b_dec"], "k": torch.tensor(1)}, SHIFTED),
        ("BatchTopKSAE", {**LINEAR, "b_dec": torch.zeros(2), "threshold": torch.tensor(0.5)}, [[2, 0, 0], [0, 1, 0]]),
        ("JumpReluAutoEncoder", {**WEIGHTS, "threshold": THRESHOLD}, JUMPED),
        (
            "TemporalBatchTopKSAE",
            {**LINEAR, "b_dec": torch.zeros(2), "threshold": torch.tensor(0.5), "k": torch.tensor(1)},
            [[2, 0, 0], [0, 1, 0]],
        ),
        (
            "TemporalMatryoshkaBatchTopKSAE",
            {**WEIGHTS, "threshold": torch.tensor(0.4), "k": torch.tensor(1), "group_sizes": torch.tensor([1, 2])},
            SHIFTED,
        ),
        (
            "MatryoshkaBatchTopKSAE",
            {**WEIGHTS, "threshold": torch.tensor(0.4), "k": torch.tensor(1), "group_sizes": torch.tensor([1, 2])},
            SHIFTED,
        ),
        (
            "GatedAutoEncoder",
            {
                "encoder.weight": LINEAR["encoder.weight"],
                "decoder.weight": LINEAR["decoder.weight"],
                "decoder_bias": torch.zeros(2),
                "r_mag": torch.tensor([0.0, 0.0, 2.0]).log1p(),
                "gate_bias": torch.tensor([0.0, -1.0, 0.0]),
                "mag_bias": torch.tensor([1.0, 0.0, -3.0]),
            },
            [[3.0, 0.0, 0.0], [1.5, 0.0, 1.5]],
        ),
    ],
)
def test_dictionary_learning(tmp_path, name, state, expected):
    sae = load(dictionary_learning(tmp_path / "d", name, state, k=1))
    torch.testing.assert_close(sae.encode(X).dense(), torch.tensor(expected, dtype=torch.float32))
    config = sae.info
    assert (config.model, config.hook, config.layer) == ("a/model", "blocks.8.hook_resid_post", "8")
    assert (config.seed, config.name) == (4, f"dictionary_learning-{name}")


def test_dictionary_learning_says_where_its_inputs_come_from(tmp_path):
    def hook(buffer=None, **changes):
        state = {**LINEAR, "bias": torch.zeros(2)}
        sae = load(dictionary_learning(tmp_path / "d", "AutoEncoder", state, buffer, **changes))
        return sae.info.hook, sae.info.layer

    assert hook(submodule_name="resid_post_layer_8") == ("resid_post_layer_8", "8")
    assert hook(submodule_name="mlp_out_layer_8") == ("mlp_out_layer_8", "")
    assert hook({"io": "in"}) == ("blocks.8.hook_resid_pre", "7")
    assert hook({"io": "in"}, submodule_name="mlp_8") == ("input of mlp_8", "")
    assert hook(layer=None) == ("", "")
    with pytest.raises(DictionaryError, match="io 'in_and_out': it reads something else than it writes"):
        hook({"io": "in_and_out"})


class Payload:
    """A pickle that makes a folder when it is opened by something that runs pickles."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path):
    folder = dictionary_learning(tmp_path / "d", "AutoEncoder", {"bias": Payload(tmp_path / "ran")})
    with pytest.raises(DictionaryError, match="ae.pt is not plain tensors and was not run.*save its state_dict"):
        load(folder)
    assert not (tmp_path / "ran").exists()


def test_dictionary_learning_files_that_do_not_fit(tmp_path):
    good = {**LINEAR, "bias": torch.zeros(2)}
    topk = {**LINEAR, "b_dec": torch.zeros(2), "k": torch.tensor(2)}
    for name, state, changes, message in (
        ("CrossCoder", good, {}, "dict_class 'CrossCoder'; known are AutoEncoder, AutoEncoderNew"),
        ("AutoEncoder", topk, {}, r"ae.pt \(AutoEncoder\) holds .*'k'.*this kind of dictionary has .*'bias'"),
        ("AutoEncoderTopK", topk, {"k": 1}, "config.json says k = 1, ae.pt says 2"),
        ("AutoEncoder", good, {"dict_size": 4}, r"W_enc has shape \(2, 3\), its configuration \(d_in 2, d_sae 4\)"),
        ("AutoEncoder", [torch.zeros(2)], {}, "ae.pt holds a list, a dict of named tensors"),
        (None, good, {}, "dict_class = None"),
    ):
        with pytest.raises(DictionaryError, match=message):
            load(dictionary_learning(tmp_path / "d", name, state, **changes))
    file = dictionary_learning(tmp_path / "d", "AutoEncoder", good) / "ae.pt"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DictionaryError, match="ae.pt is truncated or not a PyTorch file"):
        load(tmp_path / "d")
    (tmp_path / "d" / "config.json").unlink()
    with pytest.raises(DictionaryError, match="config.json is missing"):
        load(tmp_path / "d")


@pytest.mark.parametrize(
    "content", [b"encoder.weight = 1\n", b"", b"\x80\x02.", b"PK\x05\x06" + bytes(18), bytes(range(150, 249))]
)
def test_weights_that_are_no_pytorch_file_are_named(tmp_path, content):
    folder = dictionary_learning(tmp_path / "d", "AutoEncoder", {})
    (folder / "ae.pt").write_bytes(content)
    with pytest.raises(DictionaryError, match="ae.pt is (truncated or not a PyTorch file|not plain tensors)"):
        load(folder)
