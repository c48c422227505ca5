"""How well one layer's dictionaries reconstruct, how sparsely, and what it costs the model, as tidy tables."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from lens.activations.language_model import LanguageModel
from lens.activations.layers import Layer
from lens.measure.buckets import buckets
from lens.measure.fidelity import ce_recovered, constant, dictionary, keep_bos, splice
from lens.measure.reconstruction import (
    InputMoments,
    by_block,
    fvu,
    input_moments,
    position_share,
    reconstruct,
    sparsity,
)
from lens.profiling.tables import BLOCKS, INPUT, POSITIONS, SUMMARY, Dictionaries, Key, Tables
from lens.progress import track

TESTS = ["variant", "seed", "comparison", "value", "t", "p", "n"]
SQUARED = "squared norm, inputs scaled to mean squared norm 1"
TEXT, ALL = slice(1, None), slice(None)
ORDINARY = "_without_outliers"  # ends the names of metrics that leave out text tokens of massive activation
DENSE = 0.1  # density above which a feature counts as dense


def reconstruction_tables(
    dictionaries: Dictionaries, activations: Tensor, block: Tensor, blocks: Iterable[str], scale: float, *,
    baseline: str | None = None,
) -> Tables:  # fmt: skip
    """Reconstruction and sparsity of each dictionary on held-out activations [n, T, d].

    Args:
        block: [n] index of each window's text block in `blocks`.
        scale: brings the inputs to unit mean squared norm; the same for all dictionaries, so errors can be compared.
        baseline: variant that the others of its seed are held against.
    """
    blocks = list(blocks)
    moments = input_moments(activations, block, len(blocks), scale)
    positions, summary, rows = _input_positions(moments), _input_summary(moments), []
    by_window: dict[Key, np.ndarray] = {}
    for name, values in (
        ("sq_norm", moments.sq_norm),
        ("sq_deviation", moments.sq_deviation),
        ("sq_deviation_position", moments.sq_deviation_position),
    ):
        rows += block_rows(INPUT, name, values, moments.count, blocks)
    rows += block_rows(INPUT, f"sq_deviation{ORDINARY}", moments.sq_deviation_ordinary, moments.count_ordinary, blocks)
    ordinary_t, ordinary_deviation = moments.count_ordinary.sum(0), moments.sq_deviation_ordinary[:, TEXT].sum()
    for key, sae in track(dictionaries.items(), "reconstruct", "dictionaries"):
        r = reconstruct(sae, activations, block, len(blocks), scale, moments.ordinary)
        n_t, d_sae = r.count.sum(0), sae.info.d_sae
        curves = {
            "mse": (r.sq_error.sum(0) / n_t, SQUARED),
            "fvu_global": (_ratio(r.sq_error.sum(0), moments.sq_deviation.sum(0)), "fraction"),
            "fvu_position": (_ratio(r.sq_error.sum(0), moments.sq_deviation_position.sum(0)), "fraction"),
            **_sparsity_curves(r.active, r.l1, n_t, d_sae),
        }
        positions += _curve_rows(key, curves, n_t)
        error_t = _ratio(r.sq_error_ordinary.sum(0), ordinary_t)
        positions += _curve_rows(key, {f"mse{ORDINARY}": (error_t, SQUARED)}, ordinary_t)
        for label, where in (("text", TEXT), ("all", ALL)):
            n, deviation = n_t[where].sum(), moments.sq_deviation[:, where].sum()
            if label == "all":  # about the mean of all positions
                deviation -= moments.count.sum() * moments.sq_mean_shift
            summary += [
                (*key, label, metric, value, n, unit)
                for metric, value, unit in (
                    ("mse", r.sq_error[:, where].sum() / n, SQUARED),
                    ("fvu", r.sq_error[:, where].sum() / deviation, "fraction"),
                    ("nmse", fvu(r.sq_error[:, where], moments.sq_norm[:, where]), "fraction"),
                    *_sparsity_measures(r.active[where].sum() / n, r.l1[where].sum() / n, d_sae),
                )
            ]
        summary += _token_summary(key, r.per_token, n_t[TEXT].sum())
        fvu_ordinary = r.sq_error_ordinary[:, TEXT].sum() / ordinary_deviation
        summary.append((*key, "text", f"fvu{ORDINARY}", fvu_ordinary, ordinary_t[TEXT].sum(), "fraction"))
        summary += _density_summary(key, r.firings / n_t[TEXT].sum())
        rows += block_rows(key, "sq_error", r.sq_error, r.count, blocks)
        rows += block_rows(key, f"sq_error{ORDINARY}", r.sq_error_ordinary, moments.count_ordinary, blocks)
        by_window[key] = r.by_window
    return {
        "positions": pd.DataFrame(positions, columns=POSITIONS),
        "summary": pd.DataFrame(summary, columns=SUMMARY),
        "blocks": pd.DataFrame(rows, columns=BLOCKS),
        "tests": pd.DataFrame(_window_tests(by_window, activations.shape[1], baseline), columns=TESTS),
    }


def sparsity_tables(
    encoders: Dictionaries, activations: Tensor, block: Tensor, blocks: Iterable[str], scale: float
) -> Tables:
    """What `reconstruction_tables` says of encoders that reconstruct nothing, and of their inputs: `positions` and
    `summary`."""
    moments = input_moments(activations, block, len(list(blocks)), scale)
    positions, summary, n_t = _input_positions(moments), _input_summary(moments), moments.count.sum(0)
    for key, encoder in track(encoders.items(), "sparsity", "encoders"):
        active, l1, firings = sparsity(encoder, activations)
        positions += _curve_rows(key, _sparsity_curves(active, l1, n_t, encoder.info.d_sae), n_t)
        for label, where in (("text", TEXT), ("all", ALL)):
            n = n_t[where].sum()
            measures = _sparsity_measures(active[where].sum() / n, l1[where].sum() / n, encoder.info.d_sae)
            summary += [(*key, label, metric, value, n, unit) for metric, value, unit in measures]
        summary += _density_summary(key, firings / n_t[TEXT].sum())
    return {
        "positions": pd.DataFrame(positions, columns=POSITIONS),
        "summary": pd.DataFrame(summary, columns=SUMMARY),
    }


def _sparsity_curves(active: np.ndarray, l1: np.ndarray, n_t: np.ndarray, d_sae: int) -> dict:
    return {
        "l0": (active / n_t, "features"),
        "l1": (l1 / n_t, "activation"),
        "zero_fraction": (1 - active / n_t / d_sae, "fraction"),
    }


def _sparsity_measures(l0: float, l1: float, d_sae: int) -> list[tuple[str, float, str]]:
    return [("l0", l0, "features"), ("l1", l1, "activation"), ("zero_fraction", 1 - l0 / d_sae, "fraction")]


def _density_summary(key: Key, density: np.ndarray) -> list[tuple]:
    d_sae = len(density)
    return [
        (*key, "text", "silent_features", float((density == 0).sum()), d_sae, "features"),
        (*key, "text", "dense_features", float((density > DENSE).sum()), d_sae, "features"),
        (*key, "text", "alive_share", float((density > 0).mean()), d_sae, "fraction of features"),
        (*key, "text", "dense_share", float((density > DENSE).mean()), d_sae, "fraction of features"),
    ]


def _window_tests(by_window: dict[Key, np.ndarray], T: int, baseline: str | None) -> list[tuple]:
    """Paired t tests over windows, as the paper takes them: early against late positions, and variant against baseline.

    `value` is the mean difference relative to the second of the two.
    """
    rows = []
    text_weights = np.array([T // 4, T - 1 - T // 4]) / (T - 1)
    for (variant, seed), errors in by_window.items():
        pairs = {"early against late": (errors[:, 0], errors[:, 1])}
        if baseline and variant != baseline and (baseline, seed) in by_window:
            pairs[f"against {baseline}"] = (errors @ text_weights, by_window[baseline, seed] @ text_weights)
        for name, (a, b) in pairs.items():
            t, p = stats.ttest_rel(a, b)
            rows.append((variant, seed, name, a.mean() / b.mean() - 1, t, p, len(a)))
    return rows


def fidelity_tables(
    model: LanguageModel, tokens: Tensor, layer: Layer, dictionaries: Dictionaries, mean: Tensor, block: Tensor,
    blocks: Iterable[str],
) -> Tables:  # fmt: skip
    """Cost to the language model of each dictionary spliced in at text positions (BOS kept clean), on windows [n, T].

    Zero and mean ablation (`mean` [d], of the raw activations) give the two scales of CE recovered. The first seed of
    each variant is spliced a second time with BOS replaced as well (`positions` = all). The table `blocks` has the sum
    of Delta CE over each text block, by the position that predicts, so that an interval over blocks can be drawn.

    Args:
        block: [n] index of each window's text block in `blocks`.
    """
    blocks = list(blocks)
    first_seed = min(seed for _, seed in dictionaries)
    replace = {f"{v}|{s}|text": keep_bos(dictionary(sae)) for (v, s), sae in dictionaries.items()}
    replace |= {f"{v}|{s}|all": dictionary(sae) for (v, s), sae in dictionaries.items() if s == first_seed}
    ablations = {"zero": keep_bos(constant(torch.zeros_like(mean))), "mean": keep_bos(constant(mean))}
    result = splice(model, tokens, layer, replace | ablations)
    for sae in dictionaries.values():
        sae.cpu()  # splicing moves it to the model's device
    n = len(tokens)
    clean = result.ce_clean[:, 1:].mean()  # predictions made at text positions
    ablated = {name: result.ce[name][:, 1:].mean() for name in ablations}

    positions = _curve_rows(INPUT, {"ce_clean": (result.ce_clean.mean(0), "nats")}, np.full(tokens.shape[1] - 1, n))
    predictions = torch.ones(tokens.shape)
    predictions[:, -1] = 0  # nothing follows the last token
    rows, count = [], by_block(predictions, block, len(blocks))
    summary = [(*INPUT, "text", "ce_clean", clean, result.ce_clean[:, 1:].size, "nats")]
    summary += [
        (*INPUT, "text", f"delta_ce_{k}_ablation", v - clean, result.ce_clean[:, 1:].size, "nats")
        for k, v in ablated.items()
    ]
    for name in replace:
        variant, seed, label = name.split("|")
        key = (variant, int(seed))
        delta, kl = result.ce[name] - result.ce_clean, result.kl[name]
        if label == "text":
            positions += _curve_rows(
                key, {"delta_ce": (delta.mean(0), "nats"), "kl": (kl.mean(0), "nats")}, np.full(delta.shape[1], n)
            )
            sums = np.pad(by_block(torch.from_numpy(delta), block, len(blocks)), ((0, 0), (0, 1)))
            rows += block_rows(key, "delta_ce", sums, count, blocks, "nats")
        spliced = result.ce[name][:, 1:].mean()
        summary += [
            (*key, label, metric, value, delta[:, 1:].size, unit)
            for metric, value, unit in (
                ("delta_ce", spliced - clean, "nats"),
                ("kl", kl[:, 1:].mean(), "nats"),
                ("kl_median", np.median(kl[:, 1:]), "nats"),
                ("ce_recovered_zero", ce_recovered(clean, spliced, ablated["zero"]), "fraction"),
                ("ce_recovered_mean", ce_recovered(clean, spliced, ablated["mean"]), "fraction"),
            )
        ]
    return {
        "positions": pd.DataFrame(positions, columns=POSITIONS),
        "summary": pd.DataFrame(summary, columns=SUMMARY),
        "blocks": pd.DataFrame(rows, columns=BLOCKS),
    }


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b where b > 0, else nan: every BOS vector is the same, so it has no variance to explain."""
    floor = 1e-9 * np.max(b, initial=0)
    return np.divide(a, b, out=np.full_like(a, np.nan), where=b > floor)


