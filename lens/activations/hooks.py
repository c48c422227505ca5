"""Names of places in a language model, and the layers they stand for."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from lens.activations.layers import EMBEDDING, Layer
from lens.errors import DictionaryError

_RESIDUAL_STREAM = (
    (re.compile(r"blocks\.(\d+)\.hook_resid_post"), 0),  # TransformerLens, SAELens
    (re.compile(r"blocks\.(\d+)\.hook_resid_pre"), -1),  # what enters a block is what leaves the one before
    (re.compile(r"(?:\w+\.)*(?:layers?|h)\.(\d+)"), 0),  # a block as a module: its output (sparsify, transformers)
    (re.compile(r"resid_post_layer_(\d+)"), 0),  # dictionary_learning
)

Place = Literal["resid_mid", "normalised", "mlp_in"]
_IN_BLOCK: tuple[tuple[re.Pattern, Place], ...] = (
    (re.compile(r"blocks\.(\d+)\.hook_resid_mid"), "resid_mid"),  # TransformerLens, as the next two
    (re.compile(r"blocks\.(\d+)\.ln2\.hook_normalized"), "normalised"),
    (re.compile(r"blocks\.(\d+)\.mlp\.hook_in"), "mlp_in"),
    (re.compile(r"(?:\w+\.)*layers\.(\d+)\.pre_feedforward_layernorm\.output"), "mlp_in"),  # Gemma Scope 2
    (re.compile(r"(?:\w+\.)*(?:layers?|h)\.(\d+)\.mlp\.input"), "mlp_in"),
)
_AMBIGUOUS = re.compile(r"blocks\.\d+\.hook_mlp_in")


class Site(NamedTuple):
    """A place inside a block, on the way to its MLP."""

    block: int
    place: Place
    """`resid_mid`: the residual stream after attention; `normalised`: that after the norm before the MLP, without the
    norm's gain; `mlp_in`: what the MLP is given"""

    def __str__(self) -> str:
        return f"{self.block} {self.place}"


def site_or_layer(hook: str) -> Site | Layer:
    """The place in a model that a hook names: inside a block, or the residual stream between two.

    Raises:
        DictionaryError: it is another place, or one of which two libraries have different notions.
    """
    if _AMBIGUOUS.fullmatch(hook):
        raise DictionaryError(
            f"hook {hook!r} is the residual stream before the norm in TransformerLens, and what the MLP is given in "
            "other libraries: read the activations where it was trained, and give them as lens.Activations with hook="
        )
    for pattern, place in _IN_BLOCK:
        if found := pattern.fullmatch(hook):
            return Site(int(found[1]), place)
    try:
        return residual_layer(hook)
    except DictionaryError:
        raise DictionaryError(
            f"hook {hook!r} is not known; known are the residual stream (blocks.<l>.hook_resid_post) and, in a block, "
            "blocks.<l>.hook_resid_mid, blocks.<l>.ln2.hook_normalized and blocks.<l>.mlp.hook_in"
        ) from None


def residual_layer(hook: str) -> Layer:
    """The layer whose residual stream a hook is: a block index, after that block, or `embedding`, before block 0.

    Raises:
        DictionaryError: the hook is not the residual stream between two blocks.
    """
    for pattern, shift in _RESIDUAL_STREAM:
        if found := pattern.fullmatch(hook):
            layer = int(found[1]) + shift
            return EMBEDDING if layer < 0 else layer
    raise DictionaryError(
        f"hook {hook!r} is not the residual stream after a block; hooks that are: blocks.<l>.hook_resid_post, "
        "blocks.<l>.hook_resid_pre, layers.<l>"
    )


def layer_name(hook: str) -> str:
    """`residual_layer` as a configuration stores it; empty for any other hook."""
    try:
        return str(residual_layer(hook))
    except DictionaryError:
        return ""


def hook_name(layer: str) -> str:
    """The hook of a layer as TransformerLens names it; empty for an empty layer."""
    if layer == EMBEDDING:
        return "blocks.0.hook_resid_pre"
    return f"blocks.{layer}.hook_resid_post" if layer else ""
