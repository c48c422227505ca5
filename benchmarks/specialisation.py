"""What each test of position says of features whose truth is known, read through dictionaries that were trained.

    python -m benchmarks.specialisation [--seeds 3] [--steps 800] [--shares 0 0.02 0.1]

Planted features fire by their text and, some of them, by position; a BatchTopK dictionary is trained on their sum, and
every recovered feature (|cos| of decoder and planted direction >= .9) is judged as `lens.profile(..., offsets=4)`
judges. Writes `results/benchmarks/specialisation.md`: verdicts by kind, and how often each single test says "position".
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from scipy.special import ndtr
from torch import Tensor

from benchmarks.machine import describe
from lens.activations.offset_windows import TILES, OffsetWindows
from lens.activations.store import LayerStore
from lens.dictionaries.dictionary import Dictionary
from lens.measure import synthetic
from lens.measure.position_information import positional
from lens.measure.profiles import position_labelling, profile
from lens.profiling.specialisation import HALF, VERDICTS, specialisation
from lens.training.recipe import build
from lens.training.train import train_layer

OUT = Path("results/benchmarks/specialisation.md")
T, D, PER_KIND, DOCUMENTS = 64, 64, 16, 16
P = T - 1
TUNED = {"window, depth 1": 1.0, "window, depth .5": 0.5, "start, depth .8": 0.8, "ramp, depth .7": 0.7}
FLAT = {"flat": 0.3, "persistent": 0.9, "token": 0.0}
"""kinds that ignore position, by the correlation of firing from one token to the next"""
KINDS = (*TUNED, *FLAT)
MATCHED, NOISE, BOS_NORM = 0.9, 0.05, 1000.0
STRETCHES, READINGS, TRAIN, TEST = 64, 4, 2048, 384


@dataclass(frozen=True)
class World:
    """Planted features and their directions; activations are made of text and positions."""

    rate_PK: np.ndarray
    """probability of firing at positions 1..T-1"""
    persistence_K: np.ndarray
    kind_K: np.ndarray
    directions: np.ndarray
    """[K, D] unit rows"""
    mean_PD: np.ndarray
    """a helix: what position adds to every vector, whatever the text"""
    bos: np.ndarray

    def text(self, n: int, places: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of n texts: levels in [0, 1] that decide firing, amplitudes, and noise of the vectors."""
        z = rng.normal(size=(n, places, len(self.kind_K)))
        for s in range(1, places):
            z[:, s] = self.persistence_K * z[:, s - 1] + np.sqrt(1 - self.persistence_K**2) * z[:, s]
        return ndtr(z), np.abs(rng.normal(size=z.shape)) + 0.5, NOISE * rng.normal(size=(n, places, D))

    def features(self, level: np.ndarray, amplitude: np.ndarray, position: np.ndarray) -> np.ndarray:
        return amplitude * (level < self.rate_PK[position - 1])

    def windows(self, level, amplitude, noise) -> Tensor:
        """Activations [..., T, D] of texts [..., P, .] that are read from position 1."""
        f = self.features(level, amplitude, np.arange(1, T))
        x = f @ self.directions + noise + self.mean_PD
        bos = np.broadcast_to(self.bos, (*x.shape[:-2], 1, D))
        return torch.from_numpy(np.concatenate([bos, x], -2)).bfloat16()


def world(share: float, rng: np.random.Generator) -> World:
    """Draw features of every kind; position's own part of the variance is `share`."""
    kind = np.repeat(KINDS, PER_KIND)
    t = np.arange(P)
    rate = np.empty((P, len(kind)))
    for j, name in enumerate(kind):
        shape = np.ones(P)
        if name.startswith("window"):
            shape = (np.abs(t - rng.uniform(8, P - 8)) < 8).astype(float)
        elif name.startswith("start"):
            shape = (t < 8).astype(float)
        elif name.startswith("ramp"):
            shape = t / (P - 1) if rng.random() < 0.5 else 1 - t / (P - 1)
        profile = 1 - TUNED.get(name, 0) * (1 - shape)
        rate[:, j] = np.exp(rng.uniform(np.log(0.02), np.log(0.1))) * profile / profile.mean()
    persistence = np.array([FLAT.get(name, FLAT["flat"]) for name in kind])
    directions = rng.normal(size=(len(kind), D))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    axes = np.linalg.qr(rng.normal(size=(D, 4)))[0].T
    turn = np.linspace(0, 4 * np.pi, P)
    helix = np.stack([np.cos(turn), np.sin(turn), np.linspace(-1, 1, P)], 1) @ axes[:3]
    helix -= helix.mean(0)
    flat = World(rate.clip(max=0.9), persistence, kind, directions, 0 * helix, BOS_NORM * axes[3])
    variance = flat.windows(*flat.text(64, P, rng))[:, 1:].float().flatten(0, 1).var(0).sum().item()
    scale = np.sqrt(variance * share / (1 - share) / np.square(helix).sum(1).mean())
    return World(flat.rate_PK, persistence, kind, directions, scale * helix, flat.bos)