def _curve_rows(key, curves: dict, n) -> list[tuple]:
    return [
        (*key, t, metric, value, n[t], unit)
        for metric, (values, unit) in curves.items()
        for t, value in enumerate(values)
        if np.isfinite(value)
    ]


def block_rows(
    key: Key, metric: str, values: np.ndarray, count: np.ndarray, blocks: list[str], unit: str = SQUARED
) -> list[tuple]:
    """Rows of `blocks`: sums of values [n_blocks, T] over each block and bucket of positions, and of their number."""
    return [
        (*key, block, bucket, metric, values[b, where].sum(), count[b, where].sum(), f"sum of {unit}")
        for b, block in enumerate(blocks)
        for bucket, where in buckets(values.shape[1]).items()
        if count[b, where].sum()
    ]


def _input_positions(moments: InputMoments) -> list[tuple]:
    n = moments.count.sum(0)
    names = ("sq_norm", "sq_deviation", "sq_deviation_position")
    ordinary = moments.count_ordinary.sum(0)
    without = _ratio(moments.sq_deviation_ordinary.sum(0), ordinary)
    return [
        *_curve_rows(INPUT, {name: (getattr(moments, name).sum(0) / n, SQUARED) for name in names}, n),
        *_curve_rows(INPUT, {f"sq_deviation{ORDINARY}": (without, SQUARED)}, ordinary),
    ]


