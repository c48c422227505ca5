"""What a dictionary gains by knowing the position, along the window."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.ticker import FuncFormatter

from lens.figures import style
from lens.figures.dots import handle
from lens.figures.looks import Look
from lens.figures.plot import Plot

TITLE = "Headroom by position"
ROOM = 0.75  # of a bucket's width, taken up by its arms


def headroom_by_position(found: pd.DataFrame, looks: dict[str, Look], margin: float) -> Plot:
    """Mean and 95 % interval over seeds of each arm's headroom in each bucket, a panel for each L0.

    Args:
        found: `lens.measure.headroom.estimates` with the column target; rows that are no bucket are left out.
        looks: by arm, in order from left to right.
        margin: smallest headroom that counts as usable, drawn as a line.
    """
    found = found[~found["where"].isin(["all", "early", "late"]) & found["variant"].isin(list(looks))]
    places = list(dict.fromkeys(found.sort_values("first")["where"]))
    targets = sorted(found["target"].unique())
    step, told = ROOM / len(looks), []
    with style.house_style():
        figure = style.new_figure(1.2 + 4.6 * len(targets))
        axes = figure.subplots(len(targets), 1, sharex=True, squeeze=False)[:, 0]
        for ax, target in zip(axes, targets, strict=True):
            at_target = found[found["target"] == target].set_index("variant")
            for i, (arm, look) in enumerate(looks.items()):
                if arm not in at_target.index:
                    continue
                here = at_target.loc[[arm]].set_index("where").reindex(places)
                x = [place + step * (i - (len(looks) - 1) / 2) for place in range(len(places))]
                ax.vlines(x, here["low"], here["high"], color=look.color, linewidth=1.4, zorder=3)
                ax.plot(x, here["estimate"], look.marker, color=look.color, markersize=4.2, zorder=5)
                told.append(f"L0 {target:g}, {look.label}: {_said(here['estimate'], places)}.")
            ax.axhline(0, color=style.FAINT, linewidth=0.7)
            ax.axhline(margin, **style.STATED)
            ax.set_ylabel(f"headroom at L0 {target:g}")
            ax.yaxis.set_major_formatter(FuncFormatter(style.signed_percent))
            ax.grid(axis="x", visible=False)
        axes[-1].set_xticks(range(len(places)), places)
        axes[-1].set_xlabel("positions")
        style.legend(figure, [handle(look) for look in looks.values()])
    seeds = found["seeds"].max()
    return Plot(
        figure,
        TITLE,
        f"Share of the unexplained variance that is explained once the position is known, less what the same arm gains "
        f"where positions are permuted. Means over {seeds} seeds with 95 % t intervals over seeds and held-out "
        "documents; every seed has training text, held-out documents, order and initial weights of its own. Dashed: "
        f"{margin:.0%}.",
        "Dots with intervals against buckets of positions. " + " ".join(told),
    )


def _said(means: pd.Series, places: Sequence[str]) -> str:
    return ", ".join(f"{place} {style.signed(100 * means[place], '.2f')} %" for place in places)
