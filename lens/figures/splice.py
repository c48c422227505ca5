"""Where in a window the language model loses, when the dictionary stands in at one stretch of positions alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.colors import AsinhNorm

from lens.figures import style
from lens.figures.looks import Looks
from lens.figures.panels import lines_of, panels
from lens.figures.plot import FigureError, Plot

TITLE = "Loss added where, by errors where"


def splice_matrix(splice: pd.DataFrame, looks: Looks) -> Plot:
    """Added cross-entropy by the positions replaced (rows) and those whose predictions are scored (columns).

    Args:
        splice: the table of that name (one dictionary).

    Raises:
        FigureError: the table is empty.
    """
    if splice.empty:
        raise FigureError("splice_matrix: nothing was spliced")
    layers = style.layers_in_order(splice["layer"])
    buckets = sorted(splice["bucket"].unique(), key=lambda name: int(name.split("-")[0]))
    names = [name.replace("-", "–") for name in buckets]
    broken = [name if len(name) < 6 else name.replace("–", "–\n") for name in names]
    lowest, highest = min(splice["value"].min(), 0.0), splice["value"].abs().max() or 1.0
    # Small losses are to be seen beside large ones, and a gain is not to look like nothing.
    norm = AsinhNorm(linear_width=highest / 8, vmin=lowest, vmax=highest)
    said = ["Matrices of added cross-entropy in nats, rows the positions replaced, columns the positions scored."]
    with style.house_style():
        figure = style.new_figure(0.9 + 4.6 * lines_of(layers))
        grid = panels(figure, layers)
        for ax, layer in zip(grid.axes[0], layers, strict=True):
            here = splice[splice["layer"] == layer]
            matrix = here.pivot(index="replaced", columns="bucket", values="value").loc[buckets, buckets].to_numpy()
            image = ax.imshow(matrix, cmap=style.COLORMAP, norm=norm, aspect="auto")
            for (i, j), value in np.ndenumerate(matrix):
                ink = "#111111" if norm(value) > 0.6 else "#ffffff"
                ax.text(j, i, _cell(value), ha="center", va="center", color=ink, fontsize=6.8)
            ax.grid(False)
            own, later = np.diag(matrix), matrix[np.triu_indices(len(matrix), 1)]
            said.append(
                f"{style.layer_name(layer)}: at the positions replaced "
                + ", ".join(f"{name} {style.signed(x, '.3f')}" for name, x in zip(buckets, own, strict=True))
                + f"; at later ones {style.signed(later.min(), '.3f')} to {style.signed(later.max(), '.3f')}."
            )
        grid.axes[0, 0].set_xticks(range(len(buckets)), broken)
        grid.axes[0, 0].set_yticks(range(len(buckets)), names)
        for ax in grid.each():
            ax.tick_params(length=0, axis="both", labelsize=7)
        for ax in grid.bottom():
            ax.set_xlabel("predictions scored at")
        for ax in grid.left(0):
            ax.set_ylabel("replaced at positions")
        ticks = sorted({lowest, 0.0, *(highest * share for share in (0.1, 0.3, 1))})
        bar = style.colorbar(figure, image, grid.each(), "ΔCE, nats per token", aspect=28)
        bar.set_ticks(ticks, labels=[style.signed(tick, ".2g") for tick in ticks])
        bar.minorticks_off()
    variant, windows = looks.label(splice["variant"].iloc[0]), int(splice["n"].max())
    caption = (
        f"Cross-entropy added to the language model at the positions of a column when the reconstruction ({variant}, "
        f"seed {int(splice['seed'].min())}) replaces the residual stream at the positions of a row alone; {windows} "
        "held-out windows. In a causal model nothing is added before the positions replaced."
    )
    return Plot(figure, TITLE, caption, " ".join(said))


def _cell(value: float) -> str:
    """Two decimals, which fit a cell; a zero that is exact is written 0."""
    return "0" if value == 0 else style.signed(value, ".2f")
