"""How training went: loss, temperature, active features and how far the masks moved."""

from __future__ import annotations

import pandas as pd
from matplotlib.ticker import MaxNLocator

from lens.figures import data, style
from lens.figures.looks import Looks
from lens.figures.panels import lines_of, panels
from lens.figures.plot import Plot

ROWS = {  # metric: (label of the y axis, logarithmic)
    "loss": ("loss (eq. 8)\nper token", True),
    "tau": ("temperature\nτ", True),
    "l0": ("L0\nper token", False),
    "mask_drift": ("mask drift\n/ initial norm", False),
}


def training_curves(history: pd.DataFrame, looks: Looks) -> Plot:
    """One column per layer, one row per quantity of `ROWS`, one line per variant.

    Args:
        history: the `history` table; a variant without a quantity (no mask, no temperature) has no line in that row,
            and ablations are left out, unless there is nothing else.

    Raises:
        FigureError: the table has no loss.
    """
    data.pick(history, "training_curves", metric="loss")
    history = main if len(main := looks.main(history)) else history
    layers, variants = style.layers_in_order(history["layer"]), looks.in_order(history["variant"])
    metrics = [name for name in ROWS if name in set(history["metric"])]
    curves = data.over_seeds(history[history["metric"].isin(metrics)], ["metric", "layer", "variant", "step"])
    with style.house_style():
        lines = lines_of(layers)
        figure = style.new_figure(1.2 + (0.8 + (2.1 if lines == 1 else 1.9) * len(metrics)) * lines)
        grid = panels(figure, layers, len(metrics))
        for place, metric in enumerate(metrics):
            line = grid.axes[place]
            label, logarithmic = ROWS[metric]
            for ax, layer in zip(line, layers, strict=True):
                for variant in range(len(variants)):
                    curve = _one(curves, metric, layer, variants[variant])
                    every = max(1, len(curve) // 6)
                    start = variant * every // len(variants)  # no marker on another
                    if len(curve):
                        style.band(
                            ax, curve["step"], curve, looks[variants[variant]], markevery=(start, every), linewidth=1.1,
                            markersize=3,
                        )  # fmt: skip
                ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            for ax in grid.left(place):
                ax.set_ylabel(label)
            row = curves[curves["metric"] == metric]
            style.frame(line, row, bottom=0.9 * row["mean"].min() if logarithmic else None)
            if logarithmic:
                style.plain_log_axis(line[0])  # the row shares it
        for ax in grid.bottom():
            ax.set_xlabel("training step")
        figure.align_ylabels()
        style.lines_legend(figure, [looks[v] for v in variants])
    steps = int(history["step"].max()) + 1
    caption = (
        f"{data.count(steps)} steps. The loss of a weighted variant weighs the positions, so compare its "
        "course, not its level, with that of an unweighted one. Mask drift is the distance of the mask logits from "
        f"their initial values, relative to the norm of those. {data.seeds_phrase(history)}"
    )

    def say(layer: str, variant: str) -> str:
        ends = []
        for metric in metrics:
            curve = _one(curves, metric, layer, variant)["mean"]
            if len(curve):
                ends.append(f"{metric} {data.short(curve.iloc[0])} to {data.short(curve.iloc[-1])}")
        return ", ".join(ends)

    head = f"Training curves, a column per layer ({', '.join(layers)}), a row per quantity ({', '.join(metrics)})."
    return Plot(figure, "Training curves", caption, looks.told(head, layers, variants, say))


def _one(curves: pd.DataFrame, metric: str, layer: str, variant: str) -> pd.DataFrame:
    kept = (curves["metric"] == metric) & (curves["layer"] == layer) & (curves["variant"] == variant)
    return curves[kept]
