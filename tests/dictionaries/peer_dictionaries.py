"""Dictionaries made, saved and used by another library itself, for ours to be compared with.

    <the peers' python> tests/dictionaries/peer_dictionaries.py sae-lens <folder>

Each dictionary gets `<folder>/<name>/` as the library saves it and `<folder>/<name>.safetensors` with an input x, the
library's features f and its reconstruction x_hat. SAELens also opens whatever lies in `<folder>/exported/`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from itertools import product
from pathlib import Path

import torch
from safetensors.torch import save_file

D_IN, D_SAE, K, T = 12, 40, 5, 6
SCALE = 0.37  # of the inputs, where a library scales them


def inputs() -> torch.Tensor:
    """[3, T, D_IN], away from 0 on average, as activations are."""
    return 4 * torch.randn(3, T, D_IN, generator=torch.Generator().manual_seed(1)) + torch.arange(D_IN) / 4


def perturb(tensors, size: float = 0.3) -> None:
    """Move weights off their initial values, which are zeros or ones and would hide mistakes."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for value in tensors:
            if value.is_floating_point():
                value += size * torch.randn(value.shape, generator=generator)


@torch.no_grad()
def record(path: Path, encode, decode) -> None:
    x = inputs()
    f = encode(x)
    found = {"x": x, "f": f.contiguous(), "x_hat": decode(f).contiguous()}
    save_file(found, path.with_name(path.name + ".safetensors"))


def sae_lens(folder: Path) -> None:
    from sae_lens import SAE
    from sae_lens.registry import SAE_CLASS_REGISTRY
    from sae_lens.saes.sae import SAEMetadata

    import lens.dictionaries.saelens_architecture  # noqa: F401

    metadata = {"model_name": "a-model", "hook_name": "blocks.3.hook_resid_post"}
    norms = ("none", "constant_norm_rescale", "layer_norm", "expected_average_only_in")
    for architecture, norm, apply in product(
        ("standard", "topk", "abstopk", "jumprelu", "gated"), norms, (True, False)
    ):
        for rescale in (False, True) if "topk" in architecture else (None,):
            options = {} if rescale is None else {"k": K, "rescale_acts_by_decoder_norm": rescale}
            name = f"{architecture}-{norm}{'-b_dec' if apply else ''}{'-rescaled' if rescale else ''}"
            kind, config = SAE_CLASS_REGISTRY[architecture]
            options |= {"normalize_activations": norm, "apply_b_dec_to_input": apply}
            sae = kind(config(D_IN, D_SAE, **options, metadata=SAEMetadata(**metadata)))
            perturb(sae.parameters())
            sae.save_model(folder / name)
            record(folder / name, sae.encode, sae.decode)

    # A training checkpoint: the factor is beside the weights, and folding it is left to who loads them.
    sae = SAE.load_from_disk(folder / "standard-expected_average_only_in-b_dec")
    sae.save_model(folder / "scaled")
    (folder / "scaled" / "activation_scaler.json").write_text(json.dumps({"scaling_factor": SCALE}))
    sae.fold_activation_norm_scaling_factor(SCALE)
    record(folder / "scaled", sae.encode, sae.decode)

    # The flat configuration of versions before 6, which this version still opens.
    flat = {"d_in": D_IN, "d_sae": D_SAE, "dtype": "float32", "device": "cpu", "hook_point": metadata["hook_name"]}
    flat |= {"model_name": "a-model", "normalize_activations": None}
    for name, of, more in (
        ("flat", "standard-none-b_dec", {}),
        ("flat-topk", "topk-none-b_dec", {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}}),
        ("flat-jumprelu", "jumprelu-none", {"architecture": "jumprelu", "apply_b_dec_to_input": False}),
    ):
        shutil.copytree(folder / of, folder / name)
        (folder / name / "cfg.json").write_text(json.dumps({**flat, **more}))
        sae = SAE.load_from_disk(folder / name)
        record(folder / name, sae.encode, sae.decode)

    batchtopk(folder / "trained-batchtopk", metadata)
    transcoders(folder / "transcoders")
    releases(folder / "releases")
    for path in sorted((folder / "exported").iterdir()):
        if path.is_dir():
            sae = SAE.load_from_disk(path)
            record(path, sae.encode, sae.decode)
            sae.save_model(folder / "saved-again" / path.name)
            refused = {"flat": refusal(sae, inputs()[0]), "long": refusal(sae, torch.zeros(1, T + 1, D_IN))}
            path.with_suffix(".json").write_text(json.dumps(refused))


