"""Made-up tables in the shape of a study's, for tests of the report: plausible curves plus seeded noise, no result."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lens.measure.buckets import buckets
from lens.study import tables as tables_of_results
from lens.study.hosts import write_record
from paper.calibration_tables import save_tables

MASKED = ("temporallens", "shuffled_positions", "uniform_weights", "frozen_masks")
UNTRAINED = ("span_fwhm", "positional_share_1", "positional_share_1_null")
MAIN = ("standard", "temporallens", "shuffled_positions")
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
    """Every table of the contract, by name.

    What is measured of the main variants alone (features, probes, splicing) is there for those among `variants`.
    """
    names = ("positions", "summary", "blocks", "history", "weights", "features", "profiles", "probing", "splice")
    out: dict[str, list[dict]] = {name: [] for name in names}
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
                if variant in MAIN:
                    _features(out, run, depth, n_positions, len(seeds), np.random.default_rng([depth, v, seed]))
                if seed == seeds[0] and variant in MASKED:
                    masks += _masks(run, n_features, n_positions, variant == "temporallens", random)
        if "temporallens" in variants:
            _first_seed(out, {**key, "variant": "temporallens", "seed": seeds[0]}, n_features, n_positions, depth)
        if set(variants) & set(MAIN):
            _representations(out, key, depth)
    named = {name: pd.DataFrame(rows, columns=None if rows else list(run)) for name, rows in out.items()}
    named["position_weights"] = named.pop("weights")
    named["masks"] = pd.DataFrame(masks)
    return named


def _input(out: dict, key: dict, energy: np.ndarray, n_blocks: int, random: np.random.Generator) -> None:
    for metric, scale in (("sq_norm", 1.4), ("sq_deviation", 1.0), ("sq_deviation_position", 0.99),
                          ("sq_deviation_without_outliers", 0.9)):  # fmt: skip
        for t, value in enumerate(energy * scale):
            out["positions"].append({**key, "position": t, "metric": metric, "value": value, "n": 1000, "unit": ""})
        _blocks(out, key, metric, energy * scale, n_blocks)
    for t in range(1, len(energy)):
        ce = 3.4 + 1.5 * np.exp(-t / 12) + 0.05 * random.standard_normal()
        out["positions"].append({**key, "position": t, "metric": "ce_clean", "value": ce, "n": 32, "unit": "nats"})
    share = {"metric": "position_share", "value": 0.01 + 0.004 * random.random(), "n": 1000, "unit": "fraction"}
    for metric, value in (("outlier_tokens", 12.0), ("outlier_share", 0.1), ("delta_ce_mean_ablation", 4.0)):
        out["summary"].append({**key, "positions": "text", "metric": metric, "value": value, "n": 1000, "unit": ""})
    out["summary"].append({**key, "positions": "text", **share})


def _measures(out, run, t, error, energy, random, l0, n_blocks) -> None:
    curves = {
        "mse": error,
        "mse_without_outliers": 0.9 * error,
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
    _blocks(out, run, "sq_error_without_outliers", 0.9 * error, n_blocks)
    text = slice(1, None)
    whole = {
        "mse": error[text].mean(), "fvu": error[text].sum() / energy[text].sum(), "nmse": error[text].mean(),
        "l0": curves["l0"][text].mean(), "zero_fraction": 1 - l0 / 640, "silent_features": 12.0, "dense_features": 80.0,
        "cosine": 0.87, "l2_ratio": 0.83, "delta_ce": curves["delta_ce"][text].mean(), "ce_recovered_zero": 0.95,
        "ce_recovered_mean": 0.88, "kl": curves["kl"][text].mean(), "max_decoder_norm_error": 2.4e-7,
        "gradient_norm_cv": 0.1,
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


def _features(out, run, depth, n_positions, n_seeds, random) -> None:
    """Position measures of one dictionary, and of the untrained one it began as."""
    width = n_positions / 10 * (1 + 0.4 * depth)
    values = {
        "eligible_features": 400, "positional_features": 150, "positional_share_1": 0.35 + 0.05 * depth,
        "positional_share_1_null": 0.004, "positional_share_8": 0.1, "positional_share_8_null": 0.003,
        "span_fwhm": width, "span_fwhm_permuted": 0.7 * width, "span_fwhm_frequency": 0.65 * width,
        "clusters_favoured": 1 + depth, "clusters_stable": 1, "cluster_silhouette_best": 0.5,
    }  # fmt: skip
    if depth:
        values["cluster_silhouette"] = 0.45
    if run["variant"] in MASKED:
        values |= {"span_mask_run": 6, "span_mask_run_start": 5, "fvu_rise_shuffled": 0.02, "fvu_rise_mean": -0.05}
        values |= {"fvu_rise_hard": 0.15, "fvu_rise_gauge_hard": 0.12}
    if n_seeds > 2:
        values |= {"seed_profile_correlation": 0.8, "seed_profile_correlation_null": 0.2}
        if run["variant"] in MASKED:
            values |= {"seed_mask_correlation": 0.03, "seed_mask_correlation_null": 0.01}
    of_layer = {"clusters_favoured", "clusters_stable"}
    for metric, value in values.items():
        noisy = value if metric in of_layer else value * (1 + 0.08 * random.standard_normal())
        row = {"positions": "text", "metric": metric, "value": noisy, "n": 1, "unit": ""}
        out["summary"].append({**run, **row})
        if run["variant"] == "temporallens" and metric in UNTRAINED:
            out["summary"].append({**run, **row, "variant": "untrained", "value": 0.8 * noisy})
    for task in ("act", "genre"):
        for k in (0, 1, 2, 5, 10, 20, 50):
            accuracy = 0.6 + 0.05 * np.log2(1 + (k or 600)) / 2 + 0.02 * random.standard_normal()
            out["probing"].append({**run, **_probe(task, k, accuracy, "sae")})


def _probe(task: str, k: int, accuracy: float, family: str) -> dict:
    metric = f"{family}_top_{k}_test_accuracy" if k else f"{family}_test_accuracy"
    return {"task": task, "k": k, "metric": metric, "value": accuracy, "n": 200, "unit": "accuracy"}


def _representations(out, key, depth) -> None:
    """Probes of what is not trained."""
    levels = {"language_model": (0.7, "llm"), "random_dictionary": (0.6, "sae"), "zero_dictionary": (0.5, "sae")}
    for name, (level, family) in levels.items():
        for task in ("act", "genre"):
            for k in (0, 1, 2, 5, 10, 20, 50):
                accuracy = 0.5 if name == "zero_dictionary" else level + 0.02 * depth + 0.01 * np.log2(1 + (k or 600))
                out["probing"].append({**key, "variant": name, "seed": -1, **_probe(task, k, accuracy, family)})


def _first_seed(out, run, n_features, n_positions, depth) -> None:
    """Spans, profiles and splice matrix of the method's first seed."""
    t = np.arange(1, n_positions)
    for feature in range(n_features):
        width = 4 + feature % (n_positions // 2)
        first = 16 + feature % max(1, n_positions - 16 - width)
        has = {"peak": first, "first": first, "last": first + width - 1, "width": width, "ramp_width": n_positions / 2}
        is_there = {"material": int(feature % 3 > 0), "censored": int(feature % 3 == 2), "flat_material": 0}
        spans = has if is_there["material"] else dict.fromkeys(has, np.nan)
        out["features"].append({**run, "feature": feature, "depth": 0.1 + 0.2 * (feature % 3), **is_there, **spans})
    for leaf in range(n_features):
        centre = n_positions * (leaf + 0.5) / n_features
        z = np.exp(-(((t - centre) / (0.2 * n_positions)) ** 2))
        z = ((z - z.mean()) / z.std()).round(3)
        place = {"feature": (7 * leaf) % n_features, "cluster": leaf * (depth + 1) // n_features, "leaf": leaf}
        out["profiles"].append({**run, **place, **{f"p{i:03d}": value for i, value in zip(t, z, strict=True)}})
    text = [name for name in buckets(n_positions) if name != "0"]
    for i, replaced in enumerate(text):
        for j, bucket in enumerate(text):
            value = 0.0 if j < i else 0.4 * (1 + depth) * 0.2 ** (j - i)
            place = {"replaced": replaced, "bucket": bucket}
            out["splice"].append({**run, **place, "value": value, "n": 16, "unit": "nats"})


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


def calibration() -> dict[str, pd.DataFrame]:
    """The tables of the calibration that figures and the paper read, by the names that figures read them under."""
    random = np.random.default_rng(0)
    edges = (50, 100, 300, 1000, 3000, np.inf)
    estimators = [
        {
            "persistence": persistence, "width": width, "firings_low": low, "firings_high": high, "estimator": name,
            "n": 30, "mean": mean * (1 + 0.5 / (1 + i)), "sd": 12 / (1 + i), "bias": 0.0,
        }
        for persistence in (0.0, 0.5)
        for width, name, mean in [(str(w), "fwhm", w) for w in (16, 40, 64)] + [("flat", "fwhm_untested", 50)]
        for i, (low, high) in enumerate(zip(edges, edges[1:], strict=False))
    ]  # fmt: skip
    training = [
        {"variant": v, "seed": seed, "steps": steps, "metric": metric, "n": 90, "value": random.uniform(0.8, 1) * value}
        for steps in (300, 1000, 5000)
        for v in MAIN
        for seed in (0, 1)
        for metric, value in (("recovered_windowed", 0.9), ("fwhm_error", 6.0), ("mask_correlation", steps / 10_000))
        if v in MASKED or metric != "mask_correlation"
    ]
    error_rates = [
        {"test": "t test over windows of one seed", "n_seeds": 1, "n_documents": 29, "rate": 0.4},
        {"test": "t interval over seeds", "n_seeds": 3, "n_documents": None, "rate": 0.05},
        {"test": "t test of a correlation over positions", "n_seeds": None, "n_documents": None, "rate": 0.3},
    ]
    error_rates += [
        {"test": f"position test by {null}, firing persists by {p}", "n_seeds": None, "n_documents": None, "rate": rate}
        for null, p, rate in (
            ("circular shifts", 0, 0.04),
            ("circular shifts", 0.5, 0.05),
            ("free permutations", 0.5, 0.4),
        )
    ]
    position_test = [
        {"persistence": 0.5, "width": width, "metric": "share_fdr", "firings_low": 100, "n": 30, "value": value}
        for width, value in (("16", 1.0), ("64", 0.9), ("flat", 0.0))
    ]
    trend = [
        {"layers": 6, "seeds": seeds, "width_first": 16, "width_last": last, "rate": rate}
        for seeds in (3, 5)
        for last, rate in ((16, 0.05), (20, 0.3), (64, 1.0))
    ]
    errors = pd.DataFrame(error_rates).assign(nominal=0.05, draws=400)
    return {
        "calibration/estimators": pd.DataFrame(estimators),
        "calibration/position_test": pd.DataFrame(position_test),
        "calibration/training": pd.DataFrame(training),
        "calibration/trend_power": pd.DataFrame(trend),
        "calibration/error_rates": errors.astype({"n_seeds": "Int64", "n_documents": "Int64"}),
    }


def write(study, made: dict[str, pd.DataFrame]) -> None:
    """Write made-up tables and run records where the pipeline of `study` would write its own."""
    for layer in map(str, study.layers):
        main = {*study.variants, *tables_of_results.OTHERS}
        for kind, variants in (("measures", main), ("ablations", study.ablations.variants)):
            here = {name: t[(t["layer"] == layer) & t["variant"].isin(variants)] for name, t in made.items()}
            here = {name: t.drop(columns=["study", "model", "layer"]) for name, t in here.items() if len(t)}
            if here:
                tables_of_results.save(study, kind, layer, here)
    save_tables(study, {name.removeprefix("calibration/"): table for name, table in calibration().items()})
    (study.results / "runs").mkdir(parents=True)
    for stage in ("01_extract", "02_train_layer_3"):
        write_record(study.results / "runs" / f"{stage}.json", stage, {}, 61.5)


def join(main: pd.DataFrame, ablations: pd.DataFrame) -> pd.DataFrame:
    """The rows of both, those about the input itself once."""
    return pd.concat([main, ablations[ablations["variant"] != "activations"]])
