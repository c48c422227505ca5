"""C05 to C08: how wide are the features' position profiles, beyond what chance gives, and do they widen with depth?"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.stats import page_trend_test, rankdata

from lens.measure.stats import correlation
from lens.report.evidence.measured import METHOD, Measured, Missing
from lens.report.evidence.readings import (
    Evidence,
    Measures,
    Reading,
    attempt,
    exact,
    excludes,
    for_controls,
    measure,
    over_seeds,
    truth,
)

CONTROLS = ("standard", "shuffled_positions")
WIDTH, MATCHED = "span_fwhm", "span_fwhm_matched"
NULLS = {"labels permuted": "span_fwhm_permuted", "equal frequency": "span_fwhm_frequency"}
UNTRAINED = "untrained"
READINGS = {
    "full width at half maximum": WIDTH,
    "longest run of the mask": "span_mask_run",
    "effective number of positions": "span_effective_positions",
    "dwell length": "span_dwell",
}
TRENDS = {"full width at half maximum, matched by density": MATCHED, **READINGS}
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
    first, *others = READINGS
    measures = _span_measures(data, METHOD)
    untrained = attempt("null: untrained", lambda: _median(data, "null: untrained", UNTRAINED, WIDTH))
    return Evidence(
        (
            _median(data, first, METHOD, WIDTH),
            *(attempt(name, lambda n=name: _median(data, n, METHOD, READINGS[n])) for name in others),
        ),
        controls={v: attempt(v, lambda v=v: _median(data, f"{first}, {v}", v, WIDTH)) for v in CONTROLS},
        differences={r.name: r for r in _against_nulls(data, METHOD)},
        context=(
            *(attempt(n, lambda n=n, m=metric: _median(data, n, METHOD, m)) for n, metric in CONTEXT.items()),
            untrained,
        ),
        measures=measures,
        control_measures=for_controls(CONTROLS, lambda v: _span_measures(data, v)),
    )


def _span_measures(data: Measured, variant: str) -> Measures:
    """The median span, and whether its difference to each null excludes 0."""
    answers = [excludes(r) for r in _against_nulls(data, variant) if r.interval is not None]
    return {
        "median_span": measure(_median(data, variant, variant, WIDTH)),
        "differs_from_nulls": truth(None if None in answers else all(answers)),
    }


def _median(data: Measured, name: str, variant: str, metric: str) -> Reading:
    return over_seeds(name, data.value(variant, metric).mean(axis=0), "plain", "median over features")


def _against_nulls(data: Measured, variant: str) -> list[Reading]:
    """Differences to every null. Of an untrained dictionary no feature may pass the position test: that null then has
    no span to differ from, and is left empty."""
    width = data.value(variant, WIDTH)

    def difference(null: str, values_LS: np.ndarray) -> Reading:
        return over_seeds(f"{variant} - {null}", (width - values_LS).mean(axis=0), "plain")

    return [
        *(difference(name, data.value(variant, metric)) for name, metric in NULLS.items()),
        attempt(f"{variant} - {UNTRAINED}", lambda: difference(UNTRAINED, data.value(UNTRAINED, WIDTH))),
    ]


def trend(data: Measured) -> Evidence:
    """C08: do spans widen with depth? Seeds are the blocks of Page's test, and features are matched by density.

    Page (1963) is the rank test for an ordered alternative when every block (seed) is measured at every level (layer).
    """
    deep_data = data.over_depth()
    if len(deep_data.layers) < LEAST_LAYERS:
        raise Missing(f"a trend over depth needs at least {LEAST_LAYERS} layers, the study has {len(deep_data.layers)}")
    if len(deep_data.seeds) < 2:
        raise Missing("a trend test needs at least 2 seeds as blocks")
    first, *others = TRENDS
    return Evidence(
        (
            _trend(deep_data, first, METHOD, MATCHED),
            *(attempt(name, lambda n=name: _trend(deep_data, n, METHOD, TRENDS[n])) for name in others),
        ),
        controls={v: attempt(v, lambda v=v: _trend(deep_data, f"{first}, {v}", v, MATCHED)) for v in CONTROLS},
        measures=_trend_measures(data, deep_data, METHOD),
        control_measures=for_controls(CONTROLS, lambda v: _trend_measures(data, deep_data, v)),
        null=0.0,
    )


def _trend(data: Measured, name: str, variant: str, metric: str) -> Reading:
    """Rank correlation of the span with depth, interval over seeds; p is Page's, one-sided towards wider."""
    spans_SL = data.value(variant, metric).T
    slopes = correlation(np.arange(spans_SL.shape[1]), rankdata(spans_SL, axis=1))
    slopes = np.nan_to_num(slopes)  # the same span at every layer: no trend
    reading = over_seeds(name, slopes, "plain", "rank correlation with depth; p of Page's test")
    return dataclasses.replace(reading, p=float(page_trend_test(spans_SL).pvalue))


def _trend_measures(data: Measured, deep_data: Measured, variant: str) -> Measures:
    """p over all layers; order of the three main layers, by seed and of the means."""
    spans_LS = data.value(variant, WIDTH)
    return {
        "trend_p": measure(exact("p", _trend(deep_data, variant, variant, MATCHED).p)),
        "share_of_seeds_in_order": measure(exact("share", (np.diff(spans_LS, axis=0) > 0).all(axis=0).mean())),
        "medians_in_order": truth(bool((np.diff(spans_LS.mean(axis=1)) > 0).all())),
    }