def offsets(truth: World, rng: np.random.Generator) -> tuple[OffsetWindows, Iterator[Tensor]]:
    """The same text read at several offsets, and its activations stretch by stretch."""
    even = (rng.integers(P, size=(STRETCHES, 1)) + np.arange(READINGS) * P // READINGS) % P
    phase = rng.permuted(even, axis=1)
    tokens = np.zeros((STRETCHES, READINGS, TILES + 1, T), np.int32)

    def read() -> Iterator[Tensor]:
        for phases in phase:
            text = truth.text(1, (TILES + 2) * P, rng)
            inside = [slice(P - p, P - p + (TILES + 1) * P) for p in phases]
            yield torch.stack([truth.windows(*(part[0, i].reshape(TILES + 1, P, -1) for part in text)) for i in inside])

    return OffsetWindows(tokens, phase, np.arange(STRETCHES) % DOCUMENTS, True), read()


def trained(train: Tensor, k: int, width: int, steps: int) -> Dictionary:
    fields = {"architecture": "batch_topk", "k": k, "position": "none", "position_weights": "uniform", "lr": 1e-3}
    recipe = build(fields | {"steps": steps, "expansion": width // D})
    digest = hashlib.sha256(train.contiguous().view(torch.int16).numpy().tobytes()).hexdigest()
    with TemporaryDirectory() as folder:
        found = train_layer(
            train, {"batch_topk": recipe}, [0], Path(folder) / "dictionaries", Path(folder),
            data_digest=digest, model="planted", layer="planted", device="cpu",
        )  # fmt: skip
        return Dictionary.load(next(iter(found.folders.values()))).eval()


@torch.no_grad()
def judged(share: float, seed: int, steps: int) -> pd.DataFrame:
    """One row per planted feature: kind, whether it was recovered, verdict and what each test says."""
    rng = np.random.default_rng((seed, int(1000 * share)))
    truth = world(share, rng)
    train, text = truth.windows(*truth.text(TRAIN, P, rng)), truth.text(TEST, P, rng)
    l0 = (truth.features(*text[:2], np.arange(1, T)) > 0).sum(-1).mean()
    with torch.enable_grad():
        sae = trained(train, round(l0), 4 * D, steps)
    match = synthetic.recover(sae.W_dec.float().numpy(), truth.directions)
    test, document = truth.windows(*text), torch.arange(TEST) % DOCUMENTS
    names = tuple(map(str, range(DOCUMENTS)))
    start, tokens = torch.zeros(TEST, dtype=torch.long), torch.zeros(TEST, T, dtype=torch.int32)
    store = LayerStore(test, tokens, document, start, names, {})
    found = profile({0: sae}, test, start, 1, {"1": position_labelling(TEST, T)}, seed=seed)[0]
    usual = positional(found.observed["1"], found.null["1"], found.bin_sizes["1"])
    drawn, read = offsets(truth, rng)
    table = specialisation(sae, store, drawn, read, usual.significant_K, seed=seed)
    table["usual test"] = usual.significant_K
    table = table.iloc[match.learned].reset_index(drop=True)
    l0_ratio = found.firings_TK.sum() / (TEST * P) / l0
    return table.assign(kind=truth.kind_K, recovered=match.cosine >= MATCHED, share=share, seed=seed, l0_ratio=l0_ratio)


def report(rows: pd.DataFrame, steps: int) -> str:
    """The tables, as Markdown."""
    kinds = pd.CategoricalIndex(KINDS, categories=KINDS)
    seen = rows[rows["recovered"]].assign(kind=lambda r: pd.Categorical(r["kind"], KINDS))
    says = seen.assign(
        offsets=seen["offset_p"] <= 0.05, ledger=seen["others_high"] < HALF, conditional=seen["conditional_p"] <= 0.05
    )
    lines = [
        "# What tests of position say of features whose truth is known",
        "",
        f"`python -m benchmarks.specialisation --seeds {rows['seed'].nunique()} --steps {steps} --shares "
        f"{' '.join(f'{s:g}' for s in rows['share'].unique())}`, {describe(torch.get_num_threads())['processor']}.",
        f"{len(rows)} planted features, {rows['recovered'].mean():.0%} recovered by BatchTopK dictionaries (at least "
        f"half are needed for a calibration); L0 over the planted one {rows['l0_ratio'].mean():.2f}.",
    ]
    for share, part in seen.groupby("share"):
        counts = pd.crosstab(part["kind"], part["verdict"], dropna=False).reindex(kinds, fill_value=0)
        counts = counts[[v for v in VERDICTS if v in counts and counts[v].any()]].astype(int)
        single = says[says["share"] == share].groupby("kind", observed=False)
        for test in ("usual test", "offsets", "ledger", "conditional"):
            counts[f"p: {test}"] = single[test].mean().round(2)
        counts["depth"] = single["offset_depth"].median().round(2)
        lines += ["", f"Position's own share of the variance: {share:g}", "", *_markdown(counts)]
    flat, material = seen["kind"].isin(FLAT), seen["kind"].isin(TUNED)
    called = seen["verdict"] == "specialised"
    lines += [
        "",
        f"Called specialised: {called[flat].sum()} of {flat.sum()} features that ignore position "
        f"({called[flat].mean():.1%}), {called[material].sum()} of {material.sum()} tuned ones "
        f"({called[material].mean():.1%}). The usual test calls {seen.loc[flat, 'usual test'].mean():.1%} and "
        f"{seen.loc[material, 'usual test'].mean():.1%} of them positional.",
        "",
        "Columns `p:` are shares of features of which a single test says position: the permutation test, the exchange "
        "of offsets, cross-talk below half (upper bound), the encoding model given the others' drive (each at 5 %).",
    ]
    return "\n".join(lines) + "\n"


def _markdown(table: pd.DataFrame) -> list[str]:
    rows = [["kind", *map(str, table.columns)], ["---"] * (len(table.columns) + 1)]
    rows += [[str(name), *(f"{v:g}" for v in row)] for name, row in zip(table.index, table.to_numpy(), strict=True)]
    return [f"| {' | '.join(row)} |" for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--shares", type=float, nargs="+", default=[0, 0.02, 0.1])
    asked = parser.parse_args()
    rows = [judged(share, seed, asked.steps) for share in asked.shares for seed in range(asked.seeds)]
    OUT.write_text(report(pd.concat(rows, ignore_index=True), asked.steps), encoding="utf-8")
    print(OUT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
