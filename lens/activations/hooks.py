"""Names of places in a language model, and the layers they stand for."""

from __future__ import annotations

import re

from lens.activations.layers import EMBEDDING, Layer
from lens.errors import DictionaryError

_RESIDUAL_STREAM = (
    (re.compile(r"blocks\.(\d+)\.hook_resid_post"), 0),  # TransformerLens, SAELens
    (re.compile(r"blocks\.(\d+)\.hook_resid_pre"), -1),  # what enters a block is what leaves the one before
    (re.compile(r"(?:\w+\.)*(?:layers?|h)\.(\d+)"), 0),  # a block as a module: its output (sparsify, transformers)
    (re.compile(r"resid_post_layer_(\d+)"), 0),  # dictionary_learning
)


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
