"""Of the features that the usual test of position finds, and of all: what the verdict says."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from lens.figures import style
from lens.figures.plot import Plot
from lens.measure import verdicts

TITLE = "What is positional about features"
COLOURS = {
    verdicts.SPECIALISED: ("#0072b2", ""),
    verdicts.BY_TERM: ("#56b4e9", "///"),
    verdicts.INHERITS: ("#d55e00", ""),
    verdicts.UNCLEAR: ("#e69f00", "..."),
    verdicts.CONTENT: ("#009e73", ""),
    verdicts.UNTOLD: ("#b0609a", "xxx"),
    verdicts.NONE: ("#e4e4e4", ""),
}
SHORT = {verdicts.UNCLEAR: "source unclear", verdicts.CONTENT: "text at the start", verdicts.UNTOLD: "can't be told"}
FOUND = "#222222"


def leak(counts: pd.DataFrame, labels: Mapping[str, str]) -> Plot:
    """Verdicts on features that fire often enough, shares of them, a bar for each dictionary; and what the usual test
    finds.

    Args:
        counts: by variant, means over seeds of tested, usual and of each verdict; from top to bottom.
        labels: of variants.
    """
    told = []
    with style.house_style():
        figure = style.new_figure(2.6 + 0.8 * len(counts))
        ax = figure.subplots()
        for place, (variant, row) in enumerate(counts.iterrows()):
            left, parts = 0.0, []
            for verdict, (colour, hatch) in COLOURS.items():
                share = row[verdict] / row["tested"]
                ax.barh(
                    place, share, left=left, height=0.6, color=colour, hatch=hatch, edgecolor="white", linewidth=0.5
                )
                left += share
                parts.append(f"{verdict} {100 * share:.0f} %")
            usual = row["usual"] / row["tested"]
            ax.plot([usual, usual], [place - 0.4, place + 0.4], color=FOUND, linewidth=2)
            told.append(f"{labels[str(variant)]}: usual test {100 * usual:.0f} %; {', '.join(parts)}.")
        ax.set_yticks(range(len(counts)), [labels[str(variant)] for variant in counts.index])
        ax.invert_yaxis()
        ax.set_xlim(0, 1)
        ax.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        ax.set_xlabel("features that fire often enough for a test")
        ax.grid(axis="y", visible=False)
        handles = [
            Patch(facecolor=c, hatch=h, edgecolor="white", label=SHORT.get(v, v)) for v, (c, h) in COLOURS.items()
        ]
        style.legend(figure, [*handles, Patch(facecolor=FOUND, label="usual test (line)")])
    return Plot(
        figure,
        TITLE,
        "Verdicts on features by dictionary, means over seeds. The line is the share that the usual test calls "
        "positional.",
        "Stacked bars. " + " ".join(told),
    )
