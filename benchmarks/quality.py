"""How well dictionaries of equal L0 reconstruct: ours and the peers', on the same activations in the same order.

    python -m benchmarks.quality [--only ours ...] [--lr 3e-4 1e-3] [--visits 2000000] [--seeds 0 1 2]

Writes results/benchmarks/quality.json, a row for each contender, learning rate and seed: FVU, L0 and the share of
features that never fire, all on held-out text; and their means in quality.md, which names what is not measured yet.
Each contender has its library's own recipe, at its own learning rate and at those given with `--lr`; for L0 it is asked
for the same k (JumpReLU: as its target). A row that is measured is kept under artifacts/quality/rows: a call that was
stopped goes on with the next one.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks import environment
from benchmarks.setting import POSITIONS, WINDOWS, use_all_cores
from lens import checkout
from lens.activations import corpus, language_model, models
from lens.activations.corpus import draw_windows
from lens.activations.extract import extract
from lens.activations.layers import as_layer
from lens.activations.statistics import input_statistics
from lens.activations.store import open_layer
from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.load import load
from lens.files import read_json, write
from lens.training.recipe import build
from lens.training.source import window_order
from lens.training.train import train_layer

WORK, RESULTS = checkout.root() / "artifacts" / "quality", checkout.root() / "results" / "benchmarks"
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
    model = models.load(model_name)
    [layer] = language_model.check_layers(model, [as_layer(layer_name)])
    rule = {"length": LENGTH, "starts": "random", "seed": 0}
    bos = {"bos": model.bos_id is not None, "bos_id": model.bos_id}
    names = {"train": ("tiny-shakespeare", windows), "test": ("shakespeare-held-out", max(windows // 8, WINDOWS))}
    drawn = {s: draw_windows(corpus.load(name), model.tokenizer, n, **bos, **rule) for s, (name, n) in names.items()}
    folder = WORK / f"{model_name.replace(':', '-')}-{layer_name}-{windows}"
    manifest = extract(model, drawn, [layer], folder, WORK / "pool", window_rule=rule)[layer]
    train, test = (open_layer(folder, layer, split).activations for split in names)
    return train, test, manifest["sha256"]["train.safetensors"]


def ours(architecture: str, lr: float | None, seed: int, train: Tensor, digest: str, sizes: dict) -> Dictionary:
    """One of our architectures, trained."""
    l0 = {"target_l0": float(sizes["k"])} if architecture == "jumprelu" else {"k": sizes["k"]}
    fields = {"architecture": architecture, "position": "none", "position_weights": "uniform", "batch_windows": WINDOWS}
    recipe = build(
        fields | l0 | SCHEDULE | {"steps": sizes["steps"], "expansion": sizes["expansion"]} | ({"lr": lr} if lr else {})
    )
    folder = WORK / "ours" / f"{architecture}-{lr}-{seed}-{digest[:8]}-{'-'.join(map(str, sizes.values()))}"
    trained = train_layer(train, {architecture: recipe}, (seed,), folder, WORK / "pool", data_digest=digest)
    return Dictionary.load(trained.folders[architecture, seed])


def peer(
    name: str, architecture: str, lr: float | None, seed: int, data: Path, sizes: dict
) -> tuple[Dictionary, float]:
    """A peer's dictionary, trained in its environment, and what it multiplies inputs of unit mean square by."""
    folder = WORK / name / f"{architecture}-{lr}-{seed}"
    asked = json.dumps({"architecture": architecture, "lr": lr, "seed": seed, "data": str(data), **sizes})
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


def table(rows: list[dict], missing: list[tuple], command: str) -> str:
    """Means over seeds as Markdown, by architecture from the lowest FVU, and which contenders are not measured yet."""
    found = pd.DataFrame(rows)
    by = found.groupby(["architecture", "library", "lr"], sort=False)
    shown = by[["fvu", "l0", "never_fire", "seconds"]].mean().join(by.size().rename("seeds")).reset_index()
    shown = shown.sort_values(["architecture", "fvu"])
    best = shown[shown["library"] != "ours"].groupby("architecture")["fvu"].min()
    shown["over the best peer"] = shown.fvu / shown.architecture.map(best)
    digits = {"fvu": ".4f", "l0": ".2f", "never_fire": ".3f", "seconds": ".0f", "over the best peer": ".3f"}
    for column, how in digits.items():
        shown[column] = shown[column].map(lambda value, how=how: format(value, how))
    lines = [" | ".join(map(str, row)) for row in [list(shown), ["---"] * len(shown.columns), *shown.values.tolist()]]
    left = ", ".join(f"{library} {architecture} (lr {lr}, seed {seed})" for seed, library, architecture, lr in missing)
    return (
        f"# FVU at equal L0, ours and the peers'\n\n`{command}`\n\nMeans over the seeds that are there; `seconds` are "
        "of training and measuring, on a machine that did other work too.\n\n"
        + "\n".join(f"| {line} |" for line in lines)
        + (f"\n\nNot measured yet: {left}." if left else "")
        + "\n"
    )


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
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="of initial weights (default: 0 1 2)")
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
    data = WORK / f"peers-{digest[:8]}-{sizes['steps']}.safetensors"
    save_file({"windows": (train[:, 1:].float() * unit).bfloat16(), "order": order}, data)
    names = [(name, a) for name in asked.only for a in (OURS if name == "ours" else PEERS[name])]
    contenders = [(seed, *one, lr) for seed, lr, one in itertools.product(asked.seeds, (None, *asked.lr), names)]
    command = " ".join(["python -m benchmarks.quality", *sys.argv[1:]])
    rows, missing = [], list(contenders)
    (WORK / "rows").mkdir(parents=True, exist_ok=True)
    for contender in contenders:
        seed, name, architecture, lr = contender
        key = hashlib.sha256(json.dumps([contender, digest, sizes]).encode()).hexdigest()[:16]
        kept = WORK / "rows" / f"{key}.json"
        if not kept.is_file():
            start, scale = time.perf_counter(), 1.0
            if name == "ours":
                sae = ours(architecture, lr, seed, train, digest, sizes)
            else:
                sae, own = peer(name, architecture, lr, seed, data, sizes)
                scale = unit * own
            row = {"library": name, "architecture": architecture, "lr": lr or "its own", "seed": seed}
            row |= measured(sae, statistics.mean, test, scale) | {"seconds": round(time.perf_counter() - start)}
            write(kept, json.dumps(row).encode())
        rows.append(row := read_json(kept))
        missing.remove(contender)
        print("  ".join(f"{v:.4f}" if isinstance(v, float) else f"{v!s:<12}" for v in row.values()), flush=True)
        text = json.dumps({"asked": vars(asked), "rows": rows}, indent=1) + "\n"
        write(RESULTS / "quality.json", text.encode())
        write(RESULTS / "quality.md", table(rows, missing, command).encode())


if __name__ == "__main__":
    main()
