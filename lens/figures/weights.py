"""Position weights: their course through training, and how they line up with difficulty (the paper's Figure 1)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import SubFigure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from lens.figures import data, style
from lens.figures.looks import Looks
from lens.figures.panels import lines_of, panels
from lens.figures.plot import FigureError, Plot

SHOWN = (0.02, 0.98)  # quantiles of the weights, between which the colours lie
TITLE = "Position weights during training, and difficulty"


def position_weight_evolution(position_weights: pd.DataFrame, positions: pd.DataFrame, looks: Looks) -> Plot:
    """Top: weight by step and position (seed mean). Bottom: final weight against error, one dot per position.

    The weights are the method's, the error is the held-out squared error of the baseline, which never saw them:
    weights are an average of their own run's error (eq. 6), so a correlation with that would hold by construction.

    Args:
        position_weights: the table of that name.
        positions: the `positions` table (metrics `position_weight` and `mse`).

    Raises:
        FigureError: the method has no weights, or the baseline no error.
    """
    variant, baseline = (looks.role(role, "position_weight_evolution") for role in ("method", "baseline"))
    standard = f"{looks.label(baseline)} dictionary"
    courses = data.pick(position_weights, "position_weight_evolution", variant=variant)
    courses = courses[courses["position"] >= 1]
    layers = style.layers_in_order(courses["layer"])
    dots = _dots(positions, variant, baseline)
    with style.house_style():
        figure = style.new_figure(1.0 + 8.6 * lines_of(layers))
        top, bottom = figure.subfigures(2, 1, height_ratios=(1.08, 1), hspace=0.04, squeeze=False)[:, 0]
        _courses(top, courses, layers)
        _scatters(bottom, dots, layers)
    seeds = courses["seed"].nunique()
    last = int(courses["position"].max())
    caption = (
        f"Top: the weight of each text position 1 to {last} during training, mean of {seeds} "
        f"seed{'s' if seeds > 1 else ''} (mean weight 1 at every step). Bottom: the weight over the last tenth of "
        f"training against the held-out error of the {standard}, which never saw these weights; one dot per "
        "position, darker is earlier, with Pearson r and Spearman ρ of the seed means. On the line, weight is "
        "proportional to error."
    )
    return Plot(figure, TITLE, caption, _alt(courses, dots, layers, standard))


def _dots(positions: pd.DataFrame, variant: str, baseline: str) -> pd.DataFrame:
    """Columns layer, position, weight, error: seed means over text positions."""
    text = positions[positions["position"] >= 1]
    by = ["layer", "position"]
    weight = data.pick(text, "position_weight_evolution", metric="position_weight", variant=variant)
    error = data.pick(text, "position_weight_evolution", metric="mse", variant=baseline)
    dots = weight.groupby(by)["value"].mean().rename("weight").to_frame()
    dots = dots.join(error.groupby(by)["value"].mean().rename("error"), how="inner").reset_index()
    if dots.empty:
        raise FigureError("position_weight_evolution: no layer has both the weights and the error")
    return dots


def _courses(figure: SubFigure, courses: pd.DataFrame, layers: list[str]) -> None:
    grid = panels(figure, layers)
    means = courses.groupby(["layer", "position", "step"])["value"].mean()
    low, high = (means[means > 0].quantile(q) for q in SHOWN)  # a few positions must not take all the colours
    norm = LogNorm(vmin=low, vmax=max(high, low * 1.01))
    for ax, layer in zip(grid.axes[0], layers, strict=True):
        weight = means.loc[layer].unstack("step")
        t, steps = weight.index.to_numpy(), weight.columns.to_numpy()
        mesh = ax.pcolormesh(
            _edges(np.log2(1 + steps)), _edges(t.astype(float)), weight, norm=norm, cmap=style.COLORMAP, rasterized=True
        )
        style.position_axis(ax, int(t[-1]), axis="y")
        ticks = [s for s in (0, 10, 100, 1000, 10_000, 100_000) if s < 0.15 * steps[-1]] + [steps[-1]]
        ax.set_xticks(np.log2(1 + np.array(ticks)), [f"{s:,}" for s in ticks])
        ax.grid(False)
    for ax in grid.bottom():
        ax.set_xlabel("training step (log scale)")
    for ax in grid.left(0):
        ax.set_ylabel("position t (log scale)")
    bar = style.colorbar(figure, mesh, grid.each(), "weight $w_t$ (mean 1)", aspect=22, extend="both")
    bar.ax.yaxis.set_minor_locator(NullLocator())
    low, high = np.array([norm.vmin, norm.vmax], float)
    round_values = (0.01, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10, 30)
    ticks = [v for v in round_values if low <= v <= high]
    bar.set_ticks(ticks)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))


def _edges(centres: np.ndarray) -> np.ndarray:
    """Cell borders half-way between neighbouring centres."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])


