"""Tables with planted effects, for tests of the claims."""

import dataclasses

import numpy as np
import pandas as pd

from lens.study.params import OTHERS, Ablations, Study
from paper import claims
from paper.evidence.measured import Measured
from paper.registry import load_registry

T, BUCKETS = 128, {"0": (0, 0), "1-3": (1, 3), "4-7": (4, 7), "8-32": (8, 32), "33-127": (33, 127)}
MAIN = ("standard", "temporallens", "shuffled_positions")
SEEDS = (0, 1, 2, 3, 4)
REGISTRY = load_registry()
LABEL = ["study", "model", "layer", "variant", "seed"]
COLUMNS = {
    "positions": [*LABEL, "position", "metric", "value", "n", "unit"],
    "summary": [*LABEL, "positions", "metric", "value", "n", "unit"],
    "blocks": [*LABEL, "block", "bucket", "metric", "value", "n", "unit"],
    "history": [*LABEL, "step", "metric", "value"],
    "probing": [*LABEL, "task", "k", "value"],
    "decoding": [*LABEL, "source", "first", "block", "metric", "value"],
    "tests": [*LABEL, "comparison", "value", "p"],
}


def planted(rows: dict, layers=("3", "8"), seeds=SEEDS, *, embedding=False, ablated=True, **study) -> Measured:
    """Tables from rows, of a study with these layers and seeds; its ablations are at all of these layers."""
    at = tuple(map(int, layers))
    parts = {row[3] for found in rows.values() for row in found} - {*MAIN, *OTHERS}
    study = {
        "layers": (*(["embedding"] if embedding else []), *at), "main_layers": at, "seeds": seeds, "control_seeds": (),
        "ablations": Ablations(at, tuple(sorted(parts))) if ablated else Ablations(), **study,
    }  # fmt: skip
    tables = {name: pd.DataFrame(found, columns=COLUMNS[name]) for name, found in rows.items()}
    needed = {name: pd.DataFrame(columns=COLUMNS[name]) for name in ("positions", "summary", "blocks", "history")}
    return Measured(tuple(layers), tuple(seeds), T, needed | tables, dataclasses.replace(Study.load("quick"), **study))


def summary(values: dict, layers=("3", "8"), seeds=SEEDS, spread=0.01) -> list[tuple]:
    """Rows of the table `summary`.

    Args:
        values: (variant, metric) -> a number, or an array that broadcasts to [layers, seeds].
        spread: relative spread over seeds, different for every run; the mean over seeds is exact.
    """
    rng, rows = np.random.default_rng(0), []
    for (variant, metric), value in values.items():
        noise = rng.standard_normal((len(layers), len(seeds)))
        noise -= noise.mean(axis=1, keepdims=True)
        runs = np.broadcast_to(np.asarray(value, float), noise.shape) * (1 + spread * noise)
        rows += [
            ("test", "stand-in", layer, variant, seed, "text", metric, runs[i, s], 1, "")
            for i, layer in enumerate(layers) for s, seed in enumerate(seeds)
        ]  # fmt: skip
    return rows


def made(values: dict, layers=("3", "8"), seeds=SEEDS, *, spread=0.01, **study) -> Measured:
    """A study whose only table is `summary`."""
    return planted({"summary": summary(values, layers, seeds, spread)}, layers, seeds, **study)


