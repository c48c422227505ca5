"""C03, C04, C29: how sparse are the features, and does that stay so over training and positions?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lens.measure.buckets import buckets
from paper.evidence.compare import beside_controls, by_layer, of_metrics, paired
from paper.evidence.measured import BASELINE, METHOD, NULL, Measured, Missing
from paper.evidence.readings import Evidence, Measures, attempt, exact, measure, over_seeds


def sparsity(data: Measured) -> Evidence:
    """C03: the share of zeros, and three other definitions of sparsity."""
    others = of_metrics(data, {"Hoyer": "hoyer", "Gini": "gini", "Treves-Rolls": "treves_rolls"}, "fraction")
    _, *layers = by_layer(data, "zero fraction", data.value(METHOD, "zero_fraction"), "fraction")
    return beside_controls(
        "zero fraction", lambda v: data.value(v, "zero_fraction").mean(axis=0), *others, *layers, scale="fraction"
    )


def sparsity_range(data: Measured) -> Evidence:
    """C04 until it was amended: how far the share of zeros moves over positions and in the second half of training."""
    return _range(data, lambda variant: 1.0, "larger of the two ranges", "larger range, {}")


def range_of_active(data: Measured) -> Evidence:
    """C04: how far the share of active features moves over positions and in the second half of training, as a part of
    itself: where few features are active, a share of zeros can move by little whatever happens to them."""
    first, control = "larger of the two ranges, of the active share", "larger range of the active share, {}"
    return _range(data, lambda variant: 1 - data.value(variant, "zero_fraction"), first, control)


def _range(data: Measured, unit: Callable[[str], np.ndarray | float], first: str, control: str) -> Evidence:
    """The larger of two ranges of the share of zeros, in a `unit` of each variant `[L, S]`."""

    def ranges(variant: str) -> tuple[np.ndarray, np.ndarray]:
        over_positions = np.ptp(data.curve(variant, "zero_fraction", data.text), axis=-1)
        over_training = np.ptp(data.late_history(variant, "zero_fraction"), axis=-1)
        return over_positions / unit(variant), over_training / unit(variant)

    positions, training = ranges(METHOD)
    _, *layers = by_layer(data, first, np.maximum(positions, training), "plain")
    return beside_controls(
        first,
        lambda v: np.maximum(*ranges(v)).mean(axis=0),
        over_seeds("range over positions", positions.mean(axis=0), "plain"),
        over_seeds("range over training", training.mean(axis=0), "plain"),
        *layers,
        control=control,
    )


def usage(data: Measured) -> Evidence:
    """C29: how much the number of active features varies over text positions, against the standard dictionary."""

    def values_S(variant: str, where: Measured = data) -> np.ndarray:
        return _usage_range(where, variant).mean(axis=0)

    def measures(variant: str) -> Measures:
        beyond = over_seeds("beyond", values_S(variant) - values_S(BASELINE), "plain")
        own = over_seeds("range", values_S(variant), "plain")
        return {
            "range": measure(own),
            "range_beyond_standard": measure(exact("by definition", 0.0) if variant == BASELINE else beyond),
        }

    first, *layers = by_layer(data, "L0 range", _usage_range(data, METHOD), "plain")
    pairs = ((METHOD, BASELINE), (METHOD, NULL), (NULL, BASELINE))
    on_error = "recon_only_weights"
    return beside_controls(
        first.name,
        values_S,
        *layers,
        measures=measures,
        differences={f"{a} - {b}": paired(f"{a} - {b}", values_S, a, b) for a, b in pairs},
        context=(
            attempt(
                f"{METHOD} - {on_error}",
                lambda: paired(f"{METHOD} - {on_error}", lambda v: values_S(v, data.ablated()), METHOD, on_error),
            ),
        ),
        null=0.0,
    )


def _usage_range(data: Measured, variant: str) -> np.ndarray:
    """Largest mean L0 of a position bucket over the smallest, minus 1, `[L, S]`; BOS left out.

    Of single positions the noise of sampling alone would give a range, and the wider, the fewer the windows.
    """
    curve, first = data.curve(variant, "l0", data.text), data.text.start
    where = [slice(s.start - first, s.stop - first) for s in buckets(data.length).values() if s.start in data.text]
    l0 = np.stack([curve[..., positions].mean(axis=-1) for positions in where])
    if not (l0 > 0).all():
        raise Missing(f"{variant}: no feature fires in some position bucket, so there is no ratio of L0")
    return l0.max(axis=0) / l0.min(axis=0) - 1
