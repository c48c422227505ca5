"""dictionary_learning folders: the weights `ae.pt` and what made them, `config.json`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lens.activations.hooks import layer_name
from lens.dictionaries.dictionary import Dictionary, Info
from lens.dictionaries.formats.files import pick, read_json, read_state_dict, setting
from lens.dictionaries.formats.saelens import fold_decoder_norm
from lens.errors import DictionaryError

CONFIG, WEIGHTS = "config.json", "ae.pt"


@dataclass(frozen=True)
class _Kind:
    """One class of dictionary of the library, `dict_class` in its configuration."""

    architecture: str
    names: dict[str, str]
    """our names -> those in its state dict; weights of `nn.Linear` are transposed"""
    apply_b_dec_to_input: bool
    unused: tuple[str, ...] = ()
    """further entries of its state dict"""
    unit_decoder: bool = False
    """whether the library's own loader makes the decoder rows unit vectors, features growing by their norms"""


_LINEAR = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "decoder.weight"}
_PLAIN = {name: name for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
_GATES = {"r_mag": "r_mag", "b_gate": "gate_bias", "b_mag": "mag_bias"}

KINDS = {
    "AutoEncoder": _Kind("relu", {**_LINEAR, "b_dec": "bias"}, True, unit_decoder=True),
    "AutoEncoderNew": _Kind("relu", {**_LINEAR, "b_dec": "decoder.bias"}, False),
    "GatedAutoEncoder": _Kind(
        "gated", {"W_enc": "encoder.weight", "W_dec": "decoder.weight", "b_dec": "decoder_bias", **_GATES}, True
    ),
    "AutoEncoderTopK": _Kind("topk", {**_LINEAR, "b_dec": "b_dec"}, True, ("k", "threshold")),
    # A batch of its own decides what BatchTopK keeps in training; afterwards a threshold learned from those batches.
    "BatchTopKSAE": _Kind("jumprelu", {**_LINEAR, "b_dec": "b_dec", "threshold": "threshold"}, True, ("k",)),
    "MatryoshkaBatchTopKSAE": _Kind("jumprelu", {**_PLAIN, "threshold": "threshold"}, True, ("k", "group_sizes")),
    # T-SAE: its contrastive loss is of training alone (arXiv 2511.05541).
    "TemporalBatchTopKSAE": _Kind("jumprelu", {**_LINEAR, "b_dec": "b_dec", "threshold": "threshold"}, True, ("k",)),
    "TemporalMatryoshkaBatchTopKSAE": _Kind(
        "jumprelu", {**_PLAIN, "threshold": "threshold"}, True, ("k", "group_sizes")
    ),
    "JumpReluAutoEncoder": _Kind("jumprelu", {**_PLAIN, "threshold": "threshold"}, False),
}


def read(folder: Path) -> Dictionary:
    """Read a folder that `trainSAE` wrote.

    Raises:
        DictionaryError: a file is missing or broken, `ae.pt` is not plain tensors, the class of dictionary is not
            known, or weights and configuration do not fit each other.
    """
    file = read_json(folder / CONFIG)
    trainer = setting(file, "trainer", dict, CONFIG)
    name = setting(trainer, "dict_class", str, CONFIG)
    if name not in KINDS:
        raise DictionaryError(f"{CONFIG} says dict_class {name!r}; known are {', '.join(KINDS)}")
    kind, state = KINDS[name], read_state_dict(folder / WEIGHTS)
    d_in, d_sae = (setting(trainer, key, int, CONFIG) for key in ("activation_dim", "dict_size"))
    weights = pick(state, kind.names, kind.unused, f"{WEIGHTS} ({name})")
    for ours, theirs in kind.names.items():
        if theirs.endswith("coder.weight"):
            weights[ours] = weights[ours].T.contiguous()
    if "threshold" in weights and weights["threshold"].ndim == 0:
        weights["threshold"] = torch.full_like(weights["b_enc"], weights["threshold"].item())
    hook = _hook(trainer, setting(file, "buffer", dict, CONFIG, {}))
    info = Info(
        d_in,
        d_sae,
        architecture=kind.architecture,
        settings={"k": _k(trainer, state)} if kind.architecture == "topk" else {},
        apply_b_dec_to_input=kind.apply_b_dec_to_input,
        model=setting(trainer, "lm_name", str, CONFIG, ""),
        hook=hook,
        layer=layer_name(hook),
        name=f"dictionary_learning-{name}",
        seed=setting(trainer, "seed", int, CONFIG, 0),
    )
    dictionary = Dictionary(info, weights)
    if "k" in kind.unused:
        dictionary.stated_l0 = setting(trainer, "k", int, CONFIG, None)
    if kind.unit_decoder:
        fold_decoder_norm(dictionary)
    return dictionary


def _k(trainer: dict, state: dict[str, Tensor]) -> int:
    k = setting(trainer, "k", int, CONFIG)
    if "k" in state:
        said = state["k"].item() if state["k"].numel() == 1 else f"a tensor {tuple(state['k'].shape)}"
        if said != k:
            raise DictionaryError(f"{CONFIG} says k = {k}, {WEIGHTS} says {said}: they are of two dictionaries")
    return k


def _hook(trainer: dict, buffer: dict) -> str:
    """Where the inputs come from: a submodule by name, else a block; its output, or with `io` = in its input."""
    io, layer = buffer.get("io", "out"), setting(trainer, "layer", int, CONFIG, None)
    name = setting(trainer, "submodule_name", str, CONFIG, "") or (
        "" if layer is None else f"blocks.{layer}.hook_resid_post"
    )
    if io not in ("in", "out"):
        raise DictionaryError(f"{CONFIG} says io {io!r}: it reads something else than it writes; known are in and out")
    if io == "out" or not name:
        return name
    block = layer_name(name)
    return f"blocks.{block}.hook_resid_pre" if block else f"input of {name}"
