"""The features of one dictionary: all of them at a glance, and one by itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from lens.figures import data, style
from lens.figures.plot import FigureError, Plot
from lens.measure.verdicts import VERDICTS

POSITIONAL, OTHER, NULL = "#0072b2", "#9a9a9a", "#dcdcdc"


def overview(features: pd.DataFrame) -> Plot:
    """Position information and width of every feature against its density, and how many have which verdict.

    Args:
        features: a row per feature: density, positional, information, fwhm, fwhm_null, and verdict if it was asked for.
    """
    title = "Features by position"
    tested = features[features["information"].notna()]
    kinds = {"depends on position": tested[tested["positional"]], "does not": tested[~tested["positional"]]}
    wide = features[features["fwhm"].notna()]
    counts = _verdict_counts(features)
    with style.house_style():
        figure = style.new_figure(7.2 if counts.empty else 7.9 + 0.5 * len(counts))
        if counts.empty:
            left, right = figure.subplots(1, 2)
        else:
            rows = figure.add_gridspec(2, 1, height_ratios=[6.5, 1.4 + 0.5 * len(counts)])
            left, right = figure.add_subfigure(rows[0]).subplots(1, 2)
            _bars(figure.add_subfigure(rows[1]).subplots(), counts)
        for (_, rows), color, marker in zip(kinds.items(), (POSITIONAL, OTHER), "o^", strict=True):
            marks = {"s": 7, "c": color, "marker": marker, "linewidths": 0, "alpha": 0.7}
            left.scatter(rows["density"], 100 * rows["information"], **marks)
        left.set_ylabel("firing entropy explained\nby position (%)")
        left.set_yscale("symlog", linthresh=0.1)
        left.yaxis.set_major_formatter(FuncFormatter(lambda y, _: style.signed(y, "g")))
        right.scatter(wide["density"], wide["fwhm_null"], s=7, c=NULL, marker="s", linewidths=0)
        right.scatter(wide["density"], wide["fwhm"], s=7, c=POSITIONAL, linewidths=0, alpha=0.7)
        right.set_ylabel("width of the profile\n(positions at half maximum)")
        for ax, drawn in ((left, tested), (right, wide)):
            ax.set_xlabel("density (share of text tokens)")
            if len(drawn):
                ax.set_xscale("log")
                ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                ax.xaxis.set_minor_locator(NullLocator())
                ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g} %"))
        style.legend(figure, [_dot(POSITIONAL, "o", "depends on position"), _dot(OTHER, "^", "does not"),
                              _dot(NULL, "s", "width of shifted firings")])  # fmt: skip
    silent = int((features["density"] == 0).sum())
    caption = (
        f"Left, the {data.count(len(tested))} of {data.count(len(features))} features that fire often enough to be "
        "tested: share of the entropy of firing that position explains, what shifted labels give taken off; blue where "
        f"the test finds an effect (false discovery rate 5 %). {data.count(silent)} never fire. Right, widths of the "
        f"{data.count(len(wide))} positional features with enough firings, and of the same firings with each window "
        "shifted in a circle."
        + ("" if counts.empty else " Below, verdicts on position, of all features: the same text was read at offsets.")
    )
    medians = ", ".join(
        f"{name}: {len(rows)} features, median {data.short(100 * rows['information'].median())} %"
        for name, rows in kinds.items()
    )
    alt = (
        f"Two scatter plots against density. Entropy of firing explained by position; {medians}. Median width "
        f"{data.short(wide['fwhm'].median())} positions, of shifted firings {data.short(wide['fwhm_null'].median())}."
        + "".join(f" {verdict}: {n}." for verdict, n in counts.items())
    )
    return Plot(figure, title, caption, alt)


def _verdict_counts(features: pd.DataFrame) -> pd.Series:
    """Number of features by verdict, in the order of `VERDICTS`; empty if none was asked for."""
    found = features["verdict"].value_counts() if "verdict" in features else pd.Series(dtype=int)
    return found.reindex([verdict for verdict in VERDICTS if verdict in found.index])


def _bars(ax: Axes, counts: pd.Series) -> None:
    ax.barh(counts.index, counts, color=POSITIONAL, height=0.6)
    for y, n in enumerate(counts):
        ax.annotate(data.count(n), (n, y), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7.5)
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.set_xlabel("features")
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)


def card(feature: int, features: pd.DataFrame, rates: pd.DataFrame, null: pd.DataFrame, where: str) -> Plot:
    """Firing rate of one feature by position, with the band of its null.

    Args:
        rates: [positions, features]; null: a row per feature with `low` and `high`.
        where: the layer and the model, for the title.

    Raises:
        FigureError: there is no such feature.
    """
    if feature not in rates.columns:
        raise FigureError(f"no feature {feature}: this dictionary has features 0..{len(rates.columns) - 1}")
    row, rate = features.set_index("feature").loc[feature], rates[feature]
    low, high = null.loc[feature, ["low", "high"]]
    title = f"Feature {feature}, {where}"
    with style.house_style():
        figure = style.new_figure(6)
        ax = figure.subplots()
        ax.axhspan(low, high, color=NULL, zorder=1, linewidth=0)
        ax.plot(rate.index, rate, color=POSITIONAL, marker="o", markersize=2, linewidth=0.9, zorder=3)
        ax.set_ylim(bottom=0)
        ax.set_title(title)
        ax.set_ylabel("share of windows\nin which it fires")
        ax.set_xlabel("position t (log scale)")
        style.position_axis(ax, int(rate.index[-1]))
        null_name = "95 % of rates under circular shifts"
        style.legend(figure, [_dot(POSITIONAL, "o", "firing rate"), _dot(NULL, "s", null_name)])
    if np.isnan(row["p"]):
        verdict = "too rare, or always on, for a test of position"
    else:
        found = "depends on position" if row["positional"] else "no effect of position found"
        verdict = f"{found} (p = {row['p']:.2g})"
    caption = f"Density {data.short(row['density'])}; {verdict}."
    if np.isfinite(row["fwhm"]):
        caption += f" Width {data.short(row['fwhm'])} positions, of shifted firings {data.short(row['fwhm_null'])}."
    outside = int(((rate < low) | (rate > high)).sum())
    alt = (
        f"Firing rate by position, from {data.short(rate.iloc[0])} at position {rate.index[0]} to "
        f"{data.short(rate.iloc[-1])} at {rate.index[-1]}; null band {data.short(low)} to {data.short(high)}, "
        f"{outside} of {len(rate)} positions outside it. {caption}"
    )
    return Plot(figure, title, caption, alt)


def _dot(color: str, marker: str, label: str) -> Line2D:
    return Line2D([], [], color=color, marker=marker, linestyle="none", label=label)
