"""The size of the residual stream by position."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lens.report.figures import style
from lens.report.figures.plot import Plot

TITLE = "Norm of the residual stream by position"


def norms_by_position(norms: Mapping[int | str, np.ndarray]) -> Plot:
    """Median norm and its 5th to 95th percentile at each position, one panel per layer.

    Args:
        norms: by layer, ||x|| of held-out windows [n, T], in the model's own units.
    """
    layers = list(norms)
    with style.house_style():
        figure = style.new_figure(5.6)
        axes = figure.subplots(1, len(layers), squeeze=False)[0]
        for ax, layer in zip(axes, layers, strict=True):
            low, median, high = np.percentile(norms[layer], (5, 50, 95), axis=0)
            t = np.arange(len(median))
            ax.fill_between(t[1:], low[1:], high[1:], color="#0072b2", alpha=0.22, linewidth=0)
            ax.plot(t[1:], median[1:], color="#0072b2")
            ax.plot([0], median[:1], marker="D", color="#222222", linestyle="none")
            ax.set_yscale("log")
            style.position_axis(ax, int(t[-1]), first=0)
            ax.set_title(style.layer_name(str(layer)))
            ax.set_xlabel("position")
        axes[0].set_ylabel("norm ‖x‖")
    ratios = {layer: np.median(n[:, 0]) / np.median(n[:, 1:]) for layer, n in norms.items()}
    text = "; ".join(f"{style.layer_name(str(layer))}: {ratio:.3g} times" for layer, ratio in ratios.items())
    n = len(next(iter(norms.values())))
    return Plot(
        figure,
        TITLE,
        f"Median and 5th to 95th percentile over {n:,} held-out windows; the diamond is BOS. Norm of BOS over the "
        f"median norm of text positions: {text}.",
        f"Line plots of vector norm against position on logarithmic axes. BOS over text, by layer: {text}.",
    )
