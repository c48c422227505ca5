"""What of position is left in a dictionary's error, and off what it can be read, by L0."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from lens.figures import style
from lens.figures.dots import handle
from lens.figures.looks import Look, Looks
from lens.figures.plot import Plot

TITLE = "Position that dictionaries leave in their error"
READ = {
    "activations": Looks()["activations"],
    "code": Look("code", "#0072b2", "-", "o"),
    "reconstruction": Look("reconstruction", "#56b4e9", (0, (4, 1.6)), "v"),
    "error": Look("error", "#d55e00", (0, (1, 1.2)), "^"),
}
LEFT = {
    "fvu": Look("all variance", "#333333", (0, (4, 1.6)), "s"),
    "path left": Look("variance of the mean path", "#d55e00", "-", "D"),
}
ROOM = 0.5  # of the distance between two L0, taken up by the series there


def dark_position(read: pd.DataFrame, left: pd.DataFrame, seeds: int) -> Plot:
    """Off what position can be read, and the shares of two variances that are left in the error, against L0.

    Args:
        read: `target`, `of` (activations, code, reconstruction or error), estimate, low and high.
        left: the same, `of` fvu or path left.
    """
    targets = sorted(read["target"].unique())
    with style.house_style():
        figure = style.new_figure(7.4)
        axes = figure.subplots(1, 2)
        told = [
            _panel(ax, part, looks, targets) for ax, part, looks in zip(axes, (read, left), (READ, LEFT), strict=True)
        ]
        axes[0].set_ylabel("$R^2$ of $\\log_2(1 + t)$, held-out documents")
        axes[1].set_ylabel("share that is left in the error")
        axes[1].yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g} %"))
        for ax in axes:
            ax.set_xlabel("L0")
            ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))
        style.legend(figure, [handle(look) for look in (*READ.values(), *LEFT.values())])
    return Plot(
        figure,
        TITLE,
        "Left: position in the window, read by ridge regression with equally many degrees of freedom off the "
        "activations and off what dictionaries make of them. Right: the share of the variance that is left in the "
        "error, of all of it and of the mean at each position. "
        f"Means over {seeds} seeds with 95 % intervals over seeds and held-out documents.",
        "Two panels of dots with intervals against L0. " + " ".join(told),
    )


def _panel(ax: Axes, found: pd.DataFrame, looks: dict[str, Look], targets: Sequence[float]) -> str:
    """Draw one series for each look; in words what was drawn."""
    step, told = ROOM / len(looks), []
    for i, (of, look) in enumerate(looks.items()):
        here = found[found["of"] == of].set_index("target").reindex(targets)
        x = np.arange(len(targets)) + step * (i - (len(looks) - 1) / 2)
        ax.vlines(x, here["low"], here["high"], color=look.color, linewidth=1.4, zorder=3)
        ax.plot(x, here["estimate"], look.marker, color=look.color, markersize=4.2, zorder=5)
        told.append(f"{look.label}: " + ", ".join(f"{here.loc[t, 'estimate']:.2f} at L0 {t:g}" for t in targets) + ".")
    ax.set_xticks(range(len(targets)), [f"{target:g}" for target in targets])
    ax.set_xlim(-0.5, len(targets) - 0.5)
    ax.grid(axis="x", visible=False)
    return " ".join(told)
