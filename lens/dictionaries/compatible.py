"""Whether a dictionary belongs to a language model and layer."""

from __future__ import annotations

from lens.activations.hooks import Site, residual_layer, site_or_layer
from lens.activations.language_model import LanguageModel, check_layers
from lens.activations.layers import Layer
from lens.dictionaries.dictionary import Dictionary
from lens.errors import DictionaryError


def check_width(sae: Dictionary, model: LanguageModel) -> None:
    """Raise DictionaryError unless the dictionary reads vectors as wide as the model's."""
    info = sae.info
    if info.d_in != model.d_model:
        raise DictionaryError(
            f"the dictionary reads width {info.d_in}{_of(info.model)}, {model.name} has width {model.d_model}; "
            "take a dictionary of this model"
        )


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
    check_width(sae, model)
    info = sae.info
    trained_on = residual_layer(info.hook) if info.hook else _as_layer(info.layer)
    if trained_on is not None and trained_on != layer:
        raise DictionaryError(
            f"layer {layer} of {model.name} (blocks 0 to {model.n_layers - 1}) asked, the dictionary was trained on "
            f"{info.hook or f'layer {trained_on}'}{_of(info.model)}: use it at layer {trained_on}"
        )


def place_of(sae: Dictionary, layer: Layer | None = None) -> Site | Layer:
    """Where an encoder that reads something else than it writes (`lens.dictionaries.encoder`) has its inputs.

    Args:
        layer: that it is asked to be read at; None: the one it names.

    Raises:
        DictionaryError: it names no place, or one that is not known, or of another layer.
    """
    if not sae.info.hook:
        raise DictionaryError(
            f"{sae.info.name} doesn't say where in a model it reads: read the activations there, and give them as "
            "lens.Activations"
        )
    place = site_or_layer(sae.info.hook)
    named = place.block if isinstance(place, Site) else place
    if layer is not None and layer != named:
        raise DictionaryError(f"layer {layer} asked, {sae.info.name} reads {sae.info.hook}: leave the layer out")
    return place


def check_hook(sae: Dictionary, hook: str) -> None:
    """Raise DictionaryError unless activations that were read at `hook` (empty: not known) are what a dictionary reads.

    An unknown place passes for a dictionary of the residual stream, and not for an encoder that states another one.
    """
    reads = sae.info.hook
    if not reads or (not hook and sae.reconstructs) or _same(reads, hook):
        return
    given = f"at {hook}" if hook else "at a place that is not said"
    raise DictionaryError(
        f"{sae.info.name} reads {reads}, these activations were read {given}: give those that it reads, and say so "
        f"(lens.Activations(..., hook={reads!r}))"
    )


def _same(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        return site_or_layer(one) == site_or_layer(other)
    except DictionaryError:
        return False


def _as_layer(name: str) -> Layer | None:
    """From the word in a configuration; None where it does not say."""
    return int(name) if name.isdecimal() else name or None


def _of(model: str) -> str:
    return f" of {model}" if model else ""
