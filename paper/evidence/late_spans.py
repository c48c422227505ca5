"""C05 to C08: how wide are features' spans once the start of the window is over, and do they widen with depth?

What a whole window says of widths is in `paper.evidence.spans`.
"""

from __future__ import annotations

import numpy as np

from lens.measure.spans import DENSITY_EDGES
from paper.evidence import spans
from paper.evidence.compare import UNKNOWN, beside_controls, mean_over_layers, of_metrics
from paper.evidence.measured import METHOD, Measured, Missing
from paper.evidence.readings import Evidence, Measures, attempt, measure, over_seeds
from paper.verdicts import Measure

WIDTH, SHARE = "late_width_q50", "late_span_share"
QUARTILES = {"lower quartile": "late_width_q25", "upper quartile": "late_width_q75"}
ENDS = ("late_span_at_first", "late_span_at_last")
BINS = tuple(f"late_width_bin_{i}" for i in range(1, len(DENSITY_EDGES)))  # medians of features of one half-decade
MEDIAN, MATCHED = "width from position 16 on", "width from position 16 on, matched by density"
READINGS = QUARTILES | {"longest run of the mask": "span_mask_run"}
CONTEXT = {
    "share of the tested features that have a span": SHARE,
    "the same of flat features": "late_span_share_flat",
    "null: ramps as deep": "late_width_ramp",
    "tenth of the widths": "late_width_q10",
    "nine tenths of the widths": "late_width_q90",
    "share of spans that are the only stretch above half height": "late_span_single",
    "share of firings inside": "late_share_inside",
    "full width at half maximum of the whole window": spans.WIDTH,
    "how long a feature stays on: dwell length": "span_dwell",
    "dwell length relative to permuted positions": "span_dwell_ratio",
    "autocorrelation time": "span_autocorrelation_time",
}
AWAITED = "awaits renewed tables: those of this study were made before spans from position 16 on were measured"


def shallow(data: Measured) -> Evidence:
    """C05: spans at the shallowest of the three layers."""
    return _spans_at(data, 0)


def middle(data: Measured) -> Evidence:
    """C06: spans at the middle layer."""
    return _spans_at(data, 1)


def deep(data: Measured) -> Evidence:
    """C07: spans at the deepest of the three layers."""
    return _spans_at(data, 2)


def _spans_at(data: Measured, index: int) -> Evidence:
    if len(data.layers) != 3:
        raise Missing(f"the claim names three depths, the study has {len(data.layers)} main layer(s)")
    data = data.at(data.layers[index])
    _measured(data)
    over = "median over features"
    return beside_controls(
        MEDIAN,
        lambda v: data.value(v, WIDTH).mean(axis=0),
        *of_metrics(data, READINGS),
        read=lambda name, v: attempt(name, lambda: mean_over_layers(data, name, v, WIDTH, detail=over)),
        context=of_metrics(data, CONTEXT),
        measures=lambda v: _span_measures(data, v),
    )


def _measured(data: Measured) -> None:
    """Raises Missing where no table of the study can hold spans from position 16 on."""
    summary = data.tables["summary"]
    if METHOD in set(summary["variant"]) and SHARE not in set(summary["metric"]):
        raise Missing(AWAITED)


def _span_measures(data: Measured, variant: str) -> Measures:
    """What the rules read; widths are unknown where a seed has no feature with a span."""
    ends = [data.value(variant, end) for end in ENDS] if all(data.has(variant, end) for end in ENDS) else None
    bounded = UNKNOWN if ends is None else measure(over_seeds("", 1 - np.sum(ends, axis=0).mean(axis=0), "fraction"))
    return {
        "share_with_span": measure(mean_over_layers(data, variant, variant, SHARE, "fraction")),
        "median_width": _known(data, variant, WIDTH),
        "lower_quartile": _known(data, variant, QUARTILES["lower quartile"]),
        "upper_quartile": _known(data, variant, QUARTILES["upper quartile"]),
        "share_bounded": bounded,
    }


def _known(data: Measured, variant: str, metric: str) -> Measure:
    return measure(mean_over_layers(data, variant, variant, metric)) if data.has(variant, metric) else UNKNOWN


def trend(data: Measured) -> Evidence:
    """C08: do spans widen with depth? As `paper.evidence.spans.trend`, of widths from position 16 on."""
    deep_data = spans.blocks_of_depth(data)
    _measured(deep_data)
    others = {"width from position 16 on": WIDTH, **READINGS}
    return beside_controls(
        MATCHED,
        lambda v: spans.slopes(spans.matched(deep_data, v, WIDTH, BINS)),
        *(attempt(name, lambda n=name, m=m: spans.page(n, deep_data.value(METHOD, m))) for name, m in others.items()),
        read=lambda name, v: spans.page(name, spans.matched(deep_data, v, WIDTH, BINS)),
        measures=lambda v: spans.trend_measures(data, deep_data, v, WIDTH, BINS),
        null=0.0,
    )