def plant(
    delta=0.15, *, standard=0.0, shuffled=0.0, layers=("3", "8"), seeds=(0, 1, 2, 3, 4), noise=0.003, n_blocks=12,
    tilt=0.05, zeros=None, sparsity=None, zero_slope=0.0, zero_drift=0.0, own=0.02, invariants=None,
) -> Measured:  # fmt: skip
    """Tables with a known early advantage, sparsity, difficulty curve and invariants.

    Args:
        delta, standard, shuffled: 1 - e(early) / e(late) of each variant; `noise` is its spread over seeds.
        tilt: spread of the early errors over documents, which do not differ on average.
        zeros: variant -> share of zeros; `zero_slope`, `zero_drift`: its change over positions and over training.
        own: spread of an error curve that belongs to one run alone (its weights follow it, other runs do not).
    """
    rng = np.random.default_rng(1)
    deltas = dict(zip(MAIN, (standard, delta, shuffled), strict=True))
    zeros, sparsity, invariants = zeros or dict.fromkeys(MAIN, 0.9), sparsity or {}, invariants or {}
    t = np.arange(T)
    early, late = (t >= 1) & (t <= 32), t > 32
    tilts = tilt * rng.standard_normal(n_blocks)
    tilts -= tilts.mean()
    rows: dict[str, list] = {"positions": [], "summary": [], "blocks": [], "history": []}

    def curve(key, metric, values):
        rows["positions"] += [(*key, i, metric, v, 60 * n_blocks, "") for i, v in enumerate(values)]

    def blocks(key, metric, values):
        for b in range(n_blocks):
            here = values * np.where(early, 1 + tilts[b], 1) * 60
            rows["blocks"] += [
                (*key, f"play {b:02d}", name, metric, here[i : j + 1].sum(), 60 * (j - i + 1), "")
                for name, (i, j) in BUCKETS.items()
            ]

    for layer in layers:
        shape = np.exp(0.2 * np.sin(t / 5) + 0.1 * np.cos(t / 11))  # which positions are difficult, for every run
        for where in (early, late):
            shape[where] /= shape[where].mean()
        key = ("test", "stand-in", layer, "activations", -1)
        for metric in ("sq_norm", "sq_deviation", "sq_deviation_position"):
            curve(key, metric, shape)
            blocks(key, metric, shape)
        for variant in MAIN:
            for seed in seeds:
                key = ("test", "stand-in", layer, variant, seed)
                level = np.where(early, 1 - deltas[variant] + noise * rng.standard_normal(), 1.0)
                alone = np.exp(own * rng.standard_normal(T))
                for where in (early, late):
                    alone[where] *= 1 / (alone * shape)[where].mean()
                error = 0.3 * shape * alone * level
                curve(key, "mse", error)
                blocks(key, "sq_error", error)
                share = zeros[variant] + 0.002 * rng.standard_normal()
                curve(key, "zero_fraction", share + zero_slope * (t - T / 2) / (T - 2))
                rows["history"] += [
                    (*key, step, "zero_fraction", share + zero_drift * (step - 500) / 499)
                    for step in (0, 500, 750, 999)
                ]
                if variant != "standard":
                    weight = error if variant == "temporallens" else 1 + 0.01 * rng.standard_normal(T)
                    curve(key, "position_weight", weight / weight[1:].mean())
                measures = {"zero_fraction": share, "hoyer": 0.5, "gini": 0.4, "treves_rolls": 0.3} | sparsity
                measures |= {
                    "weight_effective_positions": 100.0,
                    "max_decoder_norm_error": 2e-7,
                    "weight_sum_error": 1e-5,
                }
                measures |= {"tau_first": 5.0, "tau_last": 0.1, "tau_loglinearity_error": 1e-7} | invariants
                rows["summary"] += [(*key, "text", metric, value, 1, "") for metric, value in measures.items()]
    return planted(rows, layers, seeds)


def without(data: Measured, **where) -> Measured:
    """The same tables without the rows where every column has the value given."""

    def keep(table: pd.DataFrame) -> pd.DataFrame:
        drop = pd.Series(True, index=table.index)
        for column, value in where.items():
            drop &= (table[column] == value) if column in table else False
        return table[~drop]

    return dataclasses.replace(data, tables={name: keep(table) for name, table in data.tables.items()})


def judged(data: Measured, claim_id: str, **how) -> dict:
    """The entry of one claim."""
    registry = [claim for claim in REGISTRY if claim["id"] == claim_id]
    return claims.judge_all(registry, data, on_paper_model=how.pop("on_paper_model", False))[0]


def by_itself(entry: dict) -> str:
    """The verdict of a claim before what is not significant became inconclusive."""
    _, _, word = entry["reason"].partition("; by itself ")
    return word.partition(":")[0] or entry["verdict"]


def reading(entry: dict, name: str, kind: str = "readings") -> dict:
    return next(r for r in entry[kind] if r["name"] == name)
