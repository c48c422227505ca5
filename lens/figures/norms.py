"""The size of the residual stream by position."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lens.figures import style
from lens.figures.panels import lines_of, panels
from lens.figures.plot import Plot

TITLE = "Norm of the residual stream by position"


def norms_by_position(norms: Mapping[int | str, np.ndarray]) -> Plot:
    """Median norm and its 5th to 95th percentile at each position over the layer's median, one panel per layer.

    Args:
        norms: by layer, ||x|| of held-out windows [n, T], in the model's own units.
    """
    layers = [str(layer) for layer in norms]
    with style.house_style():
        figure = style.new_figure(0.6 + 4.6 * lines_of(layers))
        grid = panels(figure, layers)
        grid.axes[0, 0].set_yscale("log")
        told = []
        for ax, layer, norm in zip(grid.axes[0], layers, norms.values(), strict=True):
            typical = np.median(norm[:, 1:])
            low, median, high = np.percentile(norm / typical, (5, 50, 95), axis=0)
            t = np.arange(len(median))
            ax.fill_between(t[1:], low[1:], high[1:], color="#0072b2", alpha=0.22, linewidth=0)
            ax.plot(t[1:], median[1:], color="#0072b2")
            ax.plot([0], median[:1], marker="D", color="#222222", linestyle="none")
            style.position_axis(ax, int(t[-1]), first=0)
            size = f"{typical:,.{0 if typical >= 100 else 1}f}"
            told.append(f"{style.layer_name(layer)}: {size}, BOS {median[0]:.3g} times that")
        style.plain_log_axis(grid.axes[0, 0])
        for ax in grid.bottom():
            ax.set_xlabel("position t (log scale)")
        for ax in grid.left(0):
            ax.set_ylabel("norm ‖x‖ over the\nlayer's median")
    text, n = "; ".join(told), len(next(iter(norms.values())))
    return Plot(
        figure,
        TITLE,
        f"Median and 5th to 95th percentile over {n:,} held-out windows, as multiples of the median norm of text "
        f"positions of the layer; the diamond is BOS. Median norms in the model's own units: {text}.",
        f"Line plots of vector norm against position on logarithmic axes. Median norm of text by layer: {text}.",
    )