def _input_summary(moments: InputMoments) -> list[tuple]:
    n = moments.count[:, TEXT].sum()
    left = moments.sq_deviation_ordinary[:, TEXT].sum() / moments.sq_deviation[:, TEXT].sum()
    return [
        (*INPUT, "text", "position_share", position_share(moments), n, "fraction"),
        (*INPUT, "text", "sq_norm", moments.sq_norm[:, TEXT].sum() / n, n, SQUARED),
        (*INPUT, "text", "outlier_tokens", float(n - moments.count_ordinary[:, TEXT].sum()), n, "tokens"),
        (*INPUT, "text", "outlier_share", 1 - left, n, "fraction of the squared deviation"),
    ]


def _token_summary(key, sums: dict[str, float], n: float) -> list[tuple]:
    """Means over text tokens, and the relative reconstruction bias of Rajamanoharan et al. 2024 (eq. 10)."""
    means = [
        (*key, "text", name, sums[name] / n, n, "features" if name == "effective_l0" else "fraction")
        for name in ("cosine", "l2_ratio", "hoyer", "gini", "treves_rolls", "effective_l0")
    ]
    bias = sums["sq_hat"] / sums["dot"] if sums["dot"] else math.nan  # of a dictionary that answers zero
    return [*means, (*key, "text", "relative_reconstruction_bias", bias, n, "ratio")]
