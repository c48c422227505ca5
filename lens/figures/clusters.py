"""The position profiles of features, ordered by hierarchical clustering."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes

from lens.figures import data, style
from lens.figures.plot import FigureError, Plot

TITLE = "Position profiles, ordered by hierarchical clustering"
MOST_ROWS, SHADES, LIMIT = 320, 24, 2.4
BAR = ["#222222", "#c9c9c9", "#7a7a7a", "#efefef"]  # clusters beside each other differ in grey


def profile_clusters(profiles: pd.DataFrame, summary: pd.DataFrame) -> Plot:
    """Standardised profiles of the positional features of TemporalLens, one panel per main layer, with a cluster bar.

    Args:
        profiles: the `profiles` table (wide: one row per feature, columns p001 ...; one seed).
        summary: the `summary` table, for the number of clusters and the silhouette.

    Raises:
        FigureError: no main layer has a profile.
    """
    main = data.main_layers(summary)
    rows = profiles[profiles["layer"].isin(main)]
    if rows.empty:
        where = ", ".join(map(style.layer_name, main))
        raise FigureError(f"profile_clusters: no feature of {where} passes the position test")
    layers = style.layers_in_order(rows["layer"])
    seed = int(rows["seed"].min())
    run = summary[(summary["variant"] == "temporallens") & (summary["seed"] == seed) & (summary["positions"] == "text")]
    columns = sorted(name for name in profiles.columns if name[0] == "p" and name[1:].isdigit())
    said = ["Heat maps of standardised position profiles, features ordered by hierarchical clustering."]
    with style.house_style():
        lines = -(-len(layers) // 3)
        figure = style.new_figure(1.0 + 5.6 * lines)
        grid = figure.add_gridspec(lines, -(-len(layers) // lines))
        axes = []
        for place, layer in enumerate(layers):
            z, cluster = _ordered(rows[rows["layer"] == layer], columns)
            ax = figure.add_subplot(grid[divmod(place, grid.ncols)])
            axes.append(ax)
            image = ax.imshow(
                z, aspect="auto", cmap=colormaps[style.COLORMAP].resampled(SHADES), vmin=-LIMIT, vmax=LIMIT,
                interpolation="none", extent=(0.5, len(columns) + 0.5, len(cluster), 0),
            )  # fmt: skip
            _bar(ax, cluster, grid.ncols)
            numbers = run[run["layer"] == layer].set_index("metric")["value"]
            ax.set_title(f"{style.layer_name(layer)}{_numbers(numbers)}", fontsize=8)
            ax.set_xticks(style.position_ticks(len(columns)))
            ax.set_xlabel("position t")
            ax.grid(False)
            said.append(f"{style.layer_name(layer)}: {_words(numbers, cluster)}")
            if place % grid.ncols == 0:
                ax.set_ylabel("feature, in order of the dendrogram", labelpad=11)
        bar = figure.colorbar(image, ax=axes, pad=0.012, aspect=32, ticks=[-2, -1, 0, 1, 2], extend="both")
        bar.ax.set_yticklabels(["−2", "−1", "0", "1", "2"])
        bar.set_label("activation, standardised over positions")
        bar.outline.set_visible(False)
    caption = (
        f"Smoothed activation by position of the features of TemporalLens (seed {seed}) that pass the position test, "
        "standardised for each feature and ordered by the leaves of average-linkage clustering. The bar at the left "
        "changes shade with the cluster; K is the number that the gap statistic favours, 1 where nothing speaks for "
        "groups, and s the mean silhouette at K (with K = 1, the largest of any number of clusters). Below 0.7 a "
        "silhouette does not tell groups from a continuum."
    )
    return Plot(figure, TITLE, caption, " ".join(said))


def _ordered(rows: pd.DataFrame, columns: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Profiles [at most MOST_ROWS, P] and the cluster of every feature, in the order of the leaves."""
    rows = rows.sort_values("leaf")
    z = rows[columns].to_numpy(float)
    shown = np.linspace(0, len(z) - 1, min(len(z), MOST_ROWS)).round().astype(int)
    return z[shown], rows["cluster"].to_numpy()


def _bar(ax: Axes, cluster: np.ndarray, columns: int) -> None:
    """A stripe left of the heat map, a shade for each run of features of one cluster; as wide whatever the panel is."""
    left, right = -0.018 * columns, -0.005 * columns
    starts = np.flatnonzero(np.diff(cluster, prepend=cluster[0] - 1))
    for i, (start, end) in enumerate(zip(starts, [*starts[1:], len(cluster)], strict=True)):
        ax.fill_betweenx(
            [start, end], left, right, transform=ax.get_yaxis_transform(), color=BAR[i % len(BAR)], linewidth=0,
            clip_on=False,
        )  # fmt: skip
    ax.tick_params(axis="y", pad=9, length=0)


def _silhouette(numbers: pd.Series) -> float:
    return numbers.get("cluster_silhouette", numbers.get("cluster_silhouette_best", np.nan))


def _numbers(numbers: pd.Series) -> str:
    if "clusters_favoured" not in numbers:
        return " · too few to cluster"
    return f" · K = {numbers['clusters_favoured']:.0f} · s = {_silhouette(numbers):.2f}"


def _words(numbers: pd.Series, cluster: np.ndarray) -> str:
    if "clusters_favoured" not in numbers:
        return f"{len(cluster)} features, too few to cluster."
    sizes = ", ".join(str(n) for n in sorted(np.unique(cluster, return_counts=True)[1], reverse=True))
    return (
        f"{len(cluster)} features, {numbers['clusters_favoured']:.0f} clusters favoured (of {sizes} features), "
        f"silhouette {_silhouette(numbers):.2f}."
    )
