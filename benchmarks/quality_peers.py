"""A peer's dictionary, trained by its own trainer on given activations and saved in its own format.

    <the peers' python> -m benchmarks.quality_peers sae-lens <folder> '{"architecture": "topk", "k": 32, ...}'

Every recipe is the library's default, but for what its default number of steps would not let happen in a short run:
warm-up of a tenth of the steps, decay over the last fifth, thresholds from the middle on. Inputs come with unit mean
squared norm and are scaled to what the library scales them to itself: 1 for dictionary-learning, sqrt(d) for sae-lens;
eai-sparsify scales nothing and gets those of sae-lens. Imports nothing of the project but other benchmarks.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2 + 1 / 32)  # of the nested dictionaries, each less the one before


def batches(data: dict[str, Tensor], scale: float) -> Iterator[Tensor]:
    """The windows [B, P, d] of each step, and those of the first once more where a loop draws one too many."""
    for rows in (*data["order"], data["order"][0]):
        yield data["windows"][rows].float() * scale


def dictionary_learning(asked: dict, data: dict[str, Tensor], folder: Path) -> float:
    from dictionary_learning import trainers
    from dictionary_learning.trainers.jumprelu import JumpReluTrainer
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer

    steps, d, l0, lr = asked["steps"], data["windows"].shape[-1], asked["k"], {"lr": asked["lr"]} if asked["lr"] else {}
    common = {
        "steps": steps, "activation_dim": d, "dict_size": asked["expansion"] * d, "layer": 0, "lm_name": "none",
        "device": "cpu", "seed": asked["seed"], "warmup_steps": min(1000, steps // 10),
        "decay_start": steps * 4 // 5, **lr,
    }  # fmt: skip
    few = {"k": l0, "threshold_start_step": min(1000, steps // 2)}
    kind, own = {
        "topk": (trainers.TopKTrainer, few),
        "batch_topk": (trainers.BatchTopKTrainer, few),
        "matryoshka": (MatryoshkaBatchTopKTrainer, few | {"group_fractions": list(SHARES)}),
        "jumprelu": (JumpReluTrainer, {"target_l0": l0, "sparsity_warmup_steps": min(2000, steps // 5)}),
    }[asked["architecture"]]
    trainer = kind(**common, **own)
    for step, x in zip(range(steps), batches(data, 1.0), strict=False):
        trainer.update(step, x.flatten(0, 1))
    torch.save(trainer.ae.state_dict(), folder / "ae.pt")
    (folder / "config.json").write_text(json.dumps({"trainer": trainer.config, "buffer": {}}))
    return 1.0


def sae_lens(asked: dict, data: dict[str, Tensor], folder: Path) -> float:
    from sae_lens.config import SAETrainerConfig
    from sae_lens.registry import SAE_TRAINING_CLASS_REGISTRY
    from sae_lens.training.sae_trainer import SAETrainer

    steps, d, k = asked["steps"], data["windows"].shape[-1], asked["k"]
    d_sae, scale = asked["expansion"] * d, d**0.5
    name, own = {
        "topk": ("topk", {"k": k}),
        "batch_topk": ("batchtopk", {"k": k}),
        "matryoshka": (
            "matryoshka_batchtopk",
            {"k": k, "matryoshka_widths": [round(sum(SHARES[: i + 1]) * d_sae) for i in range(len(SHARES))]},
        ),
        "jumprelu": ("jumprelu", {"jumprelu_sparsity_loss_mode": "quadratic", "target_l0": float(k)}),
    }[asked["architecture"]]
    kind, config = SAE_TRAINING_CLASS_REGISTRY[name]
    sae = kind(config(d_in=d, d_sae=d_sae, **own))
    lr = asked["lr"] or 3e-4  # its default, and a tenth of it at the end
    size = asked["batch"]
    trained = SAETrainerConfig(
        total_training_samples=steps * size, train_batch_size_samples=size, lr=lr, lr_end=lr / 10,
        lr_warm_up_steps=steps // 10, lr_decay_steps=steps // 5,
    )  # fmt: skip
    SAETrainer(trained, sae, (x.flatten(0, 1) for x in batches(data, scale))).fit()
    sae.save_inference_model(folder)
    return scale


def sparsify(asked: dict, data: dict[str, Tensor], folder: Path) -> float:
    from sparsify import SparseCoderConfig, TrainConfig, Trainer

    from benchmarks.peers import _Replay, _Windows

    steps, scale, (windows, d) = asked["steps"], data["windows"].shape[-1] ** 0.5, (16, data["windows"].shape[-1])
    config = TrainConfig(
        SparseCoderConfig(num_latents=asked["expansion"] * d, k=asked["k"]), batch_size=windows, hookpoints=["layer"],
        log_to_wandb=False, save_every=10**9, save_dir=str(folder / "run"), lr=asked["lr"],
        lr_warmup_steps=min(1000, steps // 10),
    )  # fmt: skip
    trainer = Trainer(config, _Windows(steps * windows), _Replay(batches(data, scale)))
    trainer.fit()
    trainer.saes["layer"].save_to_disk(folder)
    return scale


PEERS = {"dictionary-learning": dictionary_learning, "sae-lens": sae_lens, "eai-sparsify": sparsify}


def main(peer: str, folder: Path, asked: dict) -> None:
    from benchmarks.setting import use_all_cores

    use_all_cores()
    torch.manual_seed(asked["seed"])
    folder.mkdir(parents=True, exist_ok=True)
    data = load_file(asked["data"])
    asked["batch"] = data["order"].shape[1] * data["windows"].shape[1]
    print(json.dumps({"scale": PEERS[peer](asked, data, folder)}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]))
