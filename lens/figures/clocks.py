"""What fires how long after a clock started: a line, a document, a turn of a chat."""

from __future__ import annotations

import pandas as pd
from matplotlib.ticker import MaxNLocator

from lens.figures import data, style
from lens.figures.plot import FigureError, Plot

COLOR = "#0072b2"
ABOUT = ["clock", "since", "tokens"]  # columns that are no feature


def by_clock(rates: pd.DataFrame, where: str, feature: int | None = None) -> Plot:
    """A panel for each clock: mean number of features on at a token, or one feature's rate, by tokens since it started.

    Args:
        rates: a row for each clock and bin: clock, since, tokens, and a column of rates for each feature.
        where: the layer and the model, for the title.

    Raises:
        FigureError: there is no such feature.
    """
    values = rates.drop(columns=ABOUT)
    if feature is not None and feature not in values.columns:
        raise FigureError(f"no feature {feature}: this dictionary has features 0..{len(values.columns) - 1}")
    shown = values.sum(axis=1) if feature is None else values[feature]
    what = "features on at a token" if feature is None else "share of tokens\non which it fires"
    title = f"{'Features' if feature is None else f'Feature {feature}'} by clock, {where}"
    clocks = list(rates["clock"].unique())
    with style.house_style():
        figure = style.new_figure(6.2)
        panels = figure.subplots(1, len(clocks), sharey=True, squeeze=False)[0]
        for ax, clock in zip(panels, clocks, strict=True):
            rows = rates["clock"] == clock
            ax.plot(rates.loc[rows, "since"], shown[rows], color=COLOR, marker="o", markersize=3, linewidth=1)
            ax.set_title(f"since {clock}")
            ax.set_xlabel("tokens")
            ax.tick_params(axis="x", rotation=60)
            ax.yaxis.set_major_locator(MaxNLocator(5))
        panels[0].set_ylim(0, 1.08 * shown.max() or 1)
        panels[0].set_ylabel(what)
    tokens = rates.groupby("clock", sort=False)["tokens"].sum()
    counts = ", ".join(f"{clock} {data.count(n)}" for clock, n in tokens.items())
    caption = f"{title}. Bins of tokens since the clock started double; text tokens that it has started for: {counts}."
    parts = []
    for clock in clocks:
        rows = rates["clock"] == clock
        since, value = rates.loc[rows, "since"], shown[rows]
        parts.append(
            f"since {clock}, {data.short(value.iloc[0])} at {since.iloc[0]} and {data.short(value.iloc[-1])} at "
            f"{since.iloc[-1]}"
        )
    alt = f"Lines of {what.replace(chr(10), ' ')}: {'; '.join(parts)}."
    return Plot(figure, title, caption, alt)