def transcoders(folder: Path) -> None:
    """They read the MLP's input after its norm, and write vectors of another width."""
    from sae_lens.registry import SAE_CLASS_REGISTRY
    from sae_lens.saes.sae import SAEMetadata

    metadata = {"model_name": "a-model", "hook_name": "blocks.3.ln2.hook_normalized"}
    for architecture in ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder"):
        kind, config = SAE_CLASS_REGISTRY[architecture]
        coder = kind(config(D_IN, D_SAE, d_out=5, apply_b_dec_to_input=False, metadata=SAEMetadata(**metadata)))
        perturb(coder.parameters())
        coder.save_model(folder / architecture)
        record(folder / architecture, coder.encode, coder.decode)


def refusal(sae, x: torch.Tensor) -> str:
    """What encoding x raises, if anything."""
    try:
        sae.encode(x)
    except ValueError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def batchtopk(path: Path, metadata: dict) -> None:
    """BatchTopK as it leaves training: a JumpReLU dictionary."""
    from sae_lens import SAE, BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.saes.sae import SAEMetadata

    sae = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(D_IN, D_SAE, k=K, metadata=SAEMetadata(**metadata)))
    perturb(sae.parameters())
    sae.topk_threshold.fill_(0.8)
    sae.save_inference_model(path)
    sae = SAE.load_from_disk(path)
    record(path, sae.encode, sae.decode)


