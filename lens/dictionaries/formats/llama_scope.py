"""Llama Scope, of Llama 3.1 8B and of its R1 distillation: JumpReLU dictionaries of scaled inputs (arXiv 2410.20526).

Inputs are multiplied by sqrt(d_in) / their average norm, which makes that norm sqrt(d_in).
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from lens.activations.hooks import layer_name
from lens.dictionaries.dictionary import Dictionary, Info
from lens.dictionaries.formats.files import pick, read_json, read_safetensors, setting
from lens.errors import DictionaryError

CONFIG, WEIGHTS = "hyperparams.json", "checkpoints/final.safetensors"
CONFIG_R1, WEIGHTS_R1 = "config.json", "sae_weights.safetensors"
_NAMES = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "decoder.weight", "b_dec": "decoder.bias"}
_MIN_NORM = 1e-8  # of a decoder row: what writes nothing does not fire
_NEEDED = {
    "act_fn": "jumprelu",
    "norm_activation": "dataset-wise",
    "use_glu_encoder": False,
    "apply_decoder_bias_to_pre_encoder": False,
}


def read(folder: Path) -> Dictionary:
    """Read a folder of the first release, `Llama3_1-8B-Base-L<l>R-<n>x`.

    Its one threshold is of features in the units of raw inputs, and was chosen so that `top_k` features of a vector are
    above it on average.

    Raises:
        DictionaryError: an option means something else than that, it reads something else than it writes, or files do
            not fit each other.
    """
    config = read_json(folder / CONFIG)
    hook = _hook(config, CONFIG)
    weights = pick(read_safetensors(folder / WEIGHTS), _NAMES, (), WEIGHTS)
    norms = setting(config, "dataset_average_activation_norm", dict, CONFIG)
    scale = _scale(config, setting(norms, "in", float, CONFIG), CONFIG)
    threshold = scale * _positive("jump_relu_threshold", setting(config, "jump_relu_threshold", float, CONFIG), CONFIG)
    info = _info(config, CONFIG, hook, scale, "meta-llama/Llama-3.1-8B")
    dictionary = Dictionary(info, _transposed(weights) | {"threshold": torch.full_like(weights["b_enc"], threshold)})
    dictionary.stated_l0 = setting(config, "top_k", int, CONFIG, None)
    return dictionary


def read_r1(folder: Path) -> Dictionary:
    """Read a folder of the release for the R1 distillation, `<tokens>/L<l>R`.

    A threshold is compared with the feature times the norm of its decoder row, unless the configuration says otherwise.

    Raises:
        DictionaryError: as `read`.
    """
    config = read_json(folder / CONFIG_R1)
    hook = _hook(config, CONFIG_R1)
    norm = f"dataset_average_activation_norm.{hook}"
    names = {**_NAMES, "threshold": "log_jumprelu_threshold", norm: norm}
    weights = pick(read_safetensors(folder / WEIGHTS_R1), names, (), f"{WEIGHTS_R1} (hook_point_in {hook})")
    weights["threshold"].exp_()
    scale = _scale(config, weights.pop(norm).mean().item(), WEIGHTS_R1)
    info = _info(config, CONFIG_R1, hook, scale, "deepseek-ai/DeepSeek-R1-Distill-Llama-8B")
    dictionary = Dictionary(info, _transposed(weights))
    if setting(config, "sparsity_include_decoder_norm", bool, CONFIG_R1, True):
        with torch.no_grad():
            dictionary.weights()["threshold"].div_(dictionary.W_dec.norm(dim=-1).clamp_min(_MIN_NORM))
    return dictionary


def _hook(config: dict, file: str) -> str:
    """Where it reads, once the settings are known to be those of a dictionary."""
    for key, needed in _NEEDED.items():
        if config.get(key, needed) != needed:
            raise DictionaryError(f"{file} says {key} = {config[key]!r}; known is {needed!r}")
    reads = setting(config, "hook_point_in", str, file)
    if (writes := setting(config, "hook_point_out", str, file, reads)) != reads:
        raise DictionaryError(
            f"{file} says hook_point_in {reads!r} and hook_point_out {writes!r}: it reads something else than it writes"
        )
    return reads


def _positive(name: str, value: float, file: str) -> float:
    if not 0 < value < math.inf:
        raise DictionaryError(f"{file} says {name} = {value}: a positive number is needed")
    return value


def _scale(config: dict, norm: float, file: str) -> float:
    return setting(config, "d_model", int, file) ** 0.5 / _positive("dataset_average_activation_norm", norm, file)


def _info(config: dict, file: str, hook: str, scale: float, model: str) -> Info:
    d_in, d_sae = setting(config, "d_model", int, file), setting(config, "d_sae", int, file, None)
    return Info(
        d_in,
        d_sae or d_in * setting(config, "expansion_factor", int, file),
        architecture="jumprelu",
        input_scale=scale,
        model=model,
        hook=hook,
        layer=layer_name(hook),
        name="llama_scope-jumprelu",
    )


def _transposed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return weights | {name: weights[name].T.contiguous() for name in ("W_enc", "W_dec")}
