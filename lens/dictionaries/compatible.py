"""Whether a dictionary belongs to a language model and layer."""

from __future__ import annotations

from lens.activations.hooks import residual_layer
from lens.activations.language_model import LanguageModel, check_layers
from lens.activations.layers import Layer
from lens.dictionaries.dictionary import Dictionary
from lens.errors import DictionaryError


def check_fits(sae: Dictionary, model: LanguageModel, layer: Layer) -> None:
    """Raise unless the dictionary can read the residual stream of `model` at `layer`.

    Compared are the layer with the model's depth, the widths, and the layer with the one that the dictionary was
    trained on, where it says so. Names of models are not compared: one model goes by several.

    Raises:
        ValueError: the model has no such layer.
        DictionaryError: the widths differ, or the dictionary was trained on another layer or on something that is not
            the residual stream between two blocks.
    """
    check_layers(model, [layer])
    info = sae.info
    if info.d_in != model.d_model:
        raise DictionaryError(
            f"the dictionary reads width {info.d_in}{_of(info.model)}, {model.name} has width {model.d_model}; "
            "take a dictionary of this model"
        )
    trained_on = residual_layer(info.hook) if info.hook else _as_layer(info.layer)
    if trained_on is not None and trained_on != layer:
        raise DictionaryError(
            f"layer {layer} of {model.name} (blocks 0 to {model.n_layers - 1}) asked, the dictionary was trained on "
            f"{info.hook or f'layer {trained_on}'}{_of(info.model)}: use it at layer {trained_on}"
        )


def _as_layer(name: str) -> Layer | None:
    """From the word in a configuration; None where it does not say."""
    return int(name) if name.isdecimal() else name or None


def _of(model: str) -> str:
    return f" of {model}" if model else ""
