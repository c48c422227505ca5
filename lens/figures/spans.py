"""Spans from position 16 on: how their widths are distributed, and where in the window they lie."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lens.figures import data, style
from lens.figures.looks import Look, Looks
from lens.figures.panels import lines_of, panels
from lens.figures.plot import FigureError, Plot

RAMP = Look("ramps as deep", style.FAINT, (0, (1, 1.2)), "")
CUT = {"marker": "o", "markerfacecolor": "white", "markersize": 3, "linestyle": "none"}


def span_distributions(features: pd.DataFrame, looks: Looks, last: int) -> Plot:
    """Above, a panel per layer: the share of spans that are at most as wide. Below: from where to where they reach.

    Args:
        features: a row per feature: layer, variant, and the columns of `lens.profiling.late_spans`.
        last: position of a window.

    Raises:
        FigureError: spans were not measured.
    """
    if "width" not in features:
        raise FigureError(
            "span_distributions: no spans were measured; they need windows of 48 tokens or more and eight documents"
        )
    tested = features[features["depth"].notna()]
    spans = features[features["width"].notna()]
    layers, variants = style.layers_in_order(features["layer"]), looks.in_order(features["variant"])
    shown = looks.method if looks.method in variants else variants[0]
    with style.house_style():
        figure = style.new_figure(0.8 + 9.4 * lines_of(layers))
        grid = panels(figure, layers, 2, [1.25, 1])
        for upper, lower, layer in zip(*grid.axes, layers, strict=True):
            here = spans[spans["layer"] == layer]
            for variant in variants:
                _distribution(upper, here[here["variant"] == variant], looks[variant])
            _steps(upper, here.loc[here["variant"] == shown, "ramp_width"], RAMP)
            _places(lower, here[here["variant"] == shown], looks[shown])
            if here.empty:
                upper.text(0.5, 0.5, "no feature has a span", transform=upper.transAxes, ha="center", fontsize=7)
        for ax in grid.each():
            ax.set_xlim(0, last + 1)
            ax.set_xticks(style.position_ticks(last))
            ax.set_ylim(-0.02, 1.02)
            ax.tick_params(labelbottom=True)
        for row, below, beside in (
            (0, "width (positions)", "share of spans\nat most as wide"), (1, "position t", "spans, in order")
        ):  # fmt: skip
            for ax in grid.axes[row]:
                ax.set_xlabel(below)
            for ax in grid.left(row):
                ax.set_ylabel(beside)
        figure.align_ylabels()
        handles = [
            Line2D([], [], color=looks[v].color, linestyle=looks[v].dashes, label=looks[v].label) for v in variants
        ]
        handles.append(Line2D([], [], color=RAMP.color, linestyle=RAMP.dashes, label=RAMP.label))
        handles.append(Line2D([], [], color=style.INK, label="cut by an end", **CUT))
        style.legend(figure, handles)
    flat = int(tested["flat_material"].sum())
    caption = (
        f"Above, widths at half height of the features whose rate changes by more than a quarter from position 16 on "
        "(false discovery rate 5 %); rings: spans that touch an end, which may be wider. Dotted: what the same "
        f"procedure says of ramps as deep as the spans of {looks.label(shown)}. Of as many flat features that fire as "
        f"often, {data.count(flat)} of {data.count(len(tested))} have a span. Below, from where to where each span of "
        f"{looks.label(shown)} reaches, with its peak."
    )

    def say(layer: str, variant: str) -> str:
        of = (tested["layer"] == layer) & (tested["variant"] == variant)
        mine = tested[of & tested["width"].notna()]
        said = f"{len(mine)} of {of.sum()} features tested have a span"
        if mine.empty:
            return said
        low, middle, high = (data.short(x) for x in mine["width"].quantile([0.1, 0.5, 0.9]))
        ramps = mine["ramp_width"].median()
        beside = f", of ramps {data.short(ramps)}" if np.isfinite(ramps) else ""
        return (
            f"{said}, median width {middle}{beside}, 80 % between {low} and {high}, {mine['censored'].mean():.0%} cut"
        )

    head = "Distribution of the widths of features' spans from position 16 on."
    return Plot(figure, "Widths of spans from position 16 on", caption, looks.told(head, layers, variants, say))


def _distribution(ax: Axes, spans: pd.DataFrame, look: Look) -> None:
    ordered = spans.sort_values("width")
    share = np.arange(1, len(ordered) + 1) / max(len(ordered), 1)
    cut = ordered["censored"].to_numpy(bool)
    _steps(ax, ordered["width"], look)
    ax.plot(ordered["width"][cut], share[cut], color=look.color, markeredgewidth=0.7, zorder=3, **CUT)


def _steps(ax: Axes, widths: pd.Series, look: Look) -> None:
    x = np.sort(widths.dropna().to_numpy(float))
    if len(x):
        y = np.arange(len(x) + 1) / len(x)
        ax.step([0, *x], y, where="post", color=look.color, linestyle=look.dashes, zorder=2)


def _places(ax: Axes, spans: pd.DataFrame, look: Look) -> None:
    ordered = spans.sort_values(["first", "last"])
    y = (np.arange(len(ordered)) + 0.5) / max(len(ordered), 1)
    ax.hlines(y, ordered["first"] - 0.5, ordered["last"] + 0.5, color=look.color, linewidth=0.9, alpha=0.6)
    ax.plot(ordered["peak"], y, ".", color=style.INK, markersize=2)
    ax.set_yticks([])
