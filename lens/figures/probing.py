"""How much of what text is about can be read from a few features."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from lens.figures import data, style
from lens.figures.looks import Look, Looks
from lens.figures.panels import lines_of, panels
from lens.figures.plot import Plot

TITLE = "Sparse probes, held-out accuracy"
BESIDE = ["language_model", "random_dictionary", "zero_dictionary"]  # probed beside the dictionaries


def probing_accuracy(probing: pd.DataFrame, looks: Looks, *, paper_baseline: float | None = None) -> Plot:
    """Held-out accuracy, mean over tasks, by the number of features that a probe may use; a panel per layer.

    Args:
        probing: the table of that name; k = 0 is the probe on all features.
        paper_baseline: what the paper reports for its baseline autoencoder, a dashed line.

    Raises:
        FigureError: nothing was probed.
    """
    rows = data.pick(probing, "probing_accuracy", variant=[*looks.side_by_side, *BESIDE])
    layers, variants = style.layers_in_order(rows["layer"]), looks.in_order(rows["variant"])
    runs = rows.groupby(["layer", "variant", "seed", "k"], as_index=False)["value"].mean()
    curves = data.over_seeds(runs, ["layer", "variant", "k"])
    ks = sorted(set(rows["k"]) - {0})
    at = {k: np.log2(k) for k in ks} | {0: np.log2(ks[-1]) + 1.3}
    with style.house_style():
        figure = style.new_figure(1.6 + 5.0 * lines_of(layers))
        grid = panels(figure, layers)
        for ax, layer in zip(grid.axes[0], layers, strict=True):
            if paper_baseline is not None:
                ax.axhline(paper_baseline, **style.STATED, zorder=1)
            for variant in variants:
                curve = curves[(curves["layer"] == layer) & (curves["variant"] == variant)]
                _curve(ax, curve, at, looks[variant])
        for ax in grid.bottom():
            ax.set_xlabel("features used, k")
        for ax in grid.left(0):
            ax.set_ylabel("accuracy, mean over tasks")
        first = grid.axes[0, 0]
        first.xaxis.set_major_locator(FixedLocator(list(at.values())))
        first.xaxis.set_minor_locator(NullLocator())
        first.xaxis.set_major_formatter(FixedFormatter([*(f"{k:.0f}" for k in ks), "all"]))
        first.set_xlim(-0.3, at[0] + 0.4)
        first.set_ylim(min(0.47, runs["value"].min() - 0.02), 1.005)
        dashed = Line2D([], [], **style.STATED, label="the paper's baseline")
        style.lines_legend(figure, [looks[v] for v in variants], [] if paper_baseline is None else [dashed])
    tasks, n = rows["task"].nunique(), int(rows["n"].max())
    seeds = runs.loc[runs["seed"] >= 0].groupby("variant")["seed"].nunique().max()
    caption = (
        f"Accuracy of probes on the k best features, or on all, for windows not trained on; mean over {tasks} balanced "
        f"task{'s' if tasks > 1 else ''} (chance 0.5, up to {data.count(n)} held-out examples each). The language "
        "model is probed on the coordinates of its residual stream. "
        + (f"Bands are 95 % t intervals over {seeds} seeds." if seeds > 1 else data.ONE_SEED)
    )

    def say(layer: str, variant: str) -> str:
        here = curves[(curves["layer"] == layer) & (curves["variant"] == variant)].set_index("k")["mean"]
        parts = [f"k = {k:.0f} {value:.2f}" for k, value in here.items() if k]
        return ", ".join([*parts, *([f"all {here[0]:.2f}"] if 0 in here.index else [])])

    head = f"Line plots of probe accuracy by number of features, a panel per layer ({', '.join(layers)})."
    return Plot(figure, TITLE, caption, looks.told(head, layers, variants, say))


def _curve(ax, curve: pd.DataFrame, at: dict[int, float], look: Look) -> None:
    few, every = curve[curve["k"] > 0], curve[curve["k"] == 0]
    style.band(ax, few["k"].map(at), few, look)
    for row in every.itertuples():
        ax.plot(at[0], row.mean, color=look.color, marker=look.marker, zorder=3)
        ax.plot([at[0]] * 2, [row.low, row.high], color=look.color, linewidth=1.2, zorder=2)
