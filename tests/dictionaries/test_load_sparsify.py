"""Folders of sparsify, with the values they must give; and what broken ones get."""

import pytest
import torch

from lens.dictionaries.load import load
from lens.errors import DictionaryError
from tests.dictionaries.folders import SHIFTED, SPARSIFY_WEIGHTS, X, sparsify


def test_sparsify(tmp_path):
    (tmp_path / "config.json").write_text('{"model": "a/model"}')
    sae = load(sparsify(tmp_path / "layers.8"))
    assert sae.encode(X).dense().tolist() == SHIFTED
    config = sae.info
    assert (config.model, config.hook, config.layer, config.settings["k"]) == ("a/model", "layers.8", "8", 1)
    assert load(sparsify(tmp_path / "layers.8.mlp")).info.hook == "layers.8.mlp"
    elsewhere = load(sparsify(tmp_path / "copy" / "mine"))
    assert (elsewhere.info.model, elsewhere.info.hook) == ("", "")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transcode": True}, "transcode = True; only autoencoders with transcode = False"),
        ({"skip_connection": True}, "skip_connection = True"),
        ({"activation": "groupmax"}, "activation = 'groupmax'; only autoencoders with activation = 'topk'"),
        ({"signed": True}, "signed = True"),
        ({"jump": 1, "hops": 2}, "options that are not known here: hops, jump"),
        ({"d_in": None}, "d_in = None, of type NoneType: int needed"),
        ({"num_latents": 4}, r"W_enc has shape \(2, 3\), its configuration \(d_in 2, d_sae 4\)"),
        ({"num_latents": 0}, r"d_sae 64\) says"),
        ({"num_latents": "3"}, "num_latents = '3', of type str: int needed"),
        ({"k": 4}, r"k = 4 of 3 features"),
    ],
)
def test_sparsify_settings_that_do_not_fit(tmp_path, changes, message):
    with pytest.raises(DictionaryError, match=message):
        load(sparsify(tmp_path / "layers.8", **changes))


def test_sparsify_weights_that_do_not_fit(tmp_path):
    with pytest.raises(DictionaryError, match="W_skip.*this kind of dictionary has"):
        load(sparsify(tmp_path / "layers.8", {**SPARSIFY_WEIGHTS, "W_skip": torch.zeros(2, 2)}))


def test_the_run_of_sparsify_says_its_model_or_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"model": ["a", "b"]}')
    with pytest.raises(DictionaryError, match=r"config.json says model = \['a', 'b'\], of type list: str needed"):
        load(sparsify(tmp_path / "layers.8"))
