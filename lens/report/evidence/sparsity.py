"""C03, C04: how sparse are the features, and does that stay so?"""

from __future__ import annotations

import numpy as np

from lens.report.evidence.readings import METHOD, Evidence, Measured, Reading, attempt, by_layer, over_seeds

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