def releases(folder: Path) -> None:
    """SAELens converts what others published, in files of their own; here the downloads are local files."""
    import numpy as np
    from sae_lens.loading import pretrained_sae_loaders as loaders
    from sae_lens.registry import SAE_CLASS_REGISTRY

    loaders.hf_hub_download = lambda repo_id, filename, subfolder="", **_: str(folder / repo_id / subfolder / filename)
    loaders.get_safetensors_tensor_shapes = lambda repo_id, filename: {"w_enc": [D_IN, D_SAE]}
    generator = torch.Generator().manual_seed(3)
    W_enc, W_dec = (torch.randn(shape, generator=generator) for shape in ((D_IN, D_SAE), (D_SAE, D_IN)))
    b_enc, b_dec, threshold = (torch.randn(n, generator=generator) for n in (D_SAE, D_IN, D_SAE))
    W_dec /= W_dec.norm(dim=-1, keepdim=True)
    plain = {"W_enc": W_enc, "W_dec": W_dec, "b_enc": b_enc, "b_dec": b_dec}
    jump = {**plain, "threshold": threshold.abs()}
    turned = {name: value.T.contiguous() if value.ndim == 2 else value for name, value in plain.items()}
    names = {"W_enc": "encoder{}.weight", "b_enc": "encoder{}.bias"}
    names |= {"W_dec": "decoder{}.weight", "b_dec": "decoder{}.bias"}
    linear, goodfire = ({names[key].format(s): value for key, value in turned.items()} for s in ("", "_linear"))
    norm, hook = 17.125, "blocks.3.hook_resid_post"
    scale = D_IN**0.5 / norm
    gemma_3 = {
        "hf_hook_point_in": "model.layers.3.output", "hf_hook_point_out": "model.layers.3.output", "width": D_SAE,
        "model_name": "gemma-v3-270m-pt", "architecture": "jump_relu", "l0": 7, "type": "sae",
        "affine_connection": False,
    }  # fmt: skip
    llama = {
        "d_model": D_IN, "d_sae": D_SAE, "expansion_factor": 1, "act_fn": "jumprelu", "jump_relu_threshold": 0.53,
        "dataset_average_activation_norm": {"in": norm, "out": norm}, "hook_point_in": hook, "hook_point_out": hook,
    }  # fmt: skip
    r1 = {**linear, "log_jumprelu_threshold": jump["threshold"].log()}
    r1 |= {f"dataset_average_activation_norm.{hook}": torch.tensor(norm)}
    temporal = {"D": W_dec, "b": b_dec}
    for name, n_out in (("k_ctx", D_SAE // 2), ("q_target", D_SAE // 2), ("v_ctx", D_SAE), ("c_proj", D_SAE)):
        temporal[f"attn_layers.0.{name}.weight"] = torch.randn(n_out, D_SAE, generator=generator)
        temporal[f"attn_layers.0.{name}.bias"] = torch.randn(n_out, generator=generator)
    conf = {
        "llm": {"dimin": D_IN},
        "sae": {
            "exp_factor": D_SAE / D_IN, "n_heads": 4, "n_attn_layers": 1, "bottleneck_factor": 2,
            "sae_diff_type": "topk", "kval_topk": K, "tied_weights": True, "scaling_factor": SCALE,
        },
        "data": {"dtype": "float32"},
    }  # fmt: skip
    # release, folder or file that SAELens is asked for, its loader, and what the release holds
    cases = (
        ("google/gemma-scope-2b-pt-res", "layer_3/width_16k/average_l0_7", "gemma_2", {"params.npz": jump}),
        (
            "google/gemma-scope-2-270m-pt", "resid_post/layer_3_width_16k_l0_small", "gemma_3",
            {"params.safetensors": {name.lower(): value for name, value in jump.items()}, "config.json": gemma_3},
        ),
        ("Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_5", "layer3.sae.pt", "qwen_scope", {"": turned}),
        ("Goodfire/Llama-3.1-8B-Instruct-SAE-l19", "Llama-3.1-8B-Instruct-SAE-l19.pth", "goodfire", {"": goodfire}),
        (
            "qresearch/DeepSeek-R1-Distill-Llama-8B-SAE-l19", "DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt", "deepseek_r1",
            {"": linear},
        ),
        (
            "fnlp/Llama3_1-8B-Base-LXR-8x", "Llama3_1-8B-Base-L3R-8x", "llama_scope",
            {"hyperparams.json": llama, "checkpoints/final.safetensors": linear},
        ),
        (
            "fnlp/Llama-Scope-R1-Distill", "L3R", "llama_scope_r1_distill",
            {"config.json": llama, "sae_weights.safetensors": r1},
        ),
        (
            "canrager/temporalSAEs", "layer_3/temporal", "temporal",
            {"conf.yaml": conf, "latest_ckpt.safetensors": temporal},
        ),
    )  # fmt: skip
    for repo, place, loader, files in cases:
        for name, content in files.items():
            path = folder / repo / place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix in (".json", ".yaml"):
                path.write_text(json.dumps(content))
            elif path.suffix == ".npz":
                np.savez(path, **{key: value.numpy() for key, value in content.items()})
            elif path.suffix == ".safetensors":
                save_file(content, path)
            else:
                torch.save(content, path)
        sizes = {"d_in": D_IN, "d_sae": D_SAE, "dtype": "float32"}
        config, state, _ = loaders.NAMED_PRETRAINED_SAE_LOADERS[loader](repo, place, "cpu", cfg_overrides=sizes)
        config = loaders.handle_config_defaulting(config)
        kind, settings = SAE_CLASS_REGISTRY[config["architecture"]]
        sae = kind(settings.from_dict(config))
        sae.load_state_dict(state)
        if config["normalize_activations"] == "expected_average_only_in":
            sae.fold_activation_norm_scaling_factor(scale)
        # Its `decode` leaves out what it predicts, which its `forward` has.
        record(folder / loader, sae.encode, sae.decode if loader != "temporal" else lambda f, sae=sae: sae(inputs()))
        said = {"path": f"{repo}/{place}", **config["metadata"]}
        (folder / f"{loader}.json").write_text(json.dumps(said))


def dictionary_learning(folder: Path) -> None:
    from dictionary_learning import trainers
    from dictionary_learning.dictionary import AutoEncoderNew
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer
    from dictionary_learning.trainers.standard import StandardTrainerAprilUpdate
    from dictionary_learning.training import trainSAE
    from dictionary_learning.utils import load_dictionary

    x = inputs().flatten(0, 1)
    common = {"activation_dim": D_IN, "dict_size": D_SAE, "layer": 3, "lm_name": "a/model", "device": "cpu", "steps": 4}
    common |= {"warmup_steps": 1, "seed": 5}
    sparsity = {"sparsity_warmup_steps": 1}
    top = {"k": K, "threshold_start_step": 0}
    cases = {
        "standard": (trainers.StandardTrainer, {**sparsity, "submodule_name": "resid_post_layer_3"}),
        "standard-april": (StandardTrainerAprilUpdate, sparsity),
        "p-anneal": (trainers.PAnnealTrainer, sparsity),
        "gated": (trainers.GatedSAETrainer, sparsity),
        "topk": (trainers.TopKTrainer, top),
        "batchtopk": (trainers.BatchTopKTrainer, top),
        "matryoshka": (MatryoshkaBatchTopKTrainer, {**top, "group_fractions": [0.25, 0.75]}),
        "jumprelu": (trainers.JumpReluTrainer, {**sparsity, "target_l0": K}),
    }
    for name, (trainer, options) in cases.items():
        made = folder / "runs" / name
        trainSAE([x] * 5, [{"trainer": trainer, **common, **options}], steps=4, save_dir=str(made), device="cpu")
        shutil.copytree(made / "trainer_0", folder / name)
        state = torch.load(folder / name / "ae.pt")
        perturb([value for key, value in state.items() if key != "threshold"], 0.1)  # four steps leave biases near 0
        torch.save(state, folder / name / "ae.pt")
        record(folder / name, *flat(load_dictionary(str(folder / name), "cpu")[0]))

    dictionary = AutoEncoderNew(D_IN, D_SAE)
    perturb(dictionary.parameters())
    path = folder / "new"
    path.mkdir()
    torch.save(dictionary.state_dict(), path / "ae.pt")
    trainer = {"dict_class": "AutoEncoderNew", "activation_dim": D_IN, "dict_size": D_SAE, "layer": 3}
    (path / "config.json").write_text(json.dumps({"trainer": trainer}))
    record(path, *flat(load_dictionary(str(path), "cpu")[0]))


def flat(dictionary):
    """Encode and decode windows with a dictionary that takes vectors [N, d_in] only."""

    def encode(x):
        return dictionary.encode(x.flatten(0, 1)).view(*x.shape[:2], -1)

    return encode, lambda f: dictionary.decode(f.flatten(0, 1)).view(*f.shape[:2], -1)


def sparsify(folder: Path) -> None:
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
    from sparsify import SparseCoder, SparseCoderConfig

    for name, config in (
        ("layers.3", SparseCoderConfig(num_latents=D_SAE, k=K)),
        ("layers.4", SparseCoderConfig(expansion_factor=3, k=K, normalize_decoder=False, multi_topk=True)),
        ("layers.3.mlp", SparseCoderConfig(num_latents=D_SAE, k=K)),
    ):
        made = SparseCoder(D_IN, config)
        perturb(made.parameters())
        made.save_to_disk(folder / name)
        coder = SparseCoder.load_from_disk(folder / name)

        def encode(x, coder=coder):
            out = coder.encode(x.flatten(0, 1))
            f = torch.zeros(len(out.top_acts), coder.num_latents)
            return f.scatter_(1, out.top_indices, out.top_acts).view(*x.shape[:2], -1)

        def decode(f, coder=coder):
            acts, indices = f.flatten(0, 1).topk(coder.cfg.k)
            return coder.decode(acts, indices).view(*f.shape[:2], -1)

        record(folder / name, encode, decode)
    (folder / "config.json").write_text(json.dumps({"model": "a/model"}))


if __name__ == "__main__":
    peers = {"sae-lens": sae_lens, "dictionary-learning": dictionary_learning, "eai-sparsify": sparsify}
    torch.manual_seed(0)
    torch.set_num_threads(1)
    peers[sys.argv[1]](Path(sys.argv[2]))
