"""Dot panels over layers: the seeds of several series beside each other, their mean and their interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lens.figures import data, style
from lens.figures.looks import Look

ROOM = 0.72  # of the distance between two layers, taken up by the series of one layer
BANDS = {"#dcdcdc": "", "none": "/////"}  # of nulls: fill and hatching, told apart where they overlap


def dot_panel(ax: Axes, rows: pd.DataFrame, by: str, layers: Sequence[str], looks: dict[str, Look]) -> pd.DataFrame:
    """Mean, 95 % interval over seeds, and small dots for the seeds, of each series at each layer.

    Args:
        rows: columns layer, seed, value, and the series in the column `by`.
        layers: of the x axis, in order; one without rows stays empty.
        looks: by series, in order from left to right.

    Returns:
        Columns layer, series, mean, low, high, seeds: what was drawn.
    """
    found = data.over_seeds(rows, ["layer", by]).rename(columns={by: "series"})
    step = ROOM / len(looks)
    for row in found.itertuples():
        place = list(looks).index(row.series)
        x = layers.index(row.layer) + step * (place - (len(looks) - 1) / 2)
        marks = looks[row.series]
        ax.plot([x, x], [row.low, row.high], color=marks.color, linewidth=1.4, solid_capstyle="butt", zorder=3)
        ax.plot(x, row.mean, marker=marks.marker, color=marks.color, markersize=4.2, zorder=5)
        if row.seeds > 1:
            values = rows.loc[(rows["layer"] == row.layer) & (rows[by] == row.series), "value"]
            ax.plot([x + min(0.4 * step, 0.08)] * len(values), values, ".", color=marks.color, markersize=2.2, zorder=4)
    layer_axis(ax, layers)
    return found


def layer_axis(ax: Axes, layers: Sequence[str]) -> None:
    """Layers in equal steps, the embedding first, with a faint line between them."""
    ax.set_xticks(range(len(layers)), [style.layer_name(layer) for layer in layers])
    ax.set_xlim(-0.5, len(layers) - 0.5)
    ax.tick_params(axis="x", length=0)
    ax.grid(axis="x", visible=False)
    for edge in range(1, len(layers)):
        ax.axvline(edge - 0.5, color="#e4e4e4", linewidth=0.6, zorder=0)


def null_band(ax: Axes, x: int, values: Sequence[float], color: str) -> None:
    """The range of a null at one layer, one of `BANDS`; a null that hardly varies still gets a line of ink."""
    low, high = np.min(values), np.max(values)
    ax.bar(
        x, high - low, bottom=low, width=0.94, color=color, hatch=BANDS[color], edgecolor="#9a9a9a", linewidth=0.5,
        zorder=1 + 0.1 * bool(BANDS[color]),
    )  # fmt: skip


def null_handle(color: str, label: str) -> Patch:
    """The entry of a null in the legend."""
    return Patch(facecolor=color, edgecolor="#9a9a9a", hatch=BANDS[color], linewidth=0.5, label=label)


def handle(look: Look) -> Line2D:
    """The entry of a series in the legend: its marker alone."""
    return Line2D([], [], color=look.color, linestyle="none", marker=look.marker, markersize=4.6, label=look.label)


def panel_legend(ax: Axes, looks: Sequence[Look]) -> None:
    """The series of one panel, above it."""
    ax.legend(
        handles=[handle(look) for look in looks], loc="lower left", bbox_to_anchor=(0, 1),
        ncols=4 if len(looks) < 5 else 3, fontsize=7.5, columnspacing=1.4, handlelength=1.2, handletextpad=0.3,
        borderpad=0.1, borderaxespad=0.2,
    )  # fmt: skip


def nothing(ax: Axes, layers: Sequence[str], found: pd.DataFrame, why: str) -> None:
    """Say `why` above each layer that has no row in `found`."""
    for x, layer in enumerate(layers):
        if layer not in set(found["layer"]):
            ax.text(
                x, 0.5, why, transform=ax.get_xaxis_transform(), ha="center", va="center", fontsize=7,
                color=style.FAINT, linespacing=1.4,
            )  # fmt: skip


def frame(ax: Axes, found: pd.DataFrame, show: Sequence[float], bottom: float | None = None) -> None:
    """y limits around means and intervals, with `show` in sight (see `style.frame`)."""
    around = pd.DataFrame({"mean": show, "low": np.nan, "high": np.nan})
    style.frame([ax], pd.concat([found[["mean", "low", "high"]], around], ignore_index=True), bottom=bottom)


def interval_phrase(found: pd.DataFrame) -> str:
    """What dots and bars are: the end of a caption."""
    n = sorted(set(found["seeds"]))
    if n == [1]:
        return data.ONE_SEED
    seeds = f"{n[0]} to {n[-1]}" if len(n) > 1 else f"{n[-1]}"
    return f"Means over {seeds} seeds with 95 % t intervals, cut at the edge of the panel; small dots are the seeds."


def alt(found: pd.DataFrame, layers: Sequence[str], looks: dict[str, Look], form: str = ".3g") -> str:
    """The means and intervals, layer by layer."""
    said = []
    for layer in layers:
        here = found[found["layer"] == layer].set_index("series")
        parts = []
        for series in (name for name in looks if name in here.index):
            mean, low, high = (style.signed(here.loc[series, name], form) for name in ("mean", "low", "high"))
            parts.append(f"{looks[series].label} {mean}" + ("" if low == "nan" else f" ({low} to {high})"))
        said.append(f"{style.layer_name(layer)}: {', '.join(parts) or 'nothing to measure'}.")
    return " ".join(said)
