"""How well dictionaries of equal L0 reconstruct: ours and the peers', on the same activations in the same order.

    python -m benchmarks.quality [--only ours ...] [--lr 3e-4 1e-3] [--visits 2000000]

Writes results/benchmarks/quality.json, a row for each contender and learning rate: FVU, L0 and the share of features
that never fire, all on held-out text. Each contender has its library's own recipe, at its own
learning rate and at those given with `--lr`; for L0 it is asked for the same k (JumpReLU: as its target).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks import environment
from benchmarks.setting import POSITIONS, WINDOWS, use_all_cores
from lens import checkout
from lens.activations import corpus, language_model
from lens.activations.corpus import draw_windows
from lens.activations.extract import extract
from lens.activations.layers import as_layer
from lens.activations.statistics import input_statistics
from lens.activations.store import open_layer
from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.load import load
from lens.training.recipe import build
from lens.training.source import window_order
from lens.training.train import train_layer

WORK, RESULTS = checkout.root() / "artifacts" / "quality", checkout.root() / "results" / "benchmarks" / "quality.json"
LENGTH = 1 + POSITIONS  # BOS, which nobody trains on, and text
OURS = ("topk", "batch_topk", "matryoshka", "jumprelu")
PEERS = {
    "dictionary-learning": OURS,
    "sae-lens": OURS,
    "eai-sparsify": ("topk",),
}
SCHEDULE = {"lr_warmup": 0.1, "lr_decay": 0.2}  # of ours; those of the peers are in quality_peers.py


def stored(model_name: str, layer_name: str, windows: int) -> tuple[Tensor, Tensor, str]:
    """Windows [n, T, d] of training and of held-out text, and a digest of the first."""
    model = language_model.load(model_name)
    [layer] = language_model.check_layers(model, [as_layer(layer_name)])
    rule = {"length": LENGTH, "starts": "random", "seed": 0}
    bos = {"bos": model.bos_id is not None, "bos_id": model.bos_id}
    names = {"train": ("tiny-shakespeare", windows), "test": ("shakespeare-held-out", max(windows // 8, WINDOWS))}
    drawn = {s: draw_windows(corpus.load(name), model.tokenizer, n, **bos, **rule) for s, (name, n) in names.items()}
    folder = WORK / f"{model_name.replace(':', '-')}-{layer_name}-{windows}"
    manifest = extract(model, drawn, [layer], folder, WORK / "pool", window_rule=rule)[layer]
    train, test = (open_layer(folder, layer, split).activations for split in names)
    return train, test, manifest["sha256"]["train.safetensors"]


def ours(architecture: str, lr: float | None, train: Tensor, digest: str, sizes: dict) -> Dictionary:
    """One of our architectures, trained."""
    l0 = {"target_l0": float(sizes["k"])} if architecture == "jumprelu" else {"k": sizes["k"]}
    fields = {"architecture": architecture, "position": "none", "position_weights": "uniform", "batch_windows": WINDOWS}
    recipe = build(
        fields | l0 | SCHEDULE | {"steps": sizes["steps"], "expansion": sizes["expansion"]} | ({"lr": lr} if lr else {})
    )
    folder = WORK / "ours" / f"{architecture}-{lr}-{digest[:8]}-{'-'.join(map(str, sizes.values()))}"
    trained = train_layer(train, {architecture: recipe}, (0,), folder, WORK / "pool", data_digest=digest)
    return Dictionary.load(trained.folders[architecture, 0])


def peer(name: str, architecture: str, lr: float | None, sizes: dict) -> tuple[Dictionary, float]:
    """A peer's dictionary, trained in its environment, and what it multiplies inputs of unit mean square by."""
    folder = WORK / name / f"{architecture}-{lr}"
    asked = json.dumps({"architecture": architecture, "lr": lr, "data": str(WORK / "peers.safetensors"), **sizes})
    command = [environment.python(), "-m", "benchmarks.quality_peers", name, str(folder), asked]
    done = subprocess.run(command, cwd=checkout.root(), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name} {architecture} stopped:\n{done.stderr[-2000:]}")
    return load(folder), json.loads(done.stdout.splitlines()[-1])["scale"]


@torch.no_grad()
def measured(sae: Dictionary, mean: Tensor, test: Tensor, scale: float) -> dict[str, float]:
    """FVU (about the training mean) and L0 on text positions of windows whose vectors are multiplied by `scale`, and
    the share of features that never fire on them."""
    error = total = fired = n = 0.0
    alive = torch.zeros(sae.info.d_sae, dtype=torch.bool)
    for x in test.split(WINDOWS):
        x = x.float()
        codes = sae.encode(x * scale)
        x_hat = sae.decode(codes)[:, 1:] / scale
        error += (x[:, 1:] - x_hat).square().sum().item()
        total += (x[:, 1:] - mean).square().sum().item()
        on = codes.fired()[:, 1:]
        fired, n = fired + on.sum().item(), n + on[..., 0].numel()
        alive |= on.flatten(0, 1).any(0)
    return {"fvu": error / total, "l0": fired / n, "never_fire": 1 - alive.float().mean().item()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="gemma-3-270m", help="language model (default: gemma-3-270m)")
    parser.add_argument("--layer", default="8", help="block (default: 8)")
    parser.add_argument(
        "--windows", type=int, default=2048, help="training windows of BOS and 128 tokens (default: 2048)"
    )
    parser.add_argument("--visits", type=int, default=2_000_000, help="vectors that are trained on (default: 2000000)")
    parser.add_argument("--expansion", type=int, default=4, help="d_sae as a multiple of d_in (default: 4)")
    parser.add_argument("--k", type=int, default=32, help="features per vector (default: 32)")
    parser.add_argument("--lr", type=float, nargs="*", default=[], help="further learning rates for all")
    parser.add_argument("--only", nargs="*", default=["ours", *PEERS], choices=["ours", *PEERS], help="these alone")
    asked = parser.parse_args()
    if set(asked.only) - {"ours"}:
        environment.prepare()
    use_all_cores()
    train, test, digest = stored(asked.model, asked.layer, asked.windows)
    sizes = {"steps": asked.visits // (WINDOWS * POSITIONS), "expansion": asked.expansion, "k": asked.k}
    statistics = input_statistics(train)
    unit = statistics.mean_square_norm**-0.5
    order = torch.stack(list(window_order(len(train), WINDOWS, sizes["steps"], 0)))
    save_file({"windows": (train[:, 1:].float() * unit).bfloat16(), "order": order}, WORK / "peers.safetensors")
    rows = []
    for name in asked.only:
        for architecture in OURS if name == "ours" else PEERS[name]:
            for lr in (None, *asked.lr):
                start, scale = time.perf_counter(), 1.0
                if name == "ours":
                    sae = ours(architecture, lr, train, digest, sizes)
                else:
                    sae, own = peer(name, architecture, lr, sizes)
                    scale = unit * own
                row = {"library": name, "architecture": architecture, "lr": lr or "its own"}
                row |= measured(sae, statistics.mean, test, scale) | {"seconds": round(time.perf_counter() - start)}
                rows.append(row)
                print("  ".join(f"{v:.4f}" if isinstance(v, float) else f"{v!s:<12}" for v in row.values()), flush=True)
    RESULTS.write_text(json.dumps({"asked": vars(asked), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
