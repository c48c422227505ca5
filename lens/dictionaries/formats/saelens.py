"""SAELens folders: `cfg.json` + `sae_weights.safetensors`, as version 6 writes them and as earlier versions did."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import torch
from torch import Tensor

from lens.activations.hooks import layer_name
from lens.dictionaries.dictionary import Dictionary, Info
from lens.dictionaries.encoder import Encoder
from lens.dictionaries.formats.files import (
    TEMPORALLENS,
    T,
    check_names,
    l0_in_name,
    pick,
    read_json,
    read_safetensors,
    setting,
)
from lens.errors import DictionaryError

CONFIG, WEIGHTS, SCALER = "cfg.json", "sae_weights.safetensors", "activation_scaler.json"
TRANSCODERS = {
    "transcoder": "relu", "skip_transcoder": "relu", "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
}  # fmt: skip
RULES = {"standard": "relu", "topk": "topk", "abstopk": "abs_topk", "jumprelu": "jumprelu", "gated": "gated"}
_ELSEWHERE = {
    "matching_pursuit": "open it with SAELens, and give lens.profile what that opened",
    "temporal": "give the files that its authors published, as decode of SAELens leaves out what it predicts",
}
_TOPK = ("topk", "abstopk")
_VECTORS = {"jumprelu": ("b_enc", "threshold"), "gated": ("b_gate", "r_mag", "b_mag")}
_NORMALISATIONS = ("none", "expected_average_only_in", "constant_norm_rescale", "layer_norm")
_DEFAULTS = {  # of a setting that a folder leaves out
    "apply_b_dec_to_input": True,
    "normalize_activations": "none",
    "rescale_acts_by_decoder_norm": False,
    "reshape_activations": "none",
}
_MIN_NORM = 1e-8  # of a decoder row, as in SAELens


def read(folder: Path, norm_scaling_factor: float | None = None) -> Dictionary:
    """Read a folder; one of the architecture `temporallens` has its masks, of a transcoder the encoder alone is read.

    What SAELens keeps apart is folded into the weights: `rescale_acts_by_decoder_norm`, and the factor of
    `expected_average_only_in`, by which inputs were multiplied in training. That factor is `norm_scaling_factor`, or
    the one a training checkpoint stores; without either the weights are taken as they are, with a warning.

    Raises:
        DictionaryError: an architecture, normalisation or option is not known, files and settings do not fit each
            other, or a factor is given for a dictionary that has none.
    """
    config = _nested(read_json(folder / CONFIG))
    architecture, metadata = setting(config, "architecture", str, CONFIG), config["metadata"]
    _check(config)
    weights = read_safetensors(folder / WEIGHTS)
    normalisation = config["normalize_activations"]
    if norm_scaling_factor is not None and normalisation != "expected_average_only_in":
        raise DictionaryError(
            f"norm_scaling_factor = {norm_scaling_factor} given, {CONFIG} says {normalisation}: leave it out"
        )
    if architecture == TEMPORALLENS:
        return _temporallens(config, weights)
    d_in, d_sae = (setting(config, key, int, CONFIG) for key in ("d_in", "d_sae"))
    if architecture in TRANSCODERS:
        return _transcoder(config, weights, d_in, d_sae)
    names = ("W_enc", "W_dec", "b_dec", *_VECTORS.get(architecture, ("b_enc",)))
    ones = {"scaling_factor"} if _is_ones(weights.get("scaling_factor")) else set()  # an option that was not in use
    weights = pick(weights, {name: name for name in names}, ones, WEIGHTS)
    hook, model = (setting(metadata, key, str, f"metadata of {CONFIG}", "") for key in ("hook_name", "model_name"))
    bos = setting(metadata, "prepend_bos", bool, f"metadata of {CONFIG}", True)
    _warn_of_other_inputs(metadata)
    dictionary = Dictionary(
        Info(
            d_in,
            d_sae,
            architecture=RULES[architecture],
            settings={"k": setting(config, "k", int, CONFIG)} if architecture in _TOPK else {},
            normalisation="none" if normalisation == "expected_average_only_in" else normalisation,
            apply_b_dec_to_input=setting(config, "apply_b_dec_to_input", bool, CONFIG),
            model=model,
            hook=hook,
            layer=layer_name(hook),
            name=f"saelens-{architecture}",
            bos=bos,
        ),
        weights,
    )
    dictionary.stated_l0 = dictionary.stated_l0 or l0_in_name(str(value) for value in metadata.values())
    if normalisation == "expected_average_only_in":
        _fold_scaling(dictionary, norm_scaling_factor, folder / SCALER)
    if architecture in _TOPK and setting(config, "rescale_acts_by_decoder_norm", bool, CONFIG):
        fold_decoder_norm(dictionary)
    return dictionary


def _transcoder(config: dict, weights: dict[str, Tensor], d_in: int, d_sae: int) -> Encoder:
    """W_dec, b_dec and W_skip concern what it writes."""
    architecture, metadata = config["architecture"], config["metadata"]
    rule = TRANSCODERS[architecture]
    names = ("W_enc", *_VECTORS.get(rule, ("b_enc",)))
    skip = ["W_skip"] * ("skip" in architecture)
    check_names(weights, (*names, "W_dec", "b_dec", *skip), (), WEIGHTS)
    hook, model = (setting(metadata, key, str, f"metadata of {CONFIG}", "") for key in ("hook_name", "model_name"))
    bos = setting(metadata, "prepend_bos", bool, f"metadata of {CONFIG}", True)
    _warn_of_other_inputs(metadata)
    info = Info(
        d_in, d_sae, architecture=rule, model=model, hook=hook, layer=layer_name(hook),
        name=f"saelens-{architecture}", bos=bos,
    )  # fmt: skip
    read = Encoder(info, pick({name: weights[name] for name in names}, {name: name for name in names}, (), WEIGHTS))
    read.stated_l0 = l0_in_name(str(value) for value in metadata.values())
    return read


def _warn_of_other_inputs(metadata: dict) -> None:
    """Weights of the model may have been processed before activations were taken; `transformers` does not do that."""
    name = f"metadata of {CONFIG}"
    loading = setting(metadata, "model_from_pretrained_kwargs", dict, name, {})
    said = [f"model_from_pretrained_kwargs {key} = {value!r}" for key, value in loading.items() if value]
    if (head := metadata.get("hook_head_index")) is not None:
        said.append(f"hook_head_index {head!r}")
    if said:
        warnings.warn(
            f"{CONFIG} says {', '.join(said)}: it was trained on other activations than those of the model as it is "
            "published, and is measured on these; what it loses includes the difference",
            stacklevel=4,  # whoever called `load`
        )


def _nested(config: dict) -> dict:
    """The configuration in the form of version 6; earlier versions had one flat object."""
    if "metadata" in config:
        setting(config, "metadata", dict, CONFIG)
        return {**_DEFAULTS, **config}
    old = {"hook_point": "hook_name", "activation_fn": "activation_fn_str"}
    config = {old.get(key, key): value for key, value in config.items()}
    activation = config.get("activation_fn_str", "relu")
    if activation not in ("relu", "topk"):
        raise DictionaryError(f"{CONFIG} says activation_fn_str {activation!r}; known are relu and topk")
    hook = setting(config, "hook_name", str, CONFIG, "")
    options = setting(config, "activation_fn_kwargs", dict, CONFIG, {})
    norm = config.get("normalize_activations") or "none"
    kept = ("model_name", "prepend_bos", "model_from_pretrained_kwargs", "hook_head_index")
    return {
        **_DEFAULTS,
        **config,
        **({"k": options.get("k")} if activation == "topk" else {}),
        "architecture": "topk" if activation == "topk" else config.get("architecture", "standard"),
        "normalize_activations": "expected_average_only_in" if norm is True else norm,  # was once a bool
        "reshape_activations": config.get("reshape_activations", "hook_z" if "hook_z" in hook else "none"),
        "metadata": {"hook_name": hook} | {key: config.get(key) for key in kept},
    }


def _check(config: dict) -> None:
    architecture = config["architecture"]
    normalisation = setting(config, "normalize_activations", str, CONFIG)
    if architecture in _ELSEWHERE:
        raise DictionaryError(
            f"{CONFIG} says architecture {architecture!r}, whose code is no score of one vector: "
            f"{_ELSEWHERE[architecture]}"
        )
    if architecture not in (*RULES, *TRANSCODERS, TEMPORALLENS):
        known = ", ".join([*RULES, *TRANSCODERS, TEMPORALLENS])
        raise DictionaryError(
            f"{CONFIG} says architecture {architecture!r}; known are {known}. "
            "A training checkpoint of SAELens becomes one of these with its save_inference_model"
        )
    known = ("none",) if architecture in (*TRANSCODERS, TEMPORALLENS) else _NORMALISATIONS
    if normalisation not in known:
        raise DictionaryError(
            f"{CONFIG} says normalize_activations {normalisation!r}; known for {architecture} are {', '.join(known)}. "
            "SAELens folds others into the weights when training ends"
        )
    if config["reshape_activations"] != "none":
        raise DictionaryError(
            f"{CONFIG} says reshape_activations {config['reshape_activations']!r}: its inputs are the heads of an "
            "attention layer, not the residual stream"
        )


def _is_ones(value: Tensor | None) -> bool:
    return value is not None and torch.equal(value, torch.ones_like(value))


@torch.no_grad()
def _fold_scaling(dictionary: Dictionary, factor: float | None, scaler: Path) -> None:
    """Make weights for inputs times `factor` into weights for raw inputs, with the same features."""
    if factor is None and scaler.is_file():
        factor = read_json(scaler).get("scaling_factor")
    if factor is None:
        warnings.warn(
            f"{CONFIG} says expected_average_only_in, and no factor is stored: the weights are taken to read raw "
            "activations; pass norm_scaling_factor= if they were trained on scaled ones",
            stacklevel=4,  # whoever called `load`
        )
        return
    if not isinstance(factor, (int, float)) or not 0 < factor < math.inf:
        raise DictionaryError(f"inputs are said to have been multiplied by {factor!r}: a positive factor is needed")
    dictionary.W_enc.mul_(factor)
    dictionary.W_dec.div_(factor)
    dictionary.b_dec.div_(factor)


@torch.no_grad()
def fold_decoder_norm(dictionary: Dictionary) -> None:
    """Multiply features by the norms of their decoder rows, which become unit vectors; TopK selects by the product.

    A row of zeros stays one.
    """
    norms = dictionary.W_dec.norm(dim=-1).clamp_min(_MIN_NORM)
    dictionary.W_enc.mul_(norms)
    dictionary.weights()["b_enc"].mul_(norms)
    dictionary.W_dec.div_(norms[:, None])


def _temporallens(config: dict, weights: dict[str, Tensor]) -> Dictionary:
    """The dictionary with masks that `lens.dictionaries.export` wrote, bit for bit."""

    def of(key: str, kind: type[T]) -> T:
        return setting(config, key, kind, CONFIG)

    origin = setting(config["metadata"], "origin", dict, f"metadata of {CONFIG}")
    model, layer, name = (setting(origin, key, str, f"origin of {CONFIG}") for key in ("model", "layer", "variant"))
    info = Info(
        of("d_in", int), of("d_sae", int), of("n_positions", int), position="mask",
        settings={"tau_end": of("tau", float)}, input_scale=of("input_scale", float),
        model=model, layer=layer, name=name, seed=setting(origin, "seed", int, f"origin of {CONFIG}"),
        bos=setting(config["metadata"], "prepend_bos", bool, f"metadata of {CONFIG}", True),
    )  # fmt: skip
    names = ("W_enc", "b_enc", "W_dec", "b_dec", "pos_logits")
    return Dictionary(info, pick(weights, {name: name for name in names}, (), WEIGHTS))
