"""What the measures would show if the paper's spans were there: planted windows, measured and trained on."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from lens.figures import data, dots, style
from lens.figures.looks import Look, Looks
from lens.figures.plot import Plot

TITLE = "Planted windows: measured, and learned"
FLAT = "flat"
MARKS = ["o", "s", "^", "D", "v"]  # of the planted widths, in order
COLORS = ["#0072b2", "#333333", "#d55e00", "#009e73", "#b0609a"]
LEARNED = {  # metric of the `training` table: (title, label of the y axis, the value when nothing is wrong)
    "recovered_windowed": ("features found", "share of\nplanted features", 1),
    "mask_correlation": ("masks against windows", "correlation,\nmedian", 1),
    "fwhm_error": ("widths against windows", "error in positions,\nmedian", 0),
}


def calibration(estimators: pd.DataFrame, training: pd.DataFrame, looks: Looks) -> Plot:
    """Above: measured by planted width, by number of firings. Below: what trained dictionaries recover, by steps.

    Args:
        estimators: the calibration table of that name; the full width at half maximum of true features.
        training: the calibration table of that name; a metric of `LEARNED` that it lacks has a word instead of curves.

    Raises:
        FigureError: a table does not hold the measures.
    """
    tested = data.pick(estimators, "calibration", estimator="fwhm")
    flat = estimators[(estimators["estimator"] == "fwhm_untested") & (estimators["width"] == FLAT)]
    measured = pd.concat([tested[tested["width"] != FLAT], flat])
    learned = data.pick(training, "calibration", metric=list(LEARNED))
    persistences = sorted(measured["persistence"].unique())
    widths = sorted(set(measured["width"]) - {FLAT}, key=float)
    planted = {w: Look(f"{float(w):g}", COLORS[i], "-", MARKS[i]) for i, w in enumerate(widths)}
    planted |= {FLAT: Look("flat", style.FAINT, "-", "x")} if len(flat) else {}
    bins = sorted(measured[["firings_low", "firings_high"]].drop_duplicates().itertuples(index=False, name=None))
    variants = looks.in_order(learned["variant"])
    metrics = [name for name in LEARNED if name in set(learned["metric"])]
    curves = data.over_seeds(learned, ["metric", "variant", "steps"])
    with style.house_style():
        figure = style.new_figure(11.8)
        top, bottom = figure.subfigures(2, 1, height_ratios=(1.05, 1), squeeze=False)[:, 0]
        axes = top.subplots(1, len(persistences), sharey=True, squeeze=False)[0]
        for ax, persistence in zip(axes, persistences, strict=True):
            _widths(ax, measured[measured["persistence"] == persistence], bins, planted)
            ax.set_title(f"correlation of neighbouring firings {persistence:g}")
            ax.set_xlabel("firings of the feature")
        axes[0].set_ylabel("measured width (positions)")
        top.legend(
            handles=[dots.handle(look) for look in planted.values()], title="planted width (dashes):", title_fontsize=8,
            alignment="left", loc="outside upper center", ncols=len(planted),
        )  # fmt: skip
        for ax, (metric, (title, label, ideal)) in zip(bottom.subplots(1, len(LEARNED)), LEARNED.items(), strict=True):
            ax.set_title(title)
            if metric in metrics:
                _steps(ax, curves[curves["metric"] == metric], {v: looks[v] for v in variants}, label, ideal)
            else:
                ax.set_axis_off()
                ax.text(0, 0.9, "no feature was found,\nso none can be judged", va="top", transform=ax.transAxes)
        style.lines_legend(bottom, [looks[v] for v in variants])
    seeds = learned["seed"].nunique()
    caption = (
        "Simulated features with known windows. Above: full width at half maximum, mean and standard deviation over "
        "features that pass the position test (flat: all features that ignore position), by how often they fire; "
        "right, where firing persists. Below: dictionaries trained on such features, by training steps: the share of "
        "planted features that a dictionary finds, the correlation of their masks with the true windows, and the "
        f"distance of measured from true width. Means over {seeds} seed{'s' if seeds > 1 else ''}"
        + (", bands are 95 % t intervals." if seeds > 1 else ".")
    )
    return Plot(figure, TITLE, caption, _alt(measured, planted, curves, {v: looks.label(v) for v in variants}))


def _widths(ax: Axes, rows: pd.DataFrame, bins: list[tuple[float, float]], planted: dict[str, Look]) -> None:
    for place, (width, look) in enumerate(planted.items()):
        here = rows[rows["width"] == width].sort_values("firings_low")
        x = np.array([bins.index(pair) for pair in zip(here["firings_low"], here["firings_high"], strict=True)], float)
        x += 0.14 * (place - (len(planted) - 1) / 2)
        bars = here["sd"].fillna(0)
        ax.errorbar(x, here["mean"], yerr=bars, color=look.color, marker=look.marker, linewidth=1, elinewidth=0.9)
        if width != FLAT:
            ax.axhline(float(width), **style.STATED, zorder=1).set_color(look.color)
    ax.set_xticks(range(len(bins)), [_bin(*pair) for pair in bins])
    ax.set_xlim(-0.5, len(bins) - 0.5)
    ax.set_ylim(bottom=0)
    ax.grid(axis="x", visible=False)


def _bin(low: float, high: float) -> str:
    ends = [f"{x / 1000:g}k" if x >= 1000 else f"{x:g}" for x in (low, high)]
    return f"≥ {ends[0]}" if np.isinf(high) else "–".join(ends)


def _steps(ax: Axes, curves: pd.DataFrame, looks: dict[str, Look], label: str, ideal: float) -> None:
    ax.axhline(ideal, **style.STATED, zorder=1)
    for variant, look in looks.items():
        curve = curves[curves["variant"] == variant]
        style.band(ax, curve["steps"], curve, look)
    ticks = sorted(curves["steps"].unique())
    ax.set_xscale("log")
    ax.set_xlim(ticks[0] / 1.25, ticks[-1] * 1.25)
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 1000:g}k" if x >= 1000 else f"{x:g}"))
    style.frame([ax], curves, show=ideal)
    low, high = ax.get_ylim()
    if ideal == 1:  # no share and no correlation exceeds it
        high = min(high, 1.06)
    ax.set_ylim(min(low, -0.04 * high), high)
    ax.set_xlabel("training steps")
    ax.set_ylabel(label)


def _alt(measured: pd.DataFrame, planted: dict[str, Look], curves: pd.DataFrame, labels: dict[str, str]) -> str:
    said = ["Above, measured width against number of firings, a line for each planted width; below, curves by steps."]
    for persistence in sorted(measured["persistence"].unique()):
        for width, look in planted.items():
            here = measured[(measured["persistence"] == persistence) & (measured["width"] == width)]
            if len(here):
                here = here.sort_values("firings_low")
                parts = (
                    f"{_bin(row.firings_low, row.firings_high)} firings {data.short(row.mean)}"
                    for row in here.itertuples()
                )
                said.append(f"Correlation {persistence:g}, planted width {look.label}: {', '.join(parts)}.")
    for metric, (title, *_) in LEARNED.items():
        for variant, label in labels.items():
            curve = curves[(curves["metric"] == metric) & (curves["variant"] == variant)]
            parts = (f"{data.count(int(row.steps))} steps {data.short(row.mean)}" for row in curve.itertuples())
            if len(curve):
                said.append(f"{title.capitalize()}, {label}: {', '.join(parts)}.")
    return " ".join(said)
