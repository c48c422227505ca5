"""Where in a language model a dictionary reads, and what it reads there."""

from __future__ import annotations

from torch import Tensor

from lens.activations.hooks import Site
from lens.activations.language_model import LanguageModel
from lens.activations.layers import Layer, as_layer
from lens.activations.sites import activations_at
from lens.dictionaries.compatible import check_fits, check_width, place_of
from lens.dictionaries.dictionary import Dictionary
from lens.profiling.position_profile import ProfileError


def place_in(sae: Dictionary, model: LanguageModel, layer: Layer | None) -> Site | Layer:
    """The place that a dictionary reads: after the block `layer`, by default the one that it says.

    Raises:
        ProfileError: no layer is known.
        ValueError: the dictionary does not fit the model's width or the place.
    """
    if sae.reconstructs:
        place = as_layer(_layer_of(sae) if layer is None else layer)
        check_fits(sae, model, place)
        return place
    site = place_of(sae, None if layer is None else as_layer(layer))
    check_width(sae, model)
    return site


def read_at(model: LanguageModel, tokens: Tensor, place: Site | Layer) -> Tensor:
    """Activations [n, T, d] of tokens [n, T] in the model's precision, on the CPU."""
    if isinstance(place, Site):
        return activations_at(model, tokens, place).cpu()
    return model.residual_stream(tokens, [place])[place].cpu()


def _layer_of(sae: Dictionary) -> Layer:
    if not sae.info.layer:
        if hook := sae.info.hook:
            raise ProfileError(f"the dictionary reads {hook}, which is not the residual stream after a block")
        raise ProfileError("the dictionary does not say which layer it reads: pass layer= (--layer on a command line)")
    return sae.info.layer