def _scatters(figure: SubFigure, dots: pd.DataFrame, layers: list[str]) -> None:
    lines = lines_of(layers)
    columns = -(-len(layers) // lines)
    grid = figure.add_gridspec(lines, columns)
    for place, layer in enumerate(layers):
        ax = figure.add_subplot(grid[divmod(place, columns)])  # error and weight have no scale in common over layers
        _scatter(ax, dots[dots["layer"] == layer], f"{style.layer_name(layer)}\n" if lines > 1 else "")
        if place % columns == 0:
            ax.set_ylabel("final weight (mean 1)")
        if place + columns >= len(layers):
            ax.set_xlabel("held-out error")


def _scatter(ax: Axes, dots: pd.DataFrame, heading: str) -> None:
    error, weight, t = (dots[name].to_numpy() for name in ("error", "weight", "position"))
    ax.axline((0, 0), slope=1 / error.mean(), color=style.FAINT, linewidth=0.8, dashes=(4, 3), zorder=1)
    ax.scatter(
        error, weight, c=np.log2(t), cmap=style.COLORMAP, vmax=1.25 * np.log2(t.max()), s=11, linewidths=0.35,
        edgecolors="#333333", zorder=3,
    )  # fmt: skip
    first = dots.loc[dots["position"].idxmin()]
    ax.annotate(
        f"t = {first['position']:.0f}", (first["error"], first["weight"]), xytext=(5, -1),
        textcoords="offset points", fontsize=7.5, va="top", path_effects=[withStroke(linewidth=2, foreground="white")],
    )  # fmt: skip
    r, rho = _correlations(dots)
    ax.set_title(f"{heading}r = {style.signed(r)}, ρ = {style.signed(rho)}", fontweight="normal")
    ax.set_xlim(error.min() - 0.12 * np.ptp(error), error.max() + 0.08 * np.ptp(error))
    ax.set_ylim(weight.min() - 0.2 * np.ptp(weight), weight.max() + 0.3 * np.ptp(weight))
    ax.xaxis.set_major_locator(MaxNLocator(2))


def _correlations(dots: pd.DataFrame) -> tuple[float, float]:
    pair = dots[["weight", "error"]]
    return pair.corr("pearson").iloc[0, 1], pair.rank().corr("pearson").iloc[0, 1]


def _alt(courses: pd.DataFrame, dots: pd.DataFrame, layers: list[str], standard: str) -> str:
    said = ["Heat maps of position weight by training step, above scatter plots of final weight against error."]
    final = courses[courses["step"] == courses["step"].max()]
    for layer in layers:
        mean = final[final["layer"] == layer].groupby("position")["value"].mean()
        r, rho = _correlations(dots[dots["layer"] == layer])
        said.append(
            f"{style.layer_name(layer)}: final weights from {data.short(mean.min())} (position {mean.idxmin()}) to "
            f"{data.short(mean.max())} (position {mean.idxmax()}); correlation with the {standard}'s error "
            f"r = {r:.2f}, rank correlation {rho:.2f}."
        )
    return " ".join(said)
