"""Transcoders and cross-layer transcoders as circuit-tracer keeps them: a file for each layer, and `config.yaml`.

`layer_<l>.safetensors` is a transcoder of layer l: W_enc [d_sae, d_in], b_enc, and what it writes with (W_dec, b_dec,
W_skip). `W_enc_<l>.safetensors` is what a cross-layer transcoder reads at layer l, with `_<l>` after each name; its
decoders are in files of their own and aren't needed. A threshold makes it a JumpReLU, `activation: topk` a TopK.
"""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor

from lens.activations.hooks import layer_name
from lens.dictionaries.encoder import Encoder
from lens.dictionaries.formats.files import check_names, pick, read_safetensors, setting, sizes
from lens.dictionaries.info import Info
from lens.errors import DictionaryError
from lens.files import read_yaml

CONFIG = "config.yaml"
TRANSCODERS, CROSS_LAYER = "layer_*.safetensors", "W_enc_*.safetensors"
_LAYER = re.compile(r"(?:layer|W_enc)_(\d+)\.safetensors")
_THRESHOLD = "activation_function.threshold"
_UNUSED = ("W_dec", "b_dec", "W_skip", "k")
_ACTIVATIONS = ("relu", "jump_relu", "topk")


def read(path: Path) -> Encoder:
    """The encoder of one layer, given its file. Without `config.yaml` beside it, nothing says where it reads.

    Raises:
        DictionaryError: tensors or settings that are not those of a ReLU, JumpReLU or TopK encoder, or thresholds below
            0, which let negative scores pass.
    """
    if (named := _LAYER.fullmatch(path.name)) is None:
        raise DictionaryError(
            f"{path.name} doesn't say which layer it is of: call it as {TRANSCODERS} or {CROSS_LAYER}"
        )
    layer, file = named[1], path.parent / CONFIG
    config = read_yaml(file, "get it again", DictionaryError) if file.is_file() else {}
    end = f"_{layer}" if path.match(CROSS_LAYER) else ""
    weights = {name.removesuffix(end): value for name, value in read_safetensors(path).items()}
    names = {"W_enc": "W_enc", "b_enc": "b_enc"}
    if threshold := next((name for name in (_THRESHOLD, "threshold") if name in weights), ""):
        names["threshold"] = threshold
    architecture, settings = _activation(config, bool(threshold))
    check_names(weights, names.values(), _UNUSED, path.name)
    weights = pick({name: weights[name] for name in names.values()}, names, (), path.name)
    sizes(weights)  # raises, of what is no matrix
    weights["W_enc"] = weights["W_enc"].T.contiguous()
    _check_thresholds(weights)
    hook = _hook(config, layer)
    info = Info(
        *sizes(weights),
        architecture=architecture,
        settings=settings,
        model=setting(config, "model_name", str, CONFIG, ""),
        hook=hook,
        layer=layer_name(hook),
        name="circuit_tracer-cross_layer_transcoder" if end else "circuit_tracer-transcoder",
    )
    return Encoder(info, weights)


def _activation(config: dict, threshold: bool) -> tuple[str, dict[str, object]]:
    """Architecture and settings; `activation` of the configuration is left out where the tensors say enough."""
    activation = setting(config, "activation", str, CONFIG, "jump_relu" if threshold else "relu")
    if activation not in _ACTIVATIONS or (activation == "jump_relu") != threshold:
        with_or_without = "with" if threshold else "without"
        raise DictionaryError(
            f"{CONFIG} says activation {activation!r} of weights {with_or_without} thresholds; known are "
            f"{', '.join(_ACTIVATIONS)}, the second with thresholds"
        )
    if activation == "topk":
        return "topk", {"k": setting(config, "k", int, CONFIG)}
    return activation.replace("_", ""), {}


def _check_thresholds(weights: dict[str, Tensor]) -> None:
    if (threshold := weights.get("threshold")) is not None and (below := int((threshold < 0).sum())):
        raise DictionaryError(f"{below} thresholds are below 0: features would be negative, which is not known here")


def _hook(config: dict, layer: str) -> str:
    hook = setting(config, "feature_input_hook", str, CONFIG, "").replace("{layer}", layer)
    return hook if not hook or hook.startswith("blocks.") else f"blocks.{layer}.{hook}"
