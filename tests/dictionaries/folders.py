"""Small folders of each format, written by hand, for tests of what is read from them."""

import json

import numpy as np
import torch
from safetensors.torch import save_file

X = torch.tensor([[2.0, -3.0], [0.5, 1.0]])
WEIGHTS = {
    "W_enc": torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]),
    "b_enc": torch.tensor([0.0, 0.0, -1.0]),
    "W_dec": torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]),
    "b_dec": torch.tensor([10.0, 0.0]),
}
RELU = [[2.0, 0.0, 0.0], [0.5, 1.0, 0.5]]  # ReLU(x W_enc + b_enc)
SHIFTED = [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]  # ReLU((x - b_dec) W_enc + b_enc)
THRESHOLD = torch.tensor([0.5, 0.4, 0.4])
JUMPED = [[2.0, 0.0, 0.0], [0.0, 1.0, 0.5]]
SAELENS = {
    "architecture": "standard",
    "d_in": 2,
    "d_sae": 3,
    "dtype": "float32",
    "device": "cpu",
    "apply_b_dec_to_input": False,
    "normalize_activations": "none",
    "reshape_activations": "none",
    "metadata": {"model_name": "a-model", "hook_name": "blocks.8.hook_resid_post", "sae_lens_version": "6.54.12"},
}
SPARSIFY = {"d_in": 2, "num_latents": 3, "expansion_factor": 32, "k": 1, "normalize_decoder": True, "signed": False}
SPARSIFY_WEIGHTS = {
    "encoder.weight": WEIGHTS["W_enc"].T,
    "encoder.bias": WEIGHTS["b_enc"],
    "W_dec": WEIGHTS["W_dec"],
    "b_dec": WEIGHTS["b_dec"],
}
TRAINER = {"activation_dim": 2, "dict_size": 3, "layer": 8, "lm_name": "a/model", "seed": 4}
LINEAR = {
    "encoder.weight": WEIGHTS["W_enc"].T,
    "encoder.bias": WEIGHTS["b_enc"],
    "decoder.weight": WEIGHTS["W_dec"].T,
}


def write(folder, config: dict | None, weights: dict, config_name: str, weights_name: str):
    folder.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (folder / config_name).write_text(json.dumps(config))
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / weights_name)
    return folder


def saelens(folder, weights=WEIGHTS, **changes):
    return write(folder, {**SAELENS, **changes}, weights, "cfg.json", "sae_weights.safetensors")


def sparsify(folder, weights=SPARSIFY_WEIGHTS, **changes):
    return write(folder, {**SPARSIFY, **changes}, weights, "cfg.json", "sae.safetensors")


def dictionary_learning(folder, name: str, state: dict, buffer: dict | None = None, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    trainer = {**TRAINER, "dict_class": name, **changes}
    (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": buffer or {}}))
    torch.save(state, folder / "ae.pt")
    return folder


def gemma_scope(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: value.numpy() for name, value in {**WEIGHTS, "threshold": THRESHOLD}.items()}
    np.savez(folder / "params.npz", **{**arrays, **changes})
    return folder


def gemma_scope_2(folder, config: dict | None = None, **changes):
    weights = {name.lower(): value for name, value in WEIGHTS.items()} | {"threshold": THRESHOLD} | changes
    return write(folder, config, weights, "config.json", "params.safetensors")


def qwen_scope(release, layer: int = 8, **changes):
    release.mkdir(parents=True, exist_ok=True)
    weights = {name: value.T if value.ndim == 2 else value for name, value in WEIGHTS.items()}
    torch.save({**weights, **changes}, release / f"layer{layer}.sae.pt")
    return release / f"layer{layer}.sae.pt"


def llama_scope(folder, **changes):
    """Inputs of average norm 2 sqrt(2) are halved; features above 0.9 in raw units are those above 0.45 here."""
    config = {**LLAMA_SCOPE, "dataset_average_activation_norm": {"in": 8**0.5, "out": 8**0.5}, **changes}
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "hyperparams.json").write_text(json.dumps(config))
    return write(folder, None, {**LINEAR, "decoder.bias": WEIGHTS["b_dec"]}, "", "checkpoints/final.safetensors")


def llama_scope_r1(folder, **changes):
    norm = {"dataset_average_activation_norm.blocks.8.hook_resid_post": torch.tensor(8**0.5)}
    weights = {**LINEAR, "decoder.bias": WEIGHTS["b_dec"], "log_jumprelu_threshold": THRESHOLD.log(), **norm}
    return write(folder, {**LLAMA_SCOPE, **changes}, weights, "config.json", "sae_weights.safetensors")


LLAMA_SCOPE = {
    "d_model": 2,
    "d_sae": 3,
    "act_fn": "jumprelu",
    "jump_relu_threshold": 0.9,
    "norm_activation": "dataset-wise",
    "sparsity_include_decoder_norm": True,
    "top_k": 50,
    "hook_point_in": "blocks.8.hook_resid_post",
    "hook_point_out": "blocks.8.hook_resid_post",
}
GEMMA_3 = {
    "hf_hook_point_in": "model.layers.12.output",
    "hf_hook_point_out": "model.layers.12.output",
    "width": 3,
    "model_name": "gemma-v3-1b-it",
    "architecture": "jump_relu",
    "l0": 60,
    "affine_connection": False,
    "type": "sae",
}


def temporal(folder, weights: dict | None = None, **changes):
    """Attention that weighs all earlier codes equally, in two dimensions."""
    same = {"weight": torch.eye(2), "bias": torch.zeros(2)}
    parts = {
        "k_ctx": {"weight": torch.zeros(2, 2)},
        "q_target": {"weight": torch.zeros(2, 2)},
        "v_ctx": {},
        "c_proj": {},
    }
    state = {f"attn_layers.0.{name}.{key}": v for name, part in parts.items() for key, v in (same | part).items()}
    state |= {"D": 8 * torch.eye(2), "b": torch.tensor([[1.0, 0.0]]), **(weights or {})}
    sae = {"exp_factor": 1, "n_heads": 1, "n_attn_layers": 1, "bottleneck_factor": 1, "sae_diff_type": "topk"}
    sae |= {"kval_topk": 1, "tied_weights": True, "scaling_factor": 0.5, **changes}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "conf.yaml").write_text(json.dumps({"llm": {"dimin": 2}, "sae": sae}))
    save_file({name: value.clone() for name, value in state.items()}, folder / "latest_ckpt.safetensors")
    return folder
