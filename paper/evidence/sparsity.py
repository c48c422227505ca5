"""C03, C04, C29: how sparse are the features, and does that stay so over training and positions?"""

from __future__ import annotations

import numpy as np

from lens.measure.reconstruction import buckets
from paper.evidence.measured import METHOD, Measured, Missing
from paper.evidence.readings import (
    Evidence,
    Measures,
    Reading,
    attempt,
    by_layer,
    differences,
    exact,
    for_controls,
    measure,
    over_seeds,
)

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
        differences=differences(CONTROLS, lambda v: data.value(v, "zero_fraction").mean(axis=0)),
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
        differences=differences(CONTROLS, lambda v: np.maximum(*_ranges(data, v)).mean(axis=0)),
    )


def _ranges(data: Measured, variant: str) -> tuple[np.ndarray, np.ndarray]:
    over_positions = np.ptp(data.curve(variant, "zero_fraction", data.text), axis=-1)
    return over_positions, np.ptp(data.late_history(variant, "zero_fraction"), axis=-1)


def usage(data: Measured) -> Evidence:
    """C29: how much the number of active features varies over text positions, against the standard dictionary."""

    def control(variant: str) -> Measures:
        own = variant == "standard"
        beyond_it = exact("by definition", 0.0) if own else _usage_difference(data, variant, "standard")
        return {"range": measure(_usage_reading(data, variant, variant)), "range_beyond_standard": measure(beyond_it)}

    first, *by_layers = by_layer(data, "L0 range", _usage_range(data, METHOD), "plain")
    beyond = _usage_difference(data, METHOD, "standard")
    others = ((METHOD, "shuffled_positions"), ("shuffled_positions", "standard"))
    on_error = f"{METHOD} - recon_only_weights"
    return Evidence(
        (first, *by_layers),
        controls={v: attempt(v, lambda v=v: _usage_reading(data, f"L0 range, {v}", v)) for v in CONTROLS},
        differences={
            beyond.name: beyond,
            **{f"{a} - {b}": attempt(f"{a} - {b}", lambda a=a, b=b: _usage_difference(data, a, b)) for a, b in others},
        },
        context=(attempt(on_error, lambda: _usage_difference(data.ablated(), METHOD, "recon_only_weights")),),
        measures={"range": measure(first), "range_beyond_standard": measure(beyond)},
        control_measures=for_controls(CONTROLS, control),
        null=0.0,
    )


def _usage_range(data: Measured, variant: str) -> np.ndarray:
    """Largest mean L0 of a position bucket over the smallest, minus 1, `[L, S]`; BOS left out.

    Of single positions the noise of sampling alone would give a range, and the wider, the fewer the windows.
    """
    where = [range(s.start, s.stop) for s in buckets(data.length).values() if s.start in data.text]
    l0 = np.stack([data.curve(variant, "l0", positions).mean(axis=-1) for positions in where])
    if not (l0 > 0).all():
        raise Missing(f"{variant}: no feature fires in some position bucket, so there is no ratio of L0")
    return l0.max(axis=0) / l0.min(axis=0) - 1


def _usage_reading(data: Measured, name: str, variant: str) -> Reading:
    return over_seeds(name, _usage_range(data, variant).mean(axis=0), "plain")


def _usage_difference(data: Measured, a: str, b: str) -> Reading:
    return over_seeds(f"{a} - {b}", (_usage_range(data, a) - _usage_range(data, b)).mean(axis=0), "plain")
