from types import SimpleNamespace

import pytest
import torch

from lens.activations.hooks import hook_name, layer_name, residual_layer
from lens.dictionaries.compatible import check_fits
from lens.dictionaries.dictionary import Dictionary, Info
from lens.errors import DictionaryError
from tests.making import info

MODEL = SimpleNamespace(name="a-model", n_layers=12, d_model=2)  # what `check_fits` reads of a LanguageModel


def dictionary(hook: str = "", layer: str = "") -> Dictionary:
    weights = {"W_enc": torch.ones(2, 3), "W_dec": torch.ones(3, 2), "b_enc": torch.ones(3), "b_dec": torch.ones(2)}
    return Dictionary(Info(2, 3, hook=hook, layer=layer, model="its-model"), weights)


@pytest.mark.parametrize(
    ("hook", "layer"),
    [
        ("blocks.8.hook_resid_post", 8),
        ("blocks.8.hook_resid_pre", 7),
        ("blocks.0.hook_resid_pre", "embedding"),
        ("layers.11", 11),
        ("model.layers.3", 3),
        ("transformer.h.3", 3),
        ("encoder.layer.3", 3),
        ("resid_post_layer_3", 3),
    ],
)
def test_the_layer_of_a_hook(hook, layer):
    assert residual_layer(hook) == layer
    assert layer_name(hook) == str(layer)
    check_fits(dictionary(hook), MODEL, layer)


@pytest.mark.parametrize("layer", ["3", "embedding", ""])
def test_names_of_layers_and_hooks_lead_back(layer):
    assert layer_name(hook_name(layer)) == layer


@pytest.mark.parametrize(
    "hook", ["blocks.8.hook_mlp_out", "blocks.8.attn.hook_z", "blocks.8.hook_resid_mid", "layers.8.mlp", "hook_embed"]
)
def test_other_places_than_the_residual_stream_are_refused(hook):
    assert layer_name(hook) == ""
    with pytest.raises(DictionaryError, match=f"hook '{hook}' is not the residual stream after a block; hooks that"):
        check_fits(dictionary(hook), MODEL, 8)


def test_another_layer_than_it_was_trained_on_is_refused():
    with pytest.raises(
        DictionaryError, match=r"layer 8 of a-model \(blocks 0 to 11\) asked.*trained on .*resid_pre of"
    ):
        check_fits(dictionary("blocks.8.hook_resid_pre"), MODEL, 8)
    with pytest.raises(DictionaryError, match="trained on blocks.30.hook_resid_post of its-model: use it at layer 30"):
        check_fits(dictionary("blocks.30.hook_resid_post"), MODEL, 3)
    with pytest.raises(DictionaryError, match="trained on layer 7"):
        check_fits(dictionary(layer="7"), MODEL, 8)


def test_depth_and_width_of_the_model_are_compared():
    with pytest.raises(ValueError, match=r"no layer 12: a-model has 12 blocks \(0 to 11\)"):
        check_fits(dictionary(), MODEL, 12)
    wider = SimpleNamespace(**{**vars(MODEL), "d_model": 4})
    with pytest.raises(DictionaryError, match="reads width 2 of its-model, a-model has width 4"):
        check_fits(dictionary(), wider, 3)


def test_our_own_dictionaries_are_checked_alike():
    def own(layer: str) -> Dictionary:
        config = info(2, 3, 4, layer=layer)
        return Dictionary.initialise(config, torch.zeros(2), 0)

    check_fits(own("3"), MODEL, 3)
    check_fits(own("embedding"), MODEL, "embedding")
    check_fits(own(""), MODEL, 5)  # it does not say
    with pytest.raises(DictionaryError, match="layer 4 of a-model .* trained on layer 3"):
        check_fits(own("3"), MODEL, 4)
