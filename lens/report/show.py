"""Plots and tables inside a notebook."""

from __future__ import annotations

from io import BytesIO

import pandas as pd
from IPython.display import HTML, Image, Markdown, display
from matplotlib.backends.backend_agg import FigureCanvasAgg

from lens.report.figures.plot import Plot
from lens.report.figures.style import house_style

DPI = 110  # legible on a screen; the files under figures/ are for print


def show(plot: Plot) -> None:
    """Display a plot with its alt text, and under it the caption that reads its numbers."""
    png = BytesIO()
    with house_style():
        FigureCanvasAgg(plot.figure).print_figure(png, format="png", dpi=DPI, metadata={"Software": None})
    display(Image(data=png.getvalue(), alt=plot.alt))
    display(Markdown(f"*{plot.title}.* {plot.caption}"))


def seed_means(table: pd.DataFrame, metrics: list[str], *, positions: str = "text") -> pd.DataFrame:
    """One row per layer and variant, one column per metric of the `summary` table: mean over seeds (min to max)."""
    rows = table[(table["positions"] == positions) & table["metric"].isin(metrics)]
    grouped = rows.groupby(["layer", "variant", "metric"], sort=True)["value"]
    text = grouped.agg(lambda v: f"{v.mean():.4g}" + (f" ({v.min():.4g} to {v.max():.4g})" if len(v) > 1 else ""))
    wide = text.unstack("metric")
    return wide[[m for m in metrics if m in wide.columns]].fillna("")


def show_table(table: pd.DataFrame) -> None:
    """Display a table as HTML with escaped text."""
    display(HTML(table.to_html(escape=True, border=0)))
