"""A row for each feature: the masks, beside those of a run that never knew the positions, and the position profiles."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from lens.figures import data, style
from lens.figures.looks import Looks
from lens.figures.panels import lines_of, panels
from lens.figures.plot import FigureError, Plot

MOST_ROWS = 320  # of more features, this many are drawn, evenly spaced after sorting: print shows no more
MASK_SHADES = 21  # steps of 0.05: finer ones cannot be told apart and only swell the file
PROFILE_SHADES, LIMIT = 24, 2.4
BAR = ["#222222", "#c9c9c9", "#7a7a7a", "#efefef"]  # clusters beside each other differ in grey


def mask_heat_map(masks: pd.DataFrame, looks: Looks) -> Plot:
    """Masks m(t, j) of the method at the final temperature, features sorted by centre of mass; below, the null's.

    Sorting noise by its centre of mass draws a faint slope by itself; the null, sorted in the same way, shows how much
    of one. Each panel states the mean correlation between a feature's masks at neighbouring positions: about 0 for
    independent noise, near 1 for a window.

    Args:
        masks: the `masks` table (wide: one row per feature, columns p000 ...; one seed).

    Raises:
        FigureError: the method is not in the table.
    """
    method = looks.role("method", "mask_heat_map")
    rows = data.pick(masks, "mask_heat_map", variant=method)
    layers = style.layers_in_order(rows["layer"])
    shown = [name for name in (method, looks.null) if name and (name == method or name in set(masks["variant"]))]
    columns = _positions(masks)[1:]  # of text
    said = [f"Masks of {' and '.join(map(looks.label, shown))}, features sorted by centre of mass."]
    with style.house_style():
        figure = style.new_figure(1.0 + (0.6 + 3.0 * len(shown)) * lines_of(layers))
        grid = panels(figure, layers, len(shown))
        for place, name in enumerate(shown):
            label = looks.label(name)
            for ax, layer in zip(grid.axes[place], layers, strict=True):
                some = masks[(masks["variant"] == name) & (masks["layer"] == layer)]
                if some.empty:
                    ax.set_axis_off()
                    continue
                mask = some[columns].to_numpy(float)
                mask = mask[np.argsort(centre_of_mass(mask), kind="stable")]
                image = _image(ax, mask, MASK_SHADES, 0, 1)
                like = neighbour_correlation(mask)
                ax.set_title(f"{style.layer_name(layer)}\n" * (place == 0) + f"r = {style.signed(like)}", fontsize=7.5)
                said.append(
                    f"{style.layer_name(layer)}, {label}: {data.count(len(mask))} features, mask "
                    f"mean {mask.mean():.2f}, 5th to 95th percentile {np.percentile(mask, 5):.2f} to "
                    f"{np.percentile(mask, 95):.2f}, neighbouring positions correlate {like:.2f}."
                )
            for ax in grid.left(place):
                ax.set_ylabel(f"{label}\nfeature, sorted", linespacing=1.5)
        for ax in grid.bottom():
            ax.set_xlabel("position t")
        grid.axes[0, 0].set_xticks(style.position_ticks(len(columns)))
        style.colorbar(figure, image, grid.each(), "mask m", aspect=32, ticks=[0, 0.5, 1])
    seed = int(rows["seed"].min())
    caption = (
        f"Masks of the features at the final temperature (seed {seed}), sorted by centre of mass"
        + (", and those of a run whose positions were shuffled, sorted in the same way" if len(shown) > 1 else "")
        + ". r is the correlation between a feature's masks at t and t + 1, averaged over features: about 0 "
        "for independent noise, near 1 for a window of positions."
        + (f" Of the {data.count(len(mask))} features {MOST_ROWS} are drawn." if len(mask) > MOST_ROWS else "")
    )
    return Plot(figure, "Masks after training, beside their control", caption, " ".join(said))


def profile_clusters(profiles: pd.DataFrame, summary: pd.DataFrame, looks: Looks) -> Plot:
    """Standardised profiles of the positional features of the method, one panel per main layer, with a cluster bar.

    Args:
        profiles: the `profiles` table (wide: one row per feature, columns p001 ...; one seed).
        summary: the `summary` table, for the number of clusters and the silhouette.

    Raises:
        FigureError: no main layer has a profile.
    """
    method = looks.role("method", "profile_clusters")
    main = data.main_layers(looks.main(summary))
    rows = profiles[profiles["layer"].isin(main)]
    if rows.empty:
        where = ", ".join(map(style.layer_name, main))
        raise FigureError(f"profile_clusters: no feature of {where} passes the position test")
    layers = style.layers_in_order(rows["layer"])
    seed = int(rows["seed"].min())
    run = summary[(summary["variant"] == method) & (summary["seed"] == seed) & (summary["positions"] == "text")]
    columns = _positions(profiles)
    said = ["Heat maps of standardised position profiles, features ordered by hierarchical clustering."]
    with style.house_style():
        lines = -(-len(layers) // 3)
        figure = style.new_figure(1.0 + 5.6 * lines)
        grid = figure.add_gridspec(lines, -(-len(layers) // lines))
        axes = []
        for place, layer in enumerate(layers):
            here = rows[rows["layer"] == layer].sort_values("leaf")
            cluster = here["cluster"].to_numpy()
            ax = figure.add_subplot(grid[divmod(place, grid.ncols)])
            axes.append(ax)
            image = _image(ax, here[columns].to_numpy(float), PROFILE_SHADES, -LIMIT, LIMIT)
            _bar(ax, cluster, grid.ncols)
            title, words = _numbers(run[run["layer"] == layer].set_index("metric")["value"], cluster)
            ax.set_title(f"{style.layer_name(layer)} · {title}", fontsize=8)
            ax.set_xticks(style.position_ticks(len(columns)))
            ax.set_xlabel("position t")
            said.append(f"{style.layer_name(layer)}: {words}.")
            if place % grid.ncols == 0:
                ax.set_ylabel("feature, in order of the dendrogram", labelpad=11)
        label = "activation, standardised over positions"
        bar = style.colorbar(figure, image, axes, label, aspect=32, ticks=[-2, -1, 0, 1, 2], extend="both")
        bar.ax.set_yticklabels(["−2", "−1", "0", "1", "2"])
    caption = (
        f"Smoothed activation by position of the features of {looks.label(method)} (seed {seed}) that pass the "
        "position test, standardised for each feature and ordered by the leaves of average-linkage clustering. The bar "
        "at the left changes shade with the cluster; K is the number that the gap statistic favours, 1 where nothing "
        "speaks for groups, and s the mean silhouette at K (with K = 1, the largest of any number of clusters). Below "
        "0.7 a silhouette does not tell groups from a continuum."
    )
    return Plot(figure, "Position profiles, ordered by hierarchical clustering", caption, " ".join(said))


def centre_of_mass(mask: np.ndarray) -> np.ndarray:
    """Mean position of each feature, weighted by its mask; `[features, positions]` in, `[features]` out."""
    t = np.arange(1, mask.shape[1] + 1)
    total = mask.sum(axis=1)
    return (mask @ t) / np.where(total > 0, total, 1)


def neighbour_correlation(mask: np.ndarray) -> float:
    """Mean over features of the correlation between m(t) and m(t + 1); features with a constant mask are left out."""
    away = mask - mask.mean(axis=1, keepdims=True)
    power = (away**2).mean(axis=1)
    alive = power > 1e-9
    if not alive.any():
        return float("nan")
    return float(((away[alive, 1:] * away[alive, :-1]).mean(axis=1) / power[alive]).mean())


def _positions(table: pd.DataFrame) -> list[str]:
    """Columns of a wide table that are positions, in order."""
    return sorted(name for name in table.columns if name[0] == "p" and name[1:].isdigit())


def _image(ax: Axes, rows: np.ndarray, shades: int, low: float, high: float) -> AxesImage:
    """A heat map of `[features, positions]`, of which at most `MOST_ROWS` features are drawn."""
    drawn = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_ROWS)).round().astype(int)]
    ax.grid(False)
    return ax.imshow(
        drawn, aspect="auto", cmap=colormaps[style.COLORMAP].resampled(shades), vmin=low, vmax=high,
        interpolation="none", extent=(0.5, rows.shape[1] + 0.5, len(rows), 0),
    )  # fmt: skip


def _bar(ax: Axes, cluster: np.ndarray, columns: int) -> None:
    """A stripe left of the heat map, a shade for each run of features of one cluster; as wide whatever the panel is."""
    left, right = -0.018 * columns, -0.005 * columns
    starts = np.flatnonzero(np.diff(cluster, prepend=cluster[0] - 1))
    for i, (start, end) in enumerate(zip(starts, [*starts[1:], len(cluster)], strict=True)):
        ax.fill_betweenx(
            np.array([start, end]), left, right, transform=ax.get_yaxis_transform(), color=BAR[i % len(BAR)],
            linewidth=0, clip_on=False,
        )  # fmt: skip
    ax.tick_params(axis="y", pad=9, length=0)


def _numbers(numbers: pd.Series, cluster: np.ndarray) -> tuple[str, str]:
    """Clusters and silhouette of one layer, for the title of its panel and for the alt text."""
    if "clusters_favoured" not in numbers:
        return "too few to cluster", f"{len(cluster)} features, too few to cluster"
    favoured = f"{numbers['clusters_favoured']:.0f}"
    silhouette = f"{numbers.get('cluster_silhouette', numbers.get('cluster_silhouette_best', np.nan)):.2f}"
    sizes = ", ".join(str(n) for n in sorted(np.unique(cluster, return_counts=True)[1], reverse=True))
    words = f"{len(cluster)} features, {favoured} clusters favoured (of {sizes} features), silhouette {silhouette}"
    return f"K = {favoured} · s = {silhouette}", words
