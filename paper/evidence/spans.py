"""C05 to C08 as they were registered: how wide are position profiles at half maximum, beyond what chance gives, and do
they widen with depth? Since 2026-11-29 judged by `paper.evidence.late_spans`; this is kept beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.stats import page_trend_test, rankdata

from lens.measure.spans import DENSITY_EDGES
from lens.measure.stats import correlation
from paper.evidence.compare import beside_controls, beyond, mean_over_layers, of_metrics, truth
from paper.evidence.measured import METHOD, Measured, Missing
from paper.evidence.readings import Evidence, Measures, Reading, attempt, exact, measure, measure_p, over_seeds

WIDTH = "span_fwhm"
BINS = tuple(f"span_fwhm_bin_{i}" for i in range(1, len(DENSITY_EDGES)))  # the same of features of one half-decade
NULLS = {"labels shifted": "span_fwhm_permuted", "equal frequency": "span_fwhm_frequency"}
UNTRAINED = "untrained"
READINGS = {
    "full width at half maximum": WIDTH,
    "longest run of the mask": "span_mask_run",
    "effective number of positions": "span_effective_positions",
    "dwell length": "span_dwell",
}
MATCHED = "full width at half maximum, matched by density"
CONTEXT = {
    "the same mask run before training": "span_mask_run_start",
    "effective positions relative to equal frequency": "span_effective_ratio",
    "participation ratio relative to equal frequency": "span_participation_ratio",
    "dwell length relative to permuted positions": "span_dwell_ratio",
    "autocorrelation time": "span_autocorrelation_time",
    "autocorrelation time relative to permuted positions": "span_autocorrelation_ratio",
    "features that pass the position test": "positional_features",
    **{f"null: {name}": metric for name, metric in NULLS.items()},
}
LEAST_LAYERS = 6


def shallow(data: Measured) -> Evidence:
    """C05: spans at the shallowest of the three layers."""
    return _spans_at(data, 0, margin=4)


def middle(data: Measured) -> Evidence:
    """C06: spans at the middle layer."""
    return _spans_at(data, 1, margin=8)


def deep(data: Measured) -> Evidence:
    """C07: spans at the deepest of the three layers."""
    return _spans_at(data, 2, margin=16)


def _spans_at(data: Measured, index: int, margin: float) -> Evidence:
    """`margin`: positions by which spans have to differ from those of every null, a quarter of the claimed value."""
    if len(data.layers) != 3:
        raise Missing(f"the claim names three depths, the study has {len(data.layers)} main layer(s)")
    data, over = data.at(data.layers[index]), "median over features"
    first, *others = READINGS
    found = beside_controls(
        first,
        lambda v: data.value(v, WIDTH).mean(axis=0),
        *of_metrics(data, {name: READINGS[name] for name in others}, detail=over),
        context=(
            *of_metrics(data, CONTEXT, detail=over),
            *of_metrics(data, {"null: untrained": WIDTH}, variant=UNTRAINED, detail=over),
        ),
        measures=lambda v: _span_measures(data, v, margin),
        detail=over,
    )
    against = {r.name: r for r in _against_nulls(data, METHOD)}
    return dataclasses.replace(found, differences=against | found.differences)


def _span_measures(data: Measured, variant: str, margin: float) -> Measures:
    """The median span, and whether it is farther than `margin` from that of each null; unknown where a null is missing,
    unless another one is as near as that."""
    answers = [beyond(reading, margin) for reading in _against_nulls(data, variant)]
    return {
        "median_span": measure(mean_over_layers(data, variant, variant, WIDTH)),
        "differs_from_nulls": truth(False if False in answers else None if None in answers else True),
    }


def _against_nulls(data: Measured, variant: str) -> list[Reading]:
    """Differences to every null, empty where it is missing: of an untrained dictionary no feature may pass the position
    test, so that there is no span to differ from."""
    nulls = {name: (variant, metric) for name, metric in NULLS.items()} | {UNTRAINED: (UNTRAINED, WIDTH)}

    def difference(name: str, null: tuple[str, str]) -> Reading:
        return over_seeds(name, (data.value(variant, WIDTH) - data.value(*null)).mean(axis=0), "plain")

    named = {f"{variant} - {name}": null for name, null in nulls.items()}
    return [attempt(name, lambda n=name, null=null: difference(n, null)) for name, null in named.items()]


def trend(data: Measured) -> Evidence:
    """C08: do spans widen with depth? Seeds are the blocks of Page's test, and features are matched by density.

    Page (1963) is the rank test for an ordered alternative when every block (seed) is measured at every level (layer).
    """
    deep_data = blocks_of_depth(data)
    others = {name: lambda m=metric: deep_data.value(METHOD, m) for name, metric in READINGS.items()}
    return beside_controls(
        MATCHED,
        lambda v: slopes(matched(deep_data, v)),
        *(attempt(name, lambda n=name, widths=widths: page(n, widths())) for name, widths in others.items()),
        read=lambda name, v: page(name, matched(deep_data, v)),
        measures=lambda v: trend_measures(data, deep_data, v),
        null=0.0,
    )


def blocks_of_depth(data: Measured) -> Measured:
    """The study at every block.

    Raises:
        Missing: layers or seeds are too few for a trend.
    """
    deep_data = data.over_depth()
    if len(deep_data.layers) < LEAST_LAYERS:
        raise Missing(f"a trend over depth needs at least {LEAST_LAYERS} layers, the study has {len(deep_data.layers)}")
    if len(deep_data.seeds) < 2:
        raise Missing("a trend test needs at least 2 seeds as blocks")
    return deep_data


def matched(data: Measured, variant: str, width: str = WIDTH, bins: Sequence[str] = BINS) -> np.ndarray:
    """Median spans at equal density `[L, S]`: the mean over those half-decades of density that hold enough features at
    every layer and with every seed.

    Raises:
        Missing: there is no such half-decade.
    """
    data.value(variant, width)  # a run that is missing altogether is named
    common = [name for name in bins if data.has(variant, name)]
    if not common:
        raise Missing(f"{variant}: no half-decade of density holds enough features at every layer and with every seed")
    return np.mean([data.value(variant, name) for name in common], axis=0)


def slopes(spans_LS: np.ndarray) -> np.ndarray:
    """Rank correlation of the span with depth of each seed; 0 where it is the same at every layer."""
    ranks_SL = rankdata(spans_LS, axis=0).T
    return np.nan_to_num(correlation(np.arange(ranks_SL.shape[1]), ranks_SL))


def page(name: str, spans_LS: np.ndarray) -> Reading:
    """Rank correlation of the span with depth, interval over seeds; p is Page's, one-sided towards wider."""
    reading = over_seeds(name, slopes(spans_LS), "rank correlation", "rank correlation with depth; p of Page's test")
    return dataclasses.replace(reading, p=float(page_trend_test(spans_LS.T).pvalue))


def trend_measures(
    data: Measured, deep_data: Measured, variant: str, width: str = WIDTH, bins: Sequence[str] = BINS
) -> Measures:
    """p over all layers, and the share of seeds in whose spans the three main layers are in order."""
    in_order_S = (np.diff(data.value(variant, width), axis=0) > 0).all(axis=0)
    return {
        "trend_p": measure_p(page(variant, matched(deep_data, variant, width, bins))),
        "share_of_seeds_in_order": measure(exact("share", in_order_S.mean())),
    }
