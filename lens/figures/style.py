"""How every figure looks: one page width, one set of fonts, the axes of positions and layers, and legends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

if TYPE_CHECKING:
    from lens.figures.looks import Look

PAGE_WIDTH = 17 / 2.54  # inches: the text width of the paper
COLORMAP = "cividis"  # perceptually uniform, monotone in grey, safe for every common colour blindness
INK, FAINT = "#222222", "#8a8a8a"
STATED: dict[str, Any] = {"color": INK, "linewidth": 0.9, "dashes": (4, 2.5)}  # the line of a value that others state

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same letters on every machine
    "mathtext.fontset": "dejavusans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#555555",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.4,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.handlelength": 2.6,
    "text.color": INK,
    "svg.fonttype": "path",
    "svg.hashsalt": "temporallens",
    "figure.dpi": 100,
    "savefig.dpi": 220,
}


@contextmanager
def house_style():
    """matplotlib's defaults plus `RC`, whatever the reader's own matplotlibrc says; restored on leaving."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC)
        yield


def new_figure(height_cm: float) -> Figure:
    """An empty figure of the page width, outside pyplot's global state."""
    return Figure(figsize=(PAGE_WIDTH, height_cm / 2.54), layout="constrained")


def layer_name(layer: str) -> str:
    """`layer 8`, or `embedding`."""
    return f"layer {layer}" if layer.isdigit() else layer


def layers_in_order(names: Iterable[str]) -> list[str]:
    """Layers from the embedding upwards."""
    return sorted(set(names), key=lambda name: (int(name) if name.isdigit() else -1, name))


def position_axis(ax: Axes, last: int, first: int = 1, axis: str = "x") -> None:
    """A log2(1 + t) position axis from `first` to `last`, labelled with the positions themselves."""
    ticks = [t for t in (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024) if first <= t < 0.8 * last] + [last]
    forward, back = (lambda t: np.log2(1 + np.maximum(t, -0.6))), (lambda u: 2.0**u - 1)
    labels = {0: "BOS"}
    which = ax.xaxis if axis == "x" else ax.yaxis
    (ax.set_xscale if axis == "x" else ax.set_yscale)("function", functions=(forward, back))
    which.set_major_locator(FixedLocator(ticks))
    which.set_minor_locator(NullLocator())
    which.set_major_formatter(FuncFormatter(lambda t, _: labels.get(round(t), f"{t:.0f}")))
    pad = 0.3 if first == 0 else 0.06
    limits = back(forward(first) - pad), back(forward(last) + 0.06)
    (ax.set_xlim if axis == "x" else ax.set_ylim)(*limits)


def position_ticks(last: int) -> list[int]:
    """Ticks of a linear position axis: its ends, and round positions far enough from them."""
    step = 32 if last >= 64 else 8
    return [1, *(t for t in range(step, last, step) if t <= last - step / 2), last]


def signed(value: float, form: str = ".2f") -> str:
    """A number with a true minus sign, and no minus before a rounded zero."""
    text = format(value, form)
    return text.lstrip("-+") if float(text) == 0 else text.replace("-", "−")


def signed_percent(share: float, _: int) -> str:
    """A tick of an axis of shares: `+5 %`."""
    return signed(100 * share, "+.3g") + " %"


def frame(
    axes: Sequence[Axes], curves: pd.DataFrame, *, bottom: float | None = None, show: float | None = None
) -> None:
    """y limits of a row of panels: the means of `curves` and their bands, but at most one span beyond the means.

    `bottom` fixes the lower limit; `show` is a value that must be in sight.

    With two or three seeds a band can be many times wider than everything that is to be seen.
    """
    low, high = curves["mean"].min(), curves["mean"].max()
    if show is not None:
        low, high = min(low, show), max(high, show)
    span = max(high - low, 0.05 * abs(high), 1e-12)
    lowest = max(np.nanmin([low, curves["low"].min()]), low - span) - 0.04 * span
    highest = min(np.nanmax([high, curves["high"].max()]), high + span) + 0.04 * span
    for ax in axes:
        ax.set_ylim(lowest if bottom is None else bottom, highest)


def band(ax: Axes, x: Sequence[float], curve: pd.DataFrame, look: Look, **line) -> None:
    """The means of `curve` as a line, `low` to `high` as a band around it."""
    ax.plot(x, curve["mean"], color=look.color, linestyle=look.dashes, marker=look.marker, zorder=3, **line)
    ax.fill_between(x, curve["low"], curve["high"], color=look.color, alpha=0.18, linewidth=0, zorder=2)


def plain_log_axis(ax: Axes) -> None:
    """A logarithmic y axis labelled 0.5, 1, 2, 5 instead of in powers of ten."""
    low, high = ax.get_ylim()
    ax.set_yscale("log")
    ax.set_ylim(low, high)
    ratio = high / low
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio < 100 else (1,), numticks=20 if ratio < 1e5 else 5))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))


def lines_legend(figure: Figure, looks: Iterable[Look], more: Sequence[Artist] = ()) -> None:
    """One legend above all panels: a line, its dashes and its marker for each look, then `more` handles."""
    lines = [Line2D([], [], color=x.color, linestyle=x.dashes, marker=x.marker, label=x.label) for x in looks]
    legend(figure, [*lines, *more])


def colorbar(
    figure: Figure | SubFigure, image: ScalarMappable, axes: Sequence[Axes], label: str, **options
) -> Colorbar:
    """The scale of a heat map, right of the panels that share it."""
    bar = figure.colorbar(image, ax=axes, pad=0.012, **options)
    bar.set_label(label)
    bar.outline.set_visible(False)
    return bar


def legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """One legend above all panels, at most four entries to a line."""
    lines = -(-len(handles) // 4)
    figure.legend(
        handles=handles, loc="outside upper center", ncols=-(-len(handles) // lines), columnspacing=1.6
    )  # fmt: skip
