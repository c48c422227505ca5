"""Panels of a figure, a column per layer; many layers are broken into lines, as words are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from lens.figures import style

PER_LINE = 4  # panels beside each other on a page


@dataclass(frozen=True)
class Panels:
    """Axes of a figure, by row of quantities and layer; every row shares its y axis, all panels the x axis."""

    axes: np.ndarray
    """[rows, layers]"""
    columns: int
    """layers to a line"""

    def left(self, row: int) -> list[Axes]:
        """The panels of a row that carry its y axis: the first of each line."""
        return list(self.axes[row, :: self.columns])

    def bottom(self) -> list[Axes]:
        """The panels that nothing stands below."""
        return list(self.axes[-1, -self.columns :])

    def each(self) -> list[Axes]:
        """All panels."""
        return list(self.axes.ravel())


def lines_of(layers: Sequence[str]) -> int:
    """How many lines the panels of these layers take."""
    return -(-len(layers) // PER_LINE)


def panels(
    figure: Figure | SubFigure, layers: Sequence[str], rows: int = 1, height_ratios: Sequence[float] | None = None
) -> Panels:
    """Empty panels: `rows` for each layer, at most `PER_LINE` layers beside each other, titled with the layer."""
    lines = lines_of(layers)
    columns = -(-len(layers) // lines)
    ratios = list(height_ratios or [1] * rows) * lines
    grid = figure.add_gridspec(rows * lines, columns, height_ratios=ratios)
    axes = np.empty((rows, len(layers)), dtype=object)
    for place, layer in enumerate(layers):
        line, column = divmod(place, columns)
        for row in range(rows):
            ax = figure.add_subplot(
                grid[line * rows + row, column],
                sharex=axes[0, 0] if place or row else None, sharey=axes[row, 0] if place else None,
            )  # fmt: skip
            ax.tick_params(labelleft=column == 0, labelbottom=row == rows - 1)
            axes[row, place] = ax
        axes[0, place].set_title(style.layer_name(layer))
    return Panels(axes, columns)
