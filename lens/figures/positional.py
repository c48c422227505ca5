"""How many features depend on position at all, layer by layer, beside what shifted labels give."""

from __future__ import annotations

import pandas as pd

from lens.figures import data, dots, style
from lens.figures.looks import Looks
from lens.figures.plot import Plot

TITLE = "Features that depend on position"
FROM = {"positional_share_1": "from position 1", "positional_share_8": "from position 8"}
BAND = "#dcdcdc"


def positional_share(summary: pd.DataFrame, looks: Looks) -> Plot:
    """Share of the eligible features that pass the position test, over all text positions and from position 8 on.

    Args:
        summary: the `summary` table; windows too short for the test from position 8 have no such panel.

    Raises:
        FigureError: no dictionary was tested.
    """
    variants = [*looks.side_by_side, "untrained"]
    rows = data.pick(summary, "positional_share", metric=list(FROM), variant=variants)
    layers = style.layers_in_order(rows["layer"])
    tests = [name for name in FROM if name in set(rows["metric"])]
    series = {name: looks[name] for name in variants if name in set(rows["variant"])}
    alt = ["Dot plot of the share of features that pass the position test, by layer."]
    with style.house_style():
        figure = style.new_figure(1.4 + 3.4 * len(tests))
        axes = figure.subplots(len(tests), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        parts = []
        for ax, name in zip(axes, tests, strict=True):
            part = rows[rows["metric"] == name].assign(series=lambda t: t["variant"])
            nulls = summary[(summary["metric"] == f"{name}_null") & summary["variant"].isin(variants)]
            parts.append(dots.dot_panel(ax, part, layers, series))
            for layer, values in nulls.groupby("layer")["value"]:
                dots.null_band(ax, layers.index(layer), values.to_numpy(), BAND)
            ax.set_title(FROM[name])
            ax.set_ylabel("share of features")
            ax.set_ylim(-0.03, 1.03)
            chance = f"; shifted labels up to {data.short(nulls['value'].max())}" if len(nulls) else ""
            alt.append(f"{FROM[name].capitalize()}{chance}. {dots.alt(parts[-1], layers, series)}")
        handles = [*map(dots.handle, series.values()), dots.null_handle(BAND, "null: shifted labels")]
        style.legend(figure, handles)
    only_all = len(tests) > 1 and "untrained" not in set(rows.loc[rows["metric"] == tests[-1], "variant"])
    both = ", over all text positions and over those from 8 on, where the steep start of a window is over"
    caption = (
        "Share of the features that fire often enough to be tested whose firing depends on position (false discovery "
        "rate 5 %)"
        + (both if len(tests) > 1 else "")
        + (". Untrained dictionaries were tested over all positions only" if only_all else "")
        + ". Bands: the range, over variants and seeds, of the share that the same procedure finds in shifted labels. "
        + dots.interval_phrase(pd.concat(parts))
    )
    return Plot(figure, TITLE, caption, " ".join(alt))
