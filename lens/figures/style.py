"""How every figure looks: one page width, one set of fonts, and a line style and a marker for each variant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

PAGE_WIDTH = 17 / 2.54  # inches: the text width of the paper
COLORMAP = "cividis"  # perceptually uniform, monotone in grey, safe for every common colour blindness
INK, FAINT = "#222222", "#8a8a8a"

RC = {
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


@dataclass(frozen=True)
class Look:
    """Name in the legend and the marks of one variant; dashes and markers tell variants apart without colour."""

    label: str
    color: str
    dashes: tuple | str
    marker: str


LOOKS = {
    "language_model": Look("language model", "#000000", "-", "P"),
    "standard": Look("standard", "#333333", (0, (4, 1.6)), "s"),
    "temporallens": Look("TemporalLens", "#0072b2", "-", "o"),
    "shuffled_positions": Look("shuffled positions", "#d55e00", (0, (1, 1.2)), "^"),
    "random_dictionary": Look("random dictionary", "#8c6d00", (0, (6, 1.4, 1, 1.4)), "D"),
    "zero_dictionary": Look("zero dictionary", FAINT, (0, (2, 2)), "X"),
    "untrained": Look("untrained", FAINT, (0, (3, 1.2, 1, 1.2, 1, 1.2)), "*"),
    "activations": Look("the input itself", FAINT, "-", "x"),
}
"""What figures draw side by side: no two share a marker or dashes."""

_WEIGHTS, _MASKS, _TEMPERATURE, _READING, _WIDTH = "#009e73", "#b0609a", "#3d8fc4", "#6b6b6b", "#8c6d00"
ABLATIONS = {
    "uniform_weights": Look("uniform weights", _WEIGHTS, (0, (6, 1.4, 1, 1.4)), "D"),
    "recon_only_weights": Look("weights on the error alone", _WEIGHTS, (0, (8, 2)), "d"),
    "static_windows": Look("static windows", _MASKS, (0, (5, 1, 1, 1)), "<"),
    "static_windows_wrapped": Look("static windows, wrapped", _MASKS, (0, (2, 2)), ">"),
    "frozen_masks": Look("frozen masks", _MASKS, (0, (3, 1.2, 1, 1.2, 1, 1.2)), "v"),
    "all_ones_masks": Look("masks of ones", _MASKS, (0, (1, 2.4)), "8"),
    "fixed_tau_0.1": Look("fixed τ = 0.1", _TEMPERATURE, "-", "h"),
    "fixed_tau_1": Look("fixed τ = 1", _TEMPERATURE, (0, (4, 1.6)), "h"),
    "fixed_tau_5": Look("fixed τ = 5", _TEMPERATURE, (0, (1, 1.2)), "h"),
    "end_tau_0.05": Look("end τ = 0.05", _TEMPERATURE, "-", "p"),
    "end_tau_0.3": Look("end τ = 0.3", _TEMPERATURE, (0, (4, 1.6)), "p"),
    "end_tau_1": Look("end τ = 1", _TEMPERATURE, (0, (1, 1.2)), "p"),
    "bos_included": Look("BOS included", _READING, "-", "H"),
    "bf16_parameters": Look("bfloat16 parameters", _READING, (0, (4, 1.6)), "H"),
    "literal": Look("literal reading", _READING, (0, (1, 1.2)), "H"),
    "companion": Look("companion code", _READING, (0, (6, 1.4, 1, 1.4)), "H"),
    "wide_4": Look("4 × as wide", _WIDTH, "-", "X"),
    "wide_4_sparser": Look("4 × as wide, sparser", _WIDTH, (0, (4, 1.6)), "X"),
    "wide_8": Look("8 × as wide", _WIDTH, (0, (1, 1.2)), "X"),
    "wide_8_sparser": Look("8 × as wide, sparser", _WIDTH, (0, (6, 1.4, 1, 1.4)), "X"),
}
"""One row each in forest plots, in this order; those that change the same part share a colour."""

_MORE = [("#56b4e9", (0, (8, 2)), "P"), ("#8c6d00", (0, (2, 2)), "X"), ("#7a7a7a", (0, (5, 1, 1, 1)), "*")]


def look(variant: str, variants: Iterable[str] = ()) -> Look:
    """The marks of a variant; an unknown one gets the next spare marks, by its place among `variants`."""
    known = LOOKS | ABLATIONS
    if variant in known:
        return known[variant]
    strangers = [name for name in variants if name not in known]
    color, dashes, marker = _MORE[strangers.index(variant) % len(_MORE) if variant in strangers else 0]
    return Look(variant.replace("_", " "), color, dashes, marker)


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


def in_order(names: Iterable[str]) -> list[str]:
    """Variants in the order of `LOOKS` and `ABLATIONS`, the input after them, then strangers by name."""
    known = [*(name for name in LOOKS if name != "activations"), *ABLATIONS, "activations"]
    return sorted(set(names), key=lambda name: (known.index(name) if name in known else len(known), name))


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


def plain_log_axis(ax: Axes) -> None:
    """A logarithmic y axis labelled 0.5, 1, 2, 5 instead of in powers of ten."""
    low, high = ax.get_ylim()
    ax.set_yscale("log")
    ax.set_ylim(low, high)
    ratio = high / low
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio < 100 else (1,), numticks=20 if ratio < 1e5 else 5))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))


def variant_legend(figure: Figure, variants: list[str], more: Sequence[Artist] = ()) -> None:
    """One legend above all panels: a line, its dashes and its marker for each variant, then `more` handles."""
    handles: list[Artist] = []
    for variant in variants:
        marks = look(variant, variants)
        handles.append(
            Line2D([], [], color=marks.color, linestyle=marks.dashes, marker=marks.marker, label=marks.label)
        )
    legend(figure, [*handles, *more])


def legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """One legend above all panels, at most four entries to a line."""
    lines = -(-len(handles) // 4)
    figure.legend(
        handles=handles, loc="outside upper center", ncols=-(-len(handles) // lines), columnspacing=1.6
    )  # fmt: skip
