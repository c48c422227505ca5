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
    for architecture, norm, apply in product(("standard", "topk", "jumprelu", "gated"), norms, (True, False)):
        for rescale in (False, True) if architecture == "topk" else (None,):
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
    gemma_scope(folder, SAE_CLASS_REGISTRY["jumprelu"])
    for path in sorted((folder / "exported").iterdir()):
        if path.is_dir():
            sae = SAE.load_from_disk(path)
            record(path, sae.encode, sae.decode)
            sae.save_model(folder / "saved-again" / path.name)
            refused = {"flat": refusal(sae, inputs()[0]), "long": refusal(sae, torch.zeros(1, T + 1, D_IN))}
            path.with_suffix(".json").write_text(json.dumps(refused))


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


def gemma_scope(folder: Path, jumprelu) -> None:
    """SAELens converts Gemma Scope files from the hub; here the download is a local file."""
    import numpy as np
    from sae_lens.loading import pretrained_sae_loaders as loaders

    random = np.random.default_rng(3)
    shapes = {"W_enc": (D_IN, D_SAE), "W_dec": (D_SAE, D_IN), "b_enc": D_SAE, "b_dec": D_IN, "threshold": D_SAE}
    weights = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    weights["threshold"] = np.abs(weights["threshold"])
    release, place = "gemma-scope-2b-pt-res", "layer_3/width_16k/average_l0_7"
    path = folder / release / place
    path.mkdir(parents=True)
    np.savez(path / "params.npz", **weights)
    loaders.hf_hub_download = lambda **kwargs: str(path / "params.npz")
    config, state, _ = loaders.gemma_2_sae_huggingface_loader(
        f"google/{release}", place, cfg_overrides={"d_in": D_IN, "d_sae": D_SAE}
    )
    config = loaders.handle_config_defaulting(config)
    sae = jumprelu[0](jumprelu[1].from_dict(config))
    sae.load_state_dict(state)
    record(folder / "gemma_scope", sae.encode, sae.decode)
    (folder / "gemma_scope.json").write_text(json.dumps(config["metadata"]))


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
