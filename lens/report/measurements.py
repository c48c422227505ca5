"""The claims that are measured so far: `MEASURES`, one function per claim, from a study's tables to its readings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lens.measure.stats import interval
from lens.report import early_late, weights_difficulty
from lens.report.evidence import METHOD, Evidence, Measured, Reading, attempt, by_layer, over_seeds

CONTROLS = ("standard", "shuffled_positions")


def sparsity(data: Measured) -> Evidence:
    """C03: the share of zeros, and three other definitions of sparsity."""
    zero, *by_layers = by_layer(data, "zero fraction", data.value(METHOD, "zero_fraction"), "fraction")
    others = {"Hoyer": "hoyer", "Gini": "gini", "Treves-Rolls": "treves_rolls"}
    return Evidence(
        (
            zero,
            *(attempt(n, lambda n=n, m=m: _summary(data, n, METHOD, m)) for n, m in others.items()),
            *by_layers,
        ),
        controls={
            v: attempt(f"zero fraction, {v}", lambda v=v: _summary(data, f"zero fraction, {v}", v, "zero_fraction"))
            for v in CONTROLS
        },
    )


def _summary(data: Measured, name: str, variant: str, metric: str) -> Reading:
    return over_seeds(name, data.value(variant, metric).mean(axis=0), "fraction")


def sparsity_range(data: Measured) -> Evidence:
    """C04: how far the share of zeros moves over positions and over the second half of training."""
    positions, training = _ranges(data, METHOD)
    larger, *by_layers = by_layer(data, "larger of the two ranges", np.maximum(positions, training), "fraction")

    def control(variant: str) -> Reading:
        return over_seeds(f"larger range, {variant}", np.maximum(*_ranges(data, variant)).mean(axis=0), "fraction")

    return Evidence(
        (
            larger,
            over_seeds("range over positions", positions.mean(axis=0), "fraction"),
            over_seeds("range over training", training.mean(axis=0), "fraction"),
            *by_layers,
        ),
        controls={v: attempt(v, lambda v=v: control(v)) for v in CONTROLS},
    )


def _ranges(data: Measured, variant: str) -> tuple[np.ndarray, np.ndarray]:
    over_positions = np.ptp(data.curve(variant, "zero_fraction", data.text), axis=-1)
    return over_positions, np.ptp(data.late_history(variant, "zero_fraction"), axis=-1)


def decoder_norms(data: Measured) -> Evidence:
    """C26: largest distance of a decoder feature's norm from 1 (eq. 7)."""
    return _largest(data.invariant("max_decoder_norm_error"))


def weight_sums(data: Measured) -> Evidence:
    """C28: largest distance of the sum of the position weights from their number (eq. 8)."""
    return _largest(data.invariant("weight_sum_error"))


def _largest(by_variant: dict[str, np.ndarray]) -> Evidence:
    everyone = {"every run": np.concatenate(list(by_variant.values())), **by_variant}
    return Evidence(tuple(_exact(name, values) for name, values in everyone.items()))


def temperatures(data: Measured) -> Evidence:
    """C27: end points of the temperature and its distance from an exponential (eq. 5)."""
    off = {
        "first temperature": np.abs(data.invariant("tau_first")[METHOD] - 5.0),
        "last temperature": np.abs(data.invariant("tau_last")[METHOD] - 0.1),
        "log-linearity": data.invariant("tau_loglinearity_error")[METHOD],
    }
    named = {"largest deviation": np.concatenate(list(off.values())), **off}
    return Evidence(tuple(_exact(name, values) for name, values in named.items()))


def _exact(name: str, values: np.ndarray) -> Reading:
    return Reading(name, interval(values.max()), detail="largest over runs; nothing is sampled")


MEASURES: dict[str, Callable[[Measured], Evidence]] = {
    "C01": early_late.early_advantage,
    "C03": sparsity,
    "C04": sparsity_range,
    "C09a": weights_difficulty.own_error,
    "C09b": weights_difficulty.other_error,
    "C26": decoder_norms,
    "C27": temperatures,
    "C28": weight_sums,
}
"""Claims of `claims.yaml` that are measured so far."""
