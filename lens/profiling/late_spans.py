"""Spans from position 16 on (`lens.measure.late_spans`): columns of a dictionary's features, and measures of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lens.measure.late_spans import FIRST, MIN_SETS, can_be_measured, quantiles, with_nulls
from lens.measure.spans import medians_by_density

COLUMNS = [
    "depth", "depth_low", "depth_high", "material", "peak", "first", "last", "width", "censored", "stretches",
    "share_inside", "flat_material", "ramp_width",
]  # fmt: skip


def late_columns(firings_BTK: np.ndarray) -> pd.DataFrame:
    """`COLUMNS` of every feature; no column where windows are too short, or there are fewer than `MIN_SETS` documents.

    Args:
        firings_BTK: firings by document and position, as `lens.measure.profiles` counts them.
    """
    held = firings_BTK.any(axis=(1, 2))  # documents of which there are windows
    if held.sum() < MIN_SETS or not can_be_measured(firings_BTK.shape[1]):
        return pd.DataFrame(index=pd.RangeIndex(firings_BTK.shape[2]))
    return with_nulls(firings_BTK[held])[COLUMNS]


def late_measures(late: pd.DataFrame, density_K: np.ndarray) -> dict[str, tuple[float, str]]:
    """Measures of a dictionary from its `late_columns`, with their units; nan where no feature has a span, none where
    nothing was measured.

    The share of features with a span, and of flat ones that fire as often; quantiles of the widths, and the median of
    ramps as deep; medians of the widths by density; shares of spans that touch the first or the last position, where a
    width is a lower bound, and that are the only stretch above half height; median share of the firings inside.
    """
    if late.empty:
        return {}
    tested, spans = late[late["depth"].notna()], late[late["material"]]
    at_first = spans["first"] == FIRST
    widths = {f"late_width_q{100 * q:02.0f}": width for q, width in quantiles(spans["width"].to_numpy()).items()}
    widths["late_width_ramp"] = spans["ramp_width"].median()
    by_density = medians_by_density(late["width"].to_numpy(), density_K)
    widths |= {f"late_width_bin_{b}": width for b, width in by_density.items()}
    of_tested = {"late_span_share": tested["material"].mean(), "late_span_share_flat": tested["flat_material"].mean()}
    of_spans = {
        "late_span_at_first": at_first.mean(),
        "late_span_at_last": (spans["censored"] & ~at_first).mean(),
        "late_span_single": (spans["stretches"] == 1).mean(),
    }
    units = {
        "positions": widths,
        "fraction of features tested": of_tested,
        "fraction of spans": of_spans,
        "fraction of firings": {"late_share_inside": spans["share_inside"].median()},
    }
    return {name: (float(value), unit) for unit, values in units.items() for name, value in values.items()}
