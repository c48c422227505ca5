"""Per-position curves: how well each position is reconstructed, with and without BOS."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lens.figures import data, style
from lens.figures.looks import Looks
from lens.figures.panels import lines_of, panels
from lens.figures.plot import Plot

METRICS = {  # metric: (title, label of the y axis, where the measure is positive and starts at zero)
    "mse": ("Reconstruction error by position", "squared error\n(of unit-scaled input)", True),
    "fvu_global": ("Unexplained variance by position", "FVU about the\nglobal mean", True),
    "fvu_position": ("Unexplained variance by position", "FVU about the\nposition's mean", True),
    "l0": ("Active features by position", "L0\n(features per token)", True),
    "delta_ce": ("Loss added to the language model by position", "ΔCE\n(nats per token)", False),
    "kl": ("Divergence added to the language model by position", "KL\n(nats per token)", True),
}
GROUPED_FROM, GROUPS_PER_OCTAVE = 16, 8  # positions from here on are averaged in groups, else the log axis is all noise


def per_position_error(
    positions: pd.DataFrame, looks: Looks, *, metric: str = "mse", bos: bool = False, early_are: str = ""
) -> Plot:
    """A panel per layer with a line per variant; below, each variant against the baseline, paired by seed.

    Args:
        positions: the `positions` table; ablations are left out.
        metric: one of `METRICS`.
        bos: show position 0 too; the y axis is then logarithmic and the lower panels are left out.
        early_are: what the caption says of the first quarter of the positions, which is then shaded.

    Raises:
        FigureError: the table has no such metric.
    """
    title, label, positive = METRICS[metric]
    rows = data.pick(looks.main(positions), f"per_position_error({metric})", metric=metric)
    rows = rows[(rows["position"] >= (0 if bos else 1)) & (rows["variant"] != "activations")]
    last = int(rows["position"].max())
    early = (last + 1) // 4
    layers, variants = style.layers_in_order(rows["layer"]), looks.in_order(rows["variant"])
    grouped = _grouped(rows)
    baseline = looks.baseline or ""
    relative = pd.DataFrame() if bos or not positive else _relative(grouped, baseline)
    against = "" if relative.empty else looks.label(baseline)
    levels = data.over_seeds(grouped, ["layer", "variant", "position"])

    with style.house_style():
        figure = style.new_figure(0.8 + (4.4 if relative.empty else 7.1) * lines_of(layers))
        grid = panels(figure, layers, 1) if relative.empty else panels(figure, layers, 2, [1.2, 1])
        for ax, layer in zip(grid.axes[0], layers, strict=True):
            _lines(ax, levels[levels["layer"] == layer], variants, looks)
        if bos and positive:
            grid.axes[0, 0].set_yscale("log")  # the row shares it
        else:
            style.frame(grid.axes[0], levels, bottom=0 if positive else None)
        for ax in grid.left(0):
            ax.set_ylabel(label)
        if not relative.empty:
            ratios = data.over_seeds(relative, ["layer", "variant", "position"])
            for ax, layer in zip(grid.axes[1], layers, strict=True):
                ax.axhline(0, color=looks[baseline].color, linewidth=1, dashes=(4, 1.6))
                _lines(ax, ratios[ratios["layer"] == layer], variants, looks)
                ax.yaxis.set_major_locator(MaxNLocator(5))
                ax.yaxis.set_major_formatter(FuncFormatter(style.signed_percent))
            style.frame(grid.axes[1], ratios, show=0)
            for ax in grid.left(1):
                ax.set_ylabel(f"relative\nto {against}")
        for ax in grid.each():
            style.position_axis(ax, last, 0 if bos else 1)
            if early_are:
                ax.axvspan(1, early, color="#f3f2ec", zorder=0, linewidth=0)
        for ax in grid.bottom():
            ax.set_xlabel("position t (log scale)")
        figure.align_ylabels()
        style.lines_legend(figure, [looks[v] for v in variants])

    caption = (
        f"Means over {data.count(int(rows['n'].max()))} held-out windows{', BOS included' if bos else ''}"
        + ("" if relative.empty else f"; below, relative to the {against} dictionary of the same seed")
        + (f". Positions 1 to {early}, shaded, are {early_are}" if early_are else "")
        + f". Positions above {GROUPED_FROM} are averaged in groups, {GROUPS_PER_OCTAVE} to an octave."
        + (f" {data.seeds_phrase(rows)}" if rows["seed"].max() >= 0 else "")
    )
    means = rows.groupby(["layer", "variant", "position"])["value"].mean()

    def say(layer: str, variant: str) -> str:
        if (layer, variant) not in means:
            return ""
        curve = means[layer, variant]
        text = curve[curve.index >= 1]
        return (
            (f"BOS {data.short(curve.get(0, float('nan')))}, " if bos else "")
            + f"position 1 {data.short(text.iloc[0])}, mean of 1 to {early} {data.short(text.loc[:early].mean())}, "
            f"mean of {early + 1} to {text.index[-1]} {data.short(text.loc[early + 1 :].mean())}"
        )

    head = f"{title}: one panel per layer ({', '.join(layers)}), one line per variant."
    return Plot(figure, title, caption, looks.told(head, layers, variants, say))


def _grouped(rows: pd.DataFrame) -> pd.DataFrame:
    """Positions above `GROUPED_FROM` averaged in groups of equal width on the log axis, for each run."""
    t = rows["position"].to_numpy()
    octave = np.floor(GROUPS_PER_OCTAVE * np.log2(np.maximum(t, 1) / GROUPED_FROM))
    group = np.where(t <= GROUPED_FROM, t, 10_000 + octave)
    runs = rows.assign(group=group).groupby(["layer", "variant", "seed", "group"], sort=True)
    return runs.agg(value=("value", "mean"), position=("position", "mean")).reset_index()


def _relative(grouped: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Value over the baseline's of the same layer, seed and position, minus 1; empty without a baseline."""
    keys = ["layer", "seed", "position"]
    base = grouped[grouped["variant"] == baseline][[*keys, "value"]]
    others = grouped[grouped["variant"] != baseline].merge(base, on=keys, suffixes=("", "_base"))
    return others.assign(value=others["value"] / others["value_base"] - 1)


def _lines(ax: Axes, curves: pd.DataFrame, variants: list[str], looks: Looks) -> None:
    for place, variant in enumerate(variants):
        curve = curves[curves["variant"] == variant]
        if curve.empty:
            continue
        look = looks[variant]
        if (bos := curve[curve["position"] == 0]).size:
            dodge = 0.09 * (place - (len(variants) - 1) / 2)
            ax.plot(2.0**dodge - 1, bos["mean"], color=look.color, marker=look.marker, linestyle="none", zorder=3)
        curve = curve[curve["position"] >= 1]
        t = curve["position"].to_numpy()
        # Markers at powers of two, shifted a little from variant to variant so that none hides another.
        wanted = 2.0 ** (np.arange(12) + place / (len(variants) + 1))
        at = sorted({int(abs(t - w).argmin()) for w in wanted[wanted <= t[-1]]})
        style.band(ax, t, curve, look, markevery=at)
