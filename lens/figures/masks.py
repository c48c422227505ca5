"""The masks themselves, feature by feature, beside those of a run that never knew the positions."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import colormaps

from lens.figures import data, style
from lens.figures.panels import lines_of, panels
from lens.figures.plot import Plot

TITLE = "Masks after training, beside their control"
CONTROL = "shuffled_positions"
MOST_ROWS = 320  # of more features, this many are drawn, evenly spaced after sorting: print shows no more
SHADES = 21  # steps of 0.05: finer ones cannot be told apart and only swell the file


def mask_heat_map(masks: pd.DataFrame, *, variant: str = "temporallens") -> Plot:
    """Masks m(t, j) at the final temperature, features sorted by centre of mass; below, the shuffled control.

    Sorting noise by its centre of mass draws a faint slope by itself; the control, sorted in the same way, shows how
    much of one. Each panel states the mean correlation between a feature's masks at neighbouring positions: about 0
    for independent noise, near 1 for a window.

    Args:
        masks: the `masks` table (wide: one row per feature, columns p000 ...; one seed).
        variant: the masked variant above the control.

    Raises:
        FigureError: the variant is not in the table.
    """
    rows = data.pick(masks, "mask_heat_map", variant=variant)
    layers = style.layers_in_order(rows["layer"])
    shown = [variant] + [CONTROL] * (CONTROL in set(masks["variant"]) and variant != CONTROL)
    columns = sorted(name for name in masks.columns if name[0] == "p" and name[1:].isdigit())[1:]  # text positions
    said = [f"Masks of {' and '.join(style.look(v).label for v in shown)}, features sorted by centre of mass."]
    colors = colormaps[style.COLORMAP].resampled(SHADES)
    with style.house_style():
        figure = style.new_figure(1.0 + (0.6 + 3.0 * len(shown)) * lines_of(layers))
        grid = panels(figure, layers, len(shown))
        for place, name in enumerate(shown):
            for ax, layer in zip(grid.axes[place], layers, strict=True):
                some = masks[(masks["variant"] == name) & (masks["layer"] == layer)]
                if some.empty:
                    ax.set_axis_off()
                    continue
                mask = some[columns].to_numpy(float)
                mask = mask[np.argsort(centre_of_mass(mask), kind="stable")]
                drawn = mask[np.linspace(0, len(mask) - 1, min(len(mask), MOST_ROWS)).round().astype(int)]
                image = ax.imshow(
                    drawn, aspect="auto", cmap=colors, vmin=0, vmax=1, interpolation="none",
                    extent=(0.5, len(columns) + 0.5, len(mask), 0),
                )  # fmt: skip
                like = neighbour_correlation(mask)
                ax.set_title(f"{style.layer_name(layer)}\n" * (place == 0) + f"r = {style.signed(like)}", fontsize=7.5)
                ax.grid(False)
                said.append(
                    f"{style.layer_name(layer)}, {style.look(name).label}: {data.count(len(mask))} features, mask "
                    f"mean {mask.mean():.2f}, 5th to 95th percentile {np.percentile(mask, 5):.2f} to "
                    f"{np.percentile(mask, 95):.2f}, neighbouring positions correlate {like:.2f}."
                )
            for ax in grid.left(place):
                ax.set_ylabel(f"{style.look(name).label}\nfeature, sorted", linespacing=1.5)
        for ax in grid.bottom():
            ax.set_xlabel("position t")
        grid.axes[0, 0].set_xticks(style.position_ticks(len(columns)))
        bar = figure.colorbar(image, ax=grid.each(), pad=0.012, aspect=32, ticks=[0, 0.5, 1])
        bar.set_label("mask m")
        bar.outline.set_visible(False)
    seed = int(rows["seed"].min())
    caption = (
        f"Masks of the features at the final temperature (seed {seed}), sorted by centre of mass"
        + (", and those of a run whose positions were shuffled, sorted in the same way" if len(shown) > 1 else "")
        + ". r is the correlation between a feature's masks at t and t + 1, averaged over features: about 0 "
        "for independent noise, near 1 for a window of positions."
        + (f" Of the {data.count(len(mask))} features {MOST_ROWS} are drawn." if len(mask) > MOST_ROWS else "")
    )
    return Plot(figure, TITLE, caption, " ".join(said))


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
