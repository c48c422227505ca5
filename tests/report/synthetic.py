"""Made-up tables in the shape of a study's, for tests of the report: plausible curves plus seeded noise, no result."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lens.measure.reconstruction import buckets
from lens.report import tables as tables_of_results
from lens.report.hosts import write_record

MASKED = ("temporallens", "shuffled_positions", "uniform_weights", "frozen_masks")
EXACT = ("tau", "tau_first", "tau_last")
WEIGHTED = ("temporallens", "shuffled_positions", "frozen_masks")


def tables(
    layers: tuple[str, ...] = ("3", "8", "13"),
    variants: tuple[str, ...] = ("standard", "temporallens", "shuffled_positions"),
    seeds: tuple[int, ...] = (0, 1, 2),
    n_features: int = 60,
    n_positions: int = 128,
    n_blocks: int = 6,
    steps: int = 1000,
) -> dict[str, pd.DataFrame]:
    """Every table of the contract, by name."""
    out: dict[str, list[dict]] = {name: [] for name in ("positions", "summary", "blocks", "history", "weights")}
    masks = []
    t = np.arange(n_positions)
    for depth, layer in enumerate(layers):
        random = np.random.default_rng(depth)
        key = {"study": "quick", "model": "gemma-3-270m", "layer": layer}
        energy = 0.7 + 0.25 * (1 - np.exp(-t / 6)) + 0.05 * random.random(n_positions)
        energy[0] = 3000 * (depth + 1)
        _input(out, {**key, "variant": "activations", "seed": -1}, energy, n_blocks, random)
        for v, variant in enumerate(variants):
            for seed in seeds:
                run = {**key, "variant": variant, "seed": seed}
                level = (0.26 + 0.05 * depth) * (1 + 0.04 * v + 0.012 * random.standard_normal())
                error = energy * level * (1 - 0.35 * np.exp(-t / 5)) * (1 + 0.03 * random.standard_normal(n_positions))
                _measures(out, run, t, error, energy, random, 90 + 25 * depth, n_blocks)
                _training(out, run, t, error, steps, level, random)
                if seed == seeds[0] and variant in MASKED:
                    masks += _masks(run, n_features, n_positions, variant == "temporallens", random)
    named = {name: pd.DataFrame(rows) for name, rows in out.items()}
    named["position_weights"] = named.pop("weights")
    named["masks"] = pd.DataFrame(masks)
    return named


def _input(out: dict, key: dict, energy: np.ndarray, n_blocks: int, random: np.random.Generator) -> None:
    for metric, scale in (("sq_norm", 1.4), ("sq_deviation", 1.0), ("sq_deviation_position", 0.99)):
        for t, value in enumerate(energy * scale):
            out["positions"].append({**key, "position": t, "metric": metric, "value": value, "n": 1000, "unit": ""})
        _blocks(out, key, metric, energy * scale, n_blocks)
    for t in range(1, len(energy)):
        ce = 3.4 + 1.5 * np.exp(-t / 12) + 0.05 * random.standard_normal()
        out["positions"].append({**key, "position": t, "metric": "ce_clean", "value": ce, "n": 32, "unit": "nats"})
    share = {"metric": "position_share", "value": 0.01 + 0.004 * random.random(), "n": 1000, "unit": "fraction"}
    out["summary"].append({**key, "positions": "text", **share})


def _measures(out, run, t, error, energy, random, l0, n_blocks) -> None:
    curves = {
        "mse": error,
        "fvu_global": error / energy,
        "fvu_position": error / energy / 0.99,
        "l0": l0 * (1 - 0.3 * np.exp(-t / 8)) * (1 + 0.02 * random.standard_normal(len(t))),
        "delta_ce": 0.3 * (1 + np.exp(-t / 10)) + 0.05 * random.standard_normal(len(t)),
        "kl": 0.4 * (1 + np.exp(-t / 10)) + 0.05 * random.standard_normal(len(t)),
    }
    if run["variant"] in WEIGHTED:
        weight = np.where(t > 0, error, 0)
        curves["position_weight"] = weight / weight[1:].mean() * (1 + 0.01 * random.standard_normal(len(t)))
    for metric, curve in curves.items():
        n = 32 if metric in ("delta_ce", "kl") else 1000
        for position, value in zip(t, curve, strict=True):
            out["positions"].append({**run, "position": position, "metric": metric, "value": value, "n": n, "unit": ""})
    _blocks(out, run, "sq_error", error, n_blocks)
    text = slice(1, None)
    whole = {
        "mse": error[text].mean(), "fvu": error[text].sum() / energy[text].sum(), "nmse": error[text].mean(),
        "l0": curves["l0"][text].mean(), "zero_fraction": 1 - l0 / 640, "silent_features": 12.0, "dense_features": 80.0,
        "cosine": 0.87, "l2_ratio": 0.83, "delta_ce": curves["delta_ce"][text].mean(), "ce_recovered_zero": 0.95,
        "ce_recovered_mean": 0.88, "kl": curves["kl"][text].mean(), "max_decoder_norm_error": 2.4e-7,
    }  # fmt: skip
    if run["variant"] in WEIGHTED:
        whole["weight_sum_error"] = 1.5e-5
    if run["variant"] in MASKED:
        whole |= {"tau_first": 5.0, "tau_last": 0.1, "tau_loglinearity_error": 1e-7, "mask_drift": 0.9}
        whole |= {"mask_open_share": 0.5, "sharp_share": 0.03}
    for metric, value in whole.items():
        noisy = value if metric in EXACT else value * (1 + 0.01 * random.standard_normal())
        row = {"metric": metric, "n": 1000, "unit": ""}
        out["summary"].append({**run, "positions": "text", "value": noisy, **row})
        if metric in ("mse", "fvu"):
            out["summary"].append({**run, "positions": "all", "value": 9 * noisy, **row})


def _blocks(out, run, metric, curve, n_blocks) -> None:
    for block in range(n_blocks):
        windows = 20 + 7 * block
        factor = 1 + 0.06 * np.cos(2.1 * block)
        for bucket, where in buckets(len(curve)).items():
            place = {"block": f"play {block}", "bucket": bucket, "metric": metric, "unit": ""}
            value, n = windows * factor * curve[where].sum(), windows * len(curve[where])
            out["blocks"].append({**run, **place, "value": value, "n": n})


def _training(out, run, t, error, steps, level, random) -> None:
    masked, weighted = run["variant"] in MASKED, run["variant"] in WEIGHTED
    logged = [*range(0, steps, 20), steps - 1]
    for step in logged:
        progress = step / max(1, steps - 1)
        values = {
            "loss": level + 1.2 * np.exp(-step / 60) + 0.3,
            "mse": level + np.exp(-step / 60),
            "l1": 6.0,
            "l0": 100 + 220 * np.exp(-step / 150),
            "zero_fraction": 0.8,
        }
        if masked:
            values |= {"tau": 5.0 * 50.0**-progress, "mask_open_share": 0.5}
            values["mask_drift"] = 0.0 if run["variant"] == "frozen_masks" else 0.9 * progress**0.6
        if weighted:
            values["weight_max"] = 1.4
        for metric, value in values.items():
            noisy = value if metric in EXACT else value * (1 + 0.02 * random.standard_normal())
            out["history"].append({**run, "step": step, "metric": metric, "value": noisy})
    if weighted:
        weight = error[1:] / error[1:].mean()
        for step in np.unique(np.geomspace(1, steps, 20).round().astype(int)) - 1:
            mixed = 1 + (weight - 1) * (1 - np.exp(-step / 80))
            for position, value in zip(t[1:], mixed, strict=True):
                out["weights"].append({**run, "step": step, "position": position, "value": value})


def _masks(run, n_features, n_positions, local, random) -> list[dict]:
    t = np.arange(n_positions)
    alpha = random.standard_normal((n_features, n_positions)) / np.sqrt(n_positions)
    if local:
        centre = random.uniform(0, n_positions, (n_features, 1))
        alpha += 0.12 * np.exp(-(((t - centre) / 20) ** 2))
    mask = 1 / (1 + np.exp(-alpha / 0.1))
    return [
        {**run, "feature": j, **{f"p{i:03d}": round(float(value), 3) for i, value in enumerate(row)}}
        for j, row in enumerate(mask)
    ]


def write(study, made: dict[str, pd.DataFrame]) -> None:
    """Write made-up tables and run records where the pipeline of `study` would write its own."""
    for layer in map(str, study.layers):
        for kind, variants in (("measures", {*study.variants, "activations"}), ("ablations", study.ablations.variants)):
            here = {name: t[(t["layer"] == layer) & t["variant"].isin(variants)] for name, t in made.items()}
            here = {name: t.drop(columns=["study", "model", "layer"]) for name, t in here.items() if len(t)}
            if here:
                tables_of_results.save(study, kind, layer, here)
    (study.results / "runs").mkdir(parents=True)
    for stage in ("01_extract", "02_train_layer_3"):
        write_record(study.results / "runs" / f"{stage}.json", stage, {}, 61.5)


def join(main: pd.DataFrame, ablations: pd.DataFrame) -> pd.DataFrame:
    """The rows of both, those about the input itself once."""
    return pd.concat([main, ablations[ablations["variant"] != "activations"]])
